// The tab of a model that is dropped onto the page.

import { element, parts, write } from "./dom.js";
import { adapter, engine, words } from "./engine.js";
import { bytes, chosen, dropped, source } from "./files.js";
import { Lab } from "./lab.js";

const DEFAULTS = { sampler: "ge", steps: "10", gamma: "2", eta: "0", schedule: "paper", seed: "0", beside: "0", count: "4" };

export class ModelTab {
  /**
   * @param {HTMLElement} root the panel of the tab
   * @param {{changed: () => void, pixels: Function}} page
   */
  constructor(root, page) {
    this.parts = parts(root);
    this.lab = new Lab(this.parts.lab, DEFAULTS, { ...page, link: null, noun: "images", counts: true });
    this.parts.lab.hidden = true;
    const { folder, files } = this.parts;
    for (const input of [folder, files]) {
      input.addEventListener("change", () => {
        if (input.files.length) this.open(chosen(input.files));
        // The same files may be chosen again.
        input.value = "";
      });
    }
  }

  /** Shows whether files are held over the page. */
  over(held) {
    this.parts.drop.classList.toggle("over", held);
  }

  /** Opens what is dropped. */
  async drop(transfer) {
    try {
      await this.open(await dropped(transfer));
    } catch (error) {
      this.refuse(error);
    }
  }

  /** Takes no models, since nothing can run them. */
  disable() {
    this.parts.drop.inert = true;
    this.parts.drop.hidden = true;
    this.refuse("A model needs WebGPU.");
  }

  refuse(error) {
    this.parts.refused.hidden = false;
    write(this.parts.refused, words(error));
  }

  /**
   * Opens files as a model in place of the one before, which stays if they are refused; the last ones, where several are
   * asked for meanwhile.
   */
  async open(files) {
    const { refused, opening, lab } = this.parts;
    const turn = {};
    this.turn = turn;
    refused.hidden = true;
    this.lab.stop();
    try {
      const { open, samplers, schedules } = await engine();
      const progress = (text) => {
        if (this.turn !== turn) return;
        opening.hidden = false;
        opening.textContent = `${text.charAt(0).toUpperCase()}${text.slice(1)} …`;
      };
      const { name, content } = await source(files);
      const model = await open(content, { name, progress });
      if (this.turn !== turn) {
        model.close();
        return;
      }
      this.lab.use(null);
      this.model?.close();
      this.model = model;
      this.lab.offer(samplers(), schedules());
      this.lab.use(model);
      this.describe();
      lab.hidden = false;
    } catch (error) {
      if (this.turn === turn) this.refuse(error);
    } finally {
      if (this.turn === turn) opening.hidden = true;
    }
  }

  describe() {
    const { name, kind, channels, height, width, parameters, weightBytes, mapBytes } = this.model.description;
    const entries = [
      ["Model", name],
      ["Kind", kind],
      ["Images", `${width} × ${height}, ${channels} ${channels === 1 ? "channel" : "channels"}`],
      ["Parameters", `${(parameters / 1e6).toFixed(1)} million, ${bytes(4 * parameters)}`],
      ["Memory on the device", `${bytes(weightBytes)} for weights, ${bytes(mapBytes)} for the maps of an image`],
      ["Adapter", adapter(this.model.description)],
    ];
    this.parts.facts.replaceChildren(
      ...entries.map(([term, text]) => element("div", {}, element("dt", {}, term), element("dd", {}, text))),
    );
    this.parts.facts.hidden = false;
  }
}
