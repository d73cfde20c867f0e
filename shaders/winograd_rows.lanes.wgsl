// 3 x 3 convolution of stride 1 for software adapters, by Winograd's algorithm along the rows alone: OUT neighbouring outputs
// of a row from SIDE products a tap row instead of 3 OUT.
//
//   y[n, oy, ox..ox + OUT, :] = finish(A^T sum over ky, c of (B^T x[n, oy + ky - top, ox - left.., c]) * w[ky, :, c, :])
//
// x        the map as shared/source.wgsl reads it
// weights  blocks of LANES output texels: [block][ky][channel texel][position][channel of the texel][lane], transformed
// y        NHWC texels
// grid     (output blocks, tiles of TH x TW pixels, images); a workgroup is one subgroup of LANES
// assumes  zeros in the padding channels of x and of the weights; TW a multiple of OUT
//
// The scheme of conv2d.lanes.wgsl. The transform of the input is done once by the lane that loads it, before it is handed
// round, so it costs next to nothing; there is no stage before or after. A weight serves TH * TW / OUT sums, so the tile is
// larger than that of the plain kernel.
//
// Rungs, 3x3 at 256 channels 16x16, beside the plain kernel's 62 GFLOP/s (counted as the plain convolution): OUT = 2 in a tile of
// 2x8 74; in 4x8 80; OUT = 4 in 4x8 89, in 8x4 the same, in 8x8 78.
//#include conv2d_params
//#include source
//#read weights
//#include epilogue
//#include winograd
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
    let out_x = group.y % call.params.tiles_x * TW;
    let image = group.z;

    // Columns of the input that the tile touches: their pixel in a row, and whether they exist.
    let left = i32(out_x) - i32(call.params.pad_left);
    //#repeat j TW + 2
    let inside$j = u32(left + $j) < in_w;
    let column$j = min(u32(max(left + $j, 0)), in_w - 1u) >> UP;
    //#end

    //#repeat p TH * TW / OUT * SIDE
    var acc$p = vec4<f32>();
    //#end

    var w = group.x * 3u * in_c4 * SIDE * 4u * LANES + lane;
    for (var ky = 0u; ky < 3u; ky++) {
        let top = i32(out_y + ky) - i32(call.params.pad_top);
        //#repeat r TH
        let in_y$r = top + $r;
        let row_inside$r = u32(in_y$r) < in_h;
        let row$r = (image * (in_h >> UP) + (min(u32(max(in_y$r, 0)), in_h - 1u) >> UP)) * (in_w >> UP);
        //#end
        for (var first = 0u; first < in_c4; first += LANES) {
            let c = min(first + lane, in_c4 - 1u);
            let fold = load_fold(image, c, in_c4);
            //#repeat r TH
            //#repeat j TW + 2
            let x${r}_$j = normalised(load_joined(row$r + column$j, c, in_c4), fold);
            let d${r}_$j = select(vec4<f32>(), x${r}_$j, row_inside$r && inside$j);
            //#end
            //#repeat q TW / OUT
            let a${r}_$q = transform_input(array<vec4<f32>, SIDE>(
                //#repeat j SIDE
                d${r}_$(q * OUT + j),
                //#end
            ));
            //#end
            //#end
            let count = min(LANES, in_c4 - first);
            for (var s = 0u; s < count; s++) {
                //#repeat z SIDE
                //#repeat k 4
                let w${z}_$k = load_weights(w + $(z * 4 + k)u * LANES);
                //#end
                //#repeat r TH
                //#repeat q TW / OUT
                let b${r}_${q}_$z = subgroupShuffle(a${r}_$q[$z], s);
                acc$(r * TW / OUT * SIDE + q * SIDE + z) += b${r}_${q}_$z.x * w${z}_0;
                acc$(r * TW / OUT * SIDE + q * SIDE + z) += b${r}_${q}_$z.y * w${z}_1;
                acc$(r * TW / OUT * SIDE + q * SIDE + z) += b${r}_${q}_$z.z * w${z}_2;
                acc$(r * TW / OUT * SIDE + q * SIDE + z) += b${r}_${q}_$z.w * w${z}_3;
                //#end
                //#end
                //#end
                w += SIDE * 4u * LANES;
            }
        }
    }

    let out_h = call.params.out_h;
    let out_w = call.params.out_w;
    let out_c4 = call.params.out_c4;
    let texel = group.x * LANES + lane;
    //#repeat h TH * TW / OUT
    let sums$h = transform_output(array<vec4<f32>, SIDE>(
        //#repeat z SIDE
        acc$(h * SIDE + z),
        //#end
    ));
    //#end
    // A loop, so that the epilogue stands here once and not TH * TW times.
    var outputs = array<vec4<f32>, TH * TW>(
        //#repeat h TH * TW / OUT
        //#repeat j OUT
        sums$h[$j],
        //#end
        //#end
    );
    for (var p = 0u; p < TH * TW; p++) {
        let y = out_y + p / TW;
        let x = out_x + p % TW;
        if y < out_h && x < out_w && texel < out_c4 {
            let index = ((image * out_h + y) * out_w + x) * out_c4 + texel;
            store_y(index, finish(outputs[p], image, texel, index));
        }
    }
}
