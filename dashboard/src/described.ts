// Described: the operations and models of the server by their names.
// It must not know how they are called.

import type { OPERATIONS } from "./generated/operations";
import type { components, operations } from "./generated/schema";

export type Described = operations;
export type OperationName = keyof typeof OPERATIONS;

type Schemas = components["schemas"];

/** A JSON Schema, as far as anybody needs to know. */
export type Schema = Readonly<Record<string, unknown>>;

export type Task = Schemas["Task"];
export type TaskState = Schemas["TaskState"];
export type Priority = Schemas["Priority"];
export type Attempt = Schemas["Attempt"];
export type TaskError = Schemas["TaskError"];
export type Event = Schemas["Event"];
export type Workflow = Schemas["Workflow"];
export type WorkflowState = Schemas["WorkflowState"];
export type Graph = Schemas["Graph"];
export type Me = Schemas["Me"];
