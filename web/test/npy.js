// Reads float32 arrays of NumPy.

/**
 * @param {Uint8Array} bytes of an `.npy` file of little-endian float32 in C order
 * @returns {{shape: number[], values: Float32Array}}
 */
export function readNpy(bytes) {
  const start = 10 + bytes[8] + 256 * bytes[9];
  const header = new TextDecoder().decode(bytes.slice(10, start));
  if (!header.includes("'<f4'") || !header.includes("'fortran_order': False")) throw new Error(`not float32: ${header}`);
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((part) => part.trim()).map(Number);
  // A copy: the `slice` of a Buffer would share its memory, with the header before it.
  const values = new Float32Array(Uint8Array.prototype.slice.call(bytes, start).buffer);
  if (values.length !== shape.reduce((one, other) => one * other, 1)) throw new Error(`${values.length} values: ${header}`);
  return { shape, values };
}
