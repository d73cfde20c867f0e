// A nonlinearity: y = act(x).
//
// x, y     texels, any layout
// grid     flat, one invocation per texel
// assumes  zeros in the padding channels of x; every activation keeps zero
//
// Rungs: this is the first.
//#read x
//#include flat
//#include activation
//#write y

struct Params {
    texels: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    store_y(index, activate_${ACTIVATION}(load_x(index)));
}
