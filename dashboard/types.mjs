// Types: the API as TypeScript, written from the committed description of it before anything is checked or built.
// It must not know which operations there are: what the description does not say, the dashboard cannot call.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const DESCRIPTION = new URL("../docs/reference/openapi.json", import.meta.url);
const OUT = new URL("src/generated/", import.meta.url);
const BASE = "/v1/";
const MADE = "// Written by types.mjs from docs/reference/openapi.json: change neither here nor by hand.\n\n";

/** Every operation below /v1 by its name: method, path below it, and whether a repeated call is done once. */
function operations(description) {
  const rows = [];
  for (const [path, methods] of Object.entries(description.paths)) {
    if (!path.startsWith(BASE)) continue;
    for (const [method, operation] of Object.entries(methods)) {
      const keyed = (operation.parameters ?? []).some((parameter) => parameter.name === "Idempotency-Key");
      rows.push([operation.operationId, method.toUpperCase(), path.slice(BASE.length), keyed]);
    }
  }
  return rows;
}

/** Written only when it differs: a bundler that watches need not begin anew. */
async function write(name, text) {
  const file = new URL(name, OUT);
  const old = await readFile(file, "utf8").catch(() => null);
  if (old !== text) await writeFile(file, text);
}

const description = JSON.parse(await readFile(DESCRIPTION, "utf8"));
const rows = operations(description).map(
  ([name, method, path, keyed]) =>
    `  ${name}: [${JSON.stringify(method)}, ${JSON.stringify(path)}, ${keyed}],\n`,
);
await mkdir(OUT, { recursive: true });
await write("schema.ts", MADE + astToString(await openapiTS(description, { defaultNonNullable: false })));
await write("operations.ts", `${MADE}export const OPERATIONS = {\n${rows.join("")}} as const;\n`);
