// The tangent of layer normalisation over the channels of each pixel: with z the normalised pixel of x and t the
// tangent less its mean, y = weight * (t - z * mean of z * t) / sqrt(variance + eps), the variance biased.
//
// x           rows of texels, one pixel each; zero in the padding channels
// tangent, y  rows of texels, `repeats` images of rows for each of x; zero in the padding channels
// weight      a vector over the channels; zero in the padding channels
// grid        flat, one invocation per row of y
// assumes     fewer than 40,000 channels (three passes of channels / 4 iterations)
//
// Means as in layer_norm.wgsl: first of the values, then of the deviations from it.
//
// Rungs: this is the first.
//#read x
//#read tangent
//#read weight
//#include flat
//#include primal
//#write y

struct Params {
    rows: u32,
    channels: u32,
    image_rows: u32,
    repeats: u32,
    eps: f32,
}

fn sum_of(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = flat_index(id);
    if row >= call.params.rows { return; }
    let channels = f32(call.params.channels);
    let c4 = (call.params.channels + 3u) / 4u;
    let base = row * c4;
    let of_x = primal_index(row, call.params.image_rows, call.params.repeats) * c4;

    var sum4 = vec4<f32>();
    var turn4 = vec4<f32>();
    for (var c = 0u; c < c4; c++) {
        sum4 += load_x(of_x + c);
        turn4 += load_tangent(base + c);
    }
    let near = sum_of(sum4) / channels;
    let near_turn = sum_of(turn4) / channels;

    var apart4 = vec4<f32>();
    var apart_turn4 = vec4<f32>();
    var squares4 = vec4<f32>();
    var together4 = vec4<f32>();
    for (var c = 0u; c < c4; c++) {
        let live = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.channels);
        let deviation = select(vec4<f32>(), load_x(of_x + c) - near, live);
        let turn = select(vec4<f32>(), load_tangent(base + c) - near_turn, live);
        apart4 += deviation;
        apart_turn4 += turn;
        squares4 += deviation * deviation;
        together4 += deviation * turn;
    }
    let apart = sum_of(apart4) / channels;
    let apart_turn = sum_of(apart_turn4) / channels;
    let variance = max(sum_of(squares4) / channels - apart * apart, 0.0) + call.params.eps;
    let together = (sum_of(together4) / channels - apart * apart_turn) / variance;
    let scale = 1.0 / sqrt(variance);

    // The weight is zero in the padding channels, and so is what becomes of these.
    for (var c = 0u; c < c4; c++) {
        let deviation = (load_x(of_x + c) - near) - apart;
        let turn = (load_tangent(base + c) - near_turn) - apart_turn;
        store_y(base + c, (turn - deviation * together) * scale * load_weight(c));
    }
}
