// The numbers of runs as files.

/**
 * Returns the numbers of tracks as CSV, a row per track, step and image.
 *
 * @param {import("./track.js").Track[]} tracks
 * @returns {string}
 */
export function csv(tracks) {
  const rows = ["sampler,step,sigma,sigma_next,calls,image,eps_norm,distance,state_distance"];
  for (const { settings, steps } of tracks) {
    for (const step of steps) {
      step.epsNorm.forEach((norm, image) => {
        const distances = [step.distance, step.stateDistance].map((values) => values?.[image] ?? "");
        const { index, sigma, sigmaNext, calls } = step;
        rows.push([settings.sampler, index + 1, sigma, sigmaNext, calls, image, norm, ...distances].join(","));
      });
    }
  }
  return `${rows.join("\n")}\n`;
}

/**
 * Returns the settings and the numbers of tracks as JSON.
 *
 * @param {import("./track.js").Track[]} tracks
 * @param {object} model the model's description
 * @returns {string}
 */
export function json(tracks, model) {
  const runs = tracks.map(({ settings, steps, seconds, state }) => ({
    settings,
    state,
    seconds,
    steps: steps.map((step) => ({
      step: step.index + 1,
      sigma: step.sigma,
      sigma_next: step.sigmaNext,
      calls: step.calls,
      eps_norm: [...step.epsNorm],
      distance: step.distance ? [...step.distance] : null,
      state_distance: step.stateDistance ? [...step.stateDistance] : null,
    })),
  }));
  return `${JSON.stringify({ program: "downhill", model, runs }, null, 1)}\n`;
}

/**
 * Returns float32 values as an array of NumPy, `.npy` of version 1.0.
 *
 * @param {Float32Array} values
 * @param {number[]} shape
 * @returns {Blob}
 */
export function npy(values, shape) {
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${tuple}), }`;
  // Magic and length take 10 bytes; the values begin at a multiple of 64.
  const padded = `${header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11)}\n`;
  const magic = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length & 255, padded.length >> 8);
  const bytes = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, at) => bytes.setFloat32(4 * at, value, true));
  return new Blob([magic, padded, bytes.buffer]);
}

/**
 * Offers content as a file.
 *
 * @param {string} name
 * @param {Blob | string} content
 */
export function save(name, content) {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content]));
  link.click();
  // The browser reads the address after this turn.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
