// Node: one task of the graph, as a card, a slim card in large graphs, or a block when it is far away.
// It must not know where it stands beyond its box, nor what else there is.

import type { Attempt } from "../described";
import { memo } from "../memo";
import { href } from "../router";
import { now } from "../time";
import { fit, fitMiddle, fitTitle } from "./fit";
import type { Progress } from "./follow";
import { Mark } from "./mark";
import type { Member } from "./plan";
import type { Box } from "./shape";
import { remark, spoken } from "./words";

/** card: title and remark. slim: the title. far: a coloured block, for letters would be specks. */
export type Detail = "card" | "slim" | "far";

interface NodeProps {
  member: Member;
  box: Box;
  detail: Detail;
  attempt: Attempt | undefined;
  progress: Progress | undefined;
  /** What it comes after, in words. */
  after: string;
  /** Whether Tab stops here: at one place of the whole graph. */
  stop: boolean;
}

const TITLE = 13;
const REMARK = 11.5;
const LEFT = 38;

export const Node = memo(({ member, box, detail, attempt, progress, after, stop }: NodeProps) => {
  const { x, y, width, height } = box;
  return (
    <g transform={`translate(${x} ${y})`}>
      <a
        class={`node state-${member.state} ${detail}`}
        href={href("tasks", member.id)}
        data-id={member.id}
        tabindex={stop ? 0 : -1}
        draggable={false}
      >
        {member.state === "running" && (
          <rect class="halo" x={-4} y={-4} width={width + 8} height={height + 8} rx={14} />
        )}
        <rect class="face" width={width} height={height} rx={detail === "card" ? 10 : 7} />
        {detail === "card" && <Words {...{ member, box, attempt, progress }} />}
        {detail === "slim" && <Slim member={member} box={box} />}
        <title>{spoken(member, after, progress)}</title>
      </a>
    </g>
  );
});

function Words({
  member,
  box,
  attempt,
  progress,
}: Pick<NodeProps, "member" | "box" | "attempt" | "progress">) {
  const room = box.width - LEFT - 12;
  const percent = member.state === "running" ? progress?.percent : undefined;
  // Only what runs is drawn again each second.
  const moment = member.state === "running" ? now.value : 0;
  return (
    <>
      <Mark state={member.state} x={12} y={box.height / 2 - 8} />
      <text class="node-title" x={LEFT} y={box.height / 2 - 4}>
        {fitTitle(member.title, room, TITLE)}
      </text>
      <text class="node-remark" x={LEFT} y={box.height / 2 + 14}>
        {fit(remark(member, attempt, percent, moment), room, REMARK)}
      </text>
      {percent !== undefined && <Track percent={percent} box={box} />}
    </>
  );
}

function Track({ percent, box }: { percent: number; box: Box }) {
  const length = box.width - 24;
  const y = box.height - 6;
  return (
    <>
      <rect class="track" x={12} y={y} width={length} height={2} rx={1} />
      <rect
        class="track-done"
        x={12}
        y={y}
        width={(length * Math.min(100, percent)) / 100}
        height={2}
        rx={1}
      />
    </>
  );
}

function Slim({ member, box }: { member: Member; box: Box }) {
  return (
    <>
      <Mark state={member.state} x={8} y={box.height / 2 - 7} size={14} />
      <text class="node-title" x={28} y={box.height / 2 + 4.5}>
        {fitMiddle(member.title, box.width - 38, TITLE - 1)}
      </text>
    </>
  );
}
