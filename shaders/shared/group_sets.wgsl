// Sets of groups: the fewest that are whole texels, at most four, one after the other by the 256 invocations of a
// workgroup. The last set may have fewer groups.
//
// The kernel has the parameters channels, group_channels, set_groups, modulation and eps. For each group of its set it
// gives store_group what it found, then all invocations call store_set.
//#include fold

var<workgroup> means: array<f32, 4>;
var<workgroup> inverse_deviations: array<f32, 4>;

// The first channel of a group of a set. Beyond the last group, the last one is computed again and discarded.
fn group_begin(place: u32, g: u32) -> u32 {
    let channels = call.params.group_channels;
    return min((place * call.params.set_groups + g) * channels, call.params.channels - channels);
}

// Which components of channel texel c are channels from `first` to `end`.
fn of_group(c: u32, first: u32, end: u32) -> vec4<bool> {
    let channel = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    return (channel >= vec4<u32>(first)) & (channel < vec4<u32>(end));
}

fn store_group(local: u32, g: u32, mean: f32, variance: f32) {
    if local == 0u {
        means[g] = mean;
        inverse_deviations[g] = 1.0 / sqrt(variance + call.params.eps);
    }
}

fn store_set(image: u32, place: u32, local: u32) {
    workgroupBarrier();
    let begin = place * call.params.set_groups * call.params.group_channels / 4u;
    let texels = (call.params.set_groups * call.params.group_channels + 3u) / 4u;
    for (var t = local; t < min(texels, (call.params.channels + 3u) / 4u - begin); t += 256u) {
        let group = (vec4<u32>(t * 4u) + vec4<u32>(0u, 1u, 2u, 3u)) / call.params.group_channels;
        let g = min(group, vec4<u32>(3u));
        let mean = vec4<f32>(means[g.x], means[g.y], means[g.z], means[g.w]);
        let inverse_deviation = vec4<f32>(
            inverse_deviations[g.x], inverse_deviations[g.y], inverse_deviations[g.z], inverse_deviations[g.w]);
        store_fold(image, begin + t, mean, inverse_deviation);
    }
}
