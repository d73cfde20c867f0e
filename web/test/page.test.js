// The page in a browser: its numbers beside the program's, each tab, the keyboard, narrow screens, dark mode, faults.

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";

import { launch, open, PREFIX, ROOT, says, WEB } from "./browser.js";
import { ratio, texts } from "./contrast.js";
import { readNpy } from "./npy.js";
import { info, sample } from "./program.js";
import { serve } from "./server.js";

const SHOTS = join(ROOT, "target/web");
const SAVED = join(SHOTS, "saved");
const DIST = process.env.DIST ?? join(WEB, "dist");
const GO = "#panel-digits [data-part=go]";
const WORDS = "#panel-digits [data-part=words]";

let browser;
let server;
before(async () => {
  rmSync(SAVED, { recursive: true, force: true });
  mkdirSync(SAVED, { recursive: true });
  browser = await launch();
  server = await serve({ [PREFIX]: `${DIST}/` });
});
after(async () => {
  await browser?.close();
  server?.close();
});

/** Opens the page and waits for the engine; nothing but a test that expects faults has any. */
async function visit(fragment = "", { width = 1280, height = 900, scheme = "light", motion = "reduce" } = {}) {
  const opened = await open(browser, server.origin + PREFIX + fragment, async (page) => {
    await page.setViewport({ width, height, deviceScaleFactor: width < 500 ? 2 : 1 });
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: motion },
    ]);
    const session = await page.createCDPSession();
    await session.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: SAVED });
  });
  await says(opened.page, "[data-part=status]", /^Ready/);
  return opened;
}

/** Runs what the form of the digits asks for, to its end. */
async function run(page) {
  await page.click(GO);
  return says(page, WORDS, /^16 digits of seed \d+: /, 900_000);
}

/** Saves a file by its button, and returns its bytes. */
async function saved(page, what, name) {
  const file = join(SAVED, name);
  rmSync(file, { force: true });
  await page.click(`#panel-digits [data-save=${what}]`);
  // Chromium takes the name with an empty file, and moves the whole one there.
  const there = () => existsSync(file) && statSync(file).size > 0;
  for (let wait = 0; wait < 100 && !there(); wait += 1) await new Promise((done) => setTimeout(done, 100));
  return readFileSync(file);
}

/** Returns the size and the bytes of a PNG, decoded by the browser. */
async function decoded(page, png) {
  const { width, height, bytes } = await page.evaluate(async (base64) => {
    const blob = new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: "image/png" });
    const image = await createImageBitmap(blob);
    const canvas = new OffscreenCanvas(image.width, image.height);
    canvas.getContext("2d").drawImage(image, 0, 0);
    const { data } = canvas.getContext("2d").getImageData(0, 0, image.width, image.height);
    return { width: image.width, height: image.height, bytes: [...data] };
  }, png.toString("base64"));
  return { width, height, bytes };
}

/** Returns the largest difference of two arrays; `among` says which places count. */
function largest(one, other, among = () => true) {
  assert.equal(one.length, other.length);
  return one.reduce((most, value, at) => (among(at) ? Math.max(most, Math.abs(value - other[at])) : most), 0);
}

/** Returns the points of the plots: name of the series -> [x, y]. */
function points(page, part) {
  return page.$$eval(`#panel-digits [data-part=${part}] g.series`, (groups) =>
    Object.fromEntries(
      groups.map((group) => [
        group.dataset.series,
        [...group.querySelectorAll("circle")].map(({ dataset }) => [Number(dataset.x), Number(dataset.y)]),
      ]),
    ),
  );
}

/** Returns the embedded digits, 784 values from -1 to 1 each. */
function scaledDigits() {
  const bytes = gunzipSync(readFileSync(join(ROOT, "data/digits/digits-images-idx3-ubyte.gz"))).subarray(16);
  return Float64Array.from(bytes, (byte) => byte / 127.5 - 1);
}

/** Returns the least root mean square difference of an image from a digit. */
function nearest(image, digits) {
  let least = Infinity;
  for (let start = 0; start < digits.length; start += 784) {
    let sum = 0;
    for (let at = 0; at < 784 && sum < least; at += 1) sum += (image[at] - digits[start + at]) ** 2;
    least = Math.min(least, sum);
  }
  return Math.sqrt(least / 784);
}

