// Second stage of group normalisation for GPUs: as group_norm_fold.wgsl, by a workgroup for a few groups.
//
// moments, weight, bias, modulation, factors  as in group_norm_fold.wgsl
// grid        (sets of groups, images), see shared/group_sets.wgsl; 256 invocations
// assumes     (chunks of a map) * (texels of a group) <= 30,000 * 256
//
// Two passes, as in group_norm.tile.wgsl: the mean of the chunks' means, then their squared deviations from it.
//
// Rungs: group_norm_fold.wgsl, where an invocation walks over all chunks of a group; this is the second.
//#include group_norm_fold_params
//#read moments
//#include group_sets
//#include workgroup_total
//#write factors

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c4 = (call.params.channels + 3u) / 4u;
    let chunks = call.params.chunks;
    let base = workgroup.y * chunks * c4;
    let values = f32(call.params.pixels) * f32(call.params.group_channels);
    let ones = vec4<f32>(1.0);
    for (var g = 0u; g < call.params.set_groups; g++) {
        let first = group_begin(workgroup.x, g);
        let end = first + call.params.group_channels;
        let texels = (end + 3u) / 4u - first / 4u;
        let near = load_moments((base + first / 4u) * 2u)[first % 4u];

        var sum = vec4<f32>();
        for (var at = local; at < chunks * texels; at += 256u) {
            let k = at / texels;
            let c = first / 4u + at % texels;
            let n = f32(min(call.params.chunk, call.params.pixels - k * call.params.chunk));
            sum += select(vec4<f32>(), n * (load_moments((base + k * c4 + c) * 2u) - near), of_group(c, first, end));
        }
        let mean = near + workgroup_total(local, dot(sum, ones)) / values;
        var squares = vec4<f32>();
        for (var at = local; at < chunks * texels; at += 256u) {
            let k = at / texels;
            let c = first / 4u + at % texels;
            let n = f32(min(call.params.chunk, call.params.pixels - k * call.params.chunk));
            let i = (base + k * c4 + c) * 2u;
            let apart = load_moments(i) - mean;
            squares += select(vec4<f32>(), load_moments(i + 1u) + n * apart * apart, of_group(c, first, end));
        }
        store_group(local, g, mean, workgroup_total(local, dot(squares, ones)) / values);
    }
    store_set(workgroup.y, workgroup.x, local);
}
