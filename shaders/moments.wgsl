// First stage of group normalisation: mean and sum of squared deviations (M2) of each channel over chunks of pixels.
//
// x        the map as shared/joined.wgsl reads it
// moments  two texels, mean and M2 of four channels: ((image * chunks + chunk) * c4 + channel texel) * 2
// grid     flat, one invocation per (image, chunk, channel texel)
//
// One pass over the data less the chunk's first value: squares of deviations of that size do not cancel, however far
// the channel's mean is from zero. Neighbouring invocations read neighbouring channel texels. At most 4096 iterations.
//
// Rungs: this is the first.
//#include joined
//#include flat
//#write moments

struct Params {
    pixels: u32,
    c4: u32,
    chunk: u32,
    chunks: u32,
    invocations: u32,
    first_c4: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.invocations { return; }
    let c4 = call.params.c4;
    let line = index / c4;
    let first = line % call.params.chunks * call.params.chunk;
    let count = min(call.params.chunk, call.params.pixels - first);
    let pixel = line / call.params.chunks * call.params.pixels + first;
    let c = index % c4;

    let shift = load_joined(pixel, c, c4);
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    for (var i = 1u; i < count; i++) {
        let deviation = load_joined(pixel + i, c, c4) - shift;
        sum += deviation;
        squares += deviation * deviation;
    }
    let mean = sum / f32(count);
    store_moments(index * 2u, shift + mean);
    store_moments(index * 2u + 1u, max(squares - sum * mean, vec4<f32>()));
}