async function shot(page, name) {
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

describe("digits", () => {
  test("sixteen digits are the program's", async () => {
    const { page, faults } = await visit("#digits?beside=0");
    const words = await run(page);
    assert.match(words, /Gradient estimation \d+\.\d\d s, 10 calls\. On .*in software\.$/);
    const program = sample(["--seed", "0", "--steps", "10", "--sampler", "ge"]);

    const { shape, values } = readNpy(await saved(page, "npy", "downhill-ge-10-0.npy"));
    assert.deepEqual(shape, [16, 1, 28, 28]);
    const apart = largest([...values], program.samples.values);
    console.log(`largest difference of a value from the program's: ${apart.toExponential(1)}`);
    assert.ok(apart < 1e-4, `${apart}`);

    const theirs = await decoded(page, program.png);
    const ours = await decoded(page, await saved(page, "png", "downhill-ge-10-0.png"));
    assert.deepEqual([ours.width, ours.height], [118, 118]);
    assert.ok(largest(ours.bytes, theirs.bytes) <= 1);
    // What is on the screen: the same without the white between images.
    const shown = await page.$eval("#panel-digits canvas", (canvas) => [
      ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data,
    ]);
    assert.ok(largest(shown, theirs.bytes, (at) => shown[at - (at % 4) + 3] === 255) <= 1);
    assert.equal(shown.filter((value, at) => at % 4 === 3 && value === 255).length, 16 * 28 * 28);

    const large = await decoded(page, await saved(page, "large", "downhill-ge-10-0-large.png"));
    assert.deepEqual([large.width, large.height], [944, 944]);

    // The levels are the program's, and the plots show what is saved.
    const [first] = JSON.parse(await saved(page, "json", "downhill-ge-10-0.json")).runs;
    const levels = program.report.schedule.levels.map(({ sigma }) => sigma);
    first.steps.forEach((step, index) => {
      assert.ok(Math.abs(step.sigma / levels[index] - 1) < 1e-5, `level ${index}: ${step.sigma}`);
      assert.ok(Math.abs(step.sigma_next / levels[index + 1] - 1) < 1e-5);
    });
    // The last state is what is saved: its distances by another way.
    const digits = scaledDigits();
    first.steps.at(-1).state_distance.forEach((distance, index) => {
      const image = values.subarray(784 * index, 784 * (index + 1));
      assert.ok(Math.abs(distance / nearest(image, digits) - 1) < 1e-4, `${distance} of image ${index}`);
    });
    await shot(page, "digits");
    assert.deepEqual(faults, []);
    await page.close();
  });

  test("plots of two samplers from the same noise show the saved numbers", async () => {
    const { page, faults } = await visit("#digits?steps=3&seed=4", { scheme: "dark" });
    await run(page);
    const { runs, model } = JSON.parse(await saved(page, "json", "downhill-ge-3-4.json"));
    assert.equal(model.software, true);
    assert.deepEqual(runs.map(({ settings }) => settings.sampler), ["ge", "ddim"]);
    const rows = String(await saved(page, "csv", "downhill-ge-3-4.csv")).trim().split("\n");
    assert.equal(rows.length, 1 + 2 * 3 * 16);
    for (const [part, suffix, quantity, sigma] of [
      ["distance", ", noisy picture", "state_distance", "sigma_next"],
      ["distance", ", expected picture", "distance", "sigma"],
      ["norm", "", "eps_norm", "sigma"],
    ]) {
      const plotted = await points(page, part);
      runs.forEach(({ steps }, index) => {
        const curve = plotted[`${["Gradient estimation", "DDIM"][index]}${suffix}`];
        assert.equal(curve.length, 3);
        steps.forEach((step, at) => {
          const mean = step[quantity].reduce((sum, value) => sum + value, 0) / 16;
          assert.ok(Math.abs(curve[at][0] / step[sigma] - 1) < 1e-6 && Math.abs(curve[at][1] / mean - 1) < 1e-5);
        });
      });
      const labels = await page.$$eval(`#panel-digits [data-part=${part}] text.label`, (all) => all.map((one) => one.textContent));
      assert.ok(labels.some((one) => one.includes("sigma")) && labels.length >= 2, `${labels}`);
    }
    // The first call sees the same noise in both.
    assert.deepEqual(runs[0].steps[0].eps_norm, runs[1].steps[0].eps_norm);
    assert.ok(runs[0].steps[0].eps_norm.every((norm) => norm > 0.9 && norm < 1.1));
    // Earlier steps can be looked at again, as predictions and as noisy pictures.
    const pixels = () => page.$eval("#panel-digits canvas", (canvas) => canvas.toDataURL());
    const final = await pixels();
    await page.focus("#panel-digits [data-part=scrub]");
    await page.keyboard.press("Home");
    await says(page, "#panel-digits [data-part=step-words]", /^Step 1 of 3/);
    const prediction = await pixels();
    await page.click("#panel-digits [data-part=show][value=x]");
    const noisy = await pixels();
    assert.equal(new Set([final, prediction, noisy]).size, 3);
    await shot(page, "dark");
    assert.deepEqual(faults, []);
    await page.close();
  });

  test("an address holds the settings of a run, and any sampler is the program's", async () => {
    const { page, faults } = await visit("#digits?sampler=dpm%2B%2B2m&steps=2&seed=5&schedule=karras&beside=0&nonsense=1");
    assert.equal(await page.$eval("#panel-digits [name=sampler]", (select) => select.value), "dpm++2m");
    assert.equal(await page.$eval("#panel-digits [data-part=gamma-field]", (field) => field.hidden), true);
    await run(page);
    const program = sample(["--sampler", "dpm++2m", "--steps", "2", "--seed", "5", "--schedule", "karras"]);
    const { values } = readNpy(await saved(page, "npy", "downhill-dpm2m-2-5.npy"));
    // Two steps leave values of 10 and more.
    const size = Math.max(...program.samples.values.map(Math.abs));
    assert.ok(largest([...values], program.samples.values) < 1e-4 * size);
    // A change is in the address at once, and a value that is no value is not taken.
    await page.$eval("#panel-digits [name=steps]", (slider) => {
      slider.value = "7";
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    });
    assert.match(page.url(), /#digits\?.*steps=7/);
    await page.evaluate(() => (location.hash = "#digits?steps=many&seed=-5&sampler=magic"));
    await page.waitForFunction(() => document.querySelector("#panel-digits [name=steps]").value === "10");
    assert.equal(await page.$eval("#panel-digits [name=seed]", (field) => field.value), "0");
    assert.equal(await page.$eval("#panel-digits [name=sampler]", (select) => select.value), "ge");
    const unmet = await says(page, "[data-part=unmet]", /steps=many/);
    assert.match(unmet, /seed=-5, and 0 is taken; sampler=magic, and ge is taken/);
    await page.click(GO);
    assert.deepEqual(faults, []);
    await page.close();
  });

  test("with the keyboard alone a run is begun and stopped", async () => {
    const { page, faults } = await visit("#digits?steps=5&beside=0");
    const seen = [];
    const focused = () =>
      page.evaluate(() => {
        const one = document.activeElement;
        const { outlineStyle, outlineWidth } = getComputedStyle(one.closest(".button") ?? one);
        return { name: one.name || one.dataset.tab || one.dataset.part || one.textContent, ring: outlineStyle !== "none" && outlineWidth !== "0px" };
      });
    for (let press = 0; press < 30 && seen.at(-1) !== "go"; press += 1) {
      await page.keyboard.press("Tab");
      const { name, ring } = await focused();
      assert.ok(ring, `the focus on ${name} is not seen`);
      seen.push(name);
    }
    for (const name of ["digits", "sampler", "steps", "gamma", "schedule", "seed", "dice", "beside", "go"]) {
      assert.ok(seen.includes(name), `${name} is not reached: ${seen}`);
    }
    await page.keyboard.press("Enter");
    await page.waitForFunction((go) => document.querySelector(go).textContent === "Stop", {}, GO);
    await says(page, "#panel-digits [data-part=step-words]", /^Step 1 of 5/);
    // Enter in a field does not stop a run, and the run is not that of the field any more.
    await page.focus("#panel-digits [name=seed]");
    await page.keyboard.type("1");
    await page.keyboard.press("Enter");
    assert.equal(await page.$eval(GO, (button) => button.textContent), "Stop");
    assert.equal(await page.$eval("#panel-digits [data-part=changed]", (one) => one.hidden), false);
    await page.focus(GO);
    await page.keyboard.press("Enter");
    assert.match(await says(page, WORDS, /^Stopped/), /^Stopped after step [1-4] of 5\.$/);
    assert.equal(await page.$eval(GO, (button) => button.textContent), "Sample");
    assert.equal(await page.$eval("#panel-digits [data-save=npy]", (button) => button.disabled), true);
    // The tabs: arrows, and their ends.
    await page.focus("#tab-digits");
    const shown = () => page.$$eval('[role=tabpanel]:not([hidden])', (all) => all.map((one) => one.id));
    for (const [key, id] of [["ArrowRight", "chain"], ["ArrowRight", "model"], ["ArrowRight", "digits"], ["End", "model"], ["Home", "digits"]]) {
      await page.keyboard.press(key);
      assert.deepEqual(await shown(), [`panel-${id}`]);
      assert.equal((await focused()).name, id);
      assert.equal(await page.$$eval('[role=tab][tabindex="0"], [role=tab]:not([tabindex])', (all) => all.length), 1);
    }
    assert.equal(await page.$eval("button", (one) => getComputedStyle(one).transitionDuration), "0s");
    assert.deepEqual(faults, []);
    await page.close();
  });
});

test("the linear chain follows its controls", async () => {
  const { page, faults } = await visit("#chain?levels=10&components=4");
  const headline = () => says(page, "#panel-chain [data-part=headline]", /^After \d+ levels/);
  assert.match(await headline(), /^After 10 levels, [\d.]+ of 4 components/);
  const last = (noise) => `#panel-chain [data-part=effective] g.series[data-series=${noise}] circle:last-of-type`;
  const effective = (noise) => page.$eval(last(noise), (circle) => Number(circle.dataset.y));
  const fresh = await effective("fresh");
  assert.equal((await page.$$("#panel-chain [data-part=turn] g.series")).length, 4);
  await page.click("#panel-chain [name=coupling][value=shared]");
  await page.waitForSelector(last("shared"));
  // One draw loses least (docs/linear-diffusion.md).
  const shared = await effective("shared");
  assert.ok(shared > fresh && shared <= 4 + 1e-9, `${shared}`);
  assert.match(page.url(), /coupling=shared/);
  await page.focus("#panel-chain [name=levels]");
  await page.keyboard.press("ArrowRight");
  await says(page, "#panel-chain [data-part=headline]", /^After 11 levels/);
  const shares = await page.$$eval("#panel-chain [data-part=energy] g.series", (groups) =>
    groups.map((group) => Number([...group.querySelectorAll("circle")].at(-1).dataset.y)),
  );
  assert.ok(Math.abs(shares.reduce((sum, share) => sum + share, 0) - 1) < 1e-6, `${shares}`);
  await page.click("#panel-chain [name=coupling][value=fresh]");
  // Meanwhile the page follows its visitor: the chain is computed beside its thread.
  await page.$eval("#panel-chain [name=levels]", (slider) => {
    let last = performance.now();
    window.longest = 0;
    setInterval(() => {
      const now = performance.now();
      window.longest = Math.max(window.longest, now - last);
      last = now;
    }, 5);
    slider.value = "40";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await says(page, "#panel-chain [data-part=headline]", /^After 40 levels/);
  const words = await page.$eval("#panel-chain [data-part=words]", (one) => one.textContent);
  const [, seconds] = words.match(/in ([\d.]+) s\.$/);
  const longest = await page.evaluate(() => window.longest);
  assert.ok(longest < 500 * Number(seconds), `the page stood still for ${longest} ms of ${seconds} s`);
  await shot(page, "chain");
  assert.deepEqual(faults, []);
  await page.close();
});

test("a folder of diffusers is opened and sampled, and bad files have their messages", async () => {
  const { page, faults } = await visit("#model");
  const refused = "#panel-model [data-part=refused]";
  const files = await page.$("#panel-model [data-part=files]");
  const bad = join(SAVED, "bad.safetensors");
  writeFileSync(bad, "these are no weights");
  await files.uploadFile(bad);
  assert.ok((await says(page, refused, /\S/)).length > 20);
  const picture = join(SAVED, "cat.png");
  writeFileSync(picture, "no model");
  await files.uploadFile(picture);
  await says(page, refused, /no \.safetensors file among cat\.png/);
  await shot(page, "refused");
  const pipeline = await page.$("#panel-model [data-part=folder]");
  await pipeline.uploadFile(join(ROOT, "tests/golden/latent/sd1-like"));
  await says(page, refused, /sd1-like is a pipeline of several networks, StableDiffusionPipeline\..* downhill sample/);
  // A file that is too large is not read; this one has no blocks on the disk.
  const long = join(SAVED, "long.safetensors");
  writeFileSync(long, "");
  truncateSync(long, 600e6);
  await files.uploadFile(long);
  await says(page, refused, /^The files take 600 MB; this page reads up to 537 MB\. Run downhill sample /);
  rmSync(long);

  // A network of few weights and large maps is refused before its device is asked for memory.
  const folder = await page.$("#panel-model [data-part=folder]");
  const large = join(SAVED, "large");
  cpSync(join(ROOT, "weights/digits"), large, { recursive: true });
  const config = JSON.parse(readFileSync(join(large, "config.json"), "utf8"));
  writeFileSync(join(large, "config.json"), JSON.stringify({ ...config, sample_size: 2048 }));
  await folder.uploadFile(large);
  assert.match(await says(page, refused, /memory limit/), /\d[\d.]* [GM]i?B/);
  await shot(page, "memory");
  await folder.uploadFile(join(ROOT, "weights/digits"));
  const facts = await says(page, "#panel-model [data-part=facts]", /Parameters/);
  assert.match(facts, /28 × 28, 1 channel.*1\.1 million/s);
  // The memory is that of the program.
  const [, weights, maps] = facts.match(/([\d.]+) MB for weights, ([\d.]+) MB for the maps/);
  const theirs = info("weights/digits");
  for (const [megabytes, line] of [[weights, /weights +([\d.]+) MiB/], [maps, /values +([\d.]+) MiB/]]) {
    const [, mebibytes] = theirs.match(line);
    assert.ok(Math.abs(megabytes / (mebibytes * 1.048576) - 1) < 0.1, `${facts}\n${theirs}`);
  }
  assert.equal(await page.$eval(refused, (one) => one.hidden), true);
  await page.$eval("#panel-model form", (form) => {
    for (const [name, value] of [["count", "2"], ["steps", "2"]]) form.elements[name].value = value;
    form.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await page.click("#panel-model [data-part=go]");
  await says(page, "#panel-model [data-part=words]", /^2 images of seed 0: /);
  const shown = await page.$eval("#panel-model canvas", (canvas) => [
    ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data,
  ]);
  const images = await decoded(page, sample(["weights/digits", "-n", "2", "--steps", "2", "--schedule", "paper"]).png);
  assert.ok(largest(shown, images.bytes, (at) => shown[at - (at % 4) + 3] === 255) <= 1);
  await shot(page, "model");
  // A refused file leaves the model and its pictures.
  await files.uploadFile(picture);
  await says(page, refused, /no \.safetensors file among cat\.png/);
  assert.match(await page.$eval("#panel-model [data-part=words]", (one) => one.textContent), /^2 images of seed 0: /);
  // The way back leads through the tabs.
  await page.click("#tab-chain");
  assert.match(page.url(), /#chain/);
  await page.goBack();
  await page.waitForFunction(() => !document.getElementById("panel-model").hidden);
  assert.deepEqual(faults, []);
  await page.close();
});

test("on phones nothing is wider than the screen", async () => {
  const { page, faults } = await visit("", { width: 360, height: 740 });
  for (const name of ["digits", "chain", "model"]) {
    await page.click(`#tab-${name}`);
    if (name === "chain") await says(page, "#panel-chain [data-part=headline]", /^After/);
    const [width, small] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      [...document.querySelectorAll("button, select, input")]
        .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 16)
        .map((one) => one.outerHTML),
    ]);
    assert.ok(width <= 360, `${name} is ${width} pixels wide`);
    assert.deepEqual(small, []);
    await shot(page, `phone-${name}`);
  }
  assert.deepEqual(faults, []);
  await page.close();
});

/** What one can operate, as a screen reader sees it. */
function controls(node) {
  const roles = ["button", "checkbox", "combobox", "radio", "slider", "spinbutton", "tab", "textbox"];
  const inner = (node.children ?? []).flatMap(controls);
  return roles.includes(node.role) ? [node, ...inner] : inner;
}

test("text is readable in light and in dark, and controls have names", async () => {
  for (const scheme of ["light", "dark"]) {
    const { page, faults } = await visit("", { scheme });
    for (const name of ["digits", "chain", "model"]) {
      await page.click(`#tab-${name}`);
      if (name === "chain") await says(page, "#panel-chain [data-part=headline]", /^After/);
      const found = await page.evaluate(texts);
      assert.ok(found.length > 15, `${name}: ${found.length} texts`);
      for (const { text, colour, ground, size } of found) {
        assert.ok(ratio(colour, ground) >= 4.5, `${scheme}: "${text}" has a contrast of ${ratio(colour, ground).toFixed(2)}`);
        assert.ok(size >= 13, `"${text}" is ${size} pixels high`);
      }
      for (const { role, name: label } of controls(await page.accessibility.snapshot())) {
        assert.ok(label, `${name}: a ${role} without a name`);
      }
    }
    assert.deepEqual(faults, []);
    await page.close();
  }
});

test("without WebGPU the page says what is missing and what to do", async () => {
  const other = await launch({ gpu: false });
  try {
    const { page, faults } = await open(other, server.origin + PREFIX);
    const words = await says(page, "[data-part=missing]", /\S/);
    assert.match(words, /WebGPU/);
    assert.match(words, /Chrome|Firefox|Safari/);
    assert.match(words, /downhill sample/);
    assert.equal(await page.$eval(GO, (button) => button.disabled), true);
    // The linear chain needs no adapter.
    await page.click("#tab-chain");
    await says(page, "#panel-chain [data-part=headline]", /^After/);
    await shot(page, "missing");
    // Chromium's own words.
    assert.deepEqual(faults.filter((one) => one !== "warn: No available adapters."), []);
  } finally {
    await other.close();
  }
});

test("the example of the documentation runs", async () => {
  const text = readFileSync(join(ROOT, "docs/web.md"), "utf8");
  const [, example] = text.match(/```html\n(.*?)```/s);
  const folder = join(SHOTS, "example");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "index.html"), example);
  const site = await serve({ "/downhill/": `${DIST}/`, "/": `${folder}/` });
  try {
    const { page, faults } = await open(browser, `${site.origin}/`);
    await page.waitForFunction(() => document.querySelector("canvas")?.width === 28, { timeout: 300_000 });
    const shown = await page.$eval("canvas", (canvas) => [...canvas.getContext("2d").getImageData(0, 0, 28, 28).data]);
    const theirs = await decoded(page, sample(["-n", "1", "--steps", "3"]).png);
    assert.ok(largest(shown, theirs.bytes) <= 1);
    assert.deepEqual(faults.filter((one) => !one.includes("404")), []);
    await page.close();
  } finally {
    site.close();
  }
});

test("the links of the page lead to documents", async () => {
  const text = readFileSync(join(WEB, "index.html"), "utf8");
  const links = [...text.matchAll(/href="([^"]*)" data-doc="([^"]*)"/g)];
  assert.ok(links.length >= 4);
  for (const [, href, file] of links) {
    assert.ok(existsSync(join(ROOT, file)), file);
    assert.equal(href, `../${file === "README.md" ? "index.html" : file.replace(/md$/, "html")}`);
  }
});
