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
  comment_task: Op<{ task_id: string }, None, { text: string }, Schemas["Event"]>;
}

export const COMING = {
  comment_task: ["POST", "tasks/{task_id}/comments", false],
} as const;
