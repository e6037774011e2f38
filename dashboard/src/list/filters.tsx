// The filters above a list or board: states with their counts, search, and what else narrows it.
// It must not know what is listed. What is chosen goes into the address, which is where pages read it.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { TaskState } from "../described";
import { useKeys } from "../keys";
import { Button } from "../parts/button";
import { Icon } from "../parts/icon";
import { PRIORITIES as LEVELS, Priority } from "../parts/priority";
import { StateMark } from "../parts/state";
import { setQuery } from "../router";
import { me } from "../session";
import { RARE, TASK_STATES } from "../states";
import {
  type Filter,
  isEmpty,
  MODES,
  type Mode,
  NOTHING,
  PRIORITIES,
  type PriorityName,
  toggled,
  writeFilter,
} from "./filter";
import { known } from "./known";
import { Menu, type Option } from "./menu";
import type { Counts } from "./tasks";

const TYPING = 250;

interface FiltersProps {
  filter: Filter;
  counts: Counts | null;
  children?: ComponentChildren;
}

export function Filters({ filter, counts, children }: FiltersProps) {
  const change = (some: Partial<Filter>) => setQuery(writeFilter({ ...filter, ...some }));
  return (
    <div class="filters" role="search" aria-label="Filters">
      <div class="filters-line">
        <Search text={filter.text ?? ""} onChange={(text) => change({ text })} />
        <div class="filters-menus">
          <Menus filter={filter} change={change} />
          {!isEmpty(filter) && (
            <Button look="quiet" small icon="close" onPress={() => setQuery(writeFilter(NOTHING))}>
              Clear
            </Button>
          )}
        </div>
        {children}
      </div>
      <States filter={filter} counts={counts} change={change} />
    </div>
  );
}

interface PartProps {
  filter: Filter;
  change: (some: Partial<Filter>) => void;
}

function Search({ text, onChange }: { text: string; onChange: (text: string) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const [typed, setTyped] = useState(text);
  const told = useRef(text);
  useEffect(() => {
    // The address changed by itself: a link, or the button that clears.
    if (text !== told.current) setTyped(text);
    told.current = text;
  }, [text]);
  useEffect(() => {
    if (typed.trim() === told.current) return;
    const timer = setTimeout(() => {
      told.current = typed.trim();
      onChange(typed.trim());
    }, TYPING);
    return () => clearTimeout(timer);
  }, [typed]);
  useKeys([{ key: "/", does: "Search", act: () => input.current?.select() }]);
  return (
    <label class="search">
      <Icon name="search" />
      <span class="visually-hidden">Search in title and description</span>
      <input
        ref={input}
        type="search"
        placeholder="Search"
        value={typed}
        maxLength={200}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => setTyped(event.currentTarget.value)}
        onKeyDown={(event) => ["Escape", "Enter"].includes(event.key) && event.currentTarget.blur()}
      />
      <span class="search-key" aria-hidden="true">
        /
      </span>
    </label>
  );
}

function States({ filter, counts, change }: PartProps & { counts: Counts | null }) {
  const shown = TASK_STATES.filter(
    (state) => filter.state.includes(state) || counts?.states[state] || !RARE.includes(state),
  );
  return (
    <fieldset class="states">
      <legend class="visually-hidden">States</legend>
      <button
        type="button"
        class="state-choice"
        aria-pressed={filter.state.length === 0}
        onClick={() => change({ state: [] })}
      >
        All <Count counts={counts} states={TASK_STATES} />
      </button>
      {shown.map((state) => (
        <button
          key={state}
          type="button"
          class={`state-choice state-${state}`}
          aria-pressed={filter.state.includes(state)}
          onClick={() => change({ state: toggled(filter.state, state) })}
        >
          <StateMark state={state} size={14} />
          {state} <Count counts={counts} states={[state]} />
        </button>
      ))}
    </fieldset>
  );
}

