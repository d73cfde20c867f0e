// Chains that are computed beside the page's thread, so that the page follows its visitor meanwhile.

let starting = null;
let count = 0;
const waiting = new Map();

/** Starts the thread; resolves once its engine is loaded. */
function start() {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      const fault = new Error(`the thread of the chain has stopped: ${event.message || "its module was not loaded"}`);
      starting = null;
      reject(fault);
      for (const { reject: refuse } of waiting.values()) refuse(fault);
      waiting.clear();
    });
    worker.addEventListener("message", ({ data: { ready, id, outcome, fault } }) => {
      if (ready) {
        resolve(worker);
        return;
      }
      const { resolve: give, reject: refuse } = waiting.get(id);
      waiting.delete(id);
      if (fault) refuse(Object.assign(new Error(fault.message), { hint: fault.hint }));
      else give(outcome);
    });
  });
}

/**
 * Computes a chain of the engine.
 *
 * @param {object} options those of `chain` of `downhill.js`
 * @returns {Promise<object>} its outcome
 */
export async function chain(options) {
  starting ??= start();
  const worker = await starting;
  count += 1;
  const id = count;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, options });
  });
}
