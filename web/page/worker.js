// A thread beside the page's, with an engine of its own: it computes chains one after the other.

import { chain } from "../downhill.js";

addEventListener("message", async ({ data: { id, options } }) => {
  try {
    postMessage({ id, outcome: await chain(options) });
  } catch ({ message, hint }) {
    postMessage({ id, fault: { message, hint } });
  }
});
// Messages that came while the engine was loading have found nobody; from now on they are heard.
postMessage({ ready: true });
