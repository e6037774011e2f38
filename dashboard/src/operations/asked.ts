// Asked: an answer that is asked for again while somebody looks: soon after something happened, and every few seconds.
// It must not know what is asked.

import { useEffect } from "preact/hooks";
import { onEvents } from "../live";
import { type Loaded, useLoaded } from "../loaded";

const EVERY = 5000;
const AFTER_EVENTS = 700;

export function useAsked<T>(load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const loaded = useLoaded(load, []);
  const { reload } = loaded;
  useEffect(() => {
    let soon: ReturnType<typeof setTimeout> | undefined;
    const look = () => {
      if (document.visibilityState === "visible") reload();
    };
    const timer = setInterval(look, EVERY);
    document.addEventListener("visibilitychange", look);
    const forget = onEvents(() => {
      soon ??= setTimeout(() => {
        soon = undefined;
        look();
      }, AFTER_EVENTS);
    });
    return () => {
      clearInterval(timer);
      clearTimeout(soon);
      document.removeEventListener("visibilitychange", look);
      forget();
    };
  }, [reload]);
  return loaded;
}
