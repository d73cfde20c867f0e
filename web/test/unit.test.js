// The modules of the page that need no browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { chosen, common, source } from "../page/files.js";
import { readNpy } from "./npy.js";
import { format, parse } from "../page/hash.js";
import { layout, size } from "../page/picture.js";
import { csv, json, npy } from "../page/save.js";
import { label, linear, logarithmic } from "../page/scale.js";
import { curve, drive, track } from "../page/track.js";

test("fields survive the address, and defaults are left out of it", () => {
  const defaults = { sampler: "ge", steps: "10" };
  assert.equal(format("digits", defaults, defaults), "#digits");
  const fields = { steps: "8", sampler: "dpm++2m", note: "a&b=c #?" };
  const fragment = format("digits", fields, defaults);
  assert.deepEqual(parse(fragment), { tab: "digits", fields });
  assert.deepEqual(parse(""), { tab: "", fields: {} });
});

test("linear scales end on ticks and hold their range", () => {
  for (const [low, high] of [[0, 1], [0.31, 0.87], [-2, 7], [0.98, 1.02], [5, 5], [0, 0], [1e-7, 3e-7]]) {
    const { place, ticks } = linear(low, high);
    assert.ok(ticks.length >= 2 && ticks.length <= 8, `${low} to ${high}: ${ticks}`);
    assert.ok(Math.abs(place(ticks[0])) < 1e-9 && Math.abs(place(ticks.at(-1)) - 1) < 1e-9);
    assert.ok(place(low) >= -1e-9 && place(high) <= 1 + 1e-9);
  }
  assert.deepEqual(linear(0, 90, 30).ticks, [0, 30, 60, 90]);
});

test("logarithmic scales place powers evenly", () => {
  const { place, ticks } = logarithmic(0.01, 100);
  assert.deepEqual(ticks, [0.01, 0.1, 1, 10, 100]);
  ticks.forEach((tick, index) => assert.ok(Math.abs(place(tick) - index / 4) < 1e-12));
  assert.ok(logarithmic(1e-30, 1).ticks.length <= 8, "few ticks over many decades");
  assert.ok(logarithmic(0.3, 0.9).ticks.length >= 2, "ticks within a decade");
  assert.equal(logarithmic(2, 2).place(2), 0.5);
});

test("labels are short", () => {
  const labels = [0, 1, 0.05, 40.0937, 1234.5, 1e-8, -0.5, 12000].map(label);
  assert.deepEqual(labels, ["0", "1", "0.05", "40.1", "1230", "1e−8", "−0.5", "1e4"]);
});

test("grids are as square as possible, wider rather than taller", () => {
  const layouts = [1, 2, 3, 4, 5, 6, 9, 16].map((count) => layout(count)).map(({ columns, rows }) => `${columns}x${rows}`);
  assert.deepEqual(layouts, ["1x1", "2x1", "2x2", "2x2", "3x2", "3x2", "3x3", "4x4"]);
  assert.deepEqual(size(16, { height: 28, width: 28 }), { width: 118, height: 118 });
});

/** A model of two pixels per image whose steps are counted; `batch` images at a time. */
function model(batch, log = []) {
  return {
    log,
    async *sample({ count, steps, sampler, signal }) {
      for (let first = 0; first < count; first += batch) {
        const images = Array.from({ length: Math.min(batch, count - first) }, (_, index) => first + index);
        for (let index = 0; index < steps; index += 1) {
          signal.throwIfAborted();
          log.push(`${sampler}${index}`);
          const of = (size, value) => Float32Array.from({ length: size * images.length }, (_, at) => value + images[Math.floor(at / size)]);
          yield {
            index, steps, images, sigma: 2 ** -index, sigmaNext: 2 ** -(index + 1), calls: index + 1,
            x: of(2, 0), x0: of(2, 10), epsNorm: of(1, 1), distance: of(1, index), stateDistance: of(1, 9),
          };
        }
      }
      return new Float32Array(2 * count).fill(7);
    },
  };
}

globalThis.requestAnimationFrame ??= (callback) => setTimeout(callback);

test("two samplers take their steps by turns", async () => {
  const one = model(4);
  const tracks = [track("main", "A", { sampler: "a", steps: 2, count: 4 }), track("beside", "B", { sampler: "b", steps: 2, count: 4 })];
  let advanced = 0;
  await drive(one, tracks, new AbortController().signal, () => (advanced += 1));
  assert.deepEqual(one.log, ["a0", "b0", "a1", "b1"]);
  assert.deepEqual(tracks.map(({ state, calls }) => [state, calls]), [["done", 2], ["done", 2]]);
  assert.equal(advanced, 6);
  assert.deepEqual(curve(tracks[0], "distance"), [
    { x: 1, y: 1.5, low: 0, high: 3 },
    { x: 0.5, y: 2.5, low: 1, high: 4 },
  ]);
  assert.deepEqual(curve(tracks[0], "stateDistance").map(({ x, y }) => [x, y]), [[0.5, 10.5], [0.25, 10.5]]);
});

