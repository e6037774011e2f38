// Workflows: the list of them, by state and by words, as they are now.
// It must not know what is inside one.

import type { WorkflowState } from "../described";
import { Button } from "../parts/button";
import { Empty, Loading, Trouble } from "../parts/empty";
import { Find } from "../parts/find";
import { PageHead } from "../parts/page";
import { StateMark } from "../parts/state";
import { attempt } from "../parts/toasts";
import { route, setQuery } from "../router";
import { type Sought, useWorkflows } from "../workflows/listing";
import { WorkflowRow } from "../workflows/row";

const STATES: readonly WorkflowState[] = ["pending", "running", "completed", "failed", "cancelled"];

export function WorkflowsPage() {
  const sought = soughtIn(route.value.query);
  const { rows, more, error, readMore, reload } = useWorkflows(sought);
  const filtered = sought.text !== "" || sought.state.length > 0;
  return (
    <div class="page workflows">
      <PageHead title="Workflows">
        <Find
          label="Search"
          keyed
          text={sought.text}
          onText={(text) => setQuery(queryOf({ ...sought, text }))}
        />
      </PageHead>
      <States sought={sought} />
      {rows === undefined &&
        (error ? <Trouble error={error} what="the workflows" onRetry={reload} /> : <Loading />)}
      {rows && rows.length > 0 && (
        <ul class="workflow-list">
          {rows.map((workflow) => (
            <WorkflowRow key={workflow.id} workflow={workflow} />
          ))}
        </ul>
      )}
      {rows?.length === 0 && !more && <Nothing filtered={filtered} />}
      {more && (
        <p class="panel-foot">
          <Button onPress={() => attempt(readMore)}>Show more</Button>
        </p>
      )}
    </div>
  );
}

function States({ sought }: { sought: Sought }) {
  const choose = (state: readonly WorkflowState[]) => setQuery(queryOf({ ...sought, state }));
  return (
    <fieldset class="states">
      <legend class="visually-hidden">States</legend>
      <button
        type="button"
        class="state-choice"
        aria-pressed={sought.state.length === 0}
        onClick={() => choose([])}
      >
        All
      </button>
      {STATES.map((state) => (
        <button
          key={state}
          type="button"
          class={`state-choice state-${state}`}
          aria-pressed={sought.state.includes(state)}
          onClick={() => choose(toggled(sought.state, state))}
        >
          <StateMark state={state} size={14} />
          {state}
        </button>
      ))}
    </fieldset>
  );
}

function Nothing({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Empty icon="workflows" title="No workflow is like that">
        <Button onPress={() => setQuery(new URLSearchParams())}>Show all</Button>
      </Empty>
    );
  }
  return (
    <Empty icon="workflows" title="No workflows yet">
      <p>Tasks that belong together, as a pipeline, a fan-out or a graph, are shown here.</p>
    </Empty>
  );
}

function toggled(states: readonly WorkflowState[], state: WorkflowState): WorkflowState[] {
  return states.includes(state) ? states.filter((one) => one !== state) : [...states, state];
}

function soughtIn(query: URLSearchParams): Sought {
  const named = query.getAll("state");
  return { state: STATES.filter((state) => named.includes(state)), text: query.get("text") ?? "" };
}

function queryOf({ state, text }: Sought): URLSearchParams {
  const query = new URLSearchParams(state.map((one) => ["state", one]));
  if (text) query.set("text", text);
  return query;
}
