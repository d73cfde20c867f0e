// Two-dimensional convolution for GPUs: an implicit matrix product of pixels by output channels.
//
// Operands and parameters as in conv2d.lanes.wgsl (weights are one block of all output texels; tiles_x is not used).
// grid     (blocks of WIDE * N output texels, tiles of TALL * M pixels of the whole batch, 1); WIDE * TALL invocations,
//          each M pixels of N texels
// assumes  zeros in the padding channels of x and of the weights
//
// Rungs: those of matmul.tile.wgsl, with the input gathered tap by tap.
//#split
//#include conv2d_params
//#include source
//#weights weights
//#include epilogue
//#include register_tile
//#write y

@compute @workgroup_size(SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = workgroup + call.origin.xyz;
    let in_h = call.params.in_h;
    let in_w = call.params.in_w;
    let in_c4 = call.params.in_c4;
    let out_w = call.params.out_w;
    let out_c4 = call.params.out_c4;
    let pixels = call.params.out_h * out_w;
    let rows = pixels * call.params.images;
    let place = tile_place(local);
    let first_row = group.y * TALL * M;
    let first_column = group.x * WIDE * N;

    // The fetches of this invocation: channel texels of pixels, texels of weights.
    //#repeat i M * DEPTH / WIDE
    let a_row$i = (local + $(i)u * SIZE) / DEPTH;
    let a_texel$i = (local + $(i)u * SIZE) % DEPTH;
    let fetch$i = min(first_row + a_row$i, rows - 1u);
    let image$i = fetch$i / pixels;
    let top$i = i32(fetch$i / out_w % call.params.out_h * STRIDE) - i32(call.params.pad_top);
    let left$i = i32(fetch$i % out_w * STRIDE) - i32(call.params.pad_left);
    var next_a$i: vec4<f32>;
    var next_fold$i: Fold;
    var live$i = false;
    //#end
    //#repeat i 4 * DEPTH * N / TALL
    let b_k$i = (local + $(i)u * SIZE) / B_STRIDE;
    let fetch_column$i = min(first_column + (local + $(i)u * SIZE) % B_STRIDE, out_c4 - 1u);
    var next_b$i: vec4<f32>;
    //#end

    //#repeat r M
    //#repeat c N
    var acc${r}_$c = vec4<f32>();
    //#end
    //#end
    let steps = call.params.kernel_h * KX * ((in_c4 + DEPTH - 1u) / DEPTH);
    var ky = 0u;
    var kx = 0u;
    var first = 0u;
    {
        //#insert conv2d_tile_fetch
    }
    for (var step = 0u; step < steps; step++) {
        let half = step % HALVES;
        //#repeat i M * DEPTH / WIDE
        let v$i = normalised(next_a$i, next_fold$i);
        a_tile[half * A_HALF + place_in_a(a_row$i, a_texel$i)] = select(vec4<f32>(), v$i, live$i);
        //#end
        //#repeat i 4 * DEPTH * N / TALL
        b_tile[half * B_HALF + local + $(i)u * SIZE] = next_b$i;
        //#end
        workgroupBarrier();
        //#insert conv2d_tile_fetch
        //#insert register_tile_step
    }

    //#repeat c N
    let column$c = first_column + place.x + $(c)u * WIDE;
    if column$c < out_c4 {
        //#repeat r M
        let row$r = first_row + place.y + $(r)u * TALL;
        if row$r < rows {
            let index = row$r * out_c4 + column$c;
            store_y(index, finish(acc${r}_$c, row$r / pixels, column$c, index));
        }
        //#end
    }
    //#end
}
