// Tests of forms: what a schema asks, what the answers make, and where errors are shown.
// They must not know how controls look.

import assert from "node:assert/strict";
import { test } from "node:test";
import { answer, begin, type Draft, draftOf, placed } from "../src/forms/answer";
import { plainNumber } from "../src/forms/number";
import { questionOf } from "../src/forms/question";

const made = (schema: unknown, draft: Draft) => answer(questionOf(schema), draft);
const value = (schema: unknown, draft: Draft) => {
  const { value: found, errors } = made(schema, draft);
  assert.deepEqual(errors, []);
  return found;
};
const wrong = (schema: unknown, draft: Draft) => made(schema, draft).errors.map(({ pointer }) => pointer);

const PAYMENT = {
  type: "object",
  required: ["approved", "amount"],
  properties: {
    approved: { type: "boolean" },
    amount: { type: "number", minimum: 1 },
    note: { type: "string", maxLength: 2000 },
    contact: { anyOf: [{ type: "string", format: "email" }, { type: "null" }], default: null },
  },
};

test("what is asked is named as people write, and asked with a control that fits", () => {
  const { kind, ...form } = questionOf(PAYMENT);
  assert.equal(kind, "object");
  assert.ok("members" in form);
  const asked = form.members.map(({ name, required, question }) => [
    name,
    required,
    question.title,
    question.kind,
  ]);
  assert.deepEqual(asked, [
    ["approved", true, "Approved", "boolean"],
    ["amount", true, "Amount", "number"],
    ["note", false, "Note", "text"],
    ["contact", false, "Contact", "text"],
  ]);
  const note = form.members[2]?.question;
  assert.equal(note?.kind === "text" && note.look, "lines");
});

test("answers become the value; what was left out is not in it", () => {
  assert.deepEqual(value(PAYMENT, { approved: false, amount: "12,5", note: "", contact: "" }), {
    approved: false,
    amount: 12.5,
    contact: null,
  });
});

test("what is missing, no number, or beyond its limits is found by its pointer", () => {
  assert.deepEqual(wrong(PAYMENT, {}), ["/approved", "/amount"]);
  assert.deepEqual(wrong(PAYMENT, { approved: true, amount: "many" }), ["/amount"]);
  assert.deepEqual(wrong(PAYMENT, { approved: true, amount: "0" }), ["/amount"]);
  assert.deepEqual(wrong(PAYMENT, { approved: true, amount: "1", contact: "nobody" }), ["/contact"]);
  assert.deepEqual(wrong({ type: "integer" }, "1.5"), [""]);
});

test("references, allOf, enums and titled constants are one question each", () => {
  const schema = {
    $defs: { Colour: { enum: ["dark_red", "blue", null], title: "Colour" } },
    type: "object",
    required: ["colour", "size"],
    properties: {
      colour: { allOf: [{ $ref: "#/$defs/Colour" }], description: "Of the roof" },
      size: {
        oneOf: [
          { const: 1, title: "Small" },
          { const: 2, title: "Large" },
        ],
      },
    },
  };
  const form = questionOf(schema);
  assert.ok(form.kind === "object");
  const [colour, size] = form.members.map(({ question }) => question);
  assert.ok(colour?.kind === "choice" && size?.kind === "choice");
  assert.deepEqual([colour.title, colour.help, colour.nullable], ["Colour", "Of the roof", true]);
  assert.deepEqual(
    colour.options.map(({ label }) => label),
    ["Dark red", "Blue"],
  );
  assert.deepEqual(value(schema, { colour: undefined, size: 1 }), { colour: null, size: 2 });
});

test("of several forms the chosen one is answered, with what marks it, and the others keep what was typed", () => {
  const schema = {
    anyOf: [
      {
        type: "object",
        required: ["by", "shop"],
        properties: { by: { const: "pickup" }, shop: { type: "string" } },
      },
      {
        type: "object",
        required: ["by", "street"],
        properties: { by: { const: "post" }, street: { type: "string" } },
      },
    ],
  };
  const form = questionOf(schema);
  assert.ok(form.kind === "variants");
  assert.deepEqual(
    form.variants.map(({ label }) => label),
    ["Pickup", "Post"],
  );
  const draft = { at: 1, parts: { 0: { shop: "North" }, 1: { street: "Hill 4" } } };
  assert.deepEqual(value(schema, draft), { by: "post", street: "Hill 4" });
  assert.deepEqual(wrong(schema, undefined), [""]);
});

