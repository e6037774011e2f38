// Graph: a workflow as a drawing or as a list, whichever the reader takes.
// It must not know how a layout is made, nor how events arrive.

import type { RefObject } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Workflow } from "../described";
import { Loading } from "../parts/empty";
import { useArranged } from "./arranged";
import { highest } from "./camera";
import type { Picture } from "./follow";
import { counted } from "./follow";
import { Outline } from "./outline";
import { type Member, plan as planned } from "./plan";
import type { Size } from "./shape";
import { Stage } from "./stage";
import { Switch } from "./switch";
import { countsInWords } from "./words";

interface GraphProps {
  workflow: Workflow;
  /** As they were when the graph was read: their edges, not their states. */
  members: readonly Member[];
  picture: Picture;
}

const WAYS = [
  { value: "drawing", text: "Graph" },
  { value: "list", text: "List" },
] as const;

export function Graph({ workflow, members, picture }: GraphProps) {
  const [way, setWay] = useState<"drawing" | "list">("drawing");
  const [opened, setOpened] = useState<ReadonlyMap<string, boolean>>(new Map());
  const plan = useMemo(() => planned(workflow.kind, members, opened), [workflow.kind, members, opened]);
  const [frame, size] = useFrame();
  const arranged = useArranged(plan, size);
  const toggle = (id: string) => {
    const group = plan.items.find((item) => item.id === id);
    if (group?.kind === "group") setOpened(new Map([...opened, [id, group.shape === "closed"]]));
  };
  const label = `Graph of ${members.length} tasks: ${countsInWords(counted(picture.members.values()))}. Arrow keys lead from task to task.`;
  return (
    <section class="panel" aria-labelledby="graph-title" ref={frame}>
      <header class="panel-head">
        <h2 id="graph-title">Graph</h2>
        <Switch label="Show as" ways={WAYS} value={way} onChoose={setWay} />
      </header>
      {way === "list" || arranged === null ? (
        <Outline plan={plan} picture={picture} />
      ) : arranged ? (
        <Stage
          arranged={arranged}
          picture={picture}
          label={label}
          join={joinText(workflow)}
          onToggle={toggle}
        />
      ) : (
        <Loading />
      )}
    </section>
  );
}

function joinText({ join, total }: Workflow): string {
  if (join >= total) return `all ${total.toLocaleString()}`;
  return join === 1 ? `any of ${total.toLocaleString()}` : `${join} of ${total.toLocaleString()}`;
}

/** Widths are taken in such steps: a window that is dragged is not laid out again at each pixel. */
const STEP = 160;

/** Null: not measured yet. */
function useFrame(): [RefObject<HTMLElement | null>, Size | null] {
  const element = useRef<HTMLElement>(null);
  const [width, setWidth] = useState<number | null>(null);
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry?.contentRect.width) setWidth(Math.ceil(entry.contentRect.width / STEP) * STEP);
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  const size = useMemo(() => (width === null ? null : { width, height: highest() }), [width]);
  return [element, size];
}
