// Coming: operations that the server is about to have. Each row goes as soon as the description has it.
// It must not know anything that the description knows.

import type { components, operations } from "./generated/schema";

type Schemas = components["schemas"];
type Op<Path, Query, Body, Answer> = {
  parameters: { path: Path; query?: Query };
  requestBody: { content: { "application/json": Body } };
  responses: { 200: { content: { "application/json": Answer } } };
};
type None = never;

type Tokenless<Name extends keyof operations> = operations[Name] extends {
  parameters: infer P;
  requestBody: { content: { "application/json": infer B } };
  responses: infer R;
}
  ? {
      parameters: P;
      requestBody: { content: { "application/json": Omit<B, "token"> & { token?: string | null } } };
      responses: R;
    }
  : never;

export interface Coming {
  explain_task: Op<
    { task_id: string },
    None,
    None,
    { state: Schemas["TaskState"]; waits_for: string | null; since: string | null }
  >;
  measure_org: Op<
    None,
    None,
    None,
    {
      minutes: { at: string; created: number; completed: number; failed: number; cancelled: number }[];
      wait: { p50: number | null; p95: number | null; count: number };
      run: { p50: number | null; p95: number | null; count: number };
    }
  >;
  list_queues: Op<
    None,
    None,
    None,
    {
      items: {
        mode: Schemas["Mode"];
        placement: Schemas["Placement"];
        queue: string | null;
        capability: string | null;
        ready: number;
        running: number;
        oldest_ready_at: string | null;
      }[];
    }
  >;
  list_workflows: Op<
    None,
    {
      state?: Schemas["WorkflowState"][];
      space_id?: string | null;
      text?: string | null;
      limit?: number;
      cursor?: string | null;
    },
    None,
    Schemas["Listed_Workflow_"]
  >;
  list_workflow_attempts: Op<
    { workflow_id: string },
    { limit?: number; cursor?: string | null },
    None,
    { items: Schemas["Attempt"][]; next_cursor: string | null }
  >;
  comment_task: Op<{ task_id: string }, None, { text: string }, Schemas["Event"]>;
  progress_task: Tokenless<"progress_task">;
  complete_task: Tokenless<"complete_task">;
  fail_task: Tokenless<"fail_task">;
  release_task: Tokenless<"release_task">;
}

export const COMING = {
  explain_task: ["GET", "tasks/{task_id}/explanation", false],
  measure_org: ["GET", "activity", false],
  list_queues: ["GET", "queues", false],
  list_workflow_attempts: ["GET", "workflows/{workflow_id}/attempts", false],
  comment_task: ["POST", "tasks/{task_id}/comments", false],
} as const;
