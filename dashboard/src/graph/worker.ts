// Worker: lays plans out beside the page, which stays quick meanwhile.
// It must not know who asks, nor what is drawn.

import { layoutFor } from "./layout";
import type { Plan } from "./plan";
import type { Size } from "./shape";

export interface Order {
  readonly number: number;
  readonly plan: Plan;
  /** What it is shown in, at most. */
  readonly frame: Size;
}

self.onmessage = ({ data }: MessageEvent<Order>) => {
  self.postMessage({ number: data.number, layout: layoutFor(data.plan, data.frame) });
};
