// The laboratory of one model: settings, pictures as they form, plots, numbers. Used for the digits and for models that
// are dropped onto the page.

import { copy, element, fields, options, parts, readouts, restore, write } from "./dom.js";
import { adapter, words } from "./engine.js";
import { samplerName, samplerOptions, scheduleOptions } from "./names.js";
import { draw, png, size } from "./picture.js";
import { Plot } from "./plot.js";
import { csv, json, npy, save } from "./save.js";
import { label } from "./scale.js";
import { curve, drive, mean, track } from "./track.js";

const SIGMA = { label: "noise level sigma, falling", log: true, reverse: true };
const DISTANCE = {
  title: "Distance of the noisy and of the expected pictures from the nearest digit, over sigma",
  x: SIGMA,
  y: { label: "RMS per pixel (range −1 to 1)", log: true },
};
const NORM = {
  title: "Norm of the estimated noise over the root of the number of pixels, over sigma",
  x: SIGMA,
  y: { label: "|eps| / √n" },
  reference: { y: 1, label: "noise" },
};

/** The laboratory whose run is in progress: the device computes one at a time. */
let busy = null;

/** Returns the curves of a track's distances: the state goes downhill, the prediction waits for it. */
function distances(one) {
  const prediction = curve(one, "distance").map(({ x, y }) => ({ x, y }));
  return [
    { name: `${one.label}, noisy picture`, tone: one.key, points: curve(one, "stateDistance") },
    { name: `${one.label}, expected picture`, tone: `${one.key} dash`, points: prediction },
  ];
}

export class Lab {
  /**
   * @param {HTMLElement} host filled with the laboratory
   * @param {Record<string, string>} defaults values of the form
   * @param {object} page
   * @param {string} page.noun of the images
   * @param {boolean} page.counts `true` if their number can be chosen
   * @param {() => void} page.changed called when the form has changed
   * @param {((fields: Record<string, string>) => string) | null} page.link returns the address of a run of such settings,
   *   where there is one
   * @param {Function} page.pixels that of the engine
   */
  constructor(host, defaults, page) {
    this.root = copy("lab");
    host.replaceChildren(this.root);
    this.parts = parts(this.root);
    this.form = this.parts.form;
    this.defaults = defaults;
    this.page = page;
    this.tracks = [];
    this.samplers = [];
    this.plots = { distance: new Plot(this.parts.distance, DISTANCE), norm: new Plot(this.parts.norm, NORM) };
    this.listen();
  }

