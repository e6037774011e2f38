// Arranged: the newest layout of a plan, made by the worker; the last one stays until the next is there.
// It must not know how layouts are made.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Layout } from "./layout";
import { outline, type Plan } from "./plan";
import type { Size } from "./shape";
import type { Order } from "./worker";

/** Beside the page, like its other files. */
const WORKER = "layout.js";

export interface Arranged {
  readonly plan: Plan;
  readonly layout: Layout;
}

interface Answer {
  readonly number: number;
  readonly layout: Layout;
}

/** Undefined: not yet. Null: this browser cannot. */
export function useArranged(plan: Plan, frame: Size | null): Arranged | null | undefined {
  const [arranged, setArranged] = useState<Arranged | null>();
  const worker = useRef<Worker | null>(null);
  const asked = useRef<{ number: number; plan: Plan }>({ number: 0, plan });
  useEffect(() => {
    const mine = new Worker(new URL(WORKER, document.baseURI), { type: "module" });
    mine.onmessage = ({ data }: MessageEvent<Answer>) => {
      const { number, plan } = asked.current;
      if (data.number === number) setArranged({ plan, layout: data.layout });
    };
    mine.onerror = () => setArranged(null);
    worker.current = mine;
    return () => mine.terminate();
  }, []);
  const form = frame && `${frame.width} ${frame.height} ${outline(plan)}`;
  useEffect(() => {
    if (!frame) return;
    const number = asked.current.number + 1;
    asked.current = { number, plan };
    worker.current?.postMessage({ number, plan, frame } satisfies Order);
  }, [form]);
  return arranged;
}
