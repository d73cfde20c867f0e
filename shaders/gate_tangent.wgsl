// The tangent of a gate, y = x[.., first half] * act(x[.., second half]), by the product rule.
//
// x        NHWC texels, the two halves of a pixel's channels each in c4 whole texels
// tangent  the same, `repeats` images for each of x
// y        NHWC texels, c4 per pixel
// grid     flat, one invocation per texel of y
// assumes  zeros in the padding channels of the first half of x and of the tangent, finite numbers in those of the
//          second half
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
    c4: u32,
    image_texels: u32,
    repeats: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = call.params.c4;
    // A pixel has twice as many texels in x.
    let of_y = primal_index(index, call.params.image_texels, call.params.repeats);
    let at = of_y + of_y / c4 * c4;
    let moved = index + index / c4 * c4;
    let gate = load_x(at + c4);
    let by_gate = load_x(at) * slope_${ACTIVATION}(gate) * load_tangent(moved + c4);
    store_y(index, load_tangent(moved) * activate_${ACTIVATION}(gate) + by_gate);
}
