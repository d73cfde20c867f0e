// Two-dimensional convolution for software adapters: a subgroup is one SIMD vector, nothing needs a barrier.
//
//   y[n, oy, ox, :] = finish(sum over ky, kx, c of x[n, oy * STRIDE + ky - top, ox * STRIDE + kx - left, c]
//                                               * w[ky, kx, c, :])
//
// x        the map as shared/source.wgsl reads it
// weights  blocks of LANES output texels: [block][ky][channel texel][kx][channel of the texel][lane]
// y        NHWC texels
// grid     (output blocks, tiles of TH x TW pixels, images); a workgroup is one subgroup of LANES
// assumes  zeros in the padding channels of x and of the weights
//
// A lane owns one output texel (four channels) of each pixel of the tile, and loads, texel of channels by texel of
// channels, one of the tile's input pixels; a shuffle broadcasts a pixel to all lanes. So a weight loaded once serves
// the whole tile and an input texel all lanes. The shuffle's index is a number, which a driver makes a broadcast of; by
// a variable lavapipe has it for eight lanes only, and for sixteen goes through them one by one. Pixel-outer order: all
// products of a pixel go into its one accumulator before the next pixel.
//
// Rungs, 3x3 at 128 channels 32x32: storage buffers, one lane per texel 1.4 GFLOP/s; texture operands 13; shuffles,
// tap-outer 28; pixel-outer 34-56; sixteen lanes twice that (`downhill bench conv`; docs/lab-notes.md).
//#split
//#include conv2d_params
//#include source
//#weights weights
//#include epilogue
//#write y

// Input pixels that a row of the tile touches.
const COLUMNS: u32 = (TW - 1u) * STRIDE + KX;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = workgroup + call.origin.xyz;
    let in_h = call.params.in_h;
    let in_w = call.params.in_w;
    let in_c4 = call.params.in_c4;
    let kernel_h = call.params.kernel_h;
    let out_y = group.y / call.params.tiles_x * TH;
    let out_x = group.y % call.params.tiles_x * TW;
    let image = group.z;

    // Pixels of the input that the tile touches, for a row of the kernel: TH rows of COLUMNS, one pixel per lane.
    let left = i32(out_x * STRIDE) - i32(call.params.pad_left);
    //#repeat g (TH * ((TW - 1) * STRIDE + KX) + LANES - 1) / LANES
    let of$g = min($(g)u * LANES + lane, TH * COLUMNS - 1u);
    let in_x$g = left + i32(of$g % COLUMNS);
    let column_inside$g = u32(in_x$g) < in_w;
    let column$g = min(u32(max(in_x$g, 0)), in_w - 1u) >> UP;
    let down$g = (out_y + of$g / COLUMNS) * STRIDE;
    //#end

    // Variables that loops change are scalars: lavapipe loads all four components of a vector for each use of one.
    //#repeat p TH * TW
    //#repeat e 4
    var acc${p}_$e = 0.0;
    //#end
    //#end

    var w = group.x * kernel_h * in_c4 * KX * 4u * LANES + lane;
    for (var ky = 0u; ky < kernel_h; ky++) {
        //#repeat g (TH * ((TW - 1) * STRIDE + KX) + LANES - 1) / LANES
        let in_y$g = i32(down$g + ky) - i32(call.params.pad_top);
        let inside$g = u32(in_y$g) < in_h && column_inside$g;
        let pixel$g = (image * (in_h >> UP) + (min(u32(max(in_y$g, 0)), in_h - 1u) >> UP)) * (in_w >> UP) + column$g;
        //#end
        for (var c = 0u; c < in_c4; c++) {
            let fold = load_fold(image, c, in_c4);
            //#repeat g (TH * ((TW - 1) * STRIDE + KX) + LANES - 1) / LANES
            let x$g = normalised(load_joined(pixel$g, c, in_c4), fold);
            let a$g = select(vec4<f32>(), x$g, inside$g);
            //#end
            //#repeat k KX * 4
            let w$k = load_weights(w + $(k)u * LANES);
            //#end
            w += KX * 4u * LANES;
            //#repeat r TH
            //#repeat j (TW - 1) * STRIDE + KX
            let b${r}_$j = subgroupShuffle(
                a$((r * ((TW - 1) * STRIDE + KX) + j) / LANES),
                $((r * ((TW - 1) * STRIDE + KX) + j) % LANES)u,
            );
            //#end
            //#repeat q TW
            var sum${r}_$q = vec4<f32>(
                //#repeat e 4
                acc$(r * TW + q)_$e,
                //#end
            );
            //#repeat kx KX
            sum${r}_$q += b${r}_$(q * STRIDE + kx).x * w$(kx * 4);
            sum${r}_$q += b${r}_$(q * STRIDE + kx).y * w$(kx * 4 + 1);
            sum${r}_$q += b${r}_$(q * STRIDE + kx).z * w$(kx * 4 + 2);
            sum${r}_$q += b${r}_$(q * STRIDE + kx).w * w$(kx * 4 + 3);
            //#end
            //#repeat e 4
            acc$(r * TW + q)_$e = sum${r}_$q[$e];
            //#end
            //#end
            //#end
        }
    }

    let out_h = call.params.out_h;
    let out_w = call.params.out_w;
    let out_c4 = call.params.out_c4;
    let texel = group.x * LANES + lane;
    let bias = bias_of(min(texel, out_c4 - 1u));
    let per_image = per_image_of(image, min(texel, out_c4 - 1u));
    // A loop, so that the epilogue does not appear TH * TW times. An array of all sums would be unrolled: those of the
    // next four pixels move to the front.
    for (var first = 0u; first < min(out_h - out_y, TH) * TW; first += 4u) {
        //#repeat p 4
        let y$p = out_y + (first + $(p)u) / TW;
        let x$p = out_x + (first + $(p)u) % TW;
        if y$p < out_h && x$p < out_w && texel < out_c4 {
            let index = ((image * out_h + y$p) * out_w + x$p) * out_c4 + texel;
            let sum = vec4<f32>(acc${p}_0, acc${p}_1, acc${p}_2, acc${p}_3);
            store_y(index, finish_with(sum, bias, per_image, index));
        }
        //#end
        //#repeat p TH * TW - 4
        //#repeat e 4
        acc${p}_$e = acc$(p + 4)_$e;
        //#end
        //#end
    }
}
