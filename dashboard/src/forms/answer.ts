// Answer: what somebody has typed so far, and the value that it makes for the question it answers.
// It must not know how anything looks. The server judges every value again; what is found here is found sooner.

import type { FieldError } from "../api";
import { isExact, read, written } from "../exact";
import { isShort, plainNumber } from "./number";
import type { Question } from "./question";

/** What a control holds: text as it was typed, the number of an option, true or false, or those of its parts. It goes
 * through JSON unchanged. Undefined: not answered. */
export type Draft =
  | string
  | number
  | boolean
  | null
  | undefined
  | readonly Draft[]
  | { readonly [name: string]: Draft };

type Parts = Readonly<Record<string, Draft>>;

const NOTHING = Symbol("nothing");
const EMAIL = /^[^\s@]+@[^\s@]+$/;

export const partsOf = (draft: Draft): Parts =>
  typeof draft === "object" && draft !== null && !Array.isArray(draft) ? (draft as Parts) : {};
export const itemsOf = (draft: Draft): readonly Draft[] => (Array.isArray(draft) ? draft : []);
export const typed = (draft: Draft): string => (typeof draft === "string" ? draft : "");

/** What a question shows at first: its defaults. */
export function begin(question: Question): Draft {
  return hasDefault(question) ? draftOf(question, question.initial) : empty(question);
}

const hasDefault = ({ initial }: Question) => initial !== undefined && initial !== null;

function empty(question: Question): Draft {
  if (question.kind === "object")
    return Object.fromEntries(question.members.map(({ name, question: member }) => [name, begin(member)]));
  if (question.kind === "list") return Array.from({ length: question.fewest }, () => begin(question.item));
  return undefined;
}

/** The draft that makes `value`. */
export function draftOf(question: Question, value: unknown): Draft {
  switch (question.kind) {
    case "text":
      if (question.look === "datetime-local") return localTime(String(value));
      return question.look === "time" ? localHour(String(value)) : String(value);
    case "number":
      return String(value);
    case "boolean":
      return value === true;
    case "choice": {
      const at = question.options.findIndex((option) => same(option.value, value));
      return at < 0 ? undefined : at;
    }
    case "choices":
      return question.options.flatMap((option, at) =>
        asList(value).some((one) => same(one, option.value)) ? [at] : [],
      );
    case "const":
      return same(question.value, value) ? true : undefined;
    case "list":
      return asList(value).map((item) => draftOf(question.item, item));
    case "object": {
      const parts = Object(value) as Readonly<Record<string, unknown>>;
      return Object.fromEntries(
        question.members.map(({ name, question: member }) => [
          name,
          Object.hasOwn(parts, name) ? draftOf(member, parts[name]) : begin(member),
        ]),
      );
    }
    case "variants":
      return variantOf(question, value);
    case "json":
      return written(value, 2);
  }
}

/** The first variant that can say `value`. */
function variantOf(question: Question & { kind: "variants" }, value: unknown): Draft {
  for (const [at, variant] of question.variants.entries()) {
    const draft = draftOf(variant.question, value);
    const made = answer(variant.question, draft);
    if (made.errors.length === 0 && same(made.value, value)) return { at, parts: { [at]: draft } };
  }
  return undefined;
}

const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const same = (one: unknown, other: unknown) => written(one) === written(other);

/** The value that `draft` makes, and what is wrong with it by JSON Pointer. */
export function answer(question: Question, draft: Draft): { value: unknown; errors: readonly FieldError[] } {
  const errors: FieldError[] = [];
  const value = new Reader(errors).read(question, draft, true, "");
  return { value: value === NOTHING ? null : value, errors };
}

class Reader {
  constructor(private readonly errors: FieldError[]) {}

  /** NOTHING: the question was left out. */
  read(question: Question, draft: Draft, required: boolean, pointer: string): unknown {
    switch (question.kind) {
      case "text":
        return this.text(question, typed(draft), required, pointer);
      case "number":
        return this.number(question, typed(draft).trim(), required, pointer);
      case "boolean":
        return typeof draft === "boolean" ? draft : this.missing(question, required, pointer);
      case "choice": {
        const option = typeof draft === "number" ? question.options[draft] : undefined;
        return option ? option.value : this.missing(question, required, pointer);
      }
      case "choices":
        return this.choices(question, itemsOf(draft), required, pointer);
      case "const":
        return this.constant(question, draft, required, pointer);
      case "list":
        return this.list(question, draft, required, pointer);
      case "object":
        return this.object(question, draft, required, pointer);
      case "variants":
        return this.variant(question, draft, required, pointer);
      case "json":
        return this.json(question, typed(draft).trim(), required, pointer);
    }
  }

  private wrong(pointer: string, message: string): typeof NOTHING {
    this.errors.push({ pointer, message });
    return NOTHING;
  }

  /** What has a default and was emptied is not left out: the default would come back. */
  private missing(question: Question, required: boolean, pointer: string): unknown {
    if (question.nullable) return required || question.initial !== undefined ? null : NOTHING;
    return required || hasDefault(question) ? this.wrong(pointer, "An answer is needed.") : NOTHING;
  }

