// Sums over the workgroup, by a tree, so that the order is the same on any device. All 256 invocations take part.

var<workgroup> partial: array<f32, 256>;

fn workgroup_total(local: u32, mine: f32) -> f32 {
    partial[local] = mine;
    workgroupBarrier();
    for (var stride = 128u; stride > 0u; stride /= 2u) {
        if local < stride { partial[local] += partial[local + stride]; }
        workgroupBarrier();
    }
    let total = partial[0];
    workgroupBarrier();
    return total;
}
