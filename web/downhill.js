// Diffusion models in the browser: the functions and classes that `downhill.d.ts` describes, over the engine.

import initialise, * as engine from "./downhill_engine.js";

await initialise({ module_or_path: new URL("./downhill_bg.wasm", import.meta.url) });

const WEBGPU = "Chrome and Edge 113, Safari 26 and Firefox 141 (on Windows) have it";

export class DownhillError extends Error {
  constructor({ message, kind, hint }) {
    super(message);
    this.name = "DownhillError";
    this.kind = kind;
    this.hint = hint ?? null;
  }
}

/** Returns the error of the library for what the engine throws. */
function own(thrown) {
  const isOwn = thrown && typeof thrown === "object" && "kind" in thrown && !(thrown instanceof Error);
  return isOwn ? new DownhillError(thrown) : thrown;
}

/** Calls the engine. */
function call(work) {
  try {
    return work();
  } catch (thrown) {
    throw own(thrown);
  }
}

/** Awaits the engine. */
async function wait(work) {
  try {
    return await work();
  } catch (thrown) {
    throw own(thrown);
  }
}

function refuse(message, hint) {
  return new DownhillError({ message, kind: "argument", hint });
}

export function missing() {
  if (!globalThis.isSecureContext) return "this page does not come from https or localhost, where WebGPU is";
  if (!navigator.gpu) return `this browser does not have WebGPU, or it is switched off; ${WEBGPU}`;
  return null;
}

export function samplers() {
  return engine.samplers();
}

export function schedules() {
  return engine.schedules();
}

export function pixels(values, { channels, height, width }) {
  return new Uint8ClampedArray(call(() => engine.pixels(values, channels, height, width)));
}

export async function chain(options) {
  return call(() => engine.chain(JSON.stringify({ ...options, seed: text(options.seed) })));
}

/** A seed in decimal. */
function text(seed) {
  return seed === undefined || seed === null ? undefined : String(seed);
}

export async function open(source, { name: given, progress = () => {}, memoryLimit } = {}) {
  const lacks = missing();
  if (lacks) throw new DownhillError({ message: lacks, kind: "adapter", hint: null });
  const { name: found, files } = await read(source, progress);
  const name = found && (given ?? found);
  const paths = files.map(([path]) => path);
  const contents = files.map(([, content]) => content);
  const opened = await wait(() => engine.open(name, paths, contents, memoryLimit, progress));
  return new Model(opened, await adapter());
}

/** The adapter's name, and whether it has no GPU, as the browser tells. */
async function adapter() {
  const info = (await navigator.gpu.requestAdapter())?.info ?? {};
  const name = info.description || [info.vendor, info.architecture].filter(Boolean).join(" ");
  const software = info.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe|warp/i.test(name);
  return { adapter: name, software };
}

class Model {
  #engine;
  #description;

  constructor(opened, adapter) {
    this.#engine = opened;
    this.#description = Object.freeze({ ...opened.description(), ...adapter });
  }

  get description() {
    return this.#description;
  }

  #open() {
    if (!this.#engine) throw refuse("the model is closed", "open it again");
    return this.#engine;
  }

  async denoise(x, sigma) {
    const opened = this.#open();
    const sigmas = Float64Array.from(typeof sigma === "number" ? [sigma] : sigma);
    return wait(() => opened.denoise(x, sigmas));
  }

  async *sample({ signal, ...options } = {}) {
    signal?.throwIfAborted();
    const run = call(() => this.#open().sample(JSON.stringify({ ...options, seed: text(options.seed) })));
    const batches = [];
    try {
      for (;;) {
        signal?.throwIfAborted();
        const step = await wait(() => run.next());
        if (step === undefined) break;
        const { samples, ...seen } = step;
        if (samples) batches.push(samples);
        yield seen;
      }
    } finally {
      run.free();
    }
    const all = new Float32Array(batches.reduce((sum, { length }) => sum + length, 0));
    batches.reduce((at, batch) => (all.set(batch, at), at + batch.length), 0);
    return all;
  }

  close() {
    this.#engine?.free();
    this.#engine = null;
  }
}

/** The name of a model and its files, as pairs of a path and bytes. */
async function read(source, progress) {
  if (source === undefined || source === null) return { name: undefined, files: [] };
  if (typeof source === "string" || source instanceof URL) return download(new URL(source, document.baseURI), progress);
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    return { name: "model.safetensors", files: [["model.safetensors", bytes(source)]] };
  }
  if (source instanceof File) return fromFiles([source]);
  if (Array.isArray(source) || source instanceof FileList) return fromFiles([...source]);
  return folder(Object.entries(source).map(([path, content]) => [path, bytes(content)]));
}

function bytes(content) {
  return content instanceof ArrayBuffer
    ? new Uint8Array(content)
    : new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
}

async function fromFiles(files) {
  const pairs = files.map(async (file) => [file.webkitRelativePath || file.name, bytes(await file.arrayBuffer())]);
  return folder(await Promise.all(pairs));
}

/** A folder whose name is that of all paths, or a single file. */
function folder(files) {
  if (files.length === 0) throw refuse("no files", "give the files of a folder of diffusers, or a .safetensors file");
  if (files.length === 1 && !files[0][0].includes("/")) return { name: files[0][0], files };
  const top = files[0][0].split("/")[0];
  const shared = files.every(([path]) => path.startsWith(`${top}/`)) && !isComponent(top);
  const inside = shared ? files.map(([path, content]) => [path.slice(top.length + 1), content]) : files;
  return { name: shared ? top : "model", files: inside };
}

function isComponent(name) {
  return name === "unet" || name === "scheduler";
}

/** Downloads a file, or the files of a folder of diffusers. */
async function download(url, progress) {
  if (url.pathname.endsWith(".safetensors")) {
    const name = url.pathname.split("/").pop();
    return { name, files: [[name, await get(url, progress)]] };
  }
  const root = url.pathname.endsWith("/") ? url : new URL(`${url.href}/`);
  const name = root.pathname.split("/").at(-2) || root.host;
  const optional = async (path) => {
    const found = await get(new URL(path, root), progress, true);
    return found && [path, found];
  };
  const index = await optional("model_index.json");
  const at = index ? "unet/" : "";
  const scheduler = index ? "scheduler/" : "";
  const config = [`${at}config.json`, await get(new URL(`${at}config.json`, root), progress)];
  const weights =
    (await optional(`${at}diffusion_pytorch_model.safetensors`)) ??
    (await optional(`${at}diffusion_pytorch_model.bin`));
  if (!weights) throw refuse(`${root} has no ${at}diffusion_pytorch_model.safetensors`, "give a folder of diffusers");
  const files = [index, config, await optional(`${scheduler}scheduler_config.json`), weights].filter(Boolean);
  return { name, files };
}

async function get(url, progress, optional = false) {
  progress(`downloading ${url.pathname.split("/").pop()}`);
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new DownhillError({ message: `${url} cannot be fetched: ${error.message}`, kind: "file", hint: null });
  }
  if (response.status === 404 && optional) return null;
  if (!response.ok) {
    const message = `${url} cannot be fetched: ${response.status} ${response.statusText}`.trim();
    throw new DownhillError({ message, kind: "file", hint: null });
  }
  return new Uint8Array(await response.arrayBuffer());
}
