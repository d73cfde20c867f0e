// Batched matrix product for GPUs: y[i, j] = finish(alpha * sum over k of a[i, k] * b[k, j]).
//
// Operands, batch and parameters as in matmul.lanes.wgsl (packed weights are one block of all columns).
// grid     (blocks of WIDE * N texels along j, tiles of TALL * M rows, batch); WIDE * TALL invocations, each M rows of
//          N texels
// assumes  zeros in the padding of a along k
//
// Rungs: 64 x 64 values in workgroup memory, 16 k at a time, 4 x 4 an invocation, fetched and put away before the
// products; the next step fetched while this one is multiplied, 8 x 8 an invocation where that leaves enough
// workgroups; no branches about the steps, and workgroups of 128 invocations, of which a processor holds three
// (docs/lab-notes.md).
//#split
//#include matmul_params
//#include source
//#weights b
//#include epilogue
//#include register_tile
//#write y

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = workgroup + call.origin.xyz;
    let rows = call.params.rows;
    let k4 = (call.params.k + 3u) / 4u;
    let columns4 = (call.params.columns + 3u) / 4u;
    let image = group.z / call.params.heads;
    let head = group.z % call.params.heads;
    let a_base = image * call.params.a_image + head * call.params.a_head;
    let b_base = image * call.params.b_image + head * call.params.b_head;
    let place = tile_place(local);
    let first_row = group.y * TALL * M;
    let first_column = group.x * WIDE * N;

    // The fetches of this invocation: texels of rows of a, texels of rows of b.
    //#repeat i M * DEPTH / WIDE
    let a_row$i = (local + $(i)u * SIZE) / DEPTH;
    let a_texel$i = (local + $(i)u * SIZE) % DEPTH;
    let fetch_row$i = min(first_row + a_row$i, rows - 1u);
    var next_a$i: vec4<f32>;
    var next_fold$i: Fold;
    //#end
    //#if B_ROWS
    // A block of 4 x 4 of the transposed b, to be transposed back.
    let b_texel = local % B_STRIDE;
    let b_k = local / B_STRIDE;
    //#repeat j 4
    let fetch_column$j = b_base
        + min((first_column + b_texel) * 4u + $(j)u, call.params.columns - 1u) * call.params.b_row;
    var next_b$j: vec4<f32>;
    //#end
    //#else
    //#repeat i 4 * DEPTH * N / TALL
    let b_k$i = (local + $(i)u * SIZE) / B_STRIDE;
    let b_texel$i = (local + $(i)u * SIZE) % B_STRIDE;
    let fetch_column$i = b_base + min(first_column + b_texel$i, columns4 - 1u);
    var next_b$i: vec4<f32>;
    //#end
    //#end

    //#repeat r M
    //#repeat c N
    var acc${r}_$c = vec4<f32>();
    //#end
    //#end
    {
        let first = 0u;
        //#insert matmul_tile_fetch
    }
    for (var step = 0u; step < (k4 + DEPTH - 1u) / DEPTH; step++) {
        let half = step % HALVES;
        let begun = step * DEPTH;
        //#repeat i M * DEPTH / WIDE
        let v$i = normalised(next_a$i, next_fold$i);
        a_tile[half * A_HALF + place_in_a(a_row$i, a_texel$i)] = select(vec4<f32>(), v$i, begun + a_texel$i < k4);
        //#end
        //#if B_ROWS
        if b_k < DEPTH {
            let at = half * B_HALF + b_k * 4u * B_STRIDE + b_texel;
            //#repeat j 4
            b_tile[at + $(j)u * B_STRIDE] = vec4<f32>(next_b0[$j], next_b1[$j], next_b2[$j], next_b3[$j]);
            //#end
        }
        //#else
        //#repeat i 4 * DEPTH * N / TALL
        b_tile[half * B_HALF + local + $(i)u * SIZE] = next_b$i;
        //#end
        //#end
        workgroupBarrier();
        let first = begun + DEPTH;
        //#insert matmul_tile_fetch
        //#insert register_tile_step
    }

    let y_base = image * call.params.y_image + head * call.params.y_head;
    //#repeat c N
    let column$c = first_column + place.x + $(c)u * WIDE;
    if column$c < columns4 {
        // The columns beyond the last are padding and must be zero.
        let live = vec4<u32>(column$c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.columns);
        //#repeat r M
        let row$r = first_row + place.y + $(r)u * TALL;
        if row$r < rows {
            let index = y_base + row$r * call.params.y_row + column$c;
            let sum = select(vec4<f32>(), call.params.alpha * acc${r}_$c, live);
            store_y(index, finish(sum, row$r / call.params.rows_per_image, column$c, index));
        }
        //#end
    }
    //#end
}
