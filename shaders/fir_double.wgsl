// Twice the rows and columns by the filter (1, 3, 3, 1) / 4 along both, with zeros around: three quarters of the
// nearest pixel, and a quarter of the next nearest.
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

// The next nearest place on the side of x to place `at` of y, which is 1 below or above the nearest, at / 2.
fn beside(at: u32) -> i32 {
    return i32(at / 2u) + i32(at % 2u) * 2 - 1;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let lane = index % call.params.c4;
    let pixel = index / call.params.c4;
    let column = pixel % call.params.out_w;
    let row = pixel / call.params.out_w % call.params.out_h;
    let image = pixel / (call.params.out_w * call.params.out_h);
    let near = i32(column / 2u);
    let next = beside(column);
    let here = i32(row / 2u);
    let there = beside(row);
    let nearest = or_zero(image, here, near, lane) * 0.75 + or_zero(image, here, next, lane) * 0.25;
    let other = or_zero(image, there, near, lane) * 0.75 + or_zero(image, there, next, lane) * 0.25;
    store_y(index, nearest * 0.75 + other * 0.25);
}
