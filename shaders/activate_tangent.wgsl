// The tangent of a nonlinearity: y = act'(x) * tangent.
//
// x           NHWC texels, the input of the activation
// tangent, y  NHWC texels, `repeats` images for each of x
// grid        flat, one invocation per texel of y
// assumes     zeros in the padding channels of the tangent, and finite numbers in those of x
//
// Rungs: this is the first.
//#read x
//#read tangent
//#include flat
//#include slope
//#include primal
//#write y

struct Params {
    texels: u32,
    image_texels: u32,
    repeats: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let v = load_x(primal_index(index, call.params.image_texels, call.params.repeats));
    store_y(index, slope_${ACTIVATION}(v) * load_tangent(index));
}
