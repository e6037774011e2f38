// Fit: how much of a text fits into a width: SVG neither wraps nor shortens. It must not know the DOM.

// Of the height of the letters, about as wide as they are in the system's sans-serif fonts; rather too wide.
const NARROW = /[ !'(),./:;I[\]fijlrt|]/;
const WIDE = /[MW@mw%]/;
const SQUARE =
  /[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]|\p{Extended_Pictographic}/u;

export function widthOf(text: string, size: number): number {
  let width = 0;
  for (const letter of text) width += emsOf(letter);
  return width * size;
}

export function fit(text: string, width: number, size: number): string {
  if (widthOf(text, size) <= width) return text;
  const room = width - size;
  let used = 0;
  let kept = "";
  for (const letter of text) {
    used += emsOf(letter) * size;
    if (used > room) break;
    kept += letter;
  }
  return `${kept.trimEnd()}…`;
}

// Keeps the end as well: of paths and ids that is what differs.
export function fitMiddle(text: string, width: number, size: number): string {
  if (widthOf(text, size) <= width) return text;
  const letters = [...text];
  let [head, tail, used] = [0, 0, size];
  while (head + tail < letters.length) {
    const atEnd = tail <= head;
    const letter = (atEnd ? letters[letters.length - 1 - tail] : letters[head]) ?? "";
    used += emsOf(letter) * size;
    if (used > width) break;
    if (atEnd) tail++;
    else head++;
  }
  return `${letters.slice(0, head).join("")}…${letters.slice(letters.length - tail).join("")}`;
}

/** Words say most at their beginning; paths and numbers differ at their end. */
export function fitTitle(title: string, width: number, size: number): string {
  return /[\d/]/.test(title) ? fitMiddle(title, width, size) : fit(title, width, size);
}

function emsOf(letter: string): number {
  if (NARROW.test(letter)) return 0.34;
  if (WIDE.test(letter)) return 0.9;
  if (SQUARE.test(letter)) return 1.05;
  return letter >= "A" && letter <= "Z" ? 0.7 : 0.58;
}
