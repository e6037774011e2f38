// Members: the tasks of a workflow as a table, by state and by words of their titles.
// It must not know how they were found.

import { useMemo, useState } from "preact/hooks";
import type { Attempt, TaskState } from "../described";
import { memo } from "../memo";
import { Button } from "../parts/button";
import { Find } from "../parts/find";
import { Person } from "../parts/person";
import { StateBadge, StateMark } from "../parts/state";
import { Lasted } from "../parts/time";
import { href } from "../router";
import { counted, type Picture, type Progress } from "./follow";
import type { Member } from "./plan";
import { ordered } from "./words";

const STEP = 100;

export function Members({ picture }: { picture: Picture }) {
  const [state, setState] = useState<TaskState | null>(null);
  const [text, setText] = useState("");
  const [most, setMost] = useState(STEP);
  const members = useMemo(() => [...picture.members.values()], [picture.members]);
  const counts = useMemo(() => counted(members), [members]);
  const wanted = text.trim().toLowerCase();
  const found = members.filter(
    (member) =>
      (!state || member.state === state) && (!wanted || member.title.toLowerCase().includes(wanted)),
  );
  return (
    <section class="panel" aria-labelledby="members-title">
      <header class="panel-head">
        <h2 id="members-title">Tasks</h2>
        <fieldset class="states">
          <legend class="visually-hidden">State</legend>
          {ordered(counts).map(([one, count]) => (
            <button
              key={one}
              type="button"
              class={`state-choice state-${one}`}
              aria-pressed={state === one}
              onClick={() => setState(state === one ? null : one)}
            >
              <StateMark state={one} size={14} />
              {one} <span class="state-count">{count.toLocaleString()}</span>
            </button>
          ))}
        </fieldset>
        <Find label="Find in titles" rest={0} text={text} onText={setText} />
      </header>
      <div class="table-frame">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Task</th>
              <th scope="col">State</th>
              <th scope="col">Attempt</th>
              <th scope="col" class="wide-only">
                By
              </th>
              <th scope="col" class="wide-only">
                Worked
              </th>
              <th scope="col" class="wide-only">
                Error
              </th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, most).map((member) => (
              <MemberRow
                key={member.id}
                member={member}
                attempt={picture.attempts.get(member.id)?.at(-1)}
                progress={picture.progress.get(member.id)}
              />
            ))}
          </tbody>
        </table>
      </div>
      {found.length === 0 && <p class="panel-empty faint">No task is like that.</p>}
      {found.length > most && (
        <p class="panel-foot">
          <Button small onPress={() => setMost(most + STEP)}>
            Show {Math.min(STEP, found.length - most)} more of {found.length.toLocaleString()}
          </Button>
        </p>
      )}
    </section>
  );
}

interface MemberRowProps {
  member: Member;
  attempt: Attempt | undefined;
  progress: Progress | undefined;
}

const MemberRow = memo(({ member, attempt, progress }: MemberRowProps) => (
  <tr>
    <th scope="row">
      <a href={href("tasks", member.id)}>{member.title}</a>
    </th>
    <td>
      <StateBadge state={member.state} />
      {member.state === "running" && progress && (
        <span class="number faint cell-percent">{Math.round(progress.percent)} %</span>
      )}
    </td>
    <td class="number">{attempt?.number ?? "–"}</td>
    <td class="wide-only">{attempt?.agent_id && <Person name={attempt.agent_id} />}</td>
    <td class="wide-only">
      {attempt?.started_at && <Lasted from={attempt.started_at} to={attempt.ended_at} />}
    </td>
    <td class="cell-error wide-only">
      {attempt?.error && [attempt.error.type, attempt.error.message].filter(Boolean).join(": ")}
    </td>
  </tr>
));
