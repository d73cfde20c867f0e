// The program, for runs beside those of the page.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ROOT } from "./browser.js";
import { readNpy } from "./npy.js";

const program = process.env.DOWNHILL || join(ROOT, "target/debug/downhill");

/** Returns what `downhill info` says, with the kernels that browsers have. */
export function info(folder) {
  return execFileSync(program, ["info", folder, "--family", "tile", "-b", "1"], { cwd: ROOT, encoding: "utf8" });
}

/**
 * Samples with the program.
 *
 * @param {string[]} options of `downhill sample`
 * @returns {{png: Buffer, samples: {shape: number[], values: Float32Array}, report: object}}
 */
export function sample(options) {
  const folder = mkdtempSync(join(tmpdir(), "downhill-"));
  const [png, npy, report] = ["x.png", "x.npy", "x.json"].map((name) => join(folder, name));
  execFileSync(program, ["sample", ...options, "-q", "-o", png, "--save-samples", npy, "--json", report], { cwd: ROOT });
  return {
    png: readFileSync(png),
    samples: readNpy(readFileSync(npy)),
    report: JSON.parse(readFileSync(report, "utf8")),
  };
}