test("batches of a run are put together", async () => {
  const [one] = [track("main", "A", { sampler: "a", steps: 3, count: 5 })];
  await drive(model(2), [one], new AbortController().signal, () => {});
  assert.equal(one.calls, 9);
  assert.equal(one.steps.length, 3);
  assert.deepEqual(one.steps[2].images, [0, 1, 2, 3, 4]);
  assert.deepEqual([...one.steps[2].x0], [10, 10, 11, 11, 12, 12, 13, 13, 14, 14]);
  assert.deepEqual([...one.steps[1].distance], [1, 2, 3, 4, 5]);
});

test("a run that is stopped keeps its steps, and one that fails says so", async () => {
  const control = new AbortController();
  const one = track("main", "A", { sampler: "a", steps: 9, count: 1 });
  await drive(model(1), [one], control.signal, () => one.steps.length === 3 && control.abort());
  assert.deepEqual([one.state, one.steps.length, one.final], ["stopped", 3, null]);
  const broken = { async *sample() { throw new Error("lost device"); } };
  const other = track("main", "A", { sampler: "a", steps: 9, count: 1 });
  await assert.rejects(drive(broken, [other], new AbortController().signal, () => {}), /lost device/);
  assert.equal(other.state, "failed");
});

test("numbers are saved as they are", async () => {
  const one = track("main", "A", { sampler: "a", steps: 2, count: 2, seed: 3 });
  await drive(model(2), [one], new AbortController().signal, () => {});
  const rows = csv([one]).trim().split("\n");
  assert.equal(rows[0], "sampler,step,sigma,sigma_next,calls,image,eps_norm,distance,state_distance");
  assert.deepEqual(rows.slice(1), ["a,1,1,0.5,1,0,1,0,9", "a,1,1,0.5,1,1,2,1,10", "a,2,0.5,0.25,2,0,1,1,9", "a,2,0.5,0.25,2,1,2,2,10"]);
  const { runs, model: described } = JSON.parse(json([one], { name: "m" }));
  assert.equal(described.name, "m");
  assert.deepEqual([runs[0].settings.seed, runs[0].steps[1].eps_norm, runs[0].steps[1].distance], [3, [1, 2], [1, 2]]);
});

test("arrays are NumPy's", async () => {
  for (const shape of [[3], [2, 1, 3], [16, 1, 28, 28], [1, 1, 1, 1000000]]) {
    const values = Float32Array.from({ length: shape.reduce((one, other) => one * other) }, (_, at) => at / 7);
    const bytes = new Uint8Array(await npy(values, shape).arrayBuffer());
    assert.equal((bytes[8] + 256 * bytes[9] + 10) % 64, 0);
    assert.deepEqual(readNpy(bytes), { shape, values });
  }
});

/** A file without a disk. */
function file(path, content) {
  const bytes = new TextEncoder().encode(content);
  return { path, file: { size: bytes.length, arrayBuffer: async () => bytes.buffer, text: async () => content } };
}

test("a folder's files keep their paths inside it", async () => {
  assert.equal(common(["a/b/c.json", "a/b/d/e.json"]), "a/b/");
  assert.equal(common(["a.json", "b/c.json"]), "");
  const { name, content: found } = await source([
    file("model/model_index.json", "{}"),
    file("model/unet/config.json", "{}"),
    file("model/unet/diffusion_pytorch_model.safetensors", "weights"),
    file("model/README.md", "no part of it"),
  ]);
  assert.deepEqual(Object.keys(found), ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]);
  assert.equal(new TextDecoder().decode(found["unet/diffusion_pytorch_model.safetensors"]), "weights");
  assert.equal(name, "model");
  const one = await source([file("one.safetensors", "weights")]);
  assert.deepEqual([one.name, new TextDecoder().decode(one.content)], ["one.safetensors", "weights"]);
  // The only weights beside a description have the name that the engine looks for.
  const pair = await source([file("config.json", "{}"), file("mine.safetensors", "weights")]);
  assert.deepEqual(Object.keys(pair.content).sort(), ["config.json", "diffusion_pytorch_model.safetensors"]);
  assert.equal(pair.name, "mine.safetensors");
});

test("what is no network of pixels is refused by its class", async () => {
  const pipeline = { _class_name: "StableDiffusionPipeline", vae: ["diffusers", "AutoencoderKL"] };
  const files = (description) => [file("sd/model_index.json", JSON.stringify(description)), file("sd/unet/w.safetensors", "")];
  await assert.rejects(source(files(pipeline)), /`sd` is a pipeline.*`StableDiffusionPipeline`.*downhill sample/);
  await source(files({ _class_name: "DDPMPipeline", unet: ["diffusers", "UNet2DModel"] }));
  for (const kind of ["UNet2DConditionModel", "AutoencoderKL"]) {
    const part = [file("unet/config.json", JSON.stringify({ _class_name: kind })), file("unet/w.safetensors", "")];
    await assert.rejects(source(part), new RegExp(`\`unet\` has a part of a pipeline, \`${kind}\``));
  }
});

test("files that are no model, or too large, are refused before they are read", async () => {
  await assert.rejects(source([file("cat.png", "")]), /no `\.safetensors` file among `cat\.png`/);
  await assert.rejects(source([]), /no `\.safetensors` file/);
  const large = { path: "x.safetensors", file: { size: 3.4e9, arrayBuffer: () => assert.fail("it is read") } };
  await assert.rejects(source([large]), /3\.4 GB.*downhill sample/);
  assert.deepEqual(chosen([{ webkitRelativePath: "", name: "a" }])[0].path, "a");
});
