// Two-dimensional convolution for GPUs: an implicit matrix product of pixels by output channels.
//
// Operands and parameters as in conv2d.lanes.wgsl (weights are one block of all output texels; tiles_x is not used).
// grid     (blocks of 16 output texels, tiles of 64 pixels of the whole batch, 1); 256 invocations, each 4 pixels of one texel
// assumes  zeros in the padding channels of x and of the weights
//
// Rungs: this is the first, the tile of matmul.tile.wgsl with the input gathered tap by tap.
//#include conv2d_params
//#include source
//#read weights
//#include epilogue
//#write y

var<workgroup> a_tile: array<vec4<f32>, 256>;  // [pixel][channel texel]
var<workgroup> b_tile: array<vec4<f32>, 256>;  // [channel][output texel]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = workgroup + call.origin.xyz;
    let in_h = call.params.in_h;
    let in_w = call.params.in_w;
    let in_c4 = call.params.in_c4;
    let out_w = call.params.out_w;
    let out_c4 = call.params.out_c4;
    let pixels = call.params.out_h * out_w;
    let rows = pixels * call.params.images;
    let column = group.x * 16u + local % 16u;
    let row = group.y * 64u + local / 16u * 4u;

    // What this invocation fetches of x: one channel texel of one pixel.
    let fetch = min(group.y * 64u + local / 4u, rows - 1u);
    let image = fetch / pixels;
    let top = i32(fetch / out_w % call.params.out_h * STRIDE) - i32(call.params.pad_top);
    let left = i32(fetch % out_w * STRIDE) - i32(call.params.pad_left);

    //#repeat r 4
    var acc$r = vec4<f32>();
    //#end
    for (var ky = 0u; ky < call.params.kernel_h; ky++) {
        for (var kx = 0u; kx < KX; kx++) {
            let y = u32(top + i32(ky));
            let x = u32(left + i32(kx));
            let inside = y < in_h && x < in_w;
            let pixel = (image * (in_h >> UP) + (min(y, in_h - 1u) >> UP)) * (in_w >> UP) + (min(x, in_w - 1u) >> UP);
            for (var first = 0u; first < in_c4; first += 4u) {
                let c = min(first + local % 4u, in_c4 - 1u);
                let v = normalised(load_joined(pixel, c, in_c4), load_fold(image, c, in_c4));
                a_tile[local] = select(vec4<f32>(), v, inside && first + local % 4u < in_c4);
                let fetch_c = min(first + local / 64u, in_c4 - 1u);
                let line = ((ky * in_c4 + fetch_c) * KX + kx) * 4u + local / 16u % 4u;
                b_tile[local] = load_weights(line * out_c4 + min(column, out_c4 - 1u));
                workgroupBarrier();
                let at = local / 16u * 16u;
                //#repeat t 4
                //#repeat r 4
                let a${t}_$r = a_tile[at + $(r * 4 + t)u];
                //#end
                //#repeat j 4
                let b${t}_$j = b_tile[$(t * 64 + j * 16)u + local % 16u];
                //#end
                //#repeat r 4
                acc$r += a${t}_$r.x * b${t}_0;
                acc$r += a${t}_$r.y * b${t}_1;
                acc$r += a${t}_$r.z * b${t}_2;
                acc$r += a${t}_$r.w * b${t}_3;
                //#end
                //#end
                workgroupBarrier();
            }
        }
    }

    if column < out_c4 {
        //#repeat r 4
        if row + $(r)u < rows {
            let index = (row + $(r)u) * out_c4 + column;
            store_y(index, finish(acc$r, (row + $(r)u) / pixels, column, index));
        }
        //#end
    }
}
