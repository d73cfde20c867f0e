// Means of the centres of patches, weighted by a softmax, for GPUs. Operands and result are those of
// patch_means.lanes.wgsl, with blocks of 4 LANES = 64 keys.
//
// grid     (64 queries, parts, 1); an invocation has one query and goes through the keys of its part, four at a time:
//          all invocations of a workgroup read the same keys
// assumes  as in patch_means.lanes.wgsl, with LANES * per_part * (texels + 1) iterations
//
// Rungs: this is the first.
//#split
//#include patch_means
//#read q
//#read k
//#write y

const LANES = 16u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = workgroup + call.origin.xyz;
    let queries = call.params.queries;
    let texels = call.params.texels;
    let query = group.x * 64u + local;
    let row = min(query, queries - 1u) * (texels + 1u);
    let factor = load_q(row + texels).x;
    let rows = 4u * texels + 2u;

    var most = LEAST;
    var sum = vec4<f32>();
    //#repeat c CHANNELS
    var y$c = vec4<f32>();
    //#end
    let last = min((group.y + 1u) * call.params.per_part, call.params.blocks) * LANES;
    for (var some = group.y * call.params.per_part * LANES; some < last; some++) {
        let base = (some / LANES) * rows * LANES + some % LANES;
        //#if DIFFERENCES
        var s = vec4<f32>();
        //#else
        var s = -load_k(base + (rows - 2u) * LANES);
        //#end
        for (var t = 0u; t < texels; t++) {
            let v = load_q(row + t);
            //#repeat j 4
            let k$j = load_k(base + (4u * t + $(j)u) * LANES);
            //#end
            //#if DIFFERENCES
            let d0 = v.x - k0;
            let d1 = v.y - k1;
            let d2 = v.z - k2;
            let d3 = v.w - k3;
            s -= 0.5 * (d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3);
            //#else
            s += v.x * k0 + v.y * k1 + v.z * k2 + v.w * k3;
            //#end
        }
        let z = factor * s + load_k(base + (rows - 1u) * LANES);
        let next = max(most, largest(z));
        let shrink = exp2(most - next);
        let e = exp2(z - next);
        most = next;
        sum = sum * shrink + e;
        //#repeat c CHANNELS
        y$c = y$c * shrink + e * load_k(base + (call.params.centre + $(c)u) * LANES);
        //#end
    }
    if query < queries {
        let index = 2u * (group.y * queries + query);
        var means = vec4<f32>();
        //#repeat c CHANNELS
        means[$c] = total(y$c);
        //#end
        store_y(index, vec4<f32>(most, total(sum), 0.0, 0.0));
        store_y(index + 1u, means);
    }
}
