// Worker: lays plans out beside the page, which stays quick meanwhile.
// It must not know who asks, nor what is drawn.

import { layout } from "./layout";
import type { Plan } from "./plan";
import type { Direction } from "./shape";

export interface Order {
  readonly number: number;
  readonly plan: Plan;
  readonly direction: Direction;
}

self.onmessage = ({ data }: MessageEvent<Order>) => {
  self.postMessage({ number: data.number, layout: layout(data.plan, data.direction) });
};
