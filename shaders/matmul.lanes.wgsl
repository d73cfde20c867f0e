// Batched matrix product for software adapters: y[i, j] = finish(alpha * sum over k of a[i, k] * b[k, j]).
//
// a        rows of texels along k; for one image and head the map as shared/source.wgsl reads it, one row per pixel
// b        B_ROWS = 0: for each k a row of texels along j, cut into blocks of LANES texels (packed weights, one block
//          after the other, or a plain matrix: the strides say which); B_ROWS = 1: b is given as its transpose, for
//          each j a row of texels along k, and is transposed in registers
// y        rows of texels along j
// grid     (blocks of LANES texels along j, tiles of ROWS rows, batch); a workgroup is one subgroup of LANES
// batch    z = image * heads + head; each operand has a stride for both
// assumes  zeros in the padding of a along k; NORM: a tile lies in one image
//
// A lane owns one texel of columns in ROWS rows, and loads one of the rows of a; or (BY_K) LANES texels along k of
// every row, one of which a shuffle by a variable broadcasts: as good where the driver has such shuffles, and better
// where rows lie a multiple of 1 KiB apart, so that ROWS of them do not fit the first cache together. See
// conv2d.lanes.wgsl for the scheme and the rungs: 768^3 on storage buffers 1.4 GFLOP/s, textures 13, shuffles 28 to 50
// with 16 rows, 55 with 32 (a weight serves more rows); on a Zen 5, real-time: 84 with 16 rows, 90 with 32, 100 with
// 64; with sixteen lanes 172.
//#split
//#include matmul_params
//#include source
//#weights b
//#include epilogue
//#write y

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = workgroup + call.origin.xyz;
    let rows = call.params.rows;
    let k4 = (call.params.k + 3u) / 4u;
    let image = group.z / call.params.heads;
    let head = group.z % call.params.heads;
    let column = group.x * LANES + lane;
    let columns4 = (call.params.columns + 3u) / 4u;
    let first_row = group.y * ROWS;
    let a_base = image * call.params.a_image + head * call.params.a_head;
    let b_base = image * call.params.b_image + head * call.params.b_head;
    let b_row = call.params.b_row;

    //#if BY_K
    //#repeat p ROWS
    let row$p = a_base + min(first_row + $(p)u, rows - 1u) * call.params.a_row;
    //#end
    //#else
    //#repeat g (ROWS + LANES - 1) / LANES
    let of$g = min(first_row + $(g)u * LANES + lane, rows - 1u);
    //#if JOINED
    let row$g = of$g;
    //#else
    let row$g = a_base + of$g * call.params.a_row;
    //#end
    //#end
    //#end
    // Variables that loops change are scalars: lavapipe loads all four components of a vector for each use of one.
    //#repeat p ROWS
    //#repeat e 4
    var acc${p}_$e = 0.0;
    //#end
    //#end
    //#if B_ROWS
    let last_column = call.params.columns - 1u;
    //#repeat j 4
    let b$j = b_base + min(column * 4u + $(j)u, last_column) * b_row;
    //#end
    //#else
    let b = b_base + group.x * call.params.b_block + min(lane, columns4 - 1u - group.x * LANES);
    let last_k = call.params.k - 1u;
    //#end

    // Two loops as one run at half the speed where one would do: what is assigned is blended under the masks of both.
    let fold_image = first_row / call.params.rows_per_image;
    //#if BY_K
    for (var first = 0u; first < k4; first += LANES) {
        let own = min(first + lane, k4 - 1u);
        let fold = load_fold(fold_image, own, k4);
        //#repeat p ROWS
        let a$p = normalised(load_x(row$p + own), fold);
        //#end
        for (var c = first; c < min(first + LANES, k4); c++) {
    //#else
    for (var c = 0u; c < k4; c++) {
        {
            let fold = load_fold(fold_image, c, k4);
            //#repeat g (ROWS + LANES - 1) / LANES
            //#if JOINED
            let x$g = load_joined(row$g, c, k4);
            //#else
            let x$g = load_x(row$g + c);
            //#end
            let a$g = normalised(x$g, fold);
            //#end
    //#end
            //#if B_ROWS
            //#repeat j 4
            let t$j = load_b(b$j + c);
            //#end
            let w0 = vec4<f32>(t0.x, t1.x, t2.x, t3.x);
            let w1 = vec4<f32>(t0.y, t1.y, t2.y, t3.y);
            let w2 = vec4<f32>(t0.z, t1.z, t2.z, t3.z);
            let w3 = vec4<f32>(t0.w, t1.w, t2.w, t3.w);
            //#else
            //#repeat j 4
            let w$j = load_b(b + min(c * 4u + $(j)u, last_k) * b_row);
            //#end
            //#end
            //#repeat p ROWS
            //#if BY_K
            let v$p = subgroupShuffle(a$p, c - first);
            //#else
            let v$p = subgroupShuffle(a$(p / LANES), $(p % LANES)u);
            //#end
            //#insert row_step
            //#end
        }
    }

    // The columns beyond the last are padding and must be zero.
    let live = vec4<u32>(column * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.columns);
    let y_base = image * call.params.y_image + head * call.params.y_head;
    let bias = bias_of(min(column, columns4 - 1u));
    // A loop, so that the epilogue does not appear ROWS times. An array of all sums would be unrolled, or be in memory,
    // and both take long to compile: the sums of the next four rows move to the front.
    for (var first = first_row; first < min(first_row + ROWS, rows); first += 4u) {
        //#repeat p 4
        let row$p = first + $(p)u;
        if row$p < rows && column < columns4 {
            let index = y_base + row$p * call.params.y_row + column;
            let all = vec4<f32>(acc${p}_0, acc${p}_1, acc${p}_2, acc${p}_3);
            let sum = select(vec4<f32>(), call.params.alpha * all, live);
            let per_image = per_image_of(row$p / call.params.rows_per_image, column);
            store_y(index, finish_with(sum, bias, per_image, index));
        }
        //#end
        //#repeat p ROWS - 4
        //#repeat e 4
        acc${p}_$e = acc$(p + 4)_$e;
        //#end
        //#end
    }
}
