// Second stage of the tangent of a group normalisation: moments, weight, bias and modulation become four factors per
// channel.
//
//   z = x * a + b is the normalised value before its activation, as in group_norm_fold.wgsl, and
//   t * a + x * c + d = a * (t - mean(t) - (x - mean(x)) / variance * mean((x - mean(x)) * t)) is its tangent
//
// (variance with eps in it).
//
// moments     as written by moments_tangent.wgsl
// weight      a vector of c channels
// bias        a vector of c channels
// modulation  one vector of 2 c channels per image of x, m; the parameter holds the texels from one image's to the
//             next, 0 where there is none
// factors     for each image of the tangent c4 texels of a, then of b, of c, of d; zero in the padding channels
// grid        flat, one invocation per channel texel of an image of the tangent
//
// An invocation combines the moments of every group its four channels belong to, in as many iterations as
// group_norm_fold.wgsl.
//
// Rungs: this is the first.
//#read moments
//#include affine
//#include flat
//#write factors

struct Params {
    images: u32,
    channels: u32,
    group_channels: u32,
    pixels: u32,
    chunk: u32,
    chunks: u32,
    modulation: u32,
    repeats: u32,
    eps: f32,
}

// Of a group: means of value and tangent, 1 / deviation of the value, and the mean product of their deviations.
struct Statistics {
    mean: f32,
    inverse_deviation: f32,
    tangent: f32,
    together: f32,
}

// By the parallel formula of Chan, Golub and LeVeque, which holds for products of deviations as for their squares.
fn statistics(image: u32, group: u32) -> Statistics {
    let c4 = (call.params.channels + 3u) / 4u;
    let chunks = call.params.chunks;
    let first = group * call.params.group_channels;
    let end = first + call.params.group_channels;
    let base = image * chunks * c4;
    let near_x = load_moments((base + first / 4u) * 4u)[first % 4u];
    let near_t = load_moments((base + first / 4u) * 4u + 2u)[first % 4u];

    var count = vec4<f32>();
    var mean = vec4<f32>();
    var m2 = vec4<f32>();
    var tangent = vec4<f32>();
    var together = vec4<f32>();
    for (var texel = first / 4u; texel * 4u < end; texel++) {
        let channel = vec4<u32>(texel * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
        let mine = (channel >= vec4<u32>(first)) & (channel < vec4<u32>(end));
        for (var k = 0u; k < chunks; k++) {
            let at = (base + k * c4 + texel) * 4u;
            let more = min(call.params.chunk, call.params.pixels - k * call.params.chunk);
            let n = select(vec4<f32>(), vec4<f32>(f32(more)), mine);
            let share = n / max(count + n, vec4<f32>(1.0));
            let delta = load_moments(at) - near_x - mean;
            let turn = load_moments(at + 2u) - near_t - tangent;
            m2 += select(vec4<f32>(), load_moments(at + 1u), mine) + delta * delta * (count * share);
            together += select(vec4<f32>(), load_moments(at + 3u), mine) + delta * turn * (count * share);
            mean += delta * share;
            tangent += turn * share;
            count += n;
        }
    }

    let ones = vec4<f32>(1.0);
    let values = dot(count, ones);
    let all = dot(count, mean) / values;
    let all_tangents = dot(count, tangent) / values;
    let apart = mean - all;
    let variance = (dot(m2, ones) + dot(count, apart * apart)) / values;
    let products = (dot(together, ones) + dot(count, apart * (tangent - all_tangents))) / values;
    return Statistics(near_x + all, 1.0 / sqrt(variance + call.params.eps), near_t + all_tangents, products);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    let channels = call.params.channels;
    let c4 = (channels + 3u) / 4u;
    if index >= call.params.images * c4 { return; }
    let image = index / c4;
    let c = index % c4;
    let channel = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let group = min(channel, vec4<u32>(channels - 1u)) / call.params.group_channels;

    var mean = vec4<f32>();
    var inverse_deviation = vec4<f32>();
    var tangent = vec4<f32>();
    var together = vec4<f32>();
    for (var g = group.x; g <= group.w; g++) {
        let of_group = statistics(image, g);
        let mine = group == vec4<u32>(g);
        mean = select(mean, vec4<f32>(of_group.mean), mine);
        inverse_deviation = select(inverse_deviation, vec4<f32>(of_group.inverse_deviation), mine);
        tangent = select(tangent, vec4<f32>(of_group.tangent), mine);
        together = select(together, vec4<f32>(of_group.together), mine);
    }

    let line = affine(image / call.params.repeats, c, mean, inverse_deviation);
    let along = -line.a * inverse_deviation * inverse_deviation * together;
    let live = channel < vec4<u32>(channels);
    let out = image * 4u * c4 + c;
    store_factors(out, select(vec4<f32>(), line.a, live));
    store_factors(out + c4, select(vec4<f32>(), line.b, live));
    store_factors(out + 2u * c4, select(vec4<f32>(), along, live));
    store_factors(out + 3u * c4, select(vec4<f32>(), -line.a * tangent - along * mean, live));
}
