// Tasks: the list of all that a filter finds, with what can be done to many at once.
// It must not know how rows are read and kept as they are now.

import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useKeys } from "../keys";
import { criteriaOf, type Verb } from "../list/bulk";
import { BulkDialog } from "../list/bulk-dialog";
import { isEmpty, keyOf, readFilter } from "../list/filter";
import { Filters, said, total } from "../list/filters";
import { placeAt, useTaskLists } from "../list/lists";
import { MOST } from "../list/reading";
import { type ItemProps, Rows } from "../list/rows";
import { ALL, extended, isNothing, isSelected, NONE, type Selection, toggledRow } from "../list/selection";
import { isPhone, taskHeight } from "../list/size";
import { TaskHead, TaskRow } from "../list/task-row";
import type { Column, TaskLists } from "../list/tasks";
import { Button } from "../parts/button";
import { Empty } from "../parts/empty";
import { go, href, route } from "../router";
import { may } from "../session";

export function TasksPage() {
  const filter = useMemo(() => readFilter(route.value.query), [route.value.query.toString()]);
  const key = keyOf(filter);
  const lists = useTaskLists(filter, [filter.state]);
  const column = lists.columns[0] as Column;
  const [selection, setSelection] = useState<Selection>(NONE);
  const [current, setCurrent] = useState<string | null>(null);
  const [asking, setAsking] = useState<Verb | null>(null);
  useEffect(() => setSelection(NONE), [key]);

  const place = placeAt(`tasks ${key}`);
  const counts = lists.counts.value;
  const found = counts ? total(counts, filter.state) : place.total;
  place.total = found;
  const selected = selection.all ? found : selection.ids.size;
  const operates = may("operator");
  useCursor(column, current, setCurrent, selection, setSelection, operates);
  const select = useCallback(
    (id: string, extend: boolean) => {
      setCurrent(id);
      setSelection((old) => {
        const order = column.rows.map((row) => row.id);
        return extend ? extended(old, id, order) : toggledRow(old, id);
      });
    },
    [column],
  );
  const Item = useMemo(
    () => (props: ItemProps) => <TaskRow {...props} onSelect={operates ? select : undefined} />,
    [select, operates],
  );
  const nothing = column.drawing.value > 0 && column.reading.listing.ended && column.rows.length === 0;
  return (
    <div class="page lists">
      <h1 class="visually-hidden">Tasks</h1>
      <Filters filter={filter} counts={counts} />
      <Problem lists={lists} />
      {nothing ? (
        <Nothing filtered={!isEmpty(filter)} />
      ) : (
        <Rows
          key={key}
          kind="grid"
          label="Tasks"
          column={column}
          total={Math.min(found, MOST)}
          rowHeight={taskHeight()}
          current={current}
          isSelected={(id) => isSelected(selection, id)}
          Item={Item}
          place={place}
          head={
            <TaskHead selecting={operates}>
              <SelectAll selection={selection} onChange={setSelection} />
            </TaskHead>
          }
        />
      )}
      {found > MOST && (
        <p class="lists-note">
          The first {MOST.toLocaleString()} are listed. Narrow the filter to see others.
        </p>
      )}
      {!isNothing(selection) && (
        <SelectionBar
          selection={selection}
          found={found}
          complete={counts?.complete ?? true}
          onChange={setSelection}
          onAsk={setAsking}
        />
      )}
      {asking && (
        <BulkDialog
          verb={asking}
          criteria={criteriaOf(asking, selection, filter)}
          selected={selected}
          onClose={() => setAsking(null)}
          onDone={() => {
            setAsking(null);
            setSelection(NONE);
            lists.refresh();
          }}
        />
      )}
    </div>
  );
}

interface SelectionBarProps {
  selection: Selection;
  found: number;
  /** Whether `found` is all of them. */
  complete: boolean;
  onChange: (selection: Selection) => void;
  onAsk: (verb: Verb) => void;
}

function SelectionBar({ selection, found, complete, onChange, onAsk }: SelectionBarProps) {
  const selected = selection.all ? found : selection.ids.size;
  return (
    <div class="selection-bar" role="toolbar" aria-label="Selected tasks">
      <strong>{said(selected, !selection.all || complete)} selected</strong>
      {!selection.all && found > selected && (
        <Button small look="quiet" onPress={() => onChange(ALL)}>
          {isPhone.value ? "All" : "Select all"} {said(found, complete)}
        </Button>
      )}
      <span class="selection-space" />
      <Button small icon="again" onPress={() => onAsk("retry")}>
        Retry…
      </Button>
      <Button small look="danger" icon="slash" onPress={() => onAsk("cancel")}>
        Cancel…
      </Button>
      <Button small look="quiet" icon="close" label="Clear the selection" onPress={() => onChange(NONE)} />
    </div>
  );
}

function SelectAll({
  selection,
  onChange,
}: {
  selection: Selection;
  onChange: (selection: Selection) => void;
}) {
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (box.current) box.current.indeterminate = !selection.all && selection.ids.size > 0;
  });
  return (
    <input
      ref={box}
      type="checkbox"
      aria-label="Select all tasks of this filter"
      checked={selection.all}
      onClick={() => onChange(isNothing(selection) ? ALL : NONE)}
    />
  );
}

/** The row that the keyboard is at. When it goes, the one that takes its place is. */
function useCursor(
  column: Column,
  current: string | null,
  setCurrent: (id: string | null) => void,
  selection: Selection,
  setSelection: (selection: Selection) => void,
  operates: boolean,
): void {
  const at = useRef(-1);
  const index = current === null ? -1 : column.reading.listing.indexOf(current);
  if (index >= 0) at.current = index;
  const move = (step: number) => {
    const next = Math.max(0, Math.min(column.rows.length - 1, (index < 0 ? at.current : index) + step));
    setCurrent(column.rows[next]?.id ?? null);
    if (!(document.activeElement instanceof HTMLElement && document.activeElement.closest(".rows")))
      document.querySelector<HTMLElement>(".rows")?.focus({ preventScroll: true });
  };
  const select = (extend: boolean) => {
    if (current === null || !operates) return;
    const order = column.rows.map((row) => row.id);
    setSelection(extend ? extended(selection, current, order) : toggledRow(selection, current));
  };
  useKeys([
    { key: "j", does: "Next task", act: () => move(1) },
    { key: "k", does: "Previous task", act: () => move(-1) },
    { key: "ArrowDown", act: () => move(1) },
    { key: "ArrowUp", act: () => move(-1) },
    { key: "Enter", does: "Open the task", act: () => current && go(href("tasks", current)) },
    ...(operates
      ? [
          { key: "x", does: "Select the task", act: () => select(false) },
          { key: "X", does: "Select up to the task", act: () => select(true) },
        ]
      : []),
    {
      key: "Escape",
      act: () => (isNothing(selection) ? setCurrent(null) : setSelection(NONE)),
    },
  ]);
}

/** What is shown may be old, and why. */
export function Problem({ lists }: { lists: TaskLists }) {
  if (lists.problem.value === null) return null;
  return (
    <p class="lists-problem" role="status">
      {lists.problem.value}
      <Button small onPress={() => lists.refresh()}>
        Try again
      </Button>
    </p>
  );
}

function Nothing({ filtered }: { filtered: boolean }) {
  if (!filtered)
    return (
      <Empty icon="tasks" title="No tasks yet">
        <p>Tasks appear here as they are created.</p>
      </Empty>
    );
  return (
    <Empty icon="search" title="No task fits the filter">
      <a href={href("tasks")}>Show all tasks</a>
    </Empty>
  );
}
