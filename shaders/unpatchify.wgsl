// Tokens to patches of pixels: y[n, i * side + p, j * side + q, c] = x[n, i, j, (p * side + q) * channels + c].
//
// x        NHWC texels, side * side * channels channels
// y        NHWC texels; zero in the padding channels
// grid     flat, one invocation per texel of y
//
// Rungs: this is the first.
//#read x
//#include flat
//#write y

struct Params {
    texels: u32,
    width: u32,
    channels: u32,
    side: u32,
    x_c4: u32,
}

// Channel `channel` of a token.
fn token_channel(token: u32, channel: u32) -> f32 {
    let texel = load_x(token * call.params.x_c4 + channel / 4u);
    let lane = channel % 4u;
    return select(select(texel.x, texel.y, lane == 1u), select(texel.z, texel.w, lane == 3u), lane >= 2u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let side = call.params.side;
    let channels = call.params.channels;
    let c4 = (channels + 3u) / 4u;
    let pixel = index / c4;
    let column = pixel % call.params.width;
    // Rows of all images in one count; an image has a whole number of patches.
    let row = pixel / call.params.width;
    let token = row / side * (call.params.width / side) + column / side;
    let first = (row % side * side + column % side) * channels;
    let channel = index % c4 * 4u;
    var y = vec4<f32>();
    y.x = token_channel(token, first + channel);
    if channel + 1u < channels { y.y = token_channel(token, first + channel + 1u); }
    if channel + 2u < channels { y.z = token_channel(token, first + channel + 2u); }
    if channel + 3u < channels { y.w = token_channel(token, first + channel + 3u); }
    store_y(index, y);
}
