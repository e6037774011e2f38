// Words: what the graph says of members and groups, for those who see it and for those who hear it.
// It must not know how it looks.

import type { Attempt, TaskState } from "../described";
import { TASK_STATES } from "../states";
import { duration } from "../time";
import { counted, type Picture, type Progress } from "./follow";
import type { Member } from "./plan";

/** "212 completed, 8 running", in the order of a task's life. */
export function countsInWords(counts: ReadonlyMap<TaskState, number>): string {
  return ordered(counts)
    .map(([state, count]) => `${count} ${state}`)
    .join(", ");
}

/** The states that occur, those that ended last. */
export function ordered(counts: ReadonlyMap<TaskState, number>): [TaskState, number][] {
  return TASK_STATES.flatMap((state): [TaskState, number][] => {
    const count = counts.get(state);
    return count ? [[state, count]] : [];
  });
}

export function membersOf(picture: Picture, ids: readonly string[]): Member[] {
  return ids.flatMap((id) => picture.members.get(id) ?? []);
}

export function countsOf(picture: Picture, ids: readonly string[]): Map<TaskState, number> {
  return counted(membersOf(picture, ids));
}

/** What all titles begin with, as far as whole words, folders or names go. */
export function commonStart(titles: readonly string[]): string {
  const [first = "", ...rest] = titles;
  let length = first.length;
  for (const title of rest) {
    let same = 0;
    while (same < length && title[same] === first[same]) same++;
    length = same;
  }
  if (titles.every((title) => title.length === length)) return ""; // all the same: nothing of it can be left out
  return first.slice(0, length).replace(/[^\s/:#]*$/, "");
}

/** What a group is called: what its titles have in common, if that says something. */
export function groupTitle(titles: readonly string[]): string {
  const common = commonStart(titles).trimEnd();
  if (common) return `${common} …`;
  return titles.length > 1 && titles.every((title) => title === titles[0]) ? (titles[0] ?? "") : "Tasks";
}

/** The second line of a task: its state, and what is known of its attempt. */
export function remark(
  member: Member,
  attempt: Attempt | undefined,
  percent: number | undefined,
  now: number,
): string {
  const said = [member.state as string];
  const again = attempt && attempt.number > 1;
  if (again) said.push(`attempt ${attempt.number}`);
  if (member.state === "running") {
    const seconds = attempt?.started_at ? Math.floor((now - Date.parse(attempt.started_at)) / 1000) : 0;
    if (percent) said.push(`${Math.round(percent)} %`);
    if (seconds > 0 && !again) said.push(duration(seconds));
  } else if (
    !again &&
    attempt?.ended_at &&
    attempt.started_at &&
    ["completed", "failed"].includes(member.state)
  ) {
    said.push(duration((Date.parse(attempt.ended_at) - Date.parse(attempt.started_at)) / 1000));
  } else if (member.state === "claimed" && attempt?.agent_id) said.push(attempt.agent_id);
  return said.join(" · ");
}

/** What a task comes after, in words; empty when it is among the first. */
export function afterWhat(member: Member, members: ReadonlyMap<string, Member>): string {
  const known = member.depends_on.flatMap((id) => members.get(id)?.title ?? []);
  const outside = member.depends_on.length - known.length;
  const said = known.length > 3 ? [`${known.length} tasks`] : known;
  if (outside) said.push(`${outside} ${outside === 1 ? "task" : "tasks"} of other workflows`);
  return said.join(", ");
}

/** Everything a node shows, and what its arrows show, as one sentence. */
export function spoken({ title, state }: Member, after: string, progress: Progress | undefined): string {
  const said = [title, state as string];
  if (progress && state === "running") said.push(`${Math.round(progress.percent)} percent`);
  if (after) said.push(`after ${after}`);
  return said.join(", ");
}
