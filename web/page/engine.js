// The engine of this page: loaded once, and its errors in words.

let loading = null;

/**
 * Loads the module of the engine.
 *
 * @returns {Promise<object>} the exports of `downhill.js`
 */
export function engine() {
  loading ??= import("../downhill.js");
  return loading;
}

/**
 * Returns an error in words: its message, and the way out where the engine has one.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function words(error) {
  if (!(error instanceof Error)) return String(error);
  const sentence = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  const whole = /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
  return error.hint ? `${whole} ${error.hint.charAt(0).toUpperCase()}${error.hint.slice(1)}.` : whole;
}

/**
 * Returns the adapter in words.
 *
 * @param {{adapter: string, software: boolean}} description
 */
export function adapter({ adapter: name, software }) {
  return software ? `${name || "an unnamed adapter"}, in software` : name || "a GPU that the browser does not name";
}
