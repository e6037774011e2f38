// Question: what a JSON Schema asks of a person, as the kinds of controls that can ask it.
// It must not know how a control looks, nor what somebody has answered.

import type { Schema } from "../described";
import { worded } from "../words";

interface Asked {
  title: string;
  help: string;
  /** Whether null is an answer. */
  nullable: boolean;
  /** Undefined: none. */
  initial: unknown;
}

export interface Option {
  value: unknown;
  label: string;
  help: string;
}

export interface Member {
  name: string;
  required: boolean;
  question: Question;
}

export interface Variant {
  label: string;
  question: Question;
}

interface Limits {
  least: number | null;
  most: number | null;
  above: number | null;
  below: number | null;
}

export type TextLook = "line" | "lines" | "date" | "datetime-local" | "time" | "email" | "url";

export type Question = Asked &
  (
    | { kind: "text"; look: TextLook; shortest: number; longest: number | null }
    | ({ kind: "number"; whole: boolean; digits: boolean } & Limits)
    | { kind: "boolean" }
    | { kind: "choice"; options: readonly Option[] }
    | { kind: "choices"; options: readonly Option[]; fewest: number; most: number | null }
    | { kind: "const"; value: unknown }
    | { kind: "list"; item: Question; fewest: number; most: number | null }
    | { kind: "object"; members: readonly Member[] }
    | { kind: "variants"; variants: readonly Variant[] }
    | { kind: "json" }
  );

const DEEPEST = 24;
const LOOKS: Readonly<Record<string, TextLook>> = {
  date: "date",
  "date-time": "datetime-local",
  time: "time",
  email: "email",
  uri: "url",
  url: "url",
  multiline: "lines",
  textarea: "lines",
  markdown: "lines",
};
const MANY_LETTERS = 200;

/** What `schema` asks. What cannot be asked with a control is asked as JSON: the server judges all the same. */
export function questionOf(schema: unknown, name = "", root: unknown = schema, depth = 0): Question {
  if (!isObject(schema) || depth > DEEPEST) return { ...asked({}, name), kind: "json" };
  const whole = merged(schema, root, depth);
  const about = asked(whole, name);
  const ask = (inner: unknown, called = "") => questionOf(inner, called, root, depth + 1);
  return (
    fixed(whole, about) ??
    alternatives(whole, about, ask, name) ??
    byType(withoutNull(whole), { ...about, nullable: about.nullable || allowsNull(whole) }, ask)
  );
}

const isObject = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown): number | null => (typeof value === "number" ? value : null);

function asked(schema: Schema, name: string): Asked {
  return {
    title: text(schema.title) || (name ? worded(name) : ""),
    help: text(schema.description),
    nullable: false,
    initial: schema.default,
  };
}

// ----- references and allOf

/** The schema with what it refers to, and all of `allOf`, as one. What stands beside a reference goes first. */
function merged(schema: Schema, root: unknown, depth: number): Schema {
  const { $ref, allOf, ...own } = schema;
  let whole: Schema = {};
  const parts = [...(typeof $ref === "string" ? [referred($ref, root)] : []), ...list(allOf)];
  if (parts.length === 0 || depth > DEEPEST) return own;
  for (const part of parts) if (isObject(part)) whole = together(whole, merged(part, root, depth + 1));
  return together(whole, own);
}

function together(first: Schema, second: Schema): Schema {
  const both = { ...first, ...second };
  if (isObject(first.properties) && isObject(second.properties))
    both.properties = { ...first.properties, ...second.properties };
  if (first.required && second.required) both.required = [...list(first.required), ...list(second.required)];
  return both;
}

