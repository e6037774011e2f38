// Row: one workflow of the list: its name, how far it is, since when.
// It must not know the others.

import type { TaskState, Workflow } from "../described";
import { StateBar } from "../graph/statebar";
import { kindOf, policyOf } from "../graph/workflow-words";
import { memo } from "../memo";
import { StateBadge } from "../parts/state";
import { Ago, Lasted } from "../parts/time";
import { href } from "../router";
import { ENDED } from "../states";

export const WorkflowRow = memo(({ workflow }: { workflow: Workflow }) => {
  const counts = new Map(Object.entries(workflow.counts) as [TaskState, number][]);
  const ended = [...counts].reduce((sum, [state, count]) => sum + (ENDED.has(state) ? count : 0), 0);
  return (
    <li>
      <a class="workflow-row" href={href("workflows", workflow.id)}>
        <span class="workflow-state">
          <StateBadge state={workflow.state} />
        </span>
        <span class="workflow-title">
          <span class="workflow-name clip">{workflow.name}</span>
          <span class="aside clip">{[kindOf(workflow), policyOf(workflow)].filter(Boolean).join(" · ")}</span>
        </span>
        <span class="workflow-share">
          <StateBar counts={counts} />
          <span class="aside number">
            {ended.toLocaleString()} of {workflow.total.toLocaleString()} ended
            {counts.get("failed") ? `, ${counts.get("failed")?.toLocaleString()} failed` : ""}
          </span>
        </span>
        <span class="aside workflow-when">
          <Ago at={workflow.created_at} />
        </span>
        <span class="aside workflow-lasted">
          {workflow.started_at && <Lasted from={workflow.started_at} to={workflow.completed_at} />}
        </span>
      </a>
    </li>
  );
});
