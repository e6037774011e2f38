// Workflow words: what kind of workflow it is, and by what rules it ends, as people say it.
// It must not know its tasks.

import type { Workflow } from "../described";

type Facts = Pick<Workflow, "kind" | "join" | "total" | "max_parallel" | "failure_policy">;

const KINDS: Readonly<Record<Workflow["kind"], string>> = {
  pipeline: "Pipeline",
  fan_out: "Fan-out",
  dag: "Graph",
};

/** "Fan-out of 300 tasks". */
export function kindOf({ kind, total }: Facts): string {
  return `${KINDS[kind]} of ${total.toLocaleString()} ${total === 1 ? "task" : "tasks"}`;
}

/** "any must complete, 8 at once"; nothing of what goes without saying. */
export function policyOf({ kind, join, total, max_parallel, failure_policy }: Facts): string {
  const said: string[] = [];
  if (kind === "fan_out" && join < total)
    said.push(join === 1 ? "one must complete" : `${join} must complete`);
  if (max_parallel) said.push(`${max_parallel} at once`);
  if (kind !== "pipeline" && failure_policy === "fail_fast") said.push("the first failure ends it");
  if (kind === "pipeline" && failure_policy === "continue") said.push("goes on after a failure");
  return said.join(", ");
}
