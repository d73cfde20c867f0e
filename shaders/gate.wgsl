// One half of the channels gates the other: y = x[.., first half] * act(x[.., second half]) (GEGLU and similar gates).
//
// x        NHWC texels, the two halves of a pixel's channels each in y_c4 whole texels
// y        NHWC texels
// grid     flat, one invocation per texel of y
// assumes  zeros in the padding channels of the first half, and no infinity in those of the second
//
// Rungs: this is the first.
//#read x
//#include flat
//#include activation
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
    // A pixel has twice as many texels in x.
    let at = index + index / c4 * c4;
    store_y(index, load_x(at) * activate_${ACTIVATION}(load_x(at + c4)));
}
