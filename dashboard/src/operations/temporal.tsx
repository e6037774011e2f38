// Temporal: how its side stands for this organisation: the server, the namespace, the workers, and where it disagrees.
// It must not know how it was asked.

import type { Answer } from "../api";
import { Icon } from "../parts/icon";
import { me } from "../session";
import { Fact } from "./fact";
import { Subject } from "./subject";

type Side = NonNullable<Answer<"diagnose_org">["temporal"]>;

export function TemporalPanel({ side }: { side: Side | null }) {
  const address = me.value?.temporal_ui;
  return (
    <section class="panel" aria-labelledby="temporal-title">
      <header class="panel-head">
        <h2 id="temporal-title">Temporal</h2>
        {side && address && (
          <a
            class="button small"
            href={`${address.replace(/\/$/, "")}/namespaces/${encodeURIComponent(side.namespace)}/workflows`}
            target="_blank"
            rel="noreferrer noopener"
          >
            <Icon name="out" /> Temporal's own page
          </a>
        )}
      </header>
      {side ? <Facts side={side} /> : <p class="panel-empty faint">This server runs everything by itself.</p>}
    </section>
  );
}

function Facts({ side }: { side: Side }) {
  const { server_version, namespace, up, error, drift, compared, queues } = side;
  return (
    <>
      {error && <p class="notice bad panel-notice">{error}</p>}
      <dl class="facts">
        <Fact name="Server" good={Boolean(server_version)}>
          {server_version ? `answers, version ${server_version}` : "does not answer"}
        </Fact>
        <Fact name="Namespace" good={up !== false}>
          {namespace}
          {up === null ? ", nothing was handed over yet" : up ? ", served" : ", not served"}
        </Fact>
        <Fact name="Drift" good={drift?.length === 0}>
          {drift === null || drift === undefined
            ? "not known now"
            : drift.length === 0
              ? `none among ${(compared ?? 0).toLocaleString()} that were compared`
              : `${drift.length} differ`}
        </Fact>
        {(queues ?? []).map((queue) => (
          <Fact key={queue.queue} name={`Queue ${queue.queue}`} good={queue.workers !== 0}>
            {queue.workers === null || queue.workers === undefined
              ? "Temporal does not say who asks"
              : `${queue.workers} ${queue.workers === 1 ? "worker asks" : "workers ask"}`}
          </Fact>
        ))}
      </dl>
      {drift && drift.length > 0 && <Drift drift={drift} />}
    </>
  );
}

function Drift({ drift }: { drift: NonNullable<Side["drift"]> }) {
  return (
    <div class="table-frame">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Differs</th>
            <th scope="col">Here</th>
            <th scope="col">In Temporal</th>
          </tr>
        </thead>
        <tbody>
          {drift.map((one) => (
            <tr key={`${one.subject_id} ${one.generation}`}>
              <th scope="row">
                <Subject id={one.subject_id} />
              </th>
              <td>{one.sqlite_state}</td>
              <td>{one.temporal_status}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
