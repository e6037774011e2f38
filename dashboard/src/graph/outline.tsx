// Outline: the graph as a list: each task with its state and what it comes after.
// It must not know where anything stands in the drawing.

import { StateMark } from "../parts/state";
import { href } from "../router";
import type { Picture } from "./follow";
import type { GroupItem, Plan } from "./plan";
import { countsInWords, countsOf, groupTitle, membersOf } from "./words";

interface OutlineProps {
  plan: Plan;
  picture: Picture;
}

const MOST = 500;

export function Outline({ plan, picture }: OutlineProps) {
  return (
    <ol class="outline">
      {plan.items.map((item) => {
        if (item.kind === "task") return <Entry key={item.id} id={item.id} picture={picture} />;
        if (item.kind === "group") return <Siblings key={item.id} item={item} picture={picture} />;
        return null;
      })}
    </ol>
  );
}

function Entry({ id, picture }: { id: string; picture: Picture }) {
  const member = picture.members.get(id);
  if (!member) return null;
  const after = membersOf(picture, member.depends_on).map((one) => one.title);
  const outside = member.depends_on.length - after.length;
  if (outside) after.push(`${outside} of other workflows`);
  return (
    <li>
      <StateMark state={member.state} />
      <a href={href("tasks", id)}>{member.title}</a>
      <span class="faint">
        {member.state}
        {after.length > 0 && `, after ${after.slice(0, 5).join(", ")}`}
        {after.length > 5 && ` and ${after.length - 5} more`}
      </span>
    </li>
  );
}

function Siblings({ item, picture }: { item: GroupItem; picture: Picture }) {
  const members = membersOf(picture, item.members);
  const shown = item.members.slice(0, MOST);
  return (
    <li class="outline-group">
      <details>
        <summary>
          {item.members.length.toLocaleString()} × {groupTitle(members.map((one) => one.title))}{" "}
          <span class="faint">{countsInWords(countsOf(picture, item.members))}</span>
        </summary>
        <ol>
          {shown.map((id) => (
            <Entry key={id} id={id} picture={picture} />
          ))}
        </ol>
        {shown.length < item.members.length && (
          <p class="faint">The first {MOST}; all of them are in the table of tasks.</p>
        )}
      </details>
    </li>
  );
}
