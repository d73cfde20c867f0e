// Layer normalisation over the channels of each pixel: y = (x - mean) / sqrt(variance + eps) * weight + bias, the
// variance biased.
//
// x        rows of texels, one pixel each; zero in the padding channels
// weight   a vector over the channels
// bias     a vector over the channels
// y        as x
// grid     flat, one invocation per row
// assumes  fewer than 40,000 channels (three passes of channels / 4 iterations)
//
// The mean first, then deviations from it: these sum to what the rounded mean is off by, which corrects mean and
// variance.
//
// Rungs: this is the first; on lavapipe 4,096 rows of 320 channels take a seventh of the product with 320 x 320 weights
// that follows.
//#read x
//#read weight
//#read bias
//#include flat
//#write y

struct Params {
    rows: u32,
    channels: u32,
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

    var sum4 = vec4<f32>();
    for (var c = 0u; c < c4; c++) {
        sum4 += load_x(base + c);
    }
    let near = sum_of(sum4) / channels;

    var apart4 = vec4<f32>();
    var squares4 = vec4<f32>();
    for (var c = 0u; c < c4; c++) {
        let live = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.channels);
        let deviation = select(vec4<f32>(), load_x(base + c) - near, live);
        apart4 += deviation;
        squares4 += deviation * deviation;
    }
    let apart = sum_of(apart4) / channels;
    let variance = max(sum_of(squares4) / channels - apart * apart, 0.0);
    let scale = 1.0 / sqrt(variance + call.params.eps);

    // Weight and bias are zero in the padding channels, and so is what becomes of these.
    for (var c = 0u; c < c4; c++) {
        store_y(base + c, ((load_x(base + c) - near) - apart) * scale * load_weight(c) + load_bias(c));
    }
}
