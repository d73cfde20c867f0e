// Softmax over the visible columns of each row, its first ones: y[i, j] = exp(x[i, j] - max) / sum over j of exp(x[i,
// j] - max).
//
// x        rows of texels along j
// y        rows of texels along j; zero in the padding columns and in those that are not visible
// grid     flat, one invocation per row
// assumes  fewer than 40,000 columns (three passes of columns / 4 iterations); the other columns of x may hold anything
//
// Rungs: this is the first.
//#include softmax_rows
//#read x
//#include flat
//#write y

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = flat_index(id);
    if row >= call.params.rows { return; }
    let columns4 = (call.params.columns + 3u) / 4u;
    let seen = seen_by(row);
    let base = row * columns4;

    let some = vec4<f32>(load_x(base).x);
    var most4 = some;
    for (var j = 0u; j < columns4; j++) {
        most4 = max(most4, select(some, load_x(base + j), live(j, seen)));
    }
    let most = max(max(most4.x, most4.y), max(most4.z, most4.w));

    var sum4 = vec4<f32>();
    for (var j = 0u; j < columns4; j++) {
        sum4 += select(vec4<f32>(), exp(load_x(base + j) - most), live(j, seen));
    }
    let sum = (sum4.x + sum4.y) + (sum4.z + sum4.w);

    for (var j = 0u; j < columns4; j++) {
        store_y(base + j, select(vec4<f32>(), exp(load_x(base + j) - most) / sum, live(j, seen)));
    }
}
