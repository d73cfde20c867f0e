// Runs of samplers from the same noise, taken step by step by turns, and their numbers.

/**
 * @typedef {object} Track a run of one sampler
 * @property {string} key `main` or `beside`
 * @property {string} label
 * @property {object} settings of `Model.sample`
 * @property {object[]} steps those that are done, as the engine yields them
 * @property {Float32Array | null} final the images, once the run is complete
 * @property {number} seconds spent in this run alone
 * @property {number} calls of the network, over all batches
 * @property {number} latest the index of the step that was taken last
 * @property {"waiting" | "running" | "done" | "stopped" | "failed"} state
 */

/**
 * Returns a track before its first step.
 *
 * @param {string} key
 * @param {string} label
 * @param {object} settings
 * @returns {Track}
 */
export function track(key, label, settings) {
  return { key, label, settings, steps: [], final: null, seconds: 0, calls: 0, before: 0, latest: 0, state: "waiting" };
}

/** Adds a step of a batch: a step that earlier batches have taken holds their images first. */
function add(one, step) {
  one.calls = step.index === 0 ? one.calls + step.calls : one.calls + step.calls - one.before;
  one.before = step.calls;
  one.latest = step.index;
  const earlier = one.steps[step.index];
  one.steps[step.index] = earlier ? joined(earlier, step) : step;
}

/** Returns a step with the images of two batches. */
function joined(first, second) {
  const both = { ...first, images: [...first.images, ...second.images] };
  for (const name of ["x", "x0", "epsNorm", "distance", "stateDistance"]) {
    if (!first[name]) continue;
    both[name] = new Float32Array(first[name].length + second[name].length);
    both[name].set(first[name]);
    both[name].set(second[name], first[name].length);
  }
  return both;
}

/** Returns a promise for the time after the next frame, so that a long run leaves the page responsive. */
function frame() {
  // A page in the background has no frames.
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 100);
    requestAnimationFrame(() => {
      clearTimeout(timer);
      setTimeout(resolve);
    });
  });
}

/**
 * Takes all steps of all tracks, one step of each by turns. Ends early when `signal` is aborted: the tracks are then
 * `stopped` and keep the steps that are done.
 *
 * @param {{sample: (options: object) => AsyncGenerator}} model
 * @param {Track[]} tracks
 * @param {AbortSignal} signal
 * @param {(track: Track) => void} advanced called after each step and at the end of each track
 */
export async function drive(model, tracks, signal, advanced) {
  const running = tracks.map((one) => ({ one, steps: model.sample({ ...one.settings, signal }) }));
  for (const { one } of running) one.state = "running";
  try {
    while (running.some(({ one }) => one.state === "running")) {
      for (const { one, steps } of running.filter((entry) => entry.one.state === "running")) {
        signal.throwIfAborted();
        const before = performance.now();
        const { value, done } = await steps.next();
        one.seconds += (performance.now() - before) / 1000;
        if (done) {
          one.final = value;
          one.state = "done";
        } else {
          add(one, value);
        }
        advanced(one);
        await frame();
      }
    }
  } catch (error) {
    const state = signal.aborted ? "stopped" : "failed";
    for (const { one } of running) if (one.state === "running") one.state = state;
    if (!signal.aborted) throw error;
  } finally {
    for (const { one, steps } of running) {
      // Frees what an unfinished run holds; its failure has been reported.
      if (one.state !== "done") await steps.return?.().catch(() => {});
    }
  }
}

/** Returns the mean of an array. */
export function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

/**
 * Returns a curve of a quantity of the steps over sigma: the mean over the images, the least and the largest value.
 *
 * @param {Track} one
 * @param {"epsNorm" | "distance" | "stateDistance"} quantity
 * @returns {{x: number, y: number, low: number, high: number}[]}
 */
export function curve(one, quantity) {
  return one.steps
    .filter((step) => step[quantity])
    .map((step) => ({
      // A state is that after the step.
      x: quantity === "stateDistance" ? step.sigmaNext : step.sigma,
      y: mean(step[quantity]),
      low: Math.min(...step[quantity]),
      high: Math.max(...step[quantity]),
    }));
}