test("lists: too few, too many, and what is wrong in one of them", () => {
  const schema = { type: "array", minItems: 1, maxItems: 2, items: { type: "integer" } };
  assert.deepEqual(value(schema, ["1", "2"]), [1, 2]);
  assert.deepEqual(wrong(schema, []), [""]);
  assert.deepEqual(wrong(schema, ["1", "2", "3"]), [""]);
  assert.deepEqual(wrong(schema, ["1", "x"]), ["/1"]);
  const several = { type: "array", uniqueItems: true, items: { enum: ["a", "b", "c"] } };
  assert.deepEqual(value(several, [2, 0]), ["a", "c"]);
});

test("an object that may be left out is left out until something is typed into it", () => {
  const inner = { type: "object", required: ["street"], properties: { street: { type: "string" } } };
  const schema = { type: "object", properties: { address: inner } };
  assert.deepEqual(value(schema, begin(questionOf(schema))), {});
  assert.deepEqual(value(schema, { address: { street: "Hill 4" } }), { address: { street: "Hill 4" } });
});

test("something to agree to has to be agreed to", () => {
  const schema = { type: "object", required: ["read"], properties: { read: { const: true } } };
  assert.deepEqual(wrong(schema, {}), ["/read"]);
  assert.deepEqual(value(schema, { read: true }), { read: true });
});

test("defaults stand there at first, and go through the form unchanged", () => {
  const schema = {
    type: "object",
    properties: {
      sum: { type: "number", default: 3.5 },
      mode: { enum: ["fast", "slow"], default: "slow" },
      tags: { type: "array", items: { type: "string" }, default: ["x"] },
      at: { type: "string", format: "date-time", default: "2026-05-01T12:30:00.000Z" },
      raw: { default: { a: [1] } },
    },
  };
  const form = questionOf(schema);
  const first = JSON.parse(JSON.stringify(begin(form))) as Draft;
  assert.deepEqual(answer(form, first), {
    value: { sum: 3.5, mode: "slow", tags: ["x"], at: "2026-05-01T12:30:00.000Z", raw: { a: [1] } },
    errors: [],
  });
  assert.deepEqual(answer(form, draftOf(form, { sum: 9 })).value, {
    sum: 9,
    mode: "slow",
    tags: ["x"],
    at: "2026-05-01T12:30:00.000Z",
    raw: { a: [1] },
  });
});

test("what no control can ask is asked as JSON", () => {
  assert.equal(questionOf({}).kind, "json");
  assert.equal(questionOf({ type: "object", additionalProperties: { type: "number" } }).kind, "json");
  assert.deepEqual(value({}, '{"a": 1}'), { a: 1 });
  assert.deepEqual(wrong({}, "{a"), [""]);
});

test("an error is shown at its control, or at the nearest around it", () => {
  const schema = {
    type: "object",
    properties: { "a/b": { type: "string" }, list: { type: "array", items: PAYMENT } },
  };
  const at = placed(questionOf(schema), { list: [{}] }, [
    { pointer: "/a~1b", message: "one" },
    { pointer: "/list/0/amount", message: "two" },
    { pointer: "/list/7/amount", message: "three" },
    { pointer: "/strange", message: "four" },
  ]);
  assert.deepEqual(
    [...at],
    [
      ["/a~1b", "one"],
      ["/list/0/amount", "two"],
      ["/list", "7/amount: three"],
      ["", "strange: four"],
    ],
  );
});

const DIGITS = "^[+-]?(0*[0-9]+\\.?|(0*[0-9]+)?\\.[0-9]+0*)$";
const DECIMAL = {
  anyOf: [
    { type: "number", minimum: 0 },
    { type: "string", pattern: DIGITS },
  ],
};

