// Bilinear interpolation from in_h x in_w to out_h x out_w: y[i] is x at i * in / out, or, with pixels at their centres
// (centred = 1), at (i + 1/2) in / out - 1/2. Places beyond the first and the last pixel are these pixels.
//
// x, y     NHWC texels
// grid     flat, one invocation per texel of y
// assumes  in * out below 2^28, for rows and for columns
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
    centred: u32,
}

// The place of pixel `at` in units of 1 / (2 to) pixels, a whole number.
fn place_of(at: u32, input: u32, to: u32) -> u32 {
    let place = 2u * at * input;
    return select(place, max(place + input, to) - to, call.params.centred != 0u);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = call.params.c4;
    let in_h = call.params.in_h;
    let in_w = call.params.in_w;
    let out_h = call.params.out_h;
    let out_w = call.params.out_w;
    let lane = index % c4;
    let pixel = index / c4;
    let row = place_of(pixel / out_w % out_h, in_h, out_h);
    let column = place_of(pixel % out_w, in_w, out_w);
    let above = min(row / (2u * out_h), in_h - 1u);
    let before = min(column / (2u * out_w), in_w - 1u);
    let down = f32(row - above * 2u * out_h) / f32(2u * out_h);
    let right = f32(column - before * 2u * out_w) / f32(2u * out_w);
    let line = pixel / (out_w * out_h) * in_h;
    let upper = (line + above) * in_w;
    let lower = (line + min(above + 1u, in_h - 1u)) * in_w;
    let after = min(before + 1u, in_w - 1u);
    let of_upper = load_x((upper + before) * c4 + lane) * (1.0 - right) + load_x((upper + after) * c4 + lane) * right;
    let of_lower = load_x((lower + before) * c4 + lane) * (1.0 - right) + load_x((lower + after) * c4 + lane) * right;
    store_y(index, of_upper * (1.0 - down) + of_lower * down);
}
