// Self-test of barriers in workgroup memory: y[group] = sum of the 64 texels of the group, by a tree.
//
// grid     (groups, 1, 1), 64 invocations
//#read x
//#write y

struct Params {
    count: u32,
}

var<workgroup> sums: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    sums[local] = load_x(group.x * 64u + local);
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if local < half { sums[local] += sums[local + half]; }
        workgroupBarrier();
    }
    if local == 0u && group.x < call.params.count { store_y(group.x, sums[0]); }
}
