// The tab of the linear chain: which components turn under noise, and which survive a chain of projections on them.

import { chain } from "./beside.js";
import { copy, fields, parts, readouts, restore, write } from "./dom.js";
import { words } from "./engine.js";
import { Plot } from "./plot.js";
import { label } from "./scale.js";

/** Milliseconds of rest before a chain is computed, so that a slider can be dragged. */
const REST = 120;
/** Milliseconds of rest before the chains of the other couplings are computed. */
const LONGER_REST = 700;

/** The couplings of the noise of levels, with their tones. */
const COUPLINGS = { fresh: "main", nested: "beside", shared: "c4" };

const LEVEL = { label: "level of the chain (0: no noise)" };
const FIGURES = {
  turn: {
    title: "How far components turn",
    text: "The angle between each component of the noisy digits and the same component without noise.",
    spec: { title: "Angle of each component to itself without noise", x: LEVEL, y: { label: "angle in degrees", domain: [0, 90], step: 30 }, series: "Component" },
  },
  energy: {
    title: "What survives",
    text: "White noise goes through the chain up to each level: the share of its energy that arrives along each component.",
    spec: { title: "Share of the energy along each component", x: LEVEL, y: { label: "share of the energy", domain: [0, 1] }, series: "Component" },
  },
  effective: {
    title: "How many components are left",
    text: "The effective number, (sum of e)² / sum of e², for each kind of noise: 1 if one component has all the energy.",
    spec: { title: "Effective number of components", x: LEVEL, y: { label: "components" }, series: "Noise" },
  },
  norm: {
    title: "How much is lost",
    text: "The length of the product of all projections. The direction may tend to one component while the length tends to 0.",
    spec: { title: "Norm of the product of the projections", x: LEVEL, y: { label: "norm", log: true }, legend: false },
  },
};

/** Returns a curve over the levels for each component. */
function components(rows, value) {
  return rows[0].map((_, component) => ({
    name: String(component + 1),
    tone: `c${component}`,
    points: rows.map((row, level) => ({ x: level, y: value(row[component]) })),
  }));
}

export class ChainTab {
  static DEFAULTS = { coupling: "fresh", levels: "40", components: "8", noise: "1" };

  /**
   * @param {HTMLElement} host filled with settings and plots
   * @param {{changed: () => void}} page
   */
  constructor(host, page) {
    const root = copy("chain-lab");
    host.replaceChildren(root);
    this.parts = parts(root);
    this.form = this.parts.form;
    this.page = page;
    this.plots = {};
    this.chains = new Map();
    for (const [name, { title, text, spec }] of Object.entries(FIGURES)) {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      const strong = document.createElement("strong");
      strong.textContent = title;
      caption.append(strong, text);
      const place = document.createElement("div");
      place.dataset.part = name;
      figure.append(caption, place);
      this.parts.plots.append(figure);
      this.plots[name] = new Plot(place, spec);
    }
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => {
      readouts(this.form);
      this.page.changed();
      this.later(() => this.compute(), REST);
    });
    this.restore({});
  }

  fields() {
    return fields(this.form);
  }

  restore(values) {
    restore(this.form, ChainTab.DEFAULTS);
    restore(this.form, values);
    readouts(this.form);
    if (this.visible) this.compute();
  }

  /** Computes the chain when the tab is shown. */
  shown() {
    this.visible = true;
    if (!this.result) this.compute();
  }

  /** Does something once nothing has changed for some milliseconds. */
  later(task, rest) {
    clearTimeout(this.timer);
    this.timer = setTimeout(task, rest);
  }

  /** Returns the chain of fields and the seconds that it took, from those computed before where it is among them. */
  async chain({ coupling, levels, components: count, noise }) {
    const key = [coupling, levels, count, noise].join();
    if (!this.chains.has(key)) {
      const began = performance.now();
      const numbers = { levels: Number(levels), components: Number(count), sigmaMax: Number(noise) };
      const result = await chain({ coupling, ...numbers });
      this.chains.set(key, { result, seconds: (performance.now() - began) / 1000 });
    }
    return this.chains.get(key);
  }

  /** Computes the chain of the form; once more if the form changes meanwhile. */
  async compute() {
    if (this.computing) return;
    this.computing = true;
    try {
      for (let asked = null; asked !== this.asked(); ) {
        asked = this.asked();
        this.parts.plots.classList.add("old");
        this.show(await this.chain(this.fields()));
      }
      this.later(() => this.compare(), LONGER_REST);
    } catch (error) {
      this.say(words(error), true);
    } finally {
      this.parts.plots.classList.remove("old");
      this.computing = false;
    }
  }

  /** Returns the fields as one text. */
  asked() {
    return JSON.stringify(this.fields());
  }

  /** Computes the chains of the other couplings, one after the other, as long as nothing changes. */
  async compare() {
    const asked = this.asked();
    try {
      for (const coupling of Object.keys(COUPLINGS)) {
        await this.chain({ ...this.fields(), coupling });
        if (this.asked() !== asked || this.computing) return;
        this.effective();
      }
    } catch (error) {
      this.say(words(error), true);
    }
  }

  /** Shows the effective components of the couplings that are computed. */
  effective() {
    const { levels, components: count, noise } = this.fields();
    const series = Object.keys(COUPLINGS).flatMap((name) => {
      const known = this.chains.get([name, levels, count, noise].join());
      if (!known) return [];
      return [{ name, tone: COUPLINGS[name], points: known.result.effective.map((y, x) => ({ x, y })) }];
    });
    this.plots.effective.show(series);
  }

  say(text, fault = false) {
    write(this.parts.words, text);
    this.parts.words.classList.toggle("fault", fault);
  }

  show({ result, seconds }) {
    const { toFirst, energy, effective, logNorm, samples, dimension } = result;
    this.result = result;
    const degrees = (cosine) => (Math.acos(Math.min(1, Math.abs(cosine))) * 180) / Math.PI;
    this.plots.turn.show(components(toFirst, degrees));
    this.plots.energy.show(components(energy, (share) => share));
    this.effective();
    // Below the smallest normal number the axis would have no place.
    const norms = logNorm.map((value, x) => ({ x, y: Math.exp(Math.max(value, -690)) }));
    this.plots.norm.show([{ name: "norm", tone: COUPLINGS[result.coupling], points: norms }]);
    const last = energy.at(-1);
    const first = last.indexOf(Math.max(...last));
    this.parts.headline.textContent =
      `After ${effective.length - 1} levels, ${label(effective.at(-1))} of ${last.length} components are left in effect. ` +
      `Component ${first + 1} has ${label(100 * last[first])} % of the energy.`;
    this.say(`${samples} digits of ${dimension} pixels, computed on this device in ${seconds.toFixed(2)} s.`);
  }
}
