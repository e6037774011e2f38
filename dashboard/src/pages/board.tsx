// Board: the tasks of a filter in columns by state.
// It must not know how columns are read and kept as they are now.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { TaskState } from "../described";
import { useKeys } from "../keys";
import { Card } from "../list/card";
import { type Filter, keyOf, readFilter } from "../list/filter";
import { Filters, said } from "../list/filters";
import { placeAt, useTaskLists } from "../list/lists";
import { MOST } from "../list/reading";
import { Rows } from "../list/rows";
import { CARD_HEIGHT } from "../list/size";
import type { Column, Counts, TaskLists } from "../list/tasks";
import { StateMark } from "../parts/state";
import { go, href, route } from "../router";
import { RARE, TASK_STATES } from "../states";
import { Problem } from "./tasks";

export function BoardPage() {
  const filter = useMemo(() => readFilter(route.value.query), [route.value.query.toString()]);
  const common: Filter = { ...filter, state: [] };
  const lists = useTaskLists(
    common,
    TASK_STATES.map((state) => [state]),
  );
  const counts = lists.counts.value;
  const [current, setCurrent] = useState<string | null>(null);
  const shown = lists.columns.filter((column) => isShown(stateOf(column), filter, counts));
  useBoardKeys(shown, current, setCurrent);
  return (
    <div class="page lists">
      <h1 class="visually-hidden">Board</h1>
      <Filters filter={filter} counts={counts} />
      <Problem lists={lists} />
      <div class="board" role="region" aria-label="Board" tabIndex={0}>
        {shown.map((column) => (
          <BoardColumn
            key={keyOf(common) + stateOf(column)}
            lists={lists}
            column={column}
            current={current}
            name={keyOf(common)}
          />
        ))}
      </div>
    </div>
  );
}

interface BoardColumnProps {
  lists: TaskLists;
  column: Column;
  current: string | null;
  /** What the board shows, to find the place again. */
  name: string;
}

function BoardColumn({ lists, column, current, name }: BoardColumnProps) {
  const state = stateOf(column);
  const counts = lists.counts.value;
  const place = placeAt(`board ${name} ${state}`);
  const found = counts?.states[state] ?? (counts ? 0 : place.total);
  place.total = found;
  // A column that was open stays so: the board must not move because its last card did.
  const [open, setOpen] = useState(found > 0);
  useEffect(() => {
    if (found > 0) setOpen(true);
  }, [found > 0]);
  return (
    <section
      class={open ? `column state-${state}` : `column closed state-${state}`}
      aria-label={`${state} tasks`}
    >
      <header class="column-head">
        <StateMark state={state} />
        <h2>{state}</h2>
        <span class="state-count">{counts ? said(found, counts.complete) : ""}</span>
      </header>
      {open && (
        <Rows
          kind="list"
          label={`${state} tasks`}
          column={column}
          total={Math.min(found, MOST)}
          rowHeight={CARD_HEIGHT}
          current={current}
          Item={Card}
          place={place}
        />
      )}
    </section>
  );
}

function isShown(state: TaskState, filter: Filter, counts: Counts | null): boolean {
  if (filter.state.length > 0) return filter.state.includes(state);
  return !RARE.includes(state) || (counts?.states[state] ?? 0) > 0;
}

function stateOf(column: Column): TaskState {
  return column.states[0] as TaskState;
}

function useBoardKeys(
  columns: readonly Column[],
  current: string | null,
  setCurrent: (id: string | null) => void,
): void {
  const where = () => {
    for (const [across, column] of columns.entries()) {
      const down = current === null ? -1 : column.reading.listing.indexOf(current);
      if (down >= 0) return { across, down };
    }
    return { across: columns.findIndex((column) => column.rows.length > 0), down: -1 };
  };
  const vertically = (step: number) => {
    const { across, down } = where();
    const rows = columns[across]?.rows ?? [];
    setCurrent(rows[Math.max(0, Math.min(rows.length - 1, down + step))]?.id ?? null);
  };
  const sideways = (step: number) => {
    const { across, down } = where();
    for (let next = across + step; columns[next]; next += step) {
      const rows = columns[next]?.rows ?? [];
      if (rows.length === 0) continue;
      setCurrent(rows[Math.max(0, Math.min(rows.length - 1, down))]?.id ?? null);
      return;
    }
  };
  useKeys([
    { key: "j", does: "Next card", act: () => vertically(1) },
    { key: "k", does: "Previous card", act: () => vertically(-1) },
    { key: "l", does: "Next column", act: () => sideways(1) },
    { key: "h", does: "Previous column", act: () => sideways(-1) },
    { key: "ArrowDown", act: () => vertically(1) },
    { key: "ArrowUp", act: () => vertically(-1) },
    { key: "ArrowRight", act: () => sideways(1) },
    { key: "ArrowLeft", act: () => sideways(-1) },
    { key: "Enter", does: "Open the task", act: () => current && go(href("tasks", current)) },
    { key: "Escape", act: () => setCurrent(null) },
  ]);
}
