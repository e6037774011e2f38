// Stage: the drawing itself: edges, nodes and groups, of which one can be reached with the keyboard at a time.
// It must not know where the workflow comes from.

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Button } from "../parts/button";
import type { Arranged } from "./arranged";
import { type Camera, useCamera } from "./camera";
import { Edge, Heads } from "./edges";
import { flowOf, standingOf } from "./flow";
import type { Picture } from "./follow";
import { Group } from "./group";
import { type Detail, Node } from "./node";
import type { Item } from "./plan";
import { around, type Box, cellBox, grid, overlaps } from "./shape";
import { neighbour, window as seenBy } from "./view";
import { afterWhat } from "./words";

interface StageProps {
  arranged: Arranged;
  picture: Picture;
  /** What the drawing shows, for who cannot see it. */
  label: string;
  /** What the end of a fan-out waits for, such as "any of 8". */
  join: string;
  onToggle: (id: string) => void;
}

/** Below these scales letters are specks. */
const FAR = 0.42;
const FAR_CELLS = 0.3;
/** What is drawn beyond the edge, as a share of what is seen: a short drag shows no gaps. */
const BEYOND = 0.25;
const ZOOM = 1.3;
const STEP = 60;

export function Stage({ arranged, picture, label, join, onToggle }: StageProps) {
  const { plan, layout } = arranged;
  const svg = useRef<SVGSVGElement>(null);
  const frame = useRef<HTMLDivElement>(null);
  const camera = useCamera(svg, frame, layout.bounds);
  const { view, size } = camera;
  const places = useMemo(() => reachable(arranged), [arranged]);
  const { stop, onKeyDown, onFocus, hold } = useRoving(svg, places, camera);
  const toggle = (id: string) => {
    hold(id);
    onToggle(id);
  };
  const window = seenBy(view, size);
  const seen = widened(window);
  const far = view.scale < FAR;
  const detail: Detail = far ? "far" : layout.slim ? "slim" : "card";
  const standings = useMemo(
    () => new Map(plan.items.map((item) => [item.id, standingOf(item, picture)])),
    [plan, picture.members],
  );
  const areas = useMemo(() => layout.routes.map((route) => around([], route.points, 1)), [layout]);
  // What a task comes after does not change while it is drawn.
  const afters = useMemo(() => aftersOf(picture), [arranged]);
  return (
    <div ref={frame} class={plan.items.length > 150 ? "stage calm" : "stage"}>
      {/* biome-ignore lint/a11y/useSemanticElements: SVG has no fieldset */}
      <svg
        ref={svg}
        class="graph"
        role="group"
        aria-label={label}
        width={size.width}
        height={size.height}
        viewBox={`${window.x} ${window.y} ${window.width} ${window.height}`}
        onKeyDown={onKeyDown}
        onFocusIn={onFocus}
      >
        <Heads />
        {layout.routes.map((route, at) => {
          const area = areas[at];
          const [from, to] = [standings.get(route.from), standings.get(route.to)];
          if (!from || !to || !area || !overlaps(area, seen)) return null;
          return (
            <Edge
              key={`${route.from}>${route.to}`}
              route={route}
              direction={layout.direction}
              flow={flowOf(from, to)}
            />
          );
        })}
        {plan.items.map((item) => {
          const box = layout.boxes.get(item.id);
          if (!box || (!overlaps(box, seen) && !holds(item, stop))) return null;
          if (item.kind === "task")
            return (
              <TaskNode
                key={item.id}
                {...{ id: item.member, box, detail, picture, stop }}
                after={afters.get(item.id) ?? ""}
              />
            );
          if (item.kind !== "group") return <End key={item.id} kind={item.kind} box={box} join={join} />;
          const inside = holds(item, stop) ? stop : undefined;
          const { direction } = layout;
          const few = view.scale < FAR_CELLS;
          return (
            <Group
              key={item.id}
              {...{ item, box, picture, direction, seen }}
              onToggle={toggle}
              far={few}
              stop={inside}
            />
          );
        })}
      </svg>
      <Controls camera={camera} />
    </div>
  );
}

function Controls({ camera }: { camera: Camera }) {
  return (
    <div class="stage-tools">
      <Button small look="quiet" icon="minus" label="Zoom out" onPress={() => camera.zoom(1 / ZOOM)} />
      <Button small look="quiet" icon="plus" label="Zoom in" onPress={() => camera.zoom(ZOOM)} />
      <Button small look="quiet" icon="whole" label="Show the whole graph" onPress={camera.reset} />
    </div>
  );
}

interface TaskNodeProps {
  id: string;
  box: Box;
  detail: Detail;
  picture: Picture;
  after: string;
  stop: string | undefined;
}

