// How high rows are: on a phone a row has two lines.
// It must not know what is in them. The style sheet says the same.

import { signal } from "@preact/signals";

const phone = matchMedia("(max-width: 46rem)");

export const isPhone = signal(phone.matches);
phone.addEventListener("change", () => {
  isPhone.value = phone.matches;
});

export const taskHeight = () => (isPhone.value ? 62 : 38);
export const CARD_HEIGHT = 92;
