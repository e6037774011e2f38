// Coming: operations that the server is about to have. Each row goes as soon as the description has it.
// It must not know anything that the description knows.

import type { components } from "./generated/schema";

type Schemas = components["schemas"];
type Op<Path, Query, Body, Answer> = {
  parameters: { path: Path; query?: Query };
  requestBody: { content: { "application/json": Body } };
  responses: { 200: { content: { "application/json": Answer } } };
};
type None = never;

export interface Coming {
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
}

export const COMING = {
  list_workflow_attempts: ["GET", "workflows/{workflow_id}/attempts", false],
  comment_task: ["POST", "tasks/{task_id}/comments", false],
} as const;
