// Statistics of group normalisation for GPUs, and what they make of weight, bias and modulation, in one dispatch.
//
// x           the map as shared/joined.wgsl reads it
// weight      a vector of c channels
// bias        a vector of c channels
// modulation  one vector of 2 c channels per image
// factors     as shared/fold.wgsl has it
// grid        (sets of groups, images), see shared/group_sets.wgsl; 256 invocations
// assumes     pixels * (texels of a group) <= 30,000 * 256
//
// Two passes over the group, the mean of deviations from its first value, then the squares of deviations from the mean:
// no digit is lost however far the mean is from zero.
//
// Rungs: this is the first; moments.wgsl and group_norm_fold.wgsl, which it replaces, take two dispatches, and an
// invocation of the second walks over all chunks of a group.
//#include group_norm_params
//#include joined
//#include group_sets
//#include workgroup_total
//#write factors

// A texel of the map less `near`, zero where it is not of the group or beyond its last.
fn deviation(at: u32, count: u32, base: u32, first: u32, end: u32, near: f32) -> vec4<f32> {
    let texels = (end + 3u) / 4u - first / 4u;
    let i = min(at, count - 1u);
    let c = first / 4u + i % texels;
    let mine = of_group(c, first, end) & vec4<bool>(at < count);
    return select(vec4<f32>(), load_joined(base + i / texels, c, (call.params.channels + 3u) / 4u) - near, mine);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c4 = (call.params.channels + 3u) / 4u;
    let base = workgroup.y * call.params.pixels;
    let values = f32(call.params.pixels) * f32(call.params.group_channels);
    let ones = vec4<f32>(1.0);
    for (var g = 0u; g < call.params.set_groups; g++) {
        let first = group_begin(workgroup.x, g);
        let end = first + call.params.group_channels;
        let count = ((end + 3u) / 4u - first / 4u) * call.params.pixels;
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
        store_group(local, g, mean, workgroup_total(local, dot(squares, ones)) / values);
    }
    store_set(workgroup.y, workgroup.x, local);
}
