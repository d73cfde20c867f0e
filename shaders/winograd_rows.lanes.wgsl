// 3 x 3 convolution of stride 1 for software adapters, by Winograd's algorithm along the rows alone: OUT neighbouring
// outputs of a row from SIDE products a tap row instead of 3 OUT.
//
//   y[n, oy, ox..ox + OUT, :] =
//       finish(A^T sum over ky, c of (B^T x[n, oy + ky - top, ox - left.., c]) * w[ky, :, c, :])
//
// x        the map as shared/source.wgsl reads it
// weights  blocks of LANES output texels: [block][ky][channel texel][position][channel of the texel][lane], transformed
// y        NHWC texels
// grid     (output blocks, tiles of TH x TW pixels, images); a workgroup is one subgroup of LANES
// assumes  zeros in the padding channels of x and of the weights; TW a multiple of OUT
//
// The scheme of conv2d.lanes.wgsl, but a lane loads, and transforms, what a run of OUT outputs needs, before it is
// broadcast: so the transform costs next to nothing, and there is no stage before or after. A weight serves TH * TW /
// OUT sums, so the tile is larger than that of the plain kernel.
//
// Rungs, 3x3 at 256 channels 16x16, beside the plain kernel's 62 GFLOP/s (counted as the plain convolution): OUT = 2 in
// a tile of 2x8 74; in 4x8 80; OUT = 4 in 4x8 89, in 8x4 the same, in 8x8 78.
//#split
//#include conv2d_params
//#include source
//#weights weights
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

    // A lane loads what one run of OUT outputs needs: SIDE columns, their pixel in a row, and whether they exist.
    //#repeat g (TH * TW / OUT + LANES - 1) / LANES
    let of$g = min($(g)u * LANES + lane, TH * TW / OUT - 1u);
    let left$g = i32(out_x + of$g % (TW / OUT) * OUT) - i32(call.params.pad_left);
    let down$g = out_y + of$g / (TW / OUT);
    //#repeat j SIDE
    let inside${g}_$j = u32(left$g + $j) < in_w;
    let column${g}_$j = min(u32(max(left$g + $j, 0)), in_w - 1u) >> UP;
    //#end
    //#end

    //#repeat p TH * TW / OUT * SIDE
    var acc$p = vec4<f32>();
    //#end

    var w = group.x * 3u * in_c4 * SIDE * 4u * LANES + lane;
    for (var ky = 0u; ky < 3u; ky++) {
        //#repeat g (TH * TW / OUT + LANES - 1) / LANES
        let in_y$g = i32(down$g + ky) - i32(call.params.pad_top);
        let row_inside$g = u32(in_y$g) < in_h;
        let row$g = (image * (in_h >> UP) + (min(u32(max(in_y$g, 0)), in_h - 1u) >> UP)) * (in_w >> UP);
        //#end
        for (var c = 0u; c < in_c4; c++) {
            let fold = load_fold(image, c, in_c4);
            //#repeat g (TH * TW / OUT + LANES - 1) / LANES
            //#repeat j SIDE
            let x${g}_$j = normalised(load_joined(row$g + column${g}_$j, c, in_c4), fold);
            let d${g}_$j = select(vec4<f32>(), x${g}_$j, row_inside$g && inside${g}_$j);
            //#end
            let a$g = transform_input(array<vec4<f32>, SIDE>(
                //#repeat j SIDE
                d${g}_$j,
                //#end
            ));
            //#end
            //#repeat z SIDE
            //#repeat k 4
            let w${z}_$k = load_weights(w + $(z * 4 + k)u * LANES);
            //#end
            //#repeat t TH * TW / OUT
            let b${t}_$z = subgroupShuffle(a$(t / LANES)[$z], $(t % LANES)u);
            acc$(t * SIDE + z) += b${t}_$z.x * w${z}_0;
            acc$(t * SIDE + z) += b${t}_$z.y * w${z}_1;
            acc$(t * SIDE + z) += b${t}_$z.z * w${z}_2;
            acc$(t * SIDE + z) += b${t}_$z.w * w${z}_3;
            //#end
            //#end
            w += SIDE * 4u * LANES;
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
    // A loop, so that the epilogue appears once and not TH * TW times.
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
