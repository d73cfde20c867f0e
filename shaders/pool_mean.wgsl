// The mean of a window of side x side pixels, of those that are in the map.
//
// x, y     NHWC texels
// grid     flat, one invocation per texel of y
// assumes  2 * pad <= side; at most 30,000 pixels in a window
//
// Rungs: this is the first.
//#read x
//#include flat
//#write y

struct Params {
    texels: u32,
    in_h: u32,
    in_w: u32,
    c4: u32,
    out_h: u32,
    out_w: u32,
    side: u32,
    stride: u32,
    pad: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = call.params.c4;
    let in_w = call.params.in_w;
    let side = call.params.side;
    let pad = call.params.pad;
    let lane = index % c4;
    let pixel = index / c4;
    let column_at = pixel % call.params.out_w * call.params.stride;
    let row_at = pixel / call.params.out_w % call.params.out_h * call.params.stride;
    let image = pixel / (call.params.out_w * call.params.out_h);
    let first_row = max(row_at, pad) - pad;
    let last_row = min(row_at + side - pad, call.params.in_h);
    let first_column = max(column_at, pad) - pad;
    let last_column = min(column_at + side - pad, in_w);
    let line = image * call.params.in_h * in_w;
    var pooled = vec4<f32>();
    for (var row = first_row; row < last_row; row++) {
        for (var column = first_column; column < last_column; column++) {
            pooled += load_x((line + row * in_w + column) * c4 + lane);
        }
    }
    store_y(index, pooled / f32((last_row - first_row) * (last_column - first_column)));
}
