// What is dropped onto the page or chosen: files with their paths inside a folder.

/** Bytes of weights above which nothing is read: a browser would have to hold them twice. */
export const LIMIT = 512 * 1024 * 1024;

/** Returns bytes in words. */
export function bytes(count) {
  return count < 1e9 ? `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB` : `${(count / 1e9).toFixed(1)} GB`;
}

/** Returns all entries of a folder's reader, which returns them in parts. */
async function entries(reader) {
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all;
    all.push(...some);
  }
}

async function walk(entry, path, found) {
  if (entry.isFile) {
    found.push({ path: path + entry.name, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
  } else {
    for (const inner of await entries(entry.createReader())) await walk(inner, `${path}${entry.name}/`, found);
  }
}

/**
 * Returns the files of a drop, folders included.
 *
 * @param {DataTransfer} transfer
 * @returns {Promise<{path: string, file: File}[]>}
 */
export async function dropped(transfer) {
  // The list is empty after the first await, so all entries are taken at once.
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!roots.length) return chosen(transfer.files);
  const found = [];
  for (const root of roots) await walk(root, "", found);
  return found;
}

/**
 * Returns the files of a file chooser.
 *
 * @param {FileList} list
 * @returns {{path: string, file: File}[]}
 */
export function chosen(list) {
  return [...list].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** The name of weights in a folder of diffusers. */
const WEIGHTS = "diffusion_pytorch_model.safetensors";
const ALONE = "This page runs networks of pixels alone; for others there is the program: `downhill sample`";
/** Classes of diffusers that are parts of pipelines. */
const PART = /Condition|Autoencoder|VQModel|VAE|Transformer|CLIP|T5/;

/** Refuses what is no network of pixels, by the classes that the descriptions name. */
async function refuse(name, parts) {
  for (const { path, file } of parts.filter(({ path }) => /(^|\/)(model_index|config)\.json$/.test(path))) {
    let description;
    try {
      description = JSON.parse(await file.text());
    } catch {
      // The engine says what is wrong with it.
      continue;
    }
    const kind = description?._class_name;
    if (path.endsWith("model_index.json") && (description?.vae ?? description?.vqvae ?? description?.text_encoder)) {
      throw new Error(`\`${name}\` is a pipeline of several networks, \`${kind}\`. ${ALONE} on the folder.`);
    }
    if (PART.test(kind ?? "")) {
      throw new Error(`\`${name}\` has a part of a pipeline, \`${kind}\`. ${ALONE} on the folder of the whole pipeline.`);
    }
  }
}

/**
 * Returns what the engine opens, with its name: one file as its bytes, a folder as bytes by path. Files that are no part
 * of a model are not read. The path begins inside the folder that holds them all.
 *
 * @param {{path: string, file: File}[]} files
 * @returns {Promise<{name: string, content: Uint8Array | Record<string, Uint8Array>}>}
 */
export async function source(files) {
  const parts = files.filter(({ path }) => /\.(safetensors|json)$/.test(path));
  const weights = parts.filter(({ path }) => path.endsWith(".safetensors"));
  const root = parts.length ? common(parts.map(({ path }) => path)) : "";
  const name = root.split("/").at(-2) ?? (weights[0] ?? parts[0])?.path;
  await refuse(name, parts);
  if (!weights.length) {
    const names = files.slice(0, 3).map(({ path }) => `\`${path}\``);
    throw new Error(
      `There is no \`.safetensors\` file among ${names.join(", ") || "the files"}. Drop a folder of diffusers, with \`config.json\` and ` +
        "its weights, or one `.safetensors` file.",
    );
  }
  const size = parts.reduce((sum, { file }) => sum + file.size, 0);
  if (size > LIMIT) {
    throw new Error(
      `The files take ${bytes(size)}; this page reads up to ${bytes(LIMIT)}. Run \`downhill sample\` on the folder instead.`,
    );
  }
  const read = async ({ file }) => new Uint8Array(await file.arrayBuffer());
  if (parts.length === 1) return { name, content: await read(parts[0]) };
  const content = {};
  for (const part of parts) content[part.path.slice(root.length)] = await read(part);
  // The only weights beside a description are its own, whatever their name.
  const [only] = Object.keys(content).filter((path) => path.endsWith(".safetensors"));
  if (weights.length === 1 && !only.includes("/") && content["config.json"] && only !== WEIGHTS) {
    content[WEIGHTS] = content[only];
    delete content[only];
  }
  return { name, content };
}

/** Returns the folder, with its slash, in which all paths lie; empty if there is none. */
export function common(paths) {
  const first = paths[0].split("/").slice(0, -1);
  let depth = first.length;
  for (const path of paths) {
    const names = path.split("/").slice(0, -1);
    let same = 0;
    while (same < Math.min(depth, names.length) && names[same] === first[same]) same += 1;
    depth = same;
  }
  return depth ? `${first.slice(0, depth).join("/")}/` : "";
}
