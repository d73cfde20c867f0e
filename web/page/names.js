// Names of samplers and schedules for readers. The page offers those that are meant for networks of pixels in few steps;
// the engine's table says which of them there are, and what they read.

const SAMPLERS = {
  ge: "Gradient estimation",
  ddim: "DDIM",
  euler: "Euler",
  heun: "Heun (2 calls per step)",
  "dpm++2m": "DPM-Solver++ 2M",
  "dpm++2s": "DPM-Solver++ 2S",
  unipc: "UniPC",
  deis: "DEIS",
  ipndm: "iPNDM",
  lms: "LMS",
  kdpm2: "DPM-Solver-2 (2 calls per step)",
  ddpm: "DDPM, adds noise",
  "euler-a": "Euler ancestral, adds noise",
  "dpm-sde": "DPM-Solver++ SDE, adds noise",
  sa: "SA-Solver, adds noise",
};

const SCHEDULES = {
  paper: "log-spaced, of the paper",
  ddim: "even timesteps, of the paper's DDIM",
  leading: "leading timesteps",
  trailing: "trailing timesteps",
  linspace: "linspace timesteps",
  karras: "Karras",
  exponential: "exponential",
  beta: "beta quantiles",
};

/** Returns [name, words] of the entries of a table that the engine has. */
function known(table, names) {
  return Object.entries(table).filter(([name]) => names.includes(name));
}

/** Returns the samplers to offer, of the engine's table. */
export function samplerOptions(table) {
  return known(SAMPLERS, table.map((one) => one.name));
}

/** Returns the schedules to offer, of the engine's names. */
export function scheduleOptions(names) {
  return known(SCHEDULES, names);
}

/** Returns a sampler's name for readers, without its remark. */
export function samplerName(name) {
  return (SAMPLERS[name] ?? name).replace(/ \(.*|, adds noise/, "");
}
