// Third stage of group normalisation: y = act(x * a + b), with a multiplier and an offset for each channel of an image.
//
// x        NHWC texels
// factors  as written by group_norm_fold.wgsl: for each image c4 texels of a, then c4 texels of b
// y        NHWC texels
// grid     flat, one invocation per texel
// assumes  zeros in the padding channels of x and of the factors
//
// Rungs: this is the first.
//#read x
//#read factors
//#include flat
//#include activation
//#write y

struct Params {
    texels: u32,
    image_texels: u32,
    c4: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = call.params.c4;
    let at = index / call.params.image_texels * 2u * c4 + index % c4;
    let v = load_x(index) * load_factors(at) + load_factors(at + c4);
    store_y(index, activate_${ACTIVATION}(v));
}
