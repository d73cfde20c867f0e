// The tab of a model that is dropped onto the page.

import { element, parts, write } from "./dom.js";
import { adapter, engine, words } from "./engine.js";
import { bytes, chosen, dropped, source } from "./files.js";
import { Lab } from "./lab.js";

const DEFAULTS = { sampler: "ge", steps: "10", gamma: "2", eta: "0", schedule: "paper", seed: "0", beside: "0", count: "4" };

export class ModelTab {
  /**
   * @param {HTMLElement} root the panel of the tab
   * @param {{changed: () => void, link: () => string, pixels: Function}} page
   */
  constructor(root, page) {
    this.parts = parts(root);
    this.lab = new Lab(this.parts.lab, DEFAULTS, { ...page, noun: "images", counts: true });
    this.parts.lab.hidden = true;
    const { drop, folder, files } = this.parts;
    for (const input of [folder, files]) {
      input.addEventListener("change", () => {
        if (input.files.length) this.open(chosen(input.files));
        // The same files may be chosen again.
        input.value = "";
      });
    }
    for (const name of ["dragenter", "dragover"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", async (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      try {
        await this.open(await dropped(event.dataTransfer));
      } catch (error) {
        this.refuse(error);
      }
    });
  }

  refuse(error) {
    this.parts.refused.hidden = false;
    write(this.parts.refused, words(error));
  }

  /** Opens files as a model in place of the one before; the last ones, where several are asked for meanwhile. */
  async open(files) {
    const { refused, opening, facts, lab } = this.parts;
    const turn = {};
    this.turn = turn;
    for (const part of [refused, facts, lab]) part.hidden = true;
    this.lab.use(null);
    this.model?.close();
    this.model = null;
    try {
      const { open, samplers, schedules } = await engine();
      const progress = (text) => {
        if (this.turn !== turn) return;
        opening.hidden = false;
        opening.textContent = `${text.charAt(0).toUpperCase()}${text.slice(1)} …`;
      };
      const model = await open(await source(files), { progress });
      if (this.turn !== turn) {
        model.close();
        return;
      }
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
