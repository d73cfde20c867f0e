// Two-dimensional convolution for GPUs: an implicit matrix product of pixels by output channels.
//
// Operands and parameters as in conv2d.lanes.wgsl (weights are one block of all output texels; tiles_x is not used).
// grid     (blocks of SIDE * N output texels, tiles of SIDE * M pixels of the whole batch, 1); SIDE * SIDE invocations, each M pixels
//          of N texels
// assumes  zeros in the padding channels of x and of the weights
//
// Rungs: those of matmul.tile.wgsl, with the input gathered tap by tap.
//#include conv2d_params
//#include source
//#read weights
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
    let first_row = group.y * SIDE * M;
    let first_column = group.x * SIDE * N;

    // What this invocation fetches: channel texels of pixels, texels of weights.
    //#repeat i M * DEPTH / SIDE
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
    //#repeat i 4 * DEPTH * N / SIDE
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
    for (var step = 0u; step <= steps; step++) {
        if step < steps {
            //#repeat i M * DEPTH / SIDE
            let y$i = u32(top$i + i32(ky));
            let x$i = u32(left$i + i32(kx));
            let line$i = (image$i * (in_h >> UP) + (min(y$i, in_h - 1u) >> UP)) * (in_w >> UP);
            let c$i = min(first + a_texel$i, in_c4 - 1u);
            next_a$i = load_joined(line$i + (min(x$i, in_w - 1u) >> UP), c$i, in_c4);
            next_fold$i = load_fold(image$i, c$i, in_c4);
            live$i = y$i < in_h && x$i < in_w && first + a_texel$i < in_c4;
            //#end
            //#repeat i 4 * DEPTH * N / SIDE
            let fetch_c$i = min(first + b_k$i / 4u, in_c4 - 1u);
            next_b$i = load_weights((((ky * in_c4 + fetch_c$i) * KX + kx) * 4u + b_k$i % 4u) * out_c4 + fetch_column$i);
            //#end
            first += DEPTH;
            if first >= in_c4 {
                first = 0u;
                kx += 1u;
                if kx == KX {
                    kx = 0u;
                    ky += 1u;
                }
            }
        }
        //#include register_tile_step
        if step < steps {
            let half = step % HALVES;
            //#repeat i M * DEPTH / SIDE
            let v$i = normalised(next_a$i, next_fold$i);
            a_tile[half * A_HALF + place_in_a(a_row$i, a_texel$i)] = select(vec4<f32>(), v$i, live$i);
            //#end
            //#repeat i 4 * DEPTH * N / SIDE
            b_tile[half * B_HALF + local + $(i)u * SIZE] = next_b$i;
            //#end
        }
        workgroupBarrier();
    }

    //#repeat c N
    let column$c = first_column + place.x + $(c)u * SIDE;
    if column$c < out_c4 {
        //#repeat r M
        let row$r = first_row + place.y + $(r)u * SIDE;
        if row$r < rows {
            let index = row$r * out_c4 + column$c;
            store_y(index, finish(acc${r}_$c, row$r / pixels, column$c, index));
        }
        //#end
    }
    //#end
}
