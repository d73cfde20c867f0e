// Transposes of matrices: y[m, j, i] = x[m, i, j].
//
// x        rows of texels along j; padding columns may hold anything
// y        rows of texels along i; zero in the padding columns
// grid     flat, one invocation per texel of y
//
// Rungs: this is the first.
//#read x
//#include flat
//#write y

struct Params {
    texels: u32,
    rows: u32,
    columns: u32,
}

// Component `column` of a row of x.
fn element(row: u32, column: u32) -> f32 {
    let texel = load_x(row * ((call.params.columns + 3u) / 4u) + column / 4u);
    let lane = column % 4u;
    return select(select(texel.x, texel.y, lane == 1u), select(texel.z, texel.w, lane == 3u), lane >= 2u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let rows = call.params.rows;
    let rows4 = (rows + 3u) / 4u;
    let line = index / rows4;
    let column = line % call.params.columns;
    let first = index % rows4 * 4u;
    let row = line / call.params.columns * rows + first;
    var y = vec4<f32>();
    y.x = element(row, column);
    if first + 1u < rows { y.y = element(row + 1u, column); }
    if first + 2u < rows { y.z = element(row + 2u, column); }
    if first + 3u < rows { y.w = element(row + 3u, column); }
    store_y(index, y);
}
