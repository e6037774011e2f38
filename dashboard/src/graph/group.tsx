// Group: many equal siblings as one node with counts, or opened as a frame with one cell each.
// It must not know what its members do.

import type { TaskState } from "../described";
import { memo } from "../memo";
import { MARKS } from "../parts/state";
import { href } from "../router";
import { fit, fitMiddle, widthOf } from "./fit";
import type { Picture } from "./follow";
import { Mark } from "./mark";
import type { GroupItem, Member } from "./plan";
import { type Box, cellBox, type Direction, type Grid, grid } from "./shape";
import { BarParts } from "./statebar";
import { commonStart, countsInWords, countsOf, groupTitle, membersOf, ordered } from "./words";

interface GroupProps {
  item: GroupItem;
  box: Box;
  picture: Picture;
  direction: Direction;
  /** What Tab stops at, if it is the group or in it. */
  stop: string | undefined;
  /** What can be seen of the graph: the rest of many cells need not be drawn. */
  seen: Box;
  far: boolean;
  onToggle: (id: string) => void;
}

export function Group(props: GroupProps) {
  return props.item.shape === "closed" ? <Closed {...props} /> : <Opened {...props} />;
}

const STACK = [8, 4];
const LEGEND = 4;
const REMARK = 11.5;

function Closed({ item, box, picture, stop, onToggle }: GroupProps) {
  const counts = countsOf(picture, item.members);
  const title = titleOf(item, picture);
  const running = (counts.get("running") ?? 0) > 0;
  return (
    <Toggle
      {...{ item, box, onToggle }}
      open={false}
      stop={stop === item.id}
      label={`${title}: ${countsInWords(counts)}`}
    >
      {STACK.map((shift) => (
        <rect key={shift} class="stacked" x={shift} y={shift} width={box.width} height={box.height} rx={10} />
      ))}
      {running && (
        <rect
          class="halo state-running"
          x={-4}
          y={-4}
          width={box.width + 8}
          height={box.height + 8}
          rx={14}
        />
      )}
      <rect class="face" width={box.width} height={box.height} rx={10} />
      <text class="node-title" x={14} y={26}>
        {fit(title, box.width - 96, 13)}
      </text>
      <text class="group-count" x={box.width - 32} y={26}>
        {item.members.length.toLocaleString()}
      </text>
      <path class="chevron" d={`M${box.width - 22} 17l5 5-5 5`} />
      <g transform="translate(14 40)">
        <BarParts counts={counts} width={box.width - 28} height={10} />
      </g>
      <Legend counts={counts} width={box.width} />
    </Toggle>
  );
}

/** The commonest states, with words when there is room; all of them are in the name. */
function Legend({ counts, width }: { counts: ReadonlyMap<TaskState, number>; width: number }) {
  const shown = ordered(counts)
    .sort((one, other) => other[1] - one[1])
    .slice(0, LEGEND);
  let x = 14;
  return (
    <>
      {shown.map(([state, count]) => {
        const text = shown.length > 2 ? count.toLocaleString() : `${count.toLocaleString()} ${state}`;
        const at = x;
        x += 30 + widthOf(text, REMARK);
        return (
          <g key={state} transform={`translate(${at} 64)`}>
            <Mark state={state} x={0} y={0} size={14} />
            <text class="node-remark" x={18} y={11}>
              {fit(text, width - at - 26, REMARK)}
            </text>
          </g>
        );
      })}
    </>
  );
}

function Opened(props: GroupProps) {
  const { item, box, picture, stop, onToggle } = props;
  const counts = countsOf(picture, item.members);
  const title = titleOf(item, picture);
  const header = { ...box, height: 32 };
  return (
    <g class="frame">
      <rect class="frame-face" x={box.x} y={box.y} width={box.width} height={box.height} rx={12} />
      <Toggle
        {...{ item, onToggle }}
        box={header}
        open
        stop={stop === item.id}
        label={`${title}: ${countsInWords(counts)}`}
      >
        <rect class="frame-grip" x={4} y={4} width={box.width - 8} height={28} rx={8} />
        <path class="chevron" d="M13 16l5 5 5-5" />
        <text class="node-title" x={32} y={23}>
          {fit(title, box.width - 130, 13)}
        </text>
        <text class="group-count" x={box.width - 14} y={23}>
          {item.members.length.toLocaleString()}
        </text>
      </Toggle>
      <Cells {...props} />
    </g>
  );
}

