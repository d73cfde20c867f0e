// The page: tabs, the engine, and the state in the address.

import { ChainTab } from "./chain.js";
import { fields, parts, write } from "./dom.js";
import { adapter, engine, words } from "./engine.js";
import { format, parse } from "./hash.js";
import { Lab } from "./lab.js";
import { ModelTab } from "./model.js";
import { tabs } from "./tabs.js";

const DIGITS = { sampler: "ge", steps: "10", gamma: "2", eta: "0", schedule: "paper", seed: "0", beside: "1", count: "16" };

const TITLES = { digits: "digits out of noise", chain: "a chain of linear denoisers", model: "a model of yours" };

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
  // Until the engine has filled the lists, the form does not hold what the address asks for; and a seed that is being
  // typed may be none yet.
  if (!exports || (tab === "digits" && !digits.form.checkValidity())) return;
  history.replaceState(null, "", fragment());
}

const shared = {
  changed,
  link: (settings) => new URL(format("digits", settings, DIGITS), location.href).href,
  pixels: (values, shape) => exports.pixels(values, shape),
};
const digits = new Lab(parts(panels.digits).lab, DIGITS, { ...shared, noun: "digits", counts: false });
const chain = new ChainTab(parts(panels.chain).chain, shared);
const model = new ModelTab(panels.model, shared);

/** `true` while the address says what is shown. */
let routing = false;

const open = tabs(page.tabs, (name) => {
  // The way back leads to the tab before.
  if (exports && !routing && name !== tab) history.pushState(null, "", location.href);
  tab = name;
  document.title = `downhill: ${TITLES[name]}`;
  if (name === "chain") chain.shown();
  changed();
});

/** Takes tab and fields from the address. Returns `true` if it names another run of digits. */
function route() {
  const { tab: named, fields: given } = parse(location.hash);
  const before = JSON.stringify(fields(digits.form));
  if (named === "digits") digits.restore(given);
  if (named === "chain") chain.restore(given);
  const asked = named in panels ? named : "digits";
  if (exports) unmet(named, asked, given);
  routing = true;
  open(asked);
  routing = false;
  return named === "digits" && Object.keys(given).length > 0 && JSON.stringify(fields(digits.form)) !== before;
}

/** Says what an address asks for that is not to be had. */
function unmet(named, asked, given) {
  const taken = { digits: () => fields(digits.form), chain: () => chain.fields(), model: () => ({}) }[asked]();
  const isTaken = ([name, value]) => taken[name] === value || (value !== "" && Number(taken[name]) === Number(value));
  const words = Object.entries(given)
    .filter((entry) => !isTaken(entry))
    .map(([name, value]) => `\`${name}=${value}\`, ${name in taken ? `and ${taken[name]} is taken` : "which is no setting"}`);
  if (named && named !== asked) words.push(`the tab \`${named}\`, which is none`);
  page.unmet.hidden = !words.length;
  write(page.unmet, `The address asks for ${words.join("; ")}.`);
}

function say(text) {
  page.status.textContent = text;
}

function miss(text) {
  page.missing.hidden = false;
  write(page.missing, `${text} ${ELSEWHERE}`);
  say("Digits and your models need WebGPU. The linear chain does without.");
  digits.say("The digits need WebGPU.");
  model.disable();
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

// What is dropped anywhere is a model; the browser would leave the page for it.
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    model.over(true);
  });
}
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) model.over(false);
});
addEventListener("drop", (event) => {
  event.preventDefault();
  model.over(false);
  open("model");
  model.drop(event.dataTransfer);
});

addEventListener("hashchange", () => {
  if (route() && digits.model && !digits.running) digits.run();
});
start();
