// The numbers of runs as files.

/**
 * Returns the numbers of tracks as CSV, a row per track, step and image.
 *
 * @param {import("./track.js").Track[]} tracks
 * @returns {string}
 */
export function csv(tracks) {
  const rows = ["sampler,step,sigma,sigma_next,calls,image,eps_norm,distance"];
  for (const { settings, steps } of tracks) {
    for (const step of steps) {
      step.epsNorm.forEach((norm, image) => {
        const distance = step.distance ? step.distance[image] : "";
        const { index, sigma, sigmaNext, calls } = step;
        rows.push([settings.sampler, index + 1, sigma, sigmaNext, calls, image, norm, distance].join(","));
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
    })),
  }));
  return `${JSON.stringify({ program: "downhill", model, runs }, null, 1)}\n`;
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
