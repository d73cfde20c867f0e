// Statistics of group normalisation for GPUs, and what they make of weight, bias and modulation, in one dispatch.
//
// x           the map as shared/joined.wgsl reads it
// weight      a vector of c channels
// bias        a vector of c channels
// modulation  for each image a vector of 2 c channels
// factors     as shared/fold.wgsl has it
// grid        (sets of groups, images); a set is the fewest groups that are whole texels, one after the other by 256 invocations
// assumes     pixels * (texels of a group) <= 30,000 * 256
//
// Two passes over the group, the mean of deviations from its first value, then the squares of deviations from the mean: no digit is lost
// however far the mean is from zero.
//
// Rungs: this is the first; moments.wgsl and group_norm_fold.wgsl, which it replaces, take two dispatches, and an invocation of the
// second walks over all chunks of a group.
//#include joined
//#include fold
//#include workgroup_total
//#write factors

struct Params {
    channels: u32,
    group_channels: u32,
    set_groups: u32,
    pixels: u32,
    modulation: u32,
    eps: f32,
    first_c4: u32,
}

var<workgroup> means: array<f32, 4>;
var<workgroup> inverse_deviations: array<f32, 4>;

// A texel of the map less `near`, zero where it is not of the group or beyond its last.
fn deviation(at: u32, count: u32, base: u32, first: u32, end: u32, near: f32) -> vec4<f32> {
    let texels = (end + 3u) / 4u - first / 4u;
    let i = min(at, count - 1u);
    let c = first / 4u + i % texels;
    let channel = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let mine = (channel >= vec4<u32>(first)) & (channel < vec4<u32>(end)) & vec4<bool>(at < count);
    return select(vec4<f32>(), load_joined(base + i / texels, c, (call.params.channels + 3u) / 4u) - near, mine);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let image = workgroup.y;
    let channels = call.params.channels;
    let group_channels = call.params.group_channels;
    let c4 = (channels + 3u) / 4u;
    let base = image * call.params.pixels;
    let begin = workgroup.x * call.params.set_groups * group_channels;
    let ones = vec4<f32>(1.0);

    for (var g = 0u; g < call.params.set_groups; g++) {
        // The last set may have fewer groups: what is beyond them counts for nothing.
        let first = min(begin + g * group_channels, channels - group_channels);
        let end = first + group_channels;
        let count = ((end + 3u) / 4u - first / 4u) * call.params.pixels;
        let values = f32(call.params.pixels) * f32(group_channels);
        let near = load_joined(base, first / 4u, c4)[first % 4u];

        // Four loads at a time are on their way together.
        var sum = vec4<f32>();
        for (var at = local; at < count; at += 1024u) {
            //#repeat i 4
            let v$i = deviation(at + $(i * 256)u, count, base, first, end, near);
            //#end
            sum += (v0 + v1) + (v2 + v3);
        }
        let mean = near + workgroup_total(local, dot(sum, ones)) / values;
        var squares = vec4<f32>();
        for (var at = local; at < count; at += 1024u) {
            //#repeat i 4
            let v$i = deviation(at + $(i * 256)u, count, base, first, end, mean);
            //#end
            squares += (v0 * v0 + v1 * v1) + (v2 * v2 + v3 * v3);
        }
        let variance = workgroup_total(local, dot(squares, ones)) / values;
        if local == 0u {
            means[g] = mean;
            inverse_deviations[g] = 1.0 / sqrt(variance + call.params.eps);
        }
    }
    workgroupBarrier();

    let texels = (call.params.set_groups * group_channels + 3u) / 4u;
    for (var t = local; t < min(texels, c4 - begin / 4u); t += 256u) {
        let group = (vec4<u32>(t * 4u) + vec4<u32>(0u, 1u, 2u, 3u)) / group_channels;
        var mean: vec4<f32>;
        var inverse_deviation: vec4<f32>;
        //#repeat i 4
        mean[$i] = means[min(group[$i], 3u)];
        inverse_deviation[$i] = inverse_deviations[min(group[$i], 3u)];
        //#end
        store_fold(image, begin / 4u + t, mean, inverse_deviation);
    }
}