function TaskNode({ id, box, detail, picture, after, stop }: TaskNodeProps) {
  const member = picture.members.get(id);
  if (!member) return null;
  return (
    <Node
      member={member}
      box={box}
      detail={detail}
      attempt={picture.attempts.get(id)?.at(-1)}
      progress={picture.progress.get(id)}
      after={after}
      stop={stop === id}
    />
  );
}

function End({ kind, box, join }: { kind: "start" | "join"; box: Box; join: string }) {
  const { x, y, width, height } = box;
  if (kind === "start")
    return <circle class="terminal" cx={x + width / 2} cy={y + height / 2} r={width / 2} />;
  return (
    <g transform={`translate(${x} ${y})`}>
      <rect class="terminal" width={width} height={height} rx={height / 2} />
      <text class="terminal-text" x={width / 2} y={height / 2 + 4}>
        {join}
      </text>
    </g>
  );
}

function aftersOf({ members }: Picture): Map<string, string> {
  return new Map([...members.values()].map((member) => [member.id, afterWhat(member, members)]));
}

function holds(item: Item, id: string | undefined): boolean {
  if (id === undefined) return false;
  return item.id === id || (item.kind === "group" && item.members.includes(id));
}

function widened({ x, y, width, height }: Box): Box {
  const [sides, ends] = [width * BEYOND, height * BEYOND];
  return { x: x - sides, y: y - ends, width: width + 2 * sides, height: height + 2 * ends };
}

/** Everything that can be reached with arrow keys, and where it is: also the cells of open groups. */
function reachable({ plan, layout }: Arranged): Map<string, Box> {
  const places = new Map<string, Box>();
  for (const item of plan.items) {
    const box = layout.boxes.get(item.id);
    if (!box || item.kind === "start" || item.kind === "join") continue;
    if (item.kind === "task" || item.shape === "closed") {
      places.set(item.id, box);
      continue;
    }
    places.set(item.id, { ...box, height: 32 });
    const form = grid(item.shape, item.members.length, layout.direction);
    for (const [at, member] of item.members.entries()) places.set(member, cellBox(box, form, at));
  }
  return places;
}

/** Tab stops once at the graph; arrows lead on from there, and the camera follows. */
function useRoving(svg: { current: SVGSVGElement | null }, places: ReadonlyMap<string, Box>, camera: Camera) {
  const [current, setCurrent] = useState<string | undefined>();
  const wanted = useRef<string | undefined>(undefined);
  const held = useRef<ReadonlyMap<string, Box> | undefined>(undefined);
  const stop = current !== undefined && places.has(current) ? current : places.keys().next().value;
  useLayoutEffect(() => {
    // What was toggled is drawn anew once its layout is there; until then its place is the old one.
    if (wanted.current === undefined || held.current === places) return;
    held.current = undefined;
    const element = svg.current?.querySelector<SVGElement>(`[data-id="${CSS.escape(wanted.current)}"]`);
    if (element) wanted.current = undefined;
    element?.focus({ preventScroll: true });
  });
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key;
    if (key === "+" || key === "=") camera.zoom(ZOOM);
    else if (key === "-") camera.zoom(1 / ZOOM);
    else if (key === "0") camera.reset();
    else if (!arrow(event)) return;
    event.preventDefault();
  };
  /** Whether the key was one that leads somewhere. */
  const arrow = (event: KeyboardEvent): boolean => {
    if (!event.key.startsWith("Arrow")) return false;
    const next = event.shiftKey || stop === undefined ? undefined : neighbour(places, stop, event.key);
    const box = next === undefined ? undefined : places.get(next);
    if (next !== undefined && box) {
      wanted.current = next;
      setCurrent(next);
      camera.reveal(box);
    } else if (event.shiftKey) camera.pan(pixelsOf(event.key));
    return true;
  };
  const onFocus = (event: FocusEvent) => {
    const id = (event.target as Element).closest("[data-id]")?.getAttribute("data-id");
    const box = id ? places.get(id) : undefined;
    if (!id || !box) return;
    setCurrent(id);
    if ((event.target as Element).matches(":focus-visible")) camera.reveal(box);
  };
  /** Keeps the focus at what is about to be drawn anew. */
  const hold = (id: string) => {
    setCurrent(id);
    wanted.current = id;
    held.current = places;
  };
  return { stop, onKeyDown, onFocus, hold };
}

function pixelsOf(key: string) {
  const along = key === "ArrowLeft" || key === "ArrowUp" ? STEP : -STEP;
  return key === "ArrowLeft" || key === "ArrowRight" ? { x: along, y: 0 } : { x: 0, y: along };
}
