// Roof: the rate at which a kernel moves memory. y[i] = x[i].
//
// x, y     texels
// grid     flat, one invocation per texel
//#read x
//#include flat
//#write y

struct Params {
    texels: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    store_y(index, load_x(index));
}