function referred(reference: string, root: unknown): unknown {
  let found: unknown = root;
  for (const part of reference.replace(/^#\/?/, "").split("/").filter(Boolean)) {
    const key = decodeURIComponent(part).replace(/~1/g, "/").replace(/~0/g, "~");
    found = isObject(found) ? found[key] : undefined;
  }
  return found;
}

// ----- one value of several

function fixed(schema: Schema, about: Asked): Question | null {
  if ("const" in schema) return { ...about, kind: "const", value: schema.const };
  if (!Array.isArray(schema.enum)) return null;
  const options = schema.enum.filter((value) => value !== null).map((value) => optionOf(value));
  const nullable = schema.enum.includes(null);
  if (options.length === 1 && !nullable) return { ...about, kind: "const", value: options[0]?.value };
  return { ...about, nullable, kind: "choice", options };
}

function optionOf(value: unknown, schema: Schema = {}): Option {
  const label = text(schema.title) || (typeof value === "string" ? worded(value) : JSON.stringify(value));
  return { value, label, help: text(schema.description) };
}

type Ask = (schema: unknown, name?: string) => Question;

function alternatives(schema: Schema, about: Asked, ask: Ask, name: string): Question | null {
  const all = schema.anyOf ?? schema.oneOf;
  if (!Array.isArray(all)) return null;
  const parts = all.filter(isObject);
  const rest = parts.filter((part) => part.type !== "null" && part.const !== null);
  const nullable = rest.length < parts.length;
  if (rest.length > 0 && rest.every((part) => "const" in part))
    return { ...about, nullable, kind: "choice", options: rest.map((part) => optionOf(part.const, part)) };
  const { anyOf, oneOf, ...around } = schema;
  if (rest.length === 1) {
    const one = ask(together(rest[0] ?? {}, around), name);
    return {
      ...one,
      title: about.title || one.title,
      nullable: one.nullable || nullable,
      initial: about.initial,
    };
  }
  const decimal = decimalOf(rest);
  if (decimal) return { ...about, nullable, ...numberOf(together(decimal, around), false), digits: true };
  // An object with alternatives beside its own properties: the server knows what they demand.
  if (isObject(schema.properties)) return null;
  const variants = rest.map((part, at) => variantOf(ask(part), at));
  return { ...about, nullable, kind: "variants", variants };
}

/** A number, or the text of its digits where they are too many for a number. */
function decimalOf(parts: readonly Schema[]): Schema | undefined {
  const number = parts.find(({ type }) => type === "number");
  const digits = parts.find(({ type, pattern }) => type === "string" && isOfDigits(text(pattern)));
  return parts.length === 2 && digits ? number : undefined;
}

function isOfDigits(pattern: string): boolean {
  try {
    const expression = new RegExp(pattern, "u");
    return pattern !== "" && expression.test("1") && !expression.test("a") && !expression.test("1a");
  } catch {
    return false; // the server's expressions are not quite those of the browser
  }
}

function variantOf(question: Question, at: number): Variant {
  const names: Readonly<Partial<Record<Question["kind"], string>>> = {
    text: "Text",
    number: "Number",
    boolean: "Yes or no",
    list: "List",
    json: "JSON",
  };
  const marker =
    question.kind === "object"
      ? question.members.find(({ question }) => question.kind === "const")
      : undefined;
  const marked = marker?.question.kind === "const" ? optionOf(marker.question.value).label : "";
  return { label: question.title || marked || names[question.kind] || `Form ${at + 1}`, question };
}

// ----- by type

function typesOf(schema: Schema): readonly string[] {
  if (schema.type !== undefined) return [schema.type].flat().filter((type) => typeof type === "string");
  if (schema.properties) return ["object"];
  if (schema.items) return ["array"];
  if (schema.pattern ?? schema.format ?? schema.minLength ?? schema.maxLength) return ["string"];
  if (schema.minimum ?? schema.maximum ?? schema.multipleOf) return ["number"];
  return [];
}

const allowsNull = (schema: Schema) => typesOf(schema).includes("null");
const withoutNull = (schema: Schema): Schema => ({
  ...schema,
  type: typesOf(schema).filter((type) => type !== "null"),
});

function byType(schema: Schema, about: Asked, ask: Ask): Question {
  const [type, ...more] = typesOf(schema);
  if (more.length > 0 && !(type === "integer" && more[0] === "number")) {
    const variants = typesOf(schema).map((each, at) =>
      variantOf(ask({ ...schema, type: each, title: "" }), at),
    );
    return { ...about, kind: "variants", variants };
  }
  if (type === "string") return { ...about, ...textOf(schema) };
  if (type === "number" || type === "integer") return { ...about, ...numberOf(schema, type === "integer") };
  if (type === "boolean") return { ...about, kind: "boolean" };
  if (type === "array") return { ...about, ...listOf(schema, ask) };
  if (type === "object" && isObject(schema.properties)) return { ...about, ...objectOf(schema, ask) };
  return { ...about, kind: "json" };
}

function textOf(schema: Schema) {
  const longest = number(schema.maxLength);
  const look = LOOKS[text(schema.format)] ?? (longest !== null && longest >= MANY_LETTERS ? "lines" : "line");
  return { kind: "text", look, shortest: number(schema.minLength) ?? 0, longest } as const;
}

function numberOf(schema: Schema, whole: boolean) {
  return {
    kind: "number",
    whole,
    /** Whether those that are too long for a number are given as text. */
    digits: false,
    least: number(schema.minimum),
    most: number(schema.maximum),
    above: number(schema.exclusiveMinimum),
    below: number(schema.exclusiveMaximum),
  } as const;
}

function listOf(schema: Schema, ask: Ask) {
  if (!isObject(schema.items)) return { kind: "json" } as const;
  const item = ask(schema.items);
  const size = { fewest: number(schema.minItems) ?? 0, most: number(schema.maxItems) };
  if (item.kind === "choice" && schema.uniqueItems === true)
    return { kind: "choices", options: item.options, ...size } as const;
  return { kind: "list", item, ...size } as const;
}

function objectOf(schema: Schema, ask: Ask) {
  const required = list(schema.required).filter((name) => typeof name === "string");
  // What is required and described nowhere can be anything.
  const undescribed = required.map((name): [string, unknown] => [name, {}]);
  const properties = Object.fromEntries([...undescribed, ...Object.entries(schema.properties ?? {})]);
  const order = new Set([...Object.keys(schema.properties ?? {}), ...required]);
  const members = [...order]
    .map((name) => [name, properties[name]] as const)
    .map(([name, member]) => ({
      name,
      required: required.includes(name),
      question: ask(member, name),
    }));
  return { kind: "object", members } as const;
}
