// A task as a card of the board.
// It must not know in which column it stands.

import { Icon } from "../parts/icon";
import { Person } from "../parts/person";
import { Priority } from "../parts/priority";
import { href } from "../router";
import { elementId, type ItemProps } from "./rows";
import { Moment } from "./task-row";

export function Card({ row, top, current, leaving, changed }: ItemProps) {
  const marks = [current && "current", leaving && "leaving", changed && "changed"].filter(Boolean).join(" ");
  return (
    <div
      class={`row card-place ${marks}`}
      role="listitem"
      id={elementId(row.id)}
      data-id={row.id}
      style={{ transform: `translateY(${top}px)` }}
    >
      <article class={`card state-${row.state}`}>
        <a class="row-link card-title" href={href("tasks", row.id)} tabIndex={-1}>
          {row.title}
        </a>
        <p class="card-facts">
          <Priority level={row.priority} />
          {row.state === "running" && row.progress > 0 ? (
            <span class="row-progress">
              <progress max={100} value={row.progress} aria-label="Progress" />
            </span>
          ) : (
            <span class="card-where clip">
              {row.error && row.state !== "completed" ? row.error.message : where(row)}
            </span>
          )}
        </p>
        <p class="card-facts">
          {row.assigned_to && <Person name={row.assigned_to} />}
          {row.retry_count > 0 && (
            <span class="row-tries">
              <Icon name="again" size={12} />
              {row.retry_count}/{row.max_retries}
            </span>
          )}
          <span class="card-time">
            <Moment row={row} />
          </span>
        </p>
      </article>
    </div>
  );
}

function where(row: ItemProps["row"]): string {
  return [row.capability, row.space_id].filter(Boolean).join(" · ");
}
