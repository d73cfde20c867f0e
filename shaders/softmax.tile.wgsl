// Softmax for GPUs over the visible columns of each row, its first ones: y[i, j] = exp(x[i, j] - max) / sum over j of
// exp(x[i, j] - max).
//
// x, y     as in softmax.wgsl
// grid     one workgroup per four rows, 32768 workgroups along x, the rest along y; 64 invocations per row, neighbours
//          on neighbouring texels
// assumes  the other columns of x may hold anything
//
// Rungs: softmax.wgsl, with one invocation per row, reads rows far apart side by side and leaves most processors idle;
// this is the second.
//#include softmax_rows
//#read x
//#write y

var<workgroup> partial: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let of_all = (workgroup.y * 32768u + workgroup.x) * 4u + local / 64u;
    // Rows beyond the last keep the others company at the barriers.
    let row = min(of_all, call.params.rows - 1u);
    let lane = local % 64u;
    let columns4 = (call.params.columns + 3u) / 4u;
    let seen = seen_by(row);
    let base = row * columns4;

    let some = vec4<f32>(load_x(base).x);
    var most4 = some;
    for (var j = lane; j < columns4; j += 64u) {
        most4 = max(most4, select(some, load_x(base + j), live(j, seen)));
    }
    partial[local] = most4;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride /= 2u) {
        if lane < stride { partial[local] = max(partial[local], partial[local + stride]); }
        workgroupBarrier();
    }
    most4 = partial[local - lane];
    workgroupBarrier();
    let most = max(max(most4.x, most4.y), max(most4.z, most4.w));

    var sum4 = vec4<f32>();
    for (var j = lane; j < columns4; j += 64u) {
        sum4 += select(vec4<f32>(), exp(load_x(base + j) - most), live(j, seen));
    }
    partial[local] = sum4;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride /= 2u) {
        if lane < stride { partial[local] += partial[local + stride]; }
        workgroupBarrier();
    }
    sum4 = partial[local - lane];
    let sum = (sum4.x + sum4.y) + (sum4.z + sum4.w);

    if of_all < call.params.rows {
        for (var j = lane; j < columns4; j += 64u) {
            store_y(base + j, select(vec4<f32>(), exp(load_x(base + j) - most) / sum, live(j, seen)));
        }
    }
}
