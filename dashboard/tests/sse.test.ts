// Tests of the reader of event streams: messages come whole, however the text is cut.
// They must not know what events mean.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SseReader } from "../src/sse";

const TEXT = 'retry: 2000\nid: 4\n\nid: 5\nevent: task.created\ndata: {"a":1}\n\n: still here\n\nid: 9\n\n';

test("however the text is cut, the same messages come out of it", () => {
  for (let size = 1; size <= TEXT.length; size++) {
    const reader = new SseReader();
    const found = [];
    for (let at = 0; at < TEXT.length; at += size) found.push(...reader.push(TEXT.slice(at, at + size)));
    assert.deepEqual(found, [
      { id: "4", event: "message", data: "" },
      { id: "5", event: "task.created", data: '{"a":1}' },
      { id: "9", event: "message", data: "" },
    ]);
  }
});
