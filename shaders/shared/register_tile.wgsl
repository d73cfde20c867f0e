// A tile of a product in registers: SIDE * M rows by SIDE * N texels of columns, DEPTH texels of k at a time through workgroup memory.
// SIDE x SIDE invocations, each M rows by N texels, SIDE apart.
//
// The kernel fetches the operands of a step into registers before it multiplies those of the step before, and looks at what it fetched
// only after that, for until then it is on its way. It puts it where no one reads: with two HALVES of workgroup memory into the other one,
// with one after a barrier more. It has the sums acc0_0, ... and includes register_tile_step.
// Rows read together shall not fall on the same banks of the memory: the rows of a_tile have a texel more (PAD) or, where that is too
// much memory, their texels are exchanged by row.
const SIZE: u32 = SIDE * SIDE;
const A_STRIDE: u32 = DEPTH + PAD;
const A_HALF: u32 = SIDE * M * A_STRIDE;
const B_STRIDE: u32 = SIDE * N;
const B_HALF: u32 = DEPTH * 4u * B_STRIDE;

var<workgroup> a_tile: array<vec4<f32>, HALVES * A_HALF>;  // one or two of [row][texel of k]
var<workgroup> b_tile: array<vec4<f32>, HALVES * B_HALF>;  // one or two of [k][texel of columns]

// Where a texel of k of a row lies in a half of a_tile.
fn place_in_a(row: u32, texel: u32) -> u32 {
    //#if PAD
    return row * A_STRIDE + texel;
    //#else
    return row * A_STRIDE + (texel ^ (row * DEPTH / 8u % DEPTH));
    //#end
}

// Column and row of an invocation. Those of eight by four stand together, in such an order that neighbours read the same row or the
// same column: GPUs with subgroups of 32 then fetch the fewest words from workgroup memory.
fn tile_place(local: u32) -> vec2<u32> {
    //#if SIDE / 16
    let column = (local & 1u) | ((local >> 1u) & 6u) | ((local >> 2u) & 8u);
    let row = ((local >> 1u) & 1u) | ((local >> 3u) & 2u) | ((local >> 4u) & 12u);
    //#else
    let column = (local & 1u) | ((local >> 1u) & 6u);
    let row = ((local >> 1u) & 1u) | ((local >> 3u) & 6u);
    //#end
    return vec2<u32>(column, row);
}
