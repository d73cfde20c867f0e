// Two-dimensional convolution of stride 1 to at most four channels, for software adapters: the last layer of a network.
//
//   y[n, oy, ox] = finish(sum over ky, kx, c of x[n, oy + ky - top, ox + kx - left, c] * w[ky, kx, c])
//
// x        the map as shared/source.wgsl reads it
// weights  as for conv2d.lanes.wgsl: [ky][channel texel][kx][channel of the texel][lane], of which lane 0 holds the
//          only texel
// y        NHWC texels, one per pixel
// grid     (1, tiles of TH x (LANES - KX + 1) pixels, images); a workgroup is one subgroup of LANES
// assumes  zeros in the padding channels of x and of the weights; KX < LANES
//
// Where lanes are output texels, as in conv2d.lanes.wgsl, all but one would compute padding. Here a lane is a column of
// pixels: it reads, and normalises, its own, and its neighbours hand it theirs; the last KX - 1 lanes only read.
// Weights are read one texel per lane and broadcast.
//
// Rungs: 32 channels at 28x28, 16 images, behind a normalisation with SiLU: see docs/lab-notes.md.
//#split
//#include conv2d_params
//#include source
//#weights weights
//#include epilogue
//#write y

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = workgroup + call.origin.xyz;
    let in_h = call.params.in_h;
    let in_w = call.params.in_w;
    let in_c4 = call.params.in_c4;
    let out_y = group.y / call.params.tiles_x * TH;
    let out_x = group.y % call.params.tiles_x * (LANES - KX + 1u) + lane;
    let image = group.z;

    let in_x = i32(out_x) - i32(call.params.pad_left);
    let column_inside = u32(in_x) < in_w;
    let column = min(u32(max(in_x, 0)), in_w - 1u) >> UP;
    let top = i32(out_y) - i32(call.params.pad_top);
    //#repeat r TH + KX - 1
    let inside$r = u32(top + $r) < in_h && column_inside;
    let pixel$r = (image * (in_h >> UP) + (min(u32(max(top + $r, 0)), in_h - 1u) >> UP)) * (in_w >> UP) + column;
    //#end
    //#repeat k KX - 1
    let neighbour$(k + 1) = (lane + $(k + 1)u) % LANES;
    //#end

    // Where a lane finds its weights of the first channel texel.
    //#repeat g KX * KX * 4 / LANES + 1
    let tap$g = min($(g)u * LANES + lane, KX * KX * 4u - 1u);
    let from$g = ((tap$g / (KX * 4u) * in_c4 * KX + tap$g / 4u % KX) * 4u + tap$g % 4u) * LANES;
    //#end

    //#repeat r TH
    //#repeat e 4
    var acc${r}_$e = 0.0;
    //#end
    //#end
    for (var c = 0u; c < in_c4; c++) {
        let fold = load_fold(image, c, in_c4);
        //#repeat r TH + KX - 1
        let x$r = normalised(load_joined(pixel$r, c, in_c4), fold);
        let a${r}_0 = select(vec4<f32>(), x$r, inside$r);
        //#repeat k KX - 1
        let a${r}_$(k + 1) = subgroupShuffle(a${r}_0, neighbour$(k + 1));
        //#end
        //#end
        //#repeat g KX * KX * 4 / LANES + 1
        let held$g = load_weights(from$g + c * KX * 4u * LANES);
        //#end
        //#repeat t KX * KX * 4
        let w$t = subgroupShuffle(held$(t / LANES), $(t % LANES)u);
        //#end
        //#repeat r TH
        var sum$r = vec4<f32>(acc${r}_0, acc${r}_1, acc${r}_2, acc${r}_3);
        //#repeat ky KX
        //#repeat kx KX
        sum$r += a$(r + ky)_$kx.x * w$(ky * KX * 4 + kx * 4);
        sum$r += a$(r + ky)_$kx.y * w$(ky * KX * 4 + kx * 4 + 1);
        sum$r += a$(r + ky)_$kx.z * w$(ky * KX * 4 + kx * 4 + 2);
        sum$r += a$(r + ky)_$kx.w * w$(ky * KX * 4 + kx * 4 + 3);
        //#end
        //#end
        //#repeat e 4
        acc${r}_$e = sum$r[$e];
        //#end
        //#end
    }

    let out_h = call.params.out_h;
    let out_w = call.params.out_w;
    let bias = bias_of(0u);
    let per_image = per_image_of(image, 0u);
    // A loop, so that the epilogue appears once and not TH times: the sum of the next row moves to the front.
    for (var y = out_y; y < min(out_y + TH, out_h); y++) {
        if out_x < out_w && lane <= LANES - KX {
            let index = (image * out_h + y) * out_w + out_x;
            store_y(index, finish_with(vec4<f32>(acc0_0, acc0_1, acc0_2, acc0_3), bias, per_image, index));
        }
        //#repeat r TH - 1
        //#repeat e 4
        acc${r}_$e = acc$(r + 1)_$e;
        //#end
        //#end
    }
}
