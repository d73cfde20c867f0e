// Measures the bytes of the page and the seconds until it is ready and of each step of one image, beside the program's:
//   node web/measure.js sizes
//   node web/measure.js times
//   node web/measure.js model FOLDER     a diffusers folder, and the largest difference from the program's image
// The browser computes on SwiftShader. The program does, too, if VK_DRIVER_FILES names its manifest, which lies beside
// Chromium; otherwise it takes its own adapter. DOWNHILL names the program.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { launch, open, PREFIX, ROOT, WEB } from "./test/browser.js";
import { sample } from "./test/program.js";
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

/** Samples in the browser as it is for visitors; the arguments are those of `open` and `sample` of the module. */
async function inBrowser(source, settings, folders = {}) {
  const browser = await launch({ zeros: true });
  const server = await serve({ [PREFIX]: `${DIST}/`, ...folders });
  const { page } = await open(browser, `${server.origin}${PREFIX}#chain`);
  const measured = await page.evaluate(
    async (source, settings) => {
      const { open: opened } = await import("./downhill.js");
      const began = performance.now();
      const model = await opened(source, { memoryLimit: 2 ** 31 });
      const ready = performance.now();
      const taken = [];
      const run = model.sample(settings);
      let step = await run.next();
      for (; !step.done; step = await run.next()) taken.push(performance.now());
      const spent = (from, to) => (to - from) / 1000;
      return {
        description: model.description,
        samples: [...step.value],
        open: spent(began, ready),
        first: spent(ready, taken[0]),
        steady: spent(taken[0], taken.at(-1)) / (taken.length - 1),
      };
    },
    source,
    settings,
  );
  await browser.close();
  server.close();
  return measured;
}

/** Prints the seconds of one image of a network in the browser, and how far it is from the program's. */
async function model(folder) {
  const settings = { count: 1, steps: STEPS, seed: 0, schedule: "paper" };
  const { samples, description, ...seconds } = await inBrowser("/model/", settings, { "/model/": `${folder}/` });
  console.log("browser", description, seconds);
  const program = sample([folder, "-n", "1", "--steps", String(STEPS), "--seed", "0", "--schedule", "paper"]);
  const { adapter, timings } = program.report;
  console.log("program", { adapter: adapter.name, first: timings.first_step, steady: timings.steady_step });
  const apart = program.samples.values.map((value, at) => Math.abs(value - samples[at]));
  console.log("largest difference of a value", Math.max(...apart));
}

/** Prints the seconds of one image of the embedded network in the browser and by the program. */
async function times() {
  const { description, open, first, steady } = await inBrowser(null, { count: 1, steps: STEPS });
  console.log("browser", { adapter: description.adapter, open, first, steady });

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
    const before = total - timings.phases.sampling;
    console.log(words, { adapter: adapter.name, open: before, first: timings.first_step, steady: timings.steady_step });
  }
  rmSync(cache, { recursive: true });
}

const [, , what, folder] = process.argv;
if (what === "sizes") sizes();
else if (what === "model") await model(resolve(folder));
else await times();
