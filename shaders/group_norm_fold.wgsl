// Second stage of group normalisation: folds statistics, weight, bias and modulation into one multiply-add per channel.
//
//   x * a + b = (weight * (x - mean) / sqrt(variance + eps) + bias) * (1 + m[..c]) + m[c..]
//
// moments     as written by moments.wgsl
// weight      a vector of c channels
// bias        a vector of c channels
// modulation  one vector of 2 c channels per image, m; the parameter holds the texels from one image's to the next,
//             0 where there is none
// factors     for each image c4 texels of multipliers a, then c4 texels of offsets b; zero in the padding channels
// grid        flat, one invocation per channel texel of an image
//
// An invocation combines the statistics of every group its four channels belong to, at most (texels of those groups) *
// (chunks) iterations: under 20,000 for any map of at least 32 channels that a device can hold.
//
// Rungs: this is the first.
//#include group_norm_fold_params
//#read moments
//#include fold
//#include flat
//#write factors

struct Statistics {
    mean: f32,
    inverse_deviation: f32,
}

// Mean and 1 / sqrt(variance + eps) of a group, by the parallel formula of Chan, Golub and LeVeque: each component of
// a texel gathers its own count, mean and M2 over chunks and texels, and the four are combined at the end. Means are
// relative to that of the group's first channel and chunk, so they are small where the data is far from zero.
fn statistics(image: u32, group: u32) -> Statistics {
    let c4 = (call.params.channels + 3u) / 4u;
    let chunks = call.params.chunks;
    let first = group * call.params.group_channels;
    let end = first + call.params.group_channels;
    let base = image * chunks * c4;
    let nearby = load_moments((base + first / 4u) * 2u)[first % 4u];

    var count = vec4<f32>();
    var mean = vec4<f32>();
    var m2 = vec4<f32>();
    for (var texel = first / 4u; texel * 4u < end; texel++) {
        let channel = vec4<u32>(texel * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
        let mine = (channel >= vec4<u32>(first)) & (channel < vec4<u32>(end));
        for (var k = 0u; k < chunks; k++) {
            let at = (base + k * c4 + texel) * 2u;
            let more = min(call.params.chunk, call.params.pixels - k * call.params.chunk);
            let n = select(vec4<f32>(), vec4<f32>(f32(more)), mine);
            let share = n / max(count + n, vec4<f32>(1.0));
            let delta = load_moments(at) - nearby - mean;
            m2 += select(vec4<f32>(), load_moments(at + 1u), mine) + delta * delta * (count * share);
            mean += delta * share;
            count += n;
        }
    }

    let ones = vec4<f32>(1.0);
    let values = dot(count, ones);
    let all = dot(count, mean) / values;
    let apart = mean - all;
    let variance = (dot(m2, ones) + dot(count, apart * apart)) / values;
    return Statistics(nearby + all, 1.0 / sqrt(variance + call.params.eps));
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
    for (var g = group.x; g <= group.w; g++) {
        let of_group = statistics(image, g);
        let mine = group == vec4<u32>(g);
        mean = select(mean, vec4<f32>(of_group.mean), mine);
        inverse_deviation = select(inverse_deviation, vec4<f32>(of_group.inverse_deviation), mine);
    }

    store_fold(image, c, mean, inverse_deviation);
}