test("a decimal is one number, and text only where a number has not room for its digits", () => {
  assert.equal(questionOf(DECIMAL).kind, "number");
  assert.equal(value(DECIMAL, "12.50"), 12.5);
  assert.equal(value(DECIMAL, "12345678901234567890.01"), "12345678901234567890.01");
  assert.deepEqual(wrong(DECIMAL, "-1"), [""]);
});

test("a number that others would read as another is refused, and so is what only a program writes", () => {
  const number = { type: "number" };
  assert.equal(value(number, "1 000,5"), 1000.5);
  assert.equal(value(number, "0.125"), 0.125);
  for (const typed of ["1,000", "1,000.50", "0x10", "Infinity", "1.2.3"])
    assert.deepEqual(wrong(number, typed), [""], typed);
  assert.equal(plainNumber("1.000", ","), null);
  assert.equal(plainNumber("1.000", "."), "1.000");
});

test("a whole number keeps its digits or is refused; it is never another", () => {
  const { value: found, errors } = made({ type: "integer" }, "9007199254740993");
  assert.ok(errors.length > 0 || found === 9007199254740993n);
});

test("what was emptied does not come back as the default", () => {
  assert.equal(value({ type: "string", default: "as usual" }, ""), "");
  const maybe = { anyOf: [{ type: "string" }, { type: "null" }], default: "as usual" };
  assert.equal(value(maybe, ""), null);
  assert.deepEqual(wrong({ type: "integer", default: 5 }, ""), [""]);
  const list = { type: "array", items: { type: "string" }, default: ["one"] };
  assert.deepEqual(value({ type: "object", properties: { list } }, { list: [] }), { list: [] });
});

test("what is optional can be left out however it looks inside, also after it was begun", () => {
  const line = { type: "object", required: ["sku"], properties: { sku: { type: "string" } } };
  const colours = { type: "array", uniqueItems: true, minItems: 1, items: { enum: ["red", "blue"] } };
  const form = {
    type: "object",
    properties: { line, lines: { type: "array", minItems: 1, items: line }, colours },
  };
  assert.deepEqual(value(form, begin(questionOf(form))), {});
  assert.deepEqual(value(form, { line: { sku: "" }, lines: [{ sku: "" }], colours: [] }), {});
  assert.deepEqual(wrong({ ...form, required: ["colours"] }, {}), ["/colours"]);
});

test("the length of a text is counted as the server counts it", () => {
  const short = { type: "string", maxLength: 3 };
  assert.equal(value(short, "👍👍👍"), "👍👍👍");
  assert.deepEqual(wrong(short, "four"), [""]);
});

test("defaults of alternatives, of times and of constants are there at first", () => {
  const either = { anyOf: [{ type: "integer" }, { type: "string" }], default: "soon" };
  assert.equal(value(either, begin(questionOf(either))), "soon");
  const at = { type: "string", format: "date-time", default: "2026-05-01T12:30:45.250Z" };
  assert.equal(value(at, begin(questionOf(at))), "2026-05-01T12:30:45.250Z");
  const kind = { type: "object", properties: { kind: { const: "cat", default: "cat" } } };
  assert.deepEqual(value(kind, begin(questionOf(kind))), { kind: "cat" });
});

test("a time of day is the reader's own, and says so", () => {
  const time = { type: "string", format: "time" };
  assert.match(String(value(time, "09:00")), /^09:00:00(Z|[+-]\d\d:\d\d)$/);
  assert.equal(value(time, draftOf(questionOf(time), value(time, "09:15:30"))), value(time, "09:15:30"));
});

test("names that every object has are names like others, and what is required is always asked", () => {
  const form = JSON.parse(
    '{"type": "object", "required": ["extra"], "properties": {"__proto__": {"type": "string"}, "toString": {"type": "string"}}}',
  );
  const draft = JSON.parse('{"__proto__": "a", "extra": "[1]"}');
  assert.equal(JSON.stringify(value(form, draft)), '{"__proto__":"a","extra":[1]}');
  assert.deepEqual(wrong(form, {}), ["/extra"]);
});
