// The tangent of a softmax over each row: y[i, j] = shares[i, j] * (tangent[i, j] - sum over k of shares[i, k] *
// tangent[i, k]).
//
// shares      rows of texels along j, the output of the softmax; zero in the padding columns
// tangent, y  rows of texels along j, `repeats` images of rows for each of shares; y is zero in the padding columns
// grid        flat, one invocation per row of y
// assumes     fewer than 60,000 columns (two passes of columns / 4 iterations); padding columns of the tangent may hold
//             anything
//
// Rungs: this is the first.
//#read shares
//#read tangent
//#include flat
//#include primal
//#write y

struct Params {
    rows: u32,
    columns: u32,
    image_rows: u32,
    repeats: u32,
}

// Which columns of a texel exist.
fn live(texel: u32) -> vec4<bool> {
    return vec4<u32>(texel * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.columns);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = flat_index(id);
    if row >= call.params.rows { return; }
    let columns4 = (call.params.columns + 3u) / 4u;
    let base = row * columns4;
    let of_shares = primal_index(row, call.params.image_rows, call.params.repeats) * columns4;

    var sum4 = vec4<f32>();
    for (var j = 0u; j < columns4; j++) {
        sum4 += select(vec4<f32>(), load_shares(of_shares + j) * load_tangent(base + j), live(j));
    }
    let mean = (sum4.x + sum4.y) + (sum4.z + sum4.w);

    for (var j = 0u; j < columns4; j++) {
        let moved = load_shares(of_shares + j) * (load_tangent(base + j) - mean);
        store_y(base + j, select(vec4<f32>(), moved, live(j)));
    }
}
