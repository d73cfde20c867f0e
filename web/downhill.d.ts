/**
 * Diffusion models in the browser: the engine of `downhill` on WebGPU.
 *
 * Arrays of images are flat, row after row: (n, channels, height, width). Values are from about -1 to 1 in networks of
 * pixels. States are in the variance-exploding scale, x = x0 + sigma eps.
 */

/** Returns `null` where the browser has what the engine needs; else a sentence about what it lacks and its remedy. */
export function missing(): string | null;

/**
 * Opens a model on the best adapter: the embedded digits, or the files of a network of pixels.
 *
 * A network that takes more than `memoryLimit` bytes on the device (weights and the maps of one image) is refused with
 * the bytes that it would take.
 *
 * @throws {DownhillError} for files that cannot be used, a device that lacks limits or memory, and kernels whose
 *   self-test fails.
 */
export function open(source?: Source, options?: OpenOptions): Promise<Model>;

/**
 * A model: nothing for the embedded digits; the address of a `.safetensors` file or of a folder of diffusers; the bytes
 * of a `.safetensors` file; the files of such a folder by their paths inside it.
 */
export type Source =
  | undefined
  | null
  | string
  | URL
  | ArrayBuffer
  | Uint8Array
  | Record<string, Uint8Array | ArrayBuffer>
  | File
  | File[];

export interface OpenOptions {
  /** The name of the model, in its description and in errors; by default that of the file or of the folder. */
  name?: string;
  /** Called with a few words whenever another part begins. */
  progress?: (words: string) => void;
  /** The largest memory on the device in bytes; 512 MiB by default. */
  memoryLimit?: number;
}

/** An error of the library, by its kind (`argument`, `file`, `adapter`, `device`, `memory`, ...), with its remedy. */
export class DownhillError extends Error {
  readonly kind: string;
  readonly hint: string | null;
}

export interface Description {
  /** The name; `digits` for the embedded network. */
  name: string;
  /** `network`. */
  kind: string;
  channels: number;
  height: number;
  width: number;
  /** The number of weights. */
  parameters: number;
  /** The adapter's name, as far as the browser tells it. */
  adapter: string;
  /** `true` for an adapter without a GPU. */
  software: boolean;
  /** The family of kernels. */
  family: string;
  /** Memory of the weights on the device, in bytes. */
  weightBytes: number;
  /** Memory of the maps of one image on the device, in bytes. */
  mapBytes: number;
}

export interface Model {
  readonly description: Description;
  /**
   * Estimates eps in x = x0 + sigma eps. `x` is (n, c, h, w); `sigma` is one noise level above 0 for all images, or one
   * per image.
   */
  denoise(x: Float32Array, sigma: number | number[]): Promise<Float32Array>;
  /** Samples images, yields each step of each batch, and returns the samples (n, c, h, w). */
  sample(options?: SampleOptions): AsyncGenerator<Step, Float32Array>;
  /** Frees the device. Calls afterwards are errors. */
  close(): void;
}

export interface SampleOptions {
  /** Images; 16 by default. */
  count?: number;
  /** Steps; those of the sampler by default. */
  steps?: number;
  /** A name of `samplers()`; `ge` by default. */
  sampler?: string;
  /** A name of `schedules()`; that of the sampler by default. */
  schedule?: string;
  gamma?: number;
  mu?: number;
  eta?: number;
  /** The seed of all noise; 0 by default. Image i of a seed is the same in any batch, and the program's. */
  seed?: number | bigint;
  sigmaMax?: number;
  sigmaMin?: number;
  /** Images per call; as many as suit the device by default. */
  batch?: number;
  /** Stops the run between two calls of the network, with the reason of the signal. */
  signal?: AbortSignal;
}

export interface Step {
  /** The index of the step in its batch, from 0. */
  index: number;
  /** Steps per batch. */
  steps: number;
  /** The images of the batch, by their index in the run. */
  images: number[];
  /** The noise level before the step. */
  sigma: number;
  /** The noise level after the step. */
  sigmaNext: number;
  /** Calls of the network so far, in this batch. */
  calls: number;
  /** The state after the step, (n, c, h, w). */
  x: Float32Array;
  /** The prediction of x0 before the step, (n, c, h, w). */
  x0: Float32Array;
  /** |eps| / sqrt(c h w) of each image. */
  epsNorm: Float32Array;
  /** |x0 - d| / sqrt(c h w) to the nearest embedded digit d, of each image; `null` for other models. */
  distance: Float32Array | null;
  /** The same of the state after the step, |x - d| / sqrt(c h w); `null` for other models. */
  stateDistance: Float32Array | null;
}

export interface Sampler {
  name: string;
  /** The order of its steps. */
  order: number;
  /** Calls of the network, in words. */
  calls: string;
  /** `true` if its steps add noise by default. */
  stochastic: boolean;
  /** The settings that it takes: `gamma`, `mu`, `eta`. */
  settings: string[];
  /** The paper, in a few words. */
  source: string;
}

/** The samplers by name. */
export function samplers(): Sampler[];

/** The names of the schedules. */
export function schedules(): string[];

/**
 * The images of `values`, (n, c, h, w), as RGBA in 8 bits, one after the other, rounded as in the PNG files of the
 * program. Images have 1 or 3 channels.
 */
export function pixels(
  values: Float32Array,
  shape: { channels: number; height: number; width: number },
): Uint8ClampedArray;

/**
 * The linear diffusion chain on embedded digits (`docs/linear-diffusion.md`): the principal components of each level of
 * noise, and the product of the projections on them. On the thread that calls, which may be a worker's; no adapter is
 * needed.
 */
export function chain(options: ChainOptions): Promise<Chain>;

export interface ChainOptions {
  /** Components that are kept, k; 8 by default. */
  components?: number;
  /** Levels of noise above the first, which has none: T. */
  levels: number;
  /** The noise of the levels: `nested` (the forward process), `fresh` (independent) or `shared` (one draw, scaled). */
  coupling: 'nested' | 'fresh' | 'shared';
  /** The deviation of all noise at the last level; 1 by default, where pixels are from 0 to 1. */
  sigmaMax?: number;
  /**
   * The deviation at the first level above 0: deviations then rise in equal ratios. Without it, each level adds the
   * same variance.
   */
  sigmaMin?: number;
  /** The seed of the noise; 0 by default. */
  seed?: number | bigint;
}

/** Rows are levels, 0 to T, and columns components, largest eigenvalue first. */
export interface Chain {
  components: number;
  levels: number;
  coupling: string;
  /** The digits, and the values of each. */
  samples: number;
  dimension: number;
  /** s_t, the deviation of all noise at each level: (T + 1). */
  sigmas: number[];
  /** The leading eigenvalues of the second moment of each level: (T + 1, k). */
  values: number[][];
  /** |cos| of the angle by which each component turns from a level to the next, its factor: (T, k). */
  adjacent: number[][];
  /** |cos| of each component and that of level 0: (T + 1, k). */
  toFirst: number[][];
  /** The products of the factors up to each level: (T + 1, k). */
  product: number[][];
  /** The share of energy along each component of level 0 that survives the chain up to each level: (T + 1, k). */
  energy: number[][];
  /** The effective number of components that survive, (sum e)^2 / sum e^2: (T + 1). */
  effective: number[];
  /** The natural logarithm of the norm of the product of the projections: (T + 1). */
  logNorm: number[];
}
