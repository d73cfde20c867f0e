// A sum: y = (a + b) * scale.
//
// a, y     NHWC texels
// b        NHWC texels of the same shape, or (per_image) one vector over the channels per image
// grid     flat, one invocation per texel
// assumes  zeros in the padding channels of a and b
//
// Rungs: this is the first.
//#read a
//#read b
//#include flat
//#write y

struct Params {
    texels: u32,
    image_texels: u32,
    c4: u32,
    per_image: u32,
    scale: f32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    var of_b = index;
    if call.params.per_image != 0u {
        of_b = index / call.params.image_texels * call.params.c4 + index % call.params.c4;
    }
    store_y(index, (load_a(index) + load_b(of_b)) * call.params.scale);
}
