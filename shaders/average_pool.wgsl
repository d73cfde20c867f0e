// Mean of 2 x 2 pixels with stride 2; a last odd row or column is dropped.
//
// x, y     NHWC texels
// grid     flat, one invocation per texel of y
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
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = call.params.c4;
    let in_w = call.params.in_w;
    let out_h = call.params.in_h / 2u;
    let out_w = in_w / 2u;
    let pixel = index / c4;
    let column = pixel % out_w * 2u;
    let row = pixel / out_w % out_h * 2u;
    let image = pixel / (out_w * out_h);
    let at = ((image * call.params.in_h + row) * in_w + column) * c4 + index % c4;
    let below = at + in_w * c4;
    store_y(index, 0.25 * ((load_x(at) + load_x(at + c4)) + (load_x(below) + load_x(below + c4))));
}
