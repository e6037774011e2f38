// Exact: JSON in which whole numbers keep all their digits, also those beyond 2^53, which become bigints.
// It must not know what is read or written.

interface Source {
  source?: string;
}
type Reviver = (this: unknown, name: string, value: unknown, context?: Source) => unknown;

const raw = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON;
const LONG = /\d{16}/;
const WHOLE = /^-?\d+$/;

/** Whether this browser can write them; those of before 2025 may not. */
export const isExact = raw !== undefined;

/** Raises SyntaxError. */
export function read(text: string): unknown {
  if (!isExact || !LONG.test(text)) return JSON.parse(text);
  const keep: Reviver = (_, value, context) => {
    const lost = typeof value === "number" && !Number.isSafeInteger(value);
    return lost && WHOLE.test(context?.source ?? "") ? BigInt(context?.source ?? 0) : value;
  };
  return JSON.parse(text, keep as Parameters<typeof JSON.parse>[1]);
}

/** Undefined has no JSON: it is the empty text. */
export function written(value: unknown, indent?: number): string {
  const each = (_: string, one: unknown) =>
    typeof one === "bigint" ? (raw?.(String(one)) ?? Number(one)) : one;
  return JSON.stringify(value, each, indent) ?? "";
}
