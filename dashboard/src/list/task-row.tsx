// A task as one line of the list: two on a phone.
// It must not know which tasks are listed.

import { Icon } from "../parts/icon";
import { Person } from "../parts/person";
import { Priority } from "../parts/priority";
import { StateMark } from "../parts/state";
import { Ago, Due, Lasted } from "../parts/time";
import { href } from "../router";
import { ENDED } from "../states";
import type { Row } from "./row";
import { elementId, type ItemProps } from "./rows";

const LABELS = 3;

export interface TaskRowProps extends ItemProps {
  onSelect?: (id: string, extend: boolean) => void;
}

export function TaskRow({ row, index, top, current, selected, leaving, changed, onSelect }: TaskRowProps) {
  const marks = [
    onSelect && "selectable",
    current && "current",
    selected && "selected",
    leaving && "leaving",
    changed && "changed",
  ];
  return (
    <div
      class={`row task-row ${marks.filter(Boolean).join(" ")}`}
      role="row"
      id={elementId(row.id)}
      data-id={row.id}
      aria-rowindex={index + 2}
      aria-selected={selected}
      style={{ transform: `translateY(${top}px)` }}
    >
      {onSelect && (
        <span role="gridcell" class="cell-select">
          <input
            type="checkbox"
            tabIndex={-1}
            checked={selected}
            aria-label={`Select ${row.title}`}
            onClick={(event) => {
              onSelect(row.id, event.shiftKey);
              // The element shows another row once this one is scrolled away: the keyboard stays with the list.
              event.currentTarget.closest<HTMLElement>(".rows")?.focus({ preventScroll: true });
            }}
          />
        </span>
      )}
      <span role="gridcell" class={`cell-state state-${row.state}`}>
        <StateMark state={row.state} size={15} />
        <span class="state-word">{row.state}</span>
      </span>
      <span role="gridcell" class="cell-title">
        <a class="row-link clip" href={href("tasks", row.id)} tabIndex={-1}>
          {row.title}
        </a>
        <Beside row={row} />
      </span>
      <span role="gridcell" class="cell-priority">
        <Priority level={row.priority} />
      </span>
      <span role="gridcell" class="cell-capability clip">
        {row.capability}
      </span>
      <span role="gridcell" class="cell-space clip">
        {row.space_id}
      </span>
      <span role="gridcell" class="cell-assignee">
        {row.assigned_to && <Person name={row.assigned_to} />}
      </span>
      <span role="gridcell" class="cell-time">
        <Moment row={row} />
      </span>
    </div>
  );
}

/** What is worth a word beside the title: what went wrong, how far it is, its labels. */
function Beside({ row }: { row: Row }) {
  return (
    <span class="row-beside">
      {row.state === "running" && row.progress > 0 && (
        <span class="row-progress">
          <progress max={100} value={row.progress} aria-label="Progress" />
          <span class="number">{Math.round(row.progress)} %</span>
        </span>
      )}
      {row.retry_count > 0 && (
        <span class="row-tries" title={`${row.retry_count} of ${row.max_retries} retries`}>
          <Icon name="again" size={12} />
          {row.retry_count}/{row.max_retries}
        </span>
      )}
      {row.error && row.state !== "completed" && (
        <span class="row-error clip">{row.error.message || row.error.type}</span>
      )}
      {row.labels.slice(0, LABELS).map((label) => (
        <span key={label} class="label">
          {label}
        </span>
      ))}
      {row.labels.length > LABELS && <span class="label">+{row.labels.length - LABELS}</span>}
    </span>
  );
}

/** The moment that matters in its state. */
export function Moment({ row }: { row: Row }) {
  if (row.deadline_at && !ENDED.has(row.state)) return <Due at={row.deadline_at} />;
  if (row.state === "scheduled" && row.not_before) return <Ago at={row.not_before} before="starts" />;
  if (row.state === "running" && row.started_at) return <Lasted from={row.started_at} to={null} />;
  return <Ago at={row.completed_at ?? row.created_at} />;
}

export function TaskHead({
  selecting,
  children,
}: {
  selecting: boolean;
  children?: preact.ComponentChildren;
}) {
  return (
    <div class="rows-head" role="rowgroup">
      <div
        class={selecting ? "row-head task-row selectable" : "row-head task-row"}
        role="row"
        aria-rowindex={1}
      >
        {selecting && (
          <span role="columnheader" class="cell-select">
            {children}
          </span>
        )}
        <span role="columnheader">State</span>
        <span role="columnheader">Task</span>
        <span role="columnheader" class="cell-priority">
          Priority
        </span>
        <span role="columnheader" class="cell-capability">
          Capability
        </span>
        <span role="columnheader" class="cell-space">
          Space
        </span>
        <span role="columnheader" class="cell-assignee">
          Assignee
        </span>
        <span role="columnheader" class="cell-time">
          When
        </span>
      </div>
    </div>
  );
}
