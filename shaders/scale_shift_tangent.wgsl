// Third stage of the tangent of a group normalisation: y = act'(x * a + b) * (tangent * a + x * c + d).
//
// x           NHWC texels
// tangent, y  NHWC texels, `repeats` images for each of x
// factors     as written by group_norm_tangent.wgsl: for each image of the tangent c4 texels of a, then of b, of c, of
//             d
// grid        flat, one invocation per texel of y
// assumes     zeros in the padding channels of x, of the tangent and of the factors
//
// Rungs: this is the first.
//#read x
//#read tangent
//#read factors
//#include flat
//#include slope
//#include primal
//#write y

struct Params {
    texels: u32,
    image_texels: u32,
    c4: u32,
    repeats: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = call.params.c4;
    let at = index / call.params.image_texels * 4u * c4 + index % c4;
    let x = load_x(primal_index(index, call.params.image_texels, call.params.repeats));
    let a = load_factors(at);
    let turned = load_tangent(index) * a + x * load_factors(at + 2u * c4) + load_factors(at + 3u * c4);
    store_y(index, slope_${ACTIVATION}(x * a + load_factors(at + c4)) * turned);
}
