// Statistics of group normalisation for software adapters, and what they make of weight, bias and modulation, in one
// dispatch.
//
// x           the map as shared/joined.wgsl reads it
// weight      a vector of c channels
// bias        a vector of c channels
// modulation  one vector of 2 c channels per image
// factors     as shared/fold.wgsl has it
// grid        (groups, images); a workgroup is one subgroup of LANES
// assumes     groups of whole texels; at most 30,000 iterations: pixels * (texels of a group) <= 30,000 * LANES
//
// Each lane sums its share of the pixels less a value near the mean (that of the group's first texels), and the
// squares: squares of deviations of that size do not cancel, however far the mean is from zero.
//
// Rungs: this is the first; moments.wgsl and group_norm_fold.wgsl, which it replaces, take two dispatches and 1.6 times
// as long.
//#include group_norm_params
//#include joined
//#include fold
//#write factors

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let image = workgroup.y;
    let c4 = (call.params.channels + 3u) / 4u;
    let pixels = call.params.pixels;
    let texels = call.params.group_channels / 4u;
    let first = workgroup.x * texels;
    let base = image * pixels;

    let ones = vec4<f32>(1.0);
    let some = dot(load_joined(base + min(lane, pixels - 1u), first, c4), ones);
    let nearby = subgroupAdd(some) / f32(4u * LANES);
    var sum4 = vec4<f32>();
    var squares4 = vec4<f32>();
    //#if JOINED
    // Each map has a separate loop: where a branch is taken, software adapters take both sides.
    let first_c4 = call.params.first_c4;
    for (var c = first; c < min(first + texels, first_c4); c++) {
        for (var p = lane; p < pixels; p += LANES) {
            let deviation = load_x((base + p) * first_c4 + c) - nearby;
            sum4 += deviation;
            squares4 += deviation * deviation;
        }
    }
    for (var c = max(first, first_c4); c < first + texels; c++) {
        for (var p = lane; p < pixels; p += LANES) {
            let deviation = load_x2((base + p) * (c4 - first_c4) + c - first_c4) - nearby;
            sum4 += deviation;
            squares4 += deviation * deviation;
        }
    }
    //#else
    for (var c = first; c < first + texels; c++) {
        for (var p = lane; p < pixels; p += LANES) {
            let deviation = load_x((base + p) * c4 + c) - nearby;
            sum4 += deviation;
            squares4 += deviation * deviation;
        }
    }
    //#end
    let values = f32(pixels) * f32(texels * 4u);
    let apart = subgroupAdd(dot(sum4, ones)) / values;
    let variance = max(subgroupAdd(dot(squares4, ones)) / values - apart * apart, 0.0);
    let inverse_deviation = 1.0 / sqrt(variance + call.params.eps);

    for (var t = lane; t < texels; t += LANES) {
        store_fold(image, first + t, vec4<f32>(nearby + apart), vec4<f32>(inverse_deviation));
    }
}