  private text(
    question: Question & { kind: "text" },
    text: string,
    required: boolean,
    pointer: string,
  ): unknown {
    if (text === "") return isErased(question) ? "" : this.missing(question, required, pointer);
    const size = [...text].length; // as the server counts: what is one character to it may be two here
    if (size < question.shortest) return this.wrong(pointer, `At least ${question.shortest} characters.`);
    if (question.longest !== null && size > question.longest)
      return this.wrong(pointer, `At most ${question.longest} characters, not ${size}.`);
    if (question.look === "email" && !EMAIL.test(text))
      return this.wrong(pointer, "This is no e-mail address.");
    if (question.look === "url" && !URL.canParse(text))
      return this.wrong(pointer, "A whole address is needed, such as https://example.com.");
    if (question.look === "datetime-local") return this.moment(text, pointer);
    if (question.look === "time") return zonedTime(text);
    return text;
  }

  private moment(text: string, pointer: string): unknown {
    const at = new Date(text);
    if (Number.isNaN(at.getTime())) return this.wrong(pointer, "This is no date and time.");
    return at.toISOString();
  }

  private number(
    question: Question & { kind: "number" },
    text: string,
    required: boolean,
    pointer: string,
  ): unknown {
    if (text === "") return this.missing(question, required, pointer);
    const plain = plainNumber(text);
    const value = Number(plain ?? Number.NaN);
    if (plain === null || !Number.isFinite(value))
      return this.wrong(pointer, "A number is needed, such as 1234.5, without marks between thousands.");
    if (question.whole && !Number.isInteger(value)) return this.wrong(pointer, "A whole number is needed.");
    const beyond = limitBroken(question, value);
    if (beyond) return this.wrong(pointer, beyond);
    if (question.digits && !isShort(plain) && !/e/i.test(plain)) return plain;
    if (!Number.isInteger(value) || Number.isSafeInteger(value) || !/^[+-]?\d+$/.test(plain)) return value;
    return isExact
      ? BigInt(plain)
      : this.wrong(pointer, "This browser cannot send so large a number exactly.");
  }

  private choices(
    question: Question & { kind: "choices" },
    picked: readonly Draft[],
    required: boolean,
    pointer: string,
  ): unknown {
    if (picked.length === 0 && (question.nullable || !required) && !hasDefault(question))
      return this.missing(question, required, pointer);
    if (picked.length < question.fewest) return this.wrong(pointer, `At least ${question.fewest}.`);
    if (question.most !== null && picked.length > question.most)
      return this.wrong(pointer, `At most ${question.most}.`);
    return question.options.filter((_, at) => picked.includes(at)).map((option) => option.value);
  }

  /** One that is required has but one answer, so it is not asked, unless it is something to agree to. */
  private constant(
    question: Question & { kind: "const" },
    draft: Draft,
    required: boolean,
    pointer: string,
  ): unknown {
    if (draft === true || isSilent(question, required)) return question.value;
    return required ? this.wrong(pointer, "This has to be confirmed.") : NOTHING;
  }

  private list(question: Question & { kind: "list" }, draft: Draft, required: boolean, pointer: string) {
    const items = itemsOf(draft);
    if ((question.nullable || !required) && !hasDefault(question) && isBlank(question, draft))
      return this.missing(question, required, pointer);
    if (items.length < question.fewest) return this.wrong(pointer, `At least ${question.fewest}.`);
    if (question.most !== null && items.length > question.most)
      return this.wrong(pointer, `At most ${question.most}.`);
    return items.map((item, at) => this.read(question.item, item, true, `${pointer}/${at}`));
  }

  private object(
    question: Question & { kind: "object" },
    draft: Draft,
    required: boolean,
    pointer: string,
  ): unknown {
    if (isBlank(question, draft)) {
      if (!required) return question.initial === null ? null : NOTHING;
      if (question.nullable) return null;
    }
    const parts = partsOf(draft);
    const given: [string, unknown][] = [];
    for (const member of question.members) {
      const found = this.read(
        member.question,
        parts[member.name],
        member.required,
        `${pointer}/${escaped(member.name)}`,
      );
      if (found !== NOTHING) given.push([member.name, found]);
    }
    return Object.fromEntries(given);
  }

  private variant(
    question: Question & { kind: "variants" },
    draft: Draft,
    required: boolean,
    pointer: string,
  ): unknown {
    const { at, parts } = chosen(draft);
    const variant = at === null ? undefined : question.variants[at];
    if (!variant) return this.missing(question, required, pointer);
    return this.read(variant.question, parts[String(at)], true, pointer);
  }

  private json(question: Question, text: string, required: boolean, pointer: string): unknown {
    if (text === "") return this.missing(question, required, pointer);
    try {
      return read(text);
    } catch (error) {
      return this.wrong(pointer, `This is not JSON: ${error instanceof Error ? error.message : error}`);
    }
  }
}

/** Whether a constant is something that a person says yes to. */
export const isAgreed = (question: Question & { kind: "const" }) => question.value === true;

