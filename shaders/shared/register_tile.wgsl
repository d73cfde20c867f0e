// A tile of a product in registers: TALL * M rows by WIDE * N texels of columns, DEPTH texels of k at a time through
// workgroup memory. WIDE x TALL invocations, each M rows, TALL apart, by N texels, WIDE apart.
//
// A step of the kernel: store what was fetched, wait for all, fetch what the next step needs, insert
// register_tile_step. So what is fetched is on its way during the products, and is used only after them; nothing
// depends on the step (the last one fetches something again in vain), so that a compiler may mix addresses, loads and
// products. With two HALVES of workgroup memory a step is put away beside the one that others still read, with one
// after a barrier more. The kernel has the sums acc0_0, ... Rows read together must not fall on the same banks of the
// memory: the rows of a_tile have a texel more (PAD) or, where that is too much memory, their texels are exchanged by
// row.
const SIZE: u32 = WIDE * TALL;
const A_STRIDE: u32 = DEPTH + PAD;
const A_HALF: u32 = TALL * M * A_STRIDE;
const B_STRIDE: u32 = WIDE * N;
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

// Column and row of an invocation. Those of eight by four stand together, in such an order that neighbours read the
// same row or the same column: GPUs with subgroups of 32 then fetch the fewest words from workgroup memory.
fn tile_place(local: u32) -> vec2<u32> {
    let block = local / 32u;
    let column = (local & 1u) | ((local >> 1u) & 6u);
    let row = ((local >> 1u) & 1u) | ((local >> 3u) & 2u);
    return vec2<u32>(block % (WIDE / 8u) * 8u + column, block / (WIDE / 8u) * 4u + row);
}