function Count({ counts, states }: { counts: Counts | null; states: readonly TaskState[] }) {
  if (counts === null) return <span class="state-count">&nbsp;</span>;
  return <span class="state-count">{said(total(counts, states), counts.complete)}</span>;
}

export function total(counts: Counts | null, states: readonly TaskState[]): number {
  const wanted = states.length ? states : TASK_STATES;
  return wanted.reduce((sum, state) => sum + (counts?.states[state] ?? 0), 0);
}

export function said(count: number, complete: boolean): string {
  return `${count.toLocaleString()}${complete ? "" : "+"}`;
}

function Menus({ filter, change }: PartProps) {
  const mine = me.value?.subject;
  const people = [...new Set([...(mine ? [mine] : []), ...groups(), ...known("assigned_to")])];
  return (
    <>
      <Menu
        name="Priority"
        many
        options={PRIORITIES.map((name) => ({
          value: name,
          label: <Priority level={LEVELS.indexOf(name) as 0 | 1 | 2 | 3} always />,
        }))}
        chosen={filter.priority}
        onChange={(chosen) => change({ priority: chosen as PriorityName[] })}
      />
      <One name="Space" field="space_id" options={plain(known("space_id"))} filter={filter} change={change} />
      <One
        name="Capability"
        field="capability"
        options={plain(known("capability"))}
        filter={filter}
        change={change}
      />
      <One
        name="Assignee"
        field="assigned_to"
        options={people.map((value) => ({ value, label: value === mine ? `${value} (you)` : value }))}
        filter={filter}
        change={change}
      />
      <Menu
        name="Label"
        many
        typed="Label"
        options={plain(known("labels"))}
        chosen={filter.labels}
        onChange={(labels) => change({ labels })}
      />
      <More filter={filter} change={change} />
    </>
  );
}

interface OneProps extends PartProps {
  name: string;
  field: "space_id" | "capability" | "assigned_to";
  options: readonly Option[];
}

function One({ name, field, options, filter, change }: OneProps) {
  const value = filter[field];
  return (
    <Menu
      name={name}
      typed={name}
      options={options}
      chosen={value ? [value] : []}
      onChange={([chosen]) => change({ [field]: chosen })}
    />
  );
}

const FLAGS = [
  ["overdue", "Overdue"],
  ["waiting_for_me", "Waiting for me"],
] as const;
const MODE_WORDS: Readonly<Record<Mode, string>> = {
  auto: "Done by handlers",
  manual: "Done by people or agents",
};
const PLACES = [
  ["workflow_id", "Workflow"],
  ["parent_task_id", "Children of"],
  ["created_by", "Created by"],
] as const;

function More({ filter, change }: PartProps) {
  const flags = FLAGS.filter(([field]) => filter[field]);
  const places = PLACES.filter(([field]) => filter[field]);
  const chosen = [...flags.map(([field]) => field), ...(filter.mode ? [filter.mode] : [])];
  return (
    <>
      <Menu
        name="More"
        icon="filter"
        many
        options={[
          ...FLAGS.map(([value, label]) => ({ value, label })),
          ...MODES.map((value) => ({ value, label: MODE_WORDS[value] })),
        ]}
        chosen={chosen}
        summary={[...flags.map(([, label]) => label), ...(filter.mode ? [MODE_WORDS[filter.mode]] : [])].join(
          ", ",
        )}
        onChange={(values) =>
          change({
            overdue: values.includes("overdue") || undefined,
            waiting_for_me: values.includes("waiting_for_me") || undefined,
            mode:
              MODES.findLast((mode) => values.includes(mode) && mode !== filter.mode) ??
              MODES.find((mode) => values.includes(mode)),
          })
        }
      />
      {places.map(([field, label]) => (
        <Button key={field} small icon="close" onPress={() => change({ [field]: undefined })}>
          {label} {filter[field]?.slice(0, 13)}
        </Button>
      ))}
    </>
  );
}

const plain = (values: readonly string[]): Option[] => values.map((value) => ({ value, label: value }));
const groups = () => (me.value?.groups ?? []).map((group) => `group:${group}`);
