// Operations: how the organisation's work goes, and what of it needs a person.
// It must not know how any of it is found out.

import { type Answer, call } from "../api";
import type { TaskState } from "../described";
import { StateBar, StateLegend } from "../graph/statebar";
import { useAsked } from "../operations/asked";
import { OutboxPanel } from "../operations/outbox";
import { QueuesPanel } from "../operations/queues";
import { Rates } from "../operations/rates";
import { ServerPanel } from "../operations/server";
import { TemporalPanel } from "../operations/temporal";
import { WaitingPanel } from "../operations/waiting";
import { Loading, Trouble } from "../parts/empty";
import { Icon } from "../parts/icon";
import { PageHead } from "../parts/page";
import { may, me } from "../session";

type Diagnosis = Answer<"diagnose_org">;

export function OperationsPage() {
  const activity = useAsked((signal) => call("measure_org", { signal }));
  const queues = useAsked((signal) => call("list_queues", { signal }));
  const operates = may("operator");
  const diagnosis = useAsked<Diagnosis | null>(async (signal) =>
    operates ? call("diagnose_org", { signal }) : null,
  );
  const error = activity.error ?? queues.error ?? diagnosis.error;
  const found = diagnosis.value;
  if (error && !activity.value)
    return <Trouble error={error} what="how things stand" onRetry={activity.reload} />;
  return (
    <div class="page operations">
      <PageHead title="Operations" beneath={<Beneath diagnosis={found ?? null} />} />
      {found && <Health diagnosis={found} />}
      {found && <Open tasks={found.tasks} />}
      {activity.value ? <Rates activity={activity.value} /> : <Loading />}
      {queues.value && (
        <QueuesPanel
          queues={queues.value}
          pollers={pollersOf(found?.temporal ?? null)}
          workers={found?.workers ?? null}
        />
      )}
      {found && (
        <>
          <WaitingPanel waiting={found.waiting} more={found.more_waiting} />
          {found.temporal && (
            <OutboxPanel outbox={found.outbox} letters={found.dead_letters} onRedriven={diagnosis.reload} />
          )}
          <ServerPanel diagnosis={found} />
          <TemporalPanel side={found.temporal ?? null} />
        </>
      )}
      {!operates && (
        <p class="panel-empty faint">Operators see more here: outbox, dead letters, drift and workers.</p>
      )}
    </div>
  );
}

function Beneath({ diagnosis }: { diagnosis: Diagnosis | null }) {
  if (!me.value) return null;
  const { org, version } = me.value;
  const engine = diagnosis?.engine ?? me.value.engine;
  return (
    <>
      <span>Organisation {org}</span>
      <span>{engine === "temporal" ? "driven by Temporal" : "driven by this server alone"}</span>
      <span>version {version}</span>
    </>
  );
}

/** What needs a person, in words; or that nothing does. */
function Health({ diagnosis }: { diagnosis: Diagnosis }) {
  const troubles = troublesOf(diagnosis);
  if (diagnosis.healthy && troubles.length === 0) {
    return (
      <p class="notice good" role="status">
        <Icon name="check" /> Nothing needs a person.
      </p>
    );
  }
  return (
    <div class="notice bad" role="status">
      <Icon name="alert" />
      <ul>
        {(troubles.length ? troubles : ["Something needs a person: see below."]).map((trouble) => (
          <li key={trouble}>{trouble}</li>
        ))}
      </ul>
    </div>
  );
}

function troublesOf({ displaced, outbox, temporal }: Diagnosis): string[] {
  const found: string[] = [];
  if (displaced)
    found.push("The file is a copy or was restored, and says nothing to Temporal until it is adopted.");
  if (outbox.dead_letters) found.push(`Temporal refuses ${outbox.dead_letters} of what it was told.`);
  if (temporal && !temporal.server_version) found.push("Temporal does not answer.");
  else if (temporal?.up === false) found.push(`The namespace ${temporal.namespace} is not served.`);
  if (temporal?.drift?.length)
    found.push(`Temporal disagrees about ${temporal.drift.length} of what is handed to it.`);
  return found;
}

function Open({ tasks }: { tasks: Diagnosis["tasks"] }) {
  const counts = new Map(Object.entries(tasks) as [TaskState, number][]);
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  return (
    <section class="standing open-tasks" aria-labelledby="open-title">
      <h2 id="open-title">
        {total === 0 ? "No open tasks" : `${total.toLocaleString()} open ${total === 1 ? "task" : "tasks"}`}
      </h2>
      {total > 0 && (
        <>
          <StateBar counts={counts} />
          <StateLegend counts={counts} />
        </>
      )}
    </section>
  );
}

function pollersOf(side: Diagnosis["temporal"]): Map<string, number | null> {
  return new Map((side?.queues ?? []).map((queue) => [queue.queue, queue.workers ?? null]));
}
