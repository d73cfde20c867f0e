// Images on canvases: a grid as the program draws it, two pixels of white between images.

/** The number of pixels between the images of a grid. */
export const GAP = 2;

/**
 * Returns the columns and rows of a grid of images: as square as possible, wider rather than taller.
 *
 * @param {number} count
 * @returns {{columns: number, rows: number}}
 */
export function layout(count) {
  const columns = Math.max(1, Math.ceil(Math.sqrt(count)));
  return { columns, rows: Math.max(1, Math.ceil(count / columns)) };
}

/**
 * Returns the width and the height in pixels of a grid.
 *
 * @param {number} count
 * @param {{height: number, width: number}} shape of one image
 */
export function size(count, { height, width }) {
  const { columns, rows } = layout(count);
  return { width: columns * (width + GAP) - GAP, height: rows * (height + GAP) - GAP };
}

/**
 * Draws images side by side.
 *
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas resized to the grid
 * @param {Uint8ClampedArray} rgba the images one after the other, 4 bytes per pixel
 * @param {{height: number, width: number}} shape of one image
 * @param {{background?: string, places?: number}} options a colour between the images instead of transparency, and the
 *   number of images that the grid has places for
 */
export function draw(canvas, rgba, shape, options = {}) {
  const { height, width } = shape;
  const bytes = 4 * height * width;
  const images = rgba.length / bytes;
  const { background = null, places: count = images } = options;
  const { columns } = layout(count);
  const whole = size(count, shape);
  // Setting a size clears a canvas, which would flicker.
  if (canvas.width !== whole.width) canvas.width = whole.width;
  if (canvas.height !== whole.height) canvas.height = whole.height;
  const context = canvas.getContext("2d");
  if (background) {
    context.fillStyle = background;
    context.fillRect(0, 0, whole.width, whole.height);
  } else {
    context.clearRect(0, 0, whole.width, whole.height);
  }
  for (let index = 0; index < images; index += 1) {
    const image = new ImageData(rgba.slice(index * bytes, (index + 1) * bytes), width, height);
    const [column, row] = [index % columns, Math.floor(index / columns)];
    context.putImageData(image, column * (width + GAP), row * (height + GAP));
  }
}

/**
 * Returns a grid as a PNG, each pixel `scale` pixels wide.
 *
 * @param {Uint8ClampedArray} rgba
 * @param {{height: number, width: number}} shape
 * @param {number} scale
 * @returns {Promise<Blob>}
 */
export async function png(rgba, shape, scale = 1) {
  const grid = new OffscreenCanvas(1, 1);
  draw(grid, rgba, shape, { background: "white" });
  if (scale === 1) return grid.convertToBlob({ type: "image/png" });
  const large = new OffscreenCanvas(grid.width * scale, grid.height * scale);
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(grid, 0, 0, large.width, large.height);
  return large.convertToBlob({ type: "image/png" });
}
