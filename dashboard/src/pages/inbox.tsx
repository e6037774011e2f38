// Inbox: the tasks that wait for me and my groups, and the one of them that is open.
// It must not know how a task is read or answered.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Task } from "../described";
import { useKeys } from "../keys";
import { Empty, Loading, Trouble } from "../parts/empty";
import { Icon } from "../parts/icon";
import { Person } from "../parts/person";
import { Priority } from "../parts/priority";
import { StateMark } from "../parts/state";
import { Ago, Due } from "../parts/time";
import { go, href } from "../router";
import { isMe } from "../session";
import { isHeldByMe } from "../task/allowed";
import { WaitingTask } from "../task/waiting";
import { more, refresh, trouble, waiting } from "../waiting";

const WIDE = "(min-width: 62rem)";

export function InboxPage({ id }: { id: string | null }) {
  const [search, setSearch] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const pane = useRef<HTMLDivElement>(null);
  const groups = grouped([...(waiting.value?.values() ?? [])], search);
  const order = groups.flatMap(({ tasks }) => tasks);
  const first = order[0]?.id;

  // Beside the list there is room for a task; once it is open it stays, whatever else comes.
  useEffect(() => {
    if (!id && first && matchMedia(WIDE).matches) go(href("inbox", first), { replace: true });
  }, [id, first]);

  // Another task is read from its top.
  useEffect(() => pane.current?.scrollTo(0, 0), [id]);

  const place = useRef(0);
  const at = order.findIndex((task) => task.id === id);
  if (at >= 0) place.current = at;
  const move = (by: number) => {
    // What is open and no longer waits has left its place to the one after it.
    const to = at >= 0 ? at + by : by > 0 ? place.current : place.current - 1;
    const next = order[Math.min(Math.max(to, 0), order.length - 1)];
    if (next) go(href("inbox", next.id), { replace: id !== null });
  };
  useKeys([
    { key: "j", does: "Next task", act: () => move(1) },
    { key: "k", does: "Previous task", act: () => move(-1) },
    { key: "ArrowDown", act: () => move(1) },
    { key: "ArrowUp", act: () => move(-1) },
    { key: "/", does: "Search", act: () => field.current?.focus() },
    { key: "Escape", act: () => leave(id) },
  ]);

  return (
    <div class={id ? "inbox chosen" : "inbox"}>
      <section class="inbox-list" aria-label="Waiting for me">
        <header class="inbox-head">
          <h1>Inbox</h1>
          {waiting.value?.size || search ? (
            <input
              ref={field}
              type="search"
              aria-label="Search the inbox"
              placeholder="Search"
              value={search}
              onInput={(event) => setSearch(event.currentTarget.value)}
            />
          ) : null}
        </header>
        <Groups groups={groups} open={id} search={search} />
      </section>
      <div ref={pane} class="inbox-task">
        {id ? <WaitingTask key={id} id={id} /> : waiting.value?.size ? <NoneOpen /> : null}
      </div>
    </div>
  );
}

/** First out of the field, then out of the task. */
function leave(id: string | null): void {
  const { activeElement } = document;
  if (activeElement instanceof HTMLElement && activeElement.matches("input,textarea,select"))
    activeElement.blur();
  else if (id && !matchMedia(WIDE).matches) go(href("inbox"));
}

function NoneOpen() {
  return (
    <Empty icon="inbox" title="Nothing is open">
      <p class="keyboard-only">
        <kbd>j</kbd> and <kbd>k</kbd> go through what waits for you.
      </p>
    </Empty>
  );
}

// ----- the list

interface Group {
  title: string;
  tasks: readonly Task[];
}

const IN_HAND = "In my hands";
const RESERVED = "For me";
const ANYBODY = "For anybody";

function grouped(tasks: readonly Task[], search: string): readonly Group[] {
  const wanted = search.trim().toLowerCase();
  const found = tasks
    .filter(({ title, description }) => `${title}\n${description}`.toLowerCase().includes(wanted))
    .sort(sooner);
  return [IN_HAND, RESERVED, ANYBODY]
    .map((title) => ({ title, tasks: found.filter((task) => groupOf(task) === title) }))
    .filter((group) => group.tasks.length > 0);
}

function groupOf(task: Task): string {
  if (isHeldByMe(task)) return IN_HAND;
  return task.assigned_to ? RESERVED : ANYBODY;
}

/** What is due first, then what is urgent, then what has waited longest. */
function sooner(one: Task, other: Task): number {
  const due = (task: Task) => (task.deadline_at ? Date.parse(task.deadline_at) : Number.POSITIVE_INFINITY);
  if (due(one) !== due(other)) return due(one) < due(other) ? -1 : 1;
  return other.priority - one.priority || Date.parse(one.created_at) - Date.parse(other.created_at);
}

function Groups({ groups, open, search }: { groups: readonly Group[]; open: string | null; search: string }) {
  if (waiting.value === null)
    return trouble.value ? (
      <Trouble error={trouble.value} what="your inbox" onRetry={refresh} />
    ) : (
      <Loading lines={6} />
    );
  if (groups.length === 0)
    return search ? (
      <Empty icon="search" title="Nothing here says that" />
    ) : (
      <Empty icon="check" title="Nothing waits for you">
        <p>What people or programs ask of you or your groups appears here by itself.</p>
      </Empty>
    );
  return (
    <>
      {groups.map(({ title, tasks }) => (
        <section key={title} class="inbox-group" aria-label={title}>
          <h2>
            {title} <span class="number">{tasks.length}</span>
          </h2>
          <ul>
            {tasks.map((task) => (
              <Item key={task.id} task={task} open={task.id === open} />
            ))}
          </ul>
        </section>
      ))}
      {more.value && (
        <p class="inbox-more">
          There are more than are shown here. <a href={href("tasks", null, MINE)}>See them in the list</a>
        </p>
      )}
    </>
  );
}

const MINE = new URLSearchParams({ waiting_for_me: "true" });

function Item({ task, open }: { task: Task; open: boolean }) {
  const element = useRef<HTMLAnchorElement>(null);
  useEffect(() => {
    if (open) element.current?.scrollIntoView({ block: "nearest" });
  }, [open]);
  const group = task.assigned_to && !isMe(task.assigned_to) ? task.assigned_to : null;
  return (
    <li>
      <a
        ref={element}
        class="inbox-item"
        href={href("inbox", task.id)}
        aria-current={open ? "true" : undefined}
      >
        <StateMark state={task.state} />
        <span class="inbox-item-text">
          <span class="inbox-item-title">{task.title}</span>
          <span class="inbox-item-facts">
            {task.deadline_at && <Due at={task.deadline_at} />}
            <Priority level={task.priority} />
            {group && <Person name={group} />}
            {!group && task.created_by && <span class="clip">{task.created_by}</span>}
            {!task.deadline_at && <Ago at={task.created_at} />}
          </span>
        </span>
        <Icon name="chevron" size={14} />
        <span class="visually-hidden">, {task.state}</span>
      </a>
    </li>
  );
}
