// Half the rows and columns by the filter (1, 3, 3, 1) / 8 along both, with `pad` rows and columns of zeros around.
//
// x, y     NHWC texels
// grid     flat, one invocation per texel of y
// assumes  sides of x below 2^30
//
// Rungs: this is the first.
//#read x
//#include flat
//#include or_zero
//#write y

struct Params {
    texels: u32,
    in_h: u32,
    in_w: u32,
    c4: u32,
    out_h: u32,
    out_w: u32,
    pad: u32,
}

fn line(image: u32, row: i32, column: i32, lane: u32) -> vec4<f32> {
    let outer = or_zero(image, row, column, lane) + or_zero(image, row, column + 3, lane);
    let inner = or_zero(image, row, column + 1, lane) + or_zero(image, row, column + 2, lane);
    return outer * 0.125 + inner * 0.375;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let lane = index % call.params.c4;
    let pixel = index / call.params.c4;
    let column = i32(pixel % call.params.out_w) * 2 - i32(call.params.pad);
    let row = i32(pixel / call.params.out_w % call.params.out_h) * 2 - i32(call.params.pad);
    let image = pixel / (call.params.out_w * call.params.out_h);
    let outer = line(image, row, column, lane) + line(image, row + 3, column, lane);
    let inner = line(image, row + 1, column, lane) + line(image, row + 2, column, lane);
    store_y(index, outer * 0.125 + inner * 0.375);
}
