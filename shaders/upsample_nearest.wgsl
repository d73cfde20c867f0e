// More rows and columns by nearest neighbours: y[n, i, j, :] = x[n, floor(i * in_h / out_h), floor(j * in_w / out_w),
// :].
//
// x, y     NHWC texels
// grid     flat, one invocation per texel of y
// assumes  in_h * out_h and in_w * out_w below 2^32
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
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let in_w = call.params.in_w;
    let out_h = call.params.out_h;
    let out_w = call.params.out_w;
    let pixel = index / call.params.c4;
    let column = pixel % out_w * in_w / out_w;
    // Rows of all images in one count.
    let line = pixel / out_w;
    let row = line / out_h * call.params.in_h + line % out_h * call.params.in_h / out_h;
    store_y(index, load_x((row * in_w + column) * call.params.c4 + index % call.params.c4));
}
