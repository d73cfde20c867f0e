// Modulation by vectors per image: y = x * (offset + scale) + shift, as in adaptive normalisation and its gates.
//
// x, y     NHWC texels
// scale    for each image scale_row texels, of which the first c4 are a vector over the channels
// shift    the same with rows of shift_row texels, or (shift_row = 0) NHWC texels of x's shape
// grid     flat, one invocation per texel
// assumes  zeros in the padding channels of x and shift
//
// Rungs: this is the first.
//#read x
//#read scale
//#read shift
//#include flat
//#write y

struct Params {
    texels: u32,
    image_texels: u32,
    c4: u32,
    scale_row: u32,
    shift_row: u32,
    offset: f32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let image = index / call.params.image_texels;
    let channel = index % call.params.c4;
    var of_shift = index;
    if call.params.shift_row != 0u {
        of_shift = image * call.params.shift_row + channel;
    }
    let scale = load_scale(image * call.params.scale_row + channel) + call.params.offset;
    store_y(index, load_x(index) * scale + load_shift(of_shift));
}
