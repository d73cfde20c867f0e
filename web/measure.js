// Measures the bytes of the page and the seconds until it is ready and of each step of one image, beside the program's:
//   node web/measure.js sizes|times
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
const STEPS = 3;

/** Returns the files of a folder that a visitor loads, by their paths. */
function files(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return files(path);
    return name.endsWith(".d.ts") ? [] : [path];
  });
}

/** Prints the bytes of the files, as they are and compressed. */
function sizes() {
  const sums = { raw: 0, gzip: 0, brotli: 0 };
  for (const file of files(DIST)) {
    const bytes = readFileSync(file);
    const quality = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
    const bytesOf = {
      raw: bytes.length,
      gzip: gzipSync(bytes, { level: 9 }).length,
      brotli: brotliCompressSync(bytes, { params: quality }).length,
    };
    for (const name of Object.keys(sums)) sums[name] += bytesOf[name];
    if (bytes.length > 100_000) console.log(file.slice(DIST.length + 1), bytesOf);
  }
  console.log("all files", sums);
}

/** Prints the seconds of one image in the browser and by the program. */
async function times() {
  const browser = await launch({ zeros: true });
  const server = await serve({ [PREFIX]: `${DIST}/` });
  const { page } = await open(browser, `${server.origin}${PREFIX}#chain`);
  const measured = await page.evaluate(async (steps) => {
    const { open: opened } = await import("./downhill.js");
    const began = performance.now();
    const model = await opened();
    const ready = performance.now();
    const taken = [];
    for await (const step of model.sample({ count: 1, steps })) taken.push([step.index, performance.now()]);
    const spent = (from, to) => (to - from) / 1000;
    return {
      adapter: model.description.adapter,
      open: spent(began, ready),
      first: spent(ready, taken[0][1]),
      steady: spent(taken[0][1], taken.at(-1)[1]) / (steps - 1),
    };
  }, STEPS);
  console.log("browser", measured);
  await browser.close();
  server.close();

  const program = process.env.DOWNHILL || join(ROOT, "target/release/downhill");
  const cache = mkdtempSync(join(tmpdir(), "downhill-"));
  const environment = { ...process.env, XDG_CACHE_HOME: cache };
  for (const words of ["program, no caches", "program, again"]) {
    const [picture, report] = [join(cache, "x.png"), join(cache, "x.json")];
    const options = ["-q", "-n", "1", "--steps", String(STEPS), "--family", "tile", "-o", picture, "--json", report];
    const began = performance.now();
    execFileSync(program, ["sample", ...options], { env: environment });
    const total = (performance.now() - began) / 1000;
    const { adapter, timings } = JSON.parse(readFileSync(report, "utf8"));
    const open = total - timings.phases.sampling;
    console.log(words, { adapter: adapter.name, open, first: timings.first_step, steady: timings.steady_step });
  }
  rmSync(cache, { recursive: true });
}

if (process.argv[2] === "sizes") sizes();
else await times();
