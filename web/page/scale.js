// Axes: from values to places, and the values at which there is a tick.

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} place from 0 to 1
 * @property {number[]} ticks
 */

/** Returns the smallest of 1, 2 and 5 times a power of ten that is at least `size`. */
function nice(size) {
  const power = 10 ** Math.floor(Math.log10(size));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= size * (1 - 1e-9));
}

/**
 * Returns a linear scale over [low, high], widened to whole ticks.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} [step] the distance of ticks; about a fifth of the range where it is not given
 * @returns {Scale}
 */
export function linear(low, high, step = nice((high - low || Math.abs(high) || 1) / 5)) {
  const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  const end = Math.max(last, first + 1);
  const ticks = Array.from({ length: end - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
  return { place: (value) => (value / step - first) / (end - first), ticks };
}

/**
 * Returns a logarithmic scale over [low, high], both above 0, with ticks at powers of ten, and at 2 and 5 times these
 * where there are few.
 *
 * @param {number} low
 * @param {number} high
 * @returns {Scale}
 */
export function logarithmic(low, high) {
  const [bottom, top] = low < high ? [low, high] : [low / 2, high * 2];
  const decades = Math.log10(top / bottom);
  const digits = decades > 2 ? [1] : decades > 1 ? [1, 2, 5] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const every = Math.max(1, Math.ceil(decades / 6));
  const ticks = [];
  for (let power = every * Math.floor(Math.log10(bottom) / every); power <= Math.log10(top) + 1; power += every) {
    for (const digit of digits) {
      const tick = Number((digit * 10 ** power).toPrecision(12));
      if (tick >= bottom * (1 - 1e-9) && tick <= top * (1 + 1e-9)) ticks.push(tick);
    }
  }
  return { place: (value) => Math.log(value / bottom) / Math.log(top / bottom), ticks };
}

/** Returns a number as the label of a tick: at most three digits, no exponent from 0.001 to 9999. */
export function label(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e4 || size < 1e-3) return value.toExponential(0).replace("e+", "e").replace("-", "−");
  return String(Number(value.toPrecision(3))).replace("-", "−");
}
