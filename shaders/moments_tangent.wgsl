// First stage of the tangent of a group normalisation: over chunks of pixels, the moments of each channel of the value
// and of its tangent, and their covariance.
//
// x        NHWC texels
// tangent  NHWC texels, `repeats` images for each of x
// moments  four texels of four channels: mean and M2 of x, mean of the tangent, and the sum of the products of their
//          deviations; at ((image of the tangent * chunks + chunk) * c4 + channel texel) * 4
// grid     flat, one invocation per (image of the tangent, chunk, channel texel)
//
// As in moments.wgsl both are taken less the chunk's first value, so that nothing cancels where a mean is far from
// zero. The moments of x are gathered again for each of its tangents: x is read for the products anyway. At most 4096
// iterations.
//
// Rungs: this is the first.
//#read x
//#read tangent
//#include flat
//#write moments

struct Params {
    pixels: u32,
    c4: u32,
    chunk: u32,
    chunks: u32,
    invocations: u32,
    repeats: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.invocations { return; }
    let c4 = call.params.c4;
    let pixels = call.params.pixels;
    let line = index / c4;
    let image = line / call.params.chunks;
    let first = line % call.params.chunks * call.params.chunk;
    let count = min(call.params.chunk, pixels - first);
    let of_tangent = (image * pixels + first) * c4 + index % c4;
    let of_x = (image / call.params.repeats * pixels + first) * c4 + index % c4;

    let x0 = load_x(of_x);
    let t0 = load_tangent(of_tangent);
    var sum = vec4<f32>();
    var squares = vec4<f32>();
    var tangents = vec4<f32>();
    var products = vec4<f32>();
    for (var i = 1u; i < count; i++) {
        let deviation = load_x(of_x + i * c4) - x0;
        let turn = load_tangent(of_tangent + i * c4) - t0;
        sum += deviation;
        squares += deviation * deviation;
        tangents += turn;
        products += deviation * turn;
    }
    let mean = sum / f32(count);
    let at = index * 4u;
    store_moments(at, x0 + mean);
    store_moments(at + 1u, max(squares - sum * mean, vec4<f32>()));
    store_moments(at + 2u, t0 + tangents / f32(count));
    store_moments(at + 3u, products - mean * tangents);
}
