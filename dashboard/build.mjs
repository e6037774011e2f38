// Build: the files that the server hands out, into one folder: `node build.mjs --out DIR` (dist without it).
// It must not know the server, nor what the pages show.

import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const FILES = ["index.html", "icon.svg", "app.js", "app.css", "layout.js"];

const { values } = parseArgs({ options: { out: { type: "string", default: "dist" } } });
const out = resolve(values.out);

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: HERE,
  entryPoints: { app: "src/main.tsx", layout: "src/graph/worker.ts" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  // The licences of what is bundled stay with it.
  legalComments: "eof",
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "warning",
});
for (const name of ["index.html", "icon.svg"]) await copyFile(join(HERE, name), join(out, name));

let total = 0;
for (const name of FILES) {
  const small = gzipSync(await readFile(join(out, name)), { level: constants.Z_BEST_COMPRESSION });
  await writeFile(join(out, `${name}.gz`), small);
  total += small.length;
}
console.log(`${out}: ${(total / 1000).toFixed(1)} kB gzipped`);