/** What can have one answer only is given without being asked, unless it may be left out or is something to agree to. */
export const isSilent = (question: Question & { kind: "const" }, required: boolean) =>
  !isAgreed(question) && (required || same(question.initial, question.value));

/** Whether a text that stood there at first was taken away, and nothing is what is meant. */
const isErased = (question: Question & { kind: "text" }) =>
  hasDefault(question) &&
  !question.nullable &&
  question.shortest === 0 &&
  (question.look === "line" || question.look === "lines");

function limitBroken(
  { least, most, above, below }: Question & { kind: "number" },
  value: number,
): string | null {
  if (least !== null && value < least) return `At least ${least}.`;
  if (most !== null && value > most) return `At most ${most}.`;
  if (above !== null && value <= above) return `More than ${above}.`;
  return below !== null && value >= below ? `Less than ${below}.` : null;
}

/** Which of the variants was chosen, and what was typed into each: changing one's mind twice loses nothing. */
export function chosen(draft: Draft): { at: number | null; parts: Parts } {
  const { at, parts } = partsOf(draft);
  return { at: typeof at === "number" ? at : null, parts: partsOf(parts) };
}

/** Whether nothing was answered beyond what stood there at first. */
export function isBlank(question: Question, draft: Draft): boolean {
  return draft === undefined || sameText(draft, begin(question));
}

/** Text that was typed and taken away again was never there. */
const sameText = (one: Draft, other: Draft) => withoutNothing(one) === withoutNothing(other);
const withoutNothing = (draft: Draft) =>
  JSON.stringify(draft, (_, value: unknown) => (value === "" ? undefined : value));

export const escaped = (name: string) => name.replace(/~/g, "~0").replace(/\//g, "~1");

const MINUTE = 60_000;
const two = (number: number) => String(Math.floor(number)).padStart(2, "0");

/** "2026-05-01T12:30:00Z" as a control for local times holds it. */
function localTime(value: string): string {
  const at = new Date(value);
  if (Number.isNaN(at.getTime())) return "";
  const local = new Date(at.getTime() - at.getTimezoneOffset() * MINUTE).toISOString().slice(0, -1);
  return local.replace(/\.000$/, "").replace(/:00$/, "");
}

/** "12:30:00Z" as a control for local times holds it, as things are today. */
function localHour(value: string): string {
  const [hour = value, zone] = value.split(/(Z|[+-]\d\d:\d\d)$/i);
  const at = new Date(`2000-01-01T${hour}${zone ?? ""}`);
  if (zone === undefined || Number.isNaN(at.getTime())) return hour;
  const local = new Date(at.getTime() - new Date().getTimezoneOffset() * MINUTE).toISOString();
  return local
    .slice(11, -1)
    .replace(/\.000$/, "")
    .replace(/:00$/, "");
}

/** RFC 3339 wants seconds and a zone, which the control for a time does not have: the reader's own, today. */
function zonedTime(text: string): string {
  const east = -new Date().getTimezoneOffset();
  const zone =
    east === 0 ? "Z" : `${east < 0 ? "-" : "+"}${two(Math.abs(east) / 60)}:${two(Math.abs(east) % 60)}`;
  return `${/^\d\d:\d\d$/.test(text) ? `${text}:00` : text}${zone}`;
}

/** What is said instead of words that speak of schemas. */
const WORDS: Readonly<Record<string, string>> = {
  required: "An answer is needed.",
  anyOf: "This does not fit what is asked.",
  oneOf: "This does not fit what is asked.",
  not: "This is not allowed here.",
  pattern: "This is not written in the way that is asked for.",
  additionalProperties: "There is something here that nobody asked for.",
};

/** Each error at the control nearest to what it speaks of, by that control's pointer. */
export function placed(
  question: Question,
  draft: Draft,
  errors: readonly FieldError[],
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const { pointer, message: said, code = "" } of errors) {
    const message = WORDS[code] ?? said;
    const path = pointer.split("/").slice(1);
    const place = nearest(question, draft, path);
    const left = path.slice(place.length).join("/");
    const at = place.map((part) => `/${part}`).join("");
    const text = left ? `${left}: ${message}` : message;
    found.set(at, found.has(at) ? `${found.get(at)} ${text}` : text);
  }
  return found;
}

function nearest(question: Question, draft: Draft, path: readonly string[]): readonly string[] {
  const [first, ...rest] = path;
  if (question.kind === "variants") {
    const { at, parts } = chosen(draft);
    const variant = at === null ? undefined : question.variants[at];
    return variant ? nearest(variant.question, parts[String(at)], path) : [];
  }
  if (first === undefined) return [];
  if (question.kind === "object") {
    const member = question.members.find(({ name }) => escaped(name) === first);
    return member ? [first, ...nearest(member.question, partsOf(draft)[member.name], rest)] : [];
  }
  if (question.kind === "list" && Number(first) < itemsOf(draft).length)
    return [first, ...nearest(question.item, itemsOf(draft)[Number(first)], rest)];
  return [];
}
