// Waiting: how many tasks wait for me, for everybody who shows the number.
// It must not know which tasks they are.

import { signal } from "@preact/signals";

export const waiting = signal<{ count: number; more: boolean }>({ count: 0, more: false });
