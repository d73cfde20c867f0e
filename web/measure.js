// Measures the bytes of the page and the time to a first image, beside the program:  node web/measure.js
// The browser computes on SwiftShader. The program does, too, if VK_DRIVER_FILES names its manifest, which lies beside
// Chromium; otherwise it takes its own adapter. DOWNHILL names the program.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { launch, open, PREFIX, ROOT, WEB } from "./test/browser.js";
import { serve } from "./test/server.js";

const DIST = join(WEB, "dist");

/** Returns the files of a folder that a visitor loads, by their paths. */
function files(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return files(path);
    return name.endsWith(".d.ts") ? [] : [path];
  });
}

const sums = { raw: 0, gzip: 0, brotli: 0 };
for (const file of files(DIST)) {
  const bytes = readFileSync(file);
  const quality = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
  const sizes = {
    raw: bytes.length,
    gzip: gzipSync(bytes, { level: 9 }).length,
    brotli: brotliCompressSync(bytes, { params: quality }).length,
  };
  for (const name of Object.keys(sums)) sums[name] += sizes[name];
  if (bytes.length > 100_000) console.log(file.slice(DIST.length + 1), sizes);
}
console.log("all files", sums);

const browser = await launch();
const server = await serve({ [PREFIX]: `${DIST}/` });
const { page } = await open(browser, `${server.origin}${PREFIX}#chain`);
const seconds = await page.evaluate(async () => {
  const { open: opened } = await import("./downhill.js");
  const began = performance.now();
  const model = await opened();
  const ready = performance.now();
  const run = async () => {
    const start = performance.now();
    for await (const step of model.sample({ count: 1, steps: 10 })) void step;
    return (performance.now() - start) / 1000;
  };
  const [first, second] = [await run(), await run()];
  return { adapter: model.description.adapter, open: (ready - began) / 1000, first, second };
});
console.log("browser, 1 image in 10 steps", seconds);
await browser.close();
server.close();

const program = process.env.DOWNHILL || join(ROOT, "target/release/downhill");
const cache = mkdtempSync(join(tmpdir(), "downhill-"));
const environment = { ...process.env, XDG_CACHE_HOME: cache };
for (const words of ["cold", "warm"]) {
  const began = performance.now();
  const picture = join(cache, "x.png");
  execFileSync(program, ["sample", "-q", "-n", "1", "--steps", "10", "--family", "tile", "-o", picture], { env: environment });
  console.log(`program, ${words}, 1 image in 10 steps`, (performance.now() - began) / 1000);
}
rmSync(cache, { recursive: true });
