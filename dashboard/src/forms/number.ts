// Number: what somebody typed as a number, in the ways that people write one.
// It must not know what the number is for.

/** What stands before the decimals where the reader lives. */
const POINT = new Intl.NumberFormat().formatToParts(1.5).find(({ type }) => type === "decimal")?.value;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const SPACES = /(?<=\d)[ \u00a0\u202f'’](?=\d{3})/g;
/** "1,000": a thousand to some, one to others. */
const DOUBTFUL = /^[+-]?[1-9]\d{0,2}[.,]\d{3}$/;

/** As JSON has it; null: no number, or one that others would read otherwise. */
export function plainNumber(text: string, point = POINT): string | null {
  const close = text.trim().replace(SPACES, "");
  if (DOUBTFUL.test(close) && (close.includes(",") || point === ",")) return null;
  const plain = close.replace(",", ".");
  return NUMBER.test(plain) ? plain : null;
}

/** As many digits as a number that is no text keeps. */
export const isShort = (plain: string) =>
  plain.replace(/e.*$/i, "").replace(/\D/g, "").replace(/^0+/, "").length <= 15;
