// The adjoint of a gate's operand, from the adjoint of the gate, x[.., first half] * act(x[.., second half]): that of
// the first half is adjoint * act(second half), that of the second adjoint * first half * act'(second half).
//
// x, y     NHWC texels, the two halves of a pixel's channels each in c4 whole texels
// adjoint  NHWC texels, c4 per pixel
// grid     flat, one invocation per texel of y
// assumes  zeros in the padding channels of the adjoint, finite numbers in those of x
//
// Rungs: this is the first.
//#read x
//#read adjoint
//#include flat
//#include slope
//#write y

struct Params {
    texels: u32,
    c4: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = call.params.c4;
    let lane = index % (2u * c4);
    let pixel = index / (2u * c4);
    let given = load_adjoint(pixel * c4 + lane % c4);
    if lane < c4 {
        store_y(index, given * activate_${ACTIVATION}(load_x(index + c4)));
    } else {
        store_y(index, given * load_x(index - c4) * slope_${ACTIVATION}(load_x(index)));
    }
}
