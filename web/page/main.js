// The page: tabs, the engine, and the state in the address.

import { ChainTab } from "./chain.js";
import { fields, parts, write } from "./dom.js";
import { adapter, engine, words } from "./engine.js";
import { format, parse } from "./hash.js";
import { Lab } from "./lab.js";
import { ModelTab } from "./model.js";
import { tabs } from "./tabs.js";

const DIGITS = { sampler: "ge", steps: "10", gamma: "2", eta: "0", schedule: "paper", seed: "0", beside: "1", count: "16" };

/** The ways out where the engine does not run here. */
const ELSEWHERE =
  "WebGPU is in Chrome and Edge from 113 on, in Safari from 26 and in Firefox from 141 on, on Windows and Macs; on Linux it may " +
  "have to be switched on. The program needs no browser and no GPU: `downhill sample`.";

const page = parts(document.body);
const panels = Object.fromEntries(["digits", "chain", "model"].map((name) => [name, document.getElementById(`panel-${name}`)]));
let tab = "digits";
let exports = null;

/** Returns the fragment that leads to what is shown. */
function fragment() {
  if (tab === "digits") return format(tab, fields(digits.form), DIGITS);
  if (tab === "chain") return format(tab, chain.fields(), ChainTab.DEFAULTS);
  return format(tab, {});
}

function changed() {
  // Until the engine has filled the lists, the form does not hold what the address asks for.
  if (!exports) return;
  history.replaceState(null, "", fragment());
}

const shared = {
  changed,
  link: () => new URL(fragment(), location.href).href,
  pixels: (values, shape) => exports.pixels(values, shape),
};
const digits = new Lab(parts(panels.digits).lab, DIGITS, { ...shared, noun: "digits", counts: false });
const chain = new ChainTab(parts(panels.chain).chain, shared);
const model = new ModelTab(panels.model, shared);

const open = tabs(page.tabs, (name) => {
  tab = name;
  if (name === "chain") chain.shown();
  changed();
});

/** Takes tab and fields from the address. Returns `true` if it names a run of digits. */
function route() {
  const { tab: named, fields: given } = parse(location.hash);
  if (named === "digits") digits.restore(given);
  if (named === "chain") chain.restore(given);
  open(named in panels ? named : "digits");
  return named === "digits" && Object.keys(given).length > 0;
}

function say(text) {
  page.status.textContent = text;
}

function miss(text) {
  page.missing.hidden = false;
  write(page.missing, `${text} ${ELSEWHERE}`);
  say("The engine is not running.");
}

async function start() {
  route();
  try {
    exports = await engine();
    digits.offer(exports.samplers(), exports.schedules());
    // The engine fills the lists of samplers and schedules: only now do their values of the address hold.
    route();
    const lack = exports.missing();
    if (lack) {
      miss(lack);
      return;
    }
    const opened = await exports.open(undefined, { progress: say });
    digits.use(opened);
    const { software } = opened.description;
    const remark = software ? " Without a GPU a run takes a while." : "";
    say(`Ready, on ${adapter(opened.description)}.${remark}`);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!software && !still && tab === "digits") digits.run();
  } catch (error) {
    miss(`The engine could not be started. ${words(error)}`);
  }
}

addEventListener("hashchange", () => {
  if (route() && digits.model && !digits.running) digits.run();
});
start();
