// A tile of 64 x 64 outputs by matrix units: four subgroups of WIDTH invocations, each a quarter of 32 x 32 in tiles of
// SIDE x SIDE, 32 k at a time. Operands are rounded to float16 on its way into workgroup memory, sums are
// float32.
//
// The kernel declares `put`, which finishes and stores the texel of four outputs in a row. It includes matrix_step
// where a_tile and b_tile are filled, matrix_store after the last step. The rows of the tiles are longer than what they
// hold, so that rows do not fall on the same banks of the memory.
//#enable f16
//#enable wgpu_cooperative_matrix

const A_ROW: u32 = 40u;
const B_ROW: u32 = 72u;
const THREADS: u32 = 4u * WIDTH;

var<workgroup> a_tile: array<f16, 2560>;  // [64 rows][32 k]
var<workgroup> b_tile: array<f16, 2304>;  // [32 k][64 columns]
var<workgroup> c_tile: array<f32, $(4 * SIDE * SIDE)>;  // for each subgroup a tile on its way out

// Texel `texel` of eight in a row of a.
fn put_a(row: u32, texel: u32, v: vec4<f32>) {
    let at = row * A_ROW + texel * 4u;
    a_tile[at] = f16(v.x);
    a_tile[at + 1u] = f16(v.y);
    a_tile[at + 2u] = f16(v.z);
    a_tile[at + 3u] = f16(v.w);
}

// Texel `texel` of sixteen in a row of b.
fn put_b(k: u32, texel: u32, v: vec4<f32>) {
    let at = k * B_ROW + texel * 4u;
    b_tile[at] = f16(v.x);
    b_tile[at + 1u] = f16(v.y);
    b_tile[at + 2u] = f16(v.z);
    b_tile[at + 3u] = f16(v.w);
}
