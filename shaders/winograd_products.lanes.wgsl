// Winograd's convolution for software adapters, second and last stage in one: the products of transformed tiles and
// transformed weights, transformed back as they arise, so that they are never stored.
//
//   y[n, outputs of the tile, :] = finish(A^T m A),  m[position] = tiles[position] * weights[position]
//
// tiles    as winograd_input.wgsl writes them: SIDE * SIDE matrices, one row per tile, texels along the channels
// weights  SIDE * SIDE packed matrices, one after the other, each in blocks of LANES texels of outputs for each channel
// y        NHWC texels
// grid     (output blocks, ROWS tiles); a workgroup is one subgroup of LANES
// assumes  zeros in the padding channels of the weights; at most 30,000 iterations of all loops of a workgroup
//          together: some drivers stop at 65,535
//
// The scheme of matmul.lanes.wgsl: a lane loads one of the tiles. Positions go row by row: a sum, once complete, is
// weighted into the OUT sums of its row, and those, at the end of the row, into OUT * OUT outputs. An output is
// computed by 24 multiply-adds instead of 10, but not storing a sum saves as much as a hundred products.
//
// Rungs, 3x3 at 64 channels 64x64, both stages, beside three stages in 2.15 ms: outputs in an array of ROWS * OUT * OUT
// 2.9 ms, and a minute to compile; in variables, copied to such an array at the end 1.85 and 45 s; handed on from tile
// to tile 1.90 and 1.8 s, four tiles at a time 1.88. Loading the weights of the next step early changes nothing. As
// scalars in place of vectors it compiles in a third of the time (16 tiles) to an eighth (32), and runs as fast.
//#split
//#read tiles
//#weights weights
//#include epilogue
//#include winograd
//#include tiles
//#write y

struct Params {
    c4: u32,
    out_h: u32,
    out_w: u32,
    out_c4: u32,
    tiles_x: u32,
    image_tiles: u32,
    first_tile: u32,
    rows: u32,
    flags: u32,
    scale: f32,
    per_image_row: u32,
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = workgroup + call.origin.xyz;
    let c4 = call.params.c4;
    let rows = call.params.rows;
    let out_c4 = call.params.out_c4;
    let first_row = group.y * ROWS;
    let blocks = (out_c4 + LANES - 1u) / LANES;

    //#repeat g (ROWS + LANES - 1) / LANES
    var row$g = min(first_row + $(g)u * LANES + lane, rows - 1u) * c4;
    //#end
    var w = group.x * c4 * 4u * LANES + lane;
    // Variables that loops change are scalars: lavapipe loads all four components of a vector for each use of one.
    //#repeat p ROWS * OUT * OUT
    //#repeat e 4
    var y${p}_$e = 0.0;
    //#end
    //#end

    for (var i = 0u; i < SIDE; i++) {
        //#repeat p ROWS
        //#repeat x OUT
        //#repeat e 4
        var along${p}_${x}_$e = 0.0;
        //#end
        //#end
        //#end
        for (var j = 0u; j < SIDE; j++) {
            //#repeat p ROWS
            //#repeat e 4
            var acc${p}_$e = 0.0;
            //#end
            //#end
            for (var c = 0u; c < c4; c++) {
                //#repeat g (ROWS + LANES - 1) / LANES
                let a$g = load_tiles(row$g + c);
                //#end
                //#repeat k 4
                let w$k = load_weights(w + $(k)u * LANES);
                //#end
                w += 4u * LANES;
                //#repeat p ROWS
                let v$p = subgroupShuffle(a$(p / LANES), $(p % LANES)u);
                //#insert row_step
                //#end
            }
            w += (blocks - 1u) * c4 * 4u * LANES;
            let powers = output_powers(j);
            //#repeat g (ROWS + LANES - 1) / LANES
            row$g += rows * c4;
            //#end
            //#repeat p ROWS
            //#repeat x OUT
            //#repeat e 4
            along${p}_${x}_$e += powers[$x] * acc${p}_$e;
            //#end
            //#end
            //#end
        }
        let powers = output_powers(i);
        //#repeat p ROWS
        //#repeat h OUT
        //#repeat x OUT
        //#repeat e 4
        y$(p * OUT * OUT + h * OUT + x)_$e += powers[$h] * along${p}_${x}_$e;
        //#end
        //#end
        //#end
        //#end
    }

    // Loops, so that the epilogue does not appear ROWS times. An array over all tiles would have to be addressed by a
    // variable, which costs minutes to compile and is slow: the outputs of the next four tiles move to the front, and
    // there those of the next.
    let texel = group.x * LANES + lane;
    let bias = bias_of(min(texel, out_c4 - 1u));
    for (var g = 0u; g < ROWS; g += 4u) {
        //#repeat q OUT * OUT * 4
        //#repeat e 4
        var front${q}_$e = y${q}_$e;
        //#end
        //#end
        for (var p = 0u; p < 4u; p++) {
            let row = first_row + g + p;
            let place = place_of_tile(min(row, rows - 1u));
            let per_image = per_image_of(place.image, min(texel, out_c4 - 1u));
            var outputs = array<vec4<f32>, OUT * OUT>(
                //#repeat q OUT * OUT
                vec4<f32>(front${q}_0, front${q}_1, front${q}_2, front${q}_3),
                //#end
            );
            for (var q = 0u; q < OUT * OUT; q++) {
                let at_y = place.top + q / OUT;
                let at_x = place.left + q % OUT;
                if row < rows && at_y < call.params.out_h && at_x < call.params.out_w && texel < out_c4 {
                    let index = ((place.image * call.params.out_h + at_y) * call.params.out_w + at_x) * out_c4 + texel;
                    store_y(index, finish_with(outputs[q], bias, per_image, index));
                }
            }
            //#repeat p OUT * OUT * 3
            //#repeat e 4
            front${p}_$e = front$(p + OUT * OUT)_$e;
            //#end
            //#end
        }
        //#repeat p ROWS * OUT * OUT - OUT * OUT * 4
        //#repeat e 4
        y${p}_$e = y$(p + OUT * OUT * 4)_$e;
        //#end
        //#end
    }
}
