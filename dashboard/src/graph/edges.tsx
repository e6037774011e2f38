// Edges: the arrows of the graph.
// It must not know what the tasks are.

import { memo } from "../memo";
import { curve } from "./curve";
import { FLOWS, type Flow } from "./flow";
import type { Route } from "./layout";
import type { Direction } from "./shape";

const HEAD = 7;

export function Heads() {
  return (
    <defs>
      {FLOWS.map((flow) => (
        <marker
          key={flow}
          id={`head-${flow}`}
          class={`edge-head ${flow}`}
          viewBox="0 0 8 8"
          refX="7"
          refY="4"
          markerWidth={HEAD}
          markerHeight={HEAD}
          markerUnits="userSpaceOnUse"
          orient="auto"
        >
          <path d="M1 1l6 3-6 3z" />
        </marker>
      ))}
    </defs>
  );
}

interface EdgeProps {
  route: Route;
  direction: Direction;
  flow: Flow;
}

export const Edge = memo(({ route, direction, flow }: EdgeProps) => (
  <path class={`edge ${flow}`} d={curve(route.points, direction)} marker-end={`url(#head-${flow})`} />
));