interface ToggleProps {
  item: GroupItem;
  box: Box;
  open: boolean;
  stop: boolean;
  label: string;
  onToggle: (id: string) => void;
  children: preact.ComponentChildren;
}

function Toggle({ item, box, open, stop, label, onToggle, children }: ToggleProps) {
  const press = (event: KeyboardEvent) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    onToggle(item.id);
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: SVG has no button
    <g
      class={open ? "toggle" : "toggle node group"}
      role="button"
      aria-expanded={open}
      data-id={item.id}
      tabindex={stop ? 0 : -1}
      transform={`translate(${box.x} ${box.y})`}
      onClick={() => onToggle(item.id)}
      onKeyDown={press}
    >
      <title>{label}</title>
      {children}
    </g>
  );
}

function titleOf(item: GroupItem, picture: Picture): string {
  return groupTitle(membersOf(picture, item.members).map((member) => member.title));
}

function Cells({ item, box, picture, direction, stop, seen, far }: GroupProps) {
  if (item.shape === "closed") return null;
  const form = grid(item.shape, item.members.length, direction);
  const pitch = form.cell.height + form.gap;
  const first = cellBox(box, form, 0).y;
  const rows = Math.ceil(item.members.length / form.columns);
  const kept = stop === undefined ? -1 : Math.floor(item.members.indexOf(stop) / form.columns);
  const start = commonStart(membersOf(picture, item.members).map((member) => member.title)).length;
  const drawn = [];
  for (let row = 0; row < rows; row++) {
    const y = first + row * pitch;
    if (row !== kept && (y + pitch < seen.y || y > seen.y + seen.height)) continue;
    const ids = item.members.slice(row * form.columns, (row + 1) * form.columns);
    const members = membersOf(picture, ids);
    drawn.push(
      <CellRow
        key={row}
        members={members}
        states={members.map((member) => member.state).join()}
        form={form}
        x={box.x}
        y={box.y}
        start={row * form.columns}
        stop={stop !== undefined && ids.includes(stop) ? stop : undefined}
        titled={item.shape === "cards"}
        left={start}
        far={far}
      />,
    );
  }
  return <>{drawn}</>;
}

interface CellRowProps {
  members: readonly Member[];
  /** What the row is drawn of: it is drawn again when this is another. */
  states: string;
  form: Grid;
  x: number;
  y: number;
  start: number;
  stop: string | undefined;
  titled: boolean;
  /** How much of the beginning of each title the group says already. */
  left: number;
  far: boolean;
}

function CellRowDrawn({ members, form, x, y, start, stop, titled, left, far }: CellRowProps) {
  return (
    <g>
      {members.map((member, at) => (
        <Cell
          key={member.id}
          member={member}
          box={cellBox({ x, y }, form, start + at)}
          stop={member.id === stop}
          titled={titled}
          left={left}
          far={far}
        />
      ))}
    </g>
  );
}

const CellRow = memo(CellRowDrawn, ["states", "x", "y", "start", "stop", "titled", "left", "far"]);

function Cell({
  member,
  box,
  stop,
  titled,
  left,
  far,
}: {
  member: Member;
  box: Box;
  stop: boolean;
  titled: boolean;
  left: number;
  far: boolean;
}) {
  return (
    <g transform={`translate(${box.x} ${box.y})`}>
      <a
        class={`node ${titled ? "cell" : "cell bare"} state-${member.state}`}
        href={href("tasks", member.id)}
        data-id={member.id}
        tabindex={stop ? 0 : -1}
        draggable={false}
      >
        <rect class="face" width={box.width} height={box.height} rx={titled ? 7 : 5} />
        {titled && !far && (
          <>
            <Mark state={member.state} x={9} y={box.height / 2 - 7} size={14} />
            <text class="node-title" x={30} y={box.height / 2 + 4.5}>
              {fitMiddle(member.title.slice(left), box.width - 38, 12)}
            </text>
          </>
        )}
        {!titled && !far && <path class="glyph" d={MARKS[member.state]} transform="translate(3 3)" />}
        <title>{`${member.title}, ${member.state}`}</title>
      </a>
    </g>
  );
}