  listen() {
    this.form.addEventListener("input", () => this.settle());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.running) this.run();
    });
    // Enter in a field submits by a click of this button; that must not stop a run.
    this.parts.go.addEventListener("click", (event) => {
      if (!this.running) return;
      event.preventDefault();
      if (event.detail > 0 || document.activeElement === this.parts.go) this.stop();
    });
    this.parts.dice.addEventListener("click", () => {
      this.form.elements.seed.value = crypto.getRandomValues(new Uint32Array(1))[0] % 100_000;
      this.settle();
      if (!this.running && this.model) this.run();
    });
    this.parts.scrub.addEventListener("input", () => {
      const { value, max } = this.parts.scrub;
      this.looking = Number(value) < Number(max);
      this.look(Number(value));
    });
    for (const radio of this.radios()) {
      // Two laboratories on one page need two groups.
      radio.name = `show-${this.page.noun}`;
      radio.addEventListener("change", () => this.look(this.shown));
    }
    for (const button of this.root.querySelectorAll("[data-save]")) {
      button.addEventListener("click", () => this.save(button.dataset.save));
    }
    this.parts.share.hidden = !this.page.link;
    this.parts.share.addEventListener("click", () => this.share());
  }

  radios() {
    return [...this.root.querySelectorAll('[data-part="show"]')];
  }

  /** Offers the engine's samplers and schedules. */
  offer(samplers, schedules) {
    this.samplers = samplers;
    options(this.form.elements.sampler, samplerOptions(samplers));
    options(this.form.elements.schedule, scheduleOptions(schedules));
    this.restore({});
  }

  /** Sets the form to its defaults and to the given values. */
  restore(values) {
    restore(this.form, this.defaults);
    restore(this.form, values);
    this.settle(false);
  }

  /** Takes a model, or none. */
  use(model) {
    this.stop();
    this.model = model;
    this.tracks = [];
    this.parts.go.disabled = !model;
    this.parts.changed.hidden = true;
    this.parts.panels.replaceChildren();
    if (!model) return;
    const { channels } = model.description;
    this.parts["distance-figure"].hidden = this.page.counts;
    this.parts["count-field"].hidden = !this.page.counts;
    this.prepare(this.asked());
    this.say(channels === 1 || channels === 3 ? "Press Sample." : `Of its ${channels} channels, the first is shown.`);
  }

  /** Shows the values beside the sliders, hides what the sampler does not read, and keeps the address up to date. */
  settle(changed = true) {
    const { sampler } = fields(this.form);
    const settings = this.samplers.find((one) => one.name === sampler)?.settings ?? [];
    this.parts["gamma-field"].hidden = !settings.includes("gamma");
    this.parts["eta-field"].hidden = !settings.includes("eta");
    this.parts["beside-label"].textContent = `${samplerName(this.other(sampler))} beside it, from the same noise`;
    readouts(this.form);
    // Before the first run, the empty panels are those of the form.
    if (this.model && !this.tracks.length) this.prepare(this.asked());
    const text = (tracks) => JSON.stringify(tracks.map((one) => one.settings));
    this.parts.changed.hidden = !this.tracks.length || text(this.tracks) === text(this.asked());
    if (changed) this.page.changed();
  }

  /** Returns the sampler that is compared with `sampler`. */
  other(sampler) {
    return sampler === "ddim" ? "ge" : "ddim";
  }

  /** Returns the track of the form's settings, or of the sampler beside it. */
  settings(key) {
    const form = fields(this.form);
    const sampler = key === "main" ? form.sampler : this.other(form.sampler);
    const reads = this.samplers.find((one) => one.name === sampler)?.settings ?? [];
    const settings = {
      sampler,
      steps: Number(form.steps),
      schedule: form.schedule,
      seed: Math.floor(Number(form.seed)),
      count: Number(form.count),
      // All images form together, in however many calls the device takes them.
      batch: Number(form.count),
    };
    if (reads.includes("gamma")) settings.gamma = Number(form.gamma);
    if (reads.includes("eta")) settings.eta = key === "main" ? Number(form.eta) : 0;
    return track(key, samplerName(sampler), settings);
  }

  /** Returns the tracks that the form asks for. */
  asked() {
    const keys = fields(this.form).beside === "1" ? ["main", "beside"] : ["main"];
    return keys.map((key) => this.settings(key));
  }

  /** Makes a panel for each track, with empty tiles. */
  prepare(tracks) {
    const { height, width } = this.model.description;
    this.panels = tracks.map((one) => {
      const whole = size(one.settings.count, { height, width });
      const canvas = element("canvas", { role: "img", width: String(whole.width), height: String(whole.height) });
      canvas.setAttribute("aria-label", `${one.settings.count} ${this.page.noun} of ${one.label}`);
      const blank = new Uint8ClampedArray(4 * height * width * one.settings.count);
      for (let at = 3; at < blank.length; at += 4) blank[at] = 255;
      draw(canvas, blank, { height, width });
      const time = element("span", { class: "time" });
      const caption = element("figcaption", {}, element("strong", {}, one.label), " ", time);
      caption.classList.add(one.key);
      const figure = element("figure", { class: "panel", "data-track": one.key }, canvas, caption);
      return { canvas, time, figure };
    });
    this.parts.panels.replaceChildren(...this.panels.map((panel) => panel.figure));
  }

  async run() {
    if (!this.form.reportValidity()) return;
    if (busy) {
      busy.displaced = true;
      busy.control.abort();
    }
    busy = this;
    this.displaced = false;
    const control = new AbortController();
    this.control = control;
    this.running = true;
    this.ran = fields(this.form);
    this.parts.go.textContent = "Stop";
    this.tracks = this.asked();
    this.prepare(this.tracks);
    this.parts.changed.hidden = true;
    this.shown = 0;
    this.looking = false;
    this.show();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.parts.panels.scrollIntoView({ block: "nearest", behavior: calm ? "instant" : "smooth" });
    this.say(`Sampling ${this.images()}.`);
    try {
      await drive(this.model, this.tracks, control.signal, () => this.advance());
      this.say(this.outcome());
    } catch (error) {
      this.say(words(error), true);
    } finally {
      this.running = false;
      this.parts.go.textContent = "Sample";
      if (busy === this && this.control === control) busy = null;
      this.advance();
    }
  }

  stop() {
    if (this.running) this.say("Stopping after this call of the network.");
    this.control?.abort();
  }

  say(text, fault = false) {
    write(this.parts.words, text);
    this.parts.words.classList.toggle("fault", fault);
  }

  /** Returns the outcome of a run in a sentence or two. */
  outcome() {
    const { settings } = this.tracks[0];
    if (this.tracks.some((one) => one.state === "stopped")) {
      const done = this.tracks.map((one) => one.steps.length);
      const each = this.tracks.map((one) => `${one.label} after step ${one.steps.length}`);
      const where = done.every((steps) => steps === done[0]) ? `after step ${done[0]}` : each.join(", ");
      return `Stopped ${where} of ${settings.steps}.${this.displaced ? " The run of the other tab has taken its place." : ""}`;
    }
    const times = this.tracks.map((one) => `${one.label} ${one.seconds.toFixed(2)} s, ${one.calls} calls`);
    return `${this.images()} of seed ${settings.seed}: ${times.join("; ")}. On ${adapter(this.model.description)}.`;
  }

  /** Returns the number of images of the run in words. */
  images() {
    const { count } = this.tracks[0].settings;
    return `${count} ${count === 1 ? this.page.noun.replace(/s$/, "") : this.page.noun}`;
  }

  /** Shows a step that has just been taken, unless an earlier one is being looked at. */
  advance() {
    this.show(this.looking ? this.shown : Infinity);
  }

  /** Draws everything; `frame` is the step to look at. */
  show(frame = Infinity) {
    const done = Math.max(0, ...this.tracks.map((one) => one.steps.length));
    const latest = this.running ? Math.max(0, ...this.tracks.map((one) => one.latest)) : done - 1;
    const { scrub } = this.parts;
    scrub.max = String(Math.max(0, done - 1));
    scrub.disabled = done < 2;
    const measured = (quantity) =>
      this.tracks.map((one) => ({ name: one.label, tone: one.key, points: curve(one, quantity) }));
    this.plots.distance.show(this.tracks.flatMap((one) => distances(one)));
    this.plots.norm.show(measured("epsNorm"));
    this.table();
    for (const button of this.root.querySelectorAll("[data-save]")) {
      button.disabled = done === 0 || (button.dataset.save === "npy" && !this.tracks[0].final);
    }
    this.parts.share.disabled = done === 0;
    this.look(Math.min(frame, latest));
  }

  /** Looks at a step. */
  look(frame) {
    this.shown = frame;
    const { scrub } = this.parts;
    scrub.value = String(Math.max(0, frame));
    this.tracks.forEach((one, index) => {
      const panel = this.panels[index];
      const rgba = this.rgba(one, frame);
      if (rgba) draw(panel.canvas, rgba, this.model.description, { places: one.settings.count });
      const at = Math.min(frame, one.steps.length - 1) + 1;
      panel.time.textContent = at ? `step ${at} of ${one.settings.steps}, ${one.seconds.toFixed(2)} s` : "";
    });
    const step = this.tracks[0]?.steps[frame];
    const text = step
      ? `Step ${frame + 1} of ${this.tracks[0].settings.steps}: sigma ${label(step.sigma)} to ${label(step.sigmaNext)}`
      : "No step yet";
    this.parts["step-words"].textContent = text;
    scrub.setAttribute("aria-valuetext", text);
    for (const plot of Object.values(this.plots)) plot.mark(frame);
  }

  /** Returns the pixels of a track at a step: the prediction or the state, and at the end the images. */
  rgba(one, frame) {
    const at = Math.min(frame, one.steps.length - 1);
    if (at < 0) return null;
    const step = one.steps[at];
    if (one.final && at === one.steps.length - 1) return this.pixels(one.final);
    if (this.radios().find((radio) => radio.checked).value === "x0") return this.pixels(step.x0);
    // At sigma 40 nearly every value would be clipped: the picture is shown at the spread of images.
    const scale = 1 / Math.sqrt(1 + step.sigmaNext ** 2);
    return this.pixels(step.x.map((value) => scale * value));
  }

  /** Returns the pixels of values; of other channels than grey and colour the first is shown, in grey. */
  pixels(values) {
    const { channels, height, width } = this.model.description;
    if (channels === 1 || channels === 3) return this.page.pixels(values, { channels, height, width });
    const area = height * width;
    const first = values.filter((_, at) => Math.floor(at / area) % channels === 0);
    return this.page.pixels(first, { channels: 1, height, width });
  }

  table() {
    const withDistance = this.tracks.some((one) => one.steps.some((step) => step.distance));
    const distances = ["Distance, noisy picture", "Distance, expected picture"];
    const heads = ["Sampler", "Step", "sigma", "|eps| / √n", ...(withDistance ? distances : [])];
    const row = (name, cells) => element("tr", {}, ...cells.map((cell) => element(name, {}, cell)));
    const rows = this.tracks.flatMap((one) =>
      one.steps.map((step) => {
        const cells = [one.label, String(step.index + 1), label(step.sigma), mean(step.epsNorm).toFixed(3)];
        const both = [step.stateDistance, step.distance].map((values) => (values ? mean(values).toFixed(3) : ""));
        if (withDistance) cells.push(...both);
        return row("td", cells);
      }),
    );
    this.parts.table.replaceChildren(element("thead", {}, row("th", heads)), element("tbody", {}, ...rows));
  }

  /** Returns the shape of a track's images. */
  shape(one) {
    const { channels, height, width } = this.model.description;
    return [one.settings.count, channels, height, width];
  }

  async save(what) {
    const [main] = this.tracks;
    const { sampler, steps, seed } = main.settings;
    const name = `downhill-${sampler.replace(/\W/g, "")}-${steps}-${seed}`;
    // A picture is that of the step that is looked at.
    const step = this.shown < main.steps.length - 1 || !main.final ? `-step${this.shown + 1}` : "";
    const picture = async (scale) => png(this.rgba(main, this.shown), this.model.description, scale);
    const [file, content] = await {
      csv: () => [`${name}.csv`, csv(this.tracks)],
      json: () => [`${name}.json`, json(this.tracks, this.model.description)],
      npy: () => [`${name}.npy`, npy(main.final, this.shape(main))],
      png: async () => [`${name}${step}.png`, await picture(1)],
      large: async () => [`${name}${step}-large.png`, await picture(8)],
    }[what]();
    save(file, content);
    const whose = this.tracks.length > 1 && !["csv", "json"].includes(what) ? `, of ${main.label}` : "";
    this.note(`Saved as ${file}${whose}.`);
  }

  /** Says something beside the buttons. */
  note(text) {
    this.parts.note.textContent = text;
  }

  async share() {
    const link = this.page.link(this.ran);
    try {
      await navigator.clipboard.writeText(link);
      this.note("The link to this run is in the clipboard.");
    } catch {
      this.note(`The link to this run: ${link}`);
    }
  }
}
