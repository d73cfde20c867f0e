// Channels of a, then channels of b.
//
// a, b     NHWC texels of the same images, rows and columns
// y        NHWC texels
// grid     flat, one invocation per texel of y
// assumes  zeros in the padding channels of b
//
// ALIGNED: a has whole texels of channels, so a texel of y is one of a or one of b. Otherwise a texel of y gathers the
// last channels of a and pieces of two texels of b.
//
// Rungs: this is the first.
//#read a
//#read b
//#include flat
//#include window
//#write y

struct Params {
    texels: u32,
    a_c: u32,
    b_c4: u32,
    y_c4: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let pixel = index / call.params.y_c4;
    let c = index % call.params.y_c4;
    let a_c = call.params.a_c;
    let a_c4 = (a_c + 3u) / 4u;
    let b = pixel * call.params.b_c4;
    //#if ALIGNED
    if c < a_c4 {
        store_y(index, load_a(pixel * a_c4 + c));
    } else {
        store_y(index, load_b(b + c - a_c4));
    }
    //#else
    var v = load_a(pixel * a_c4 + min(c, a_c4 - 1u));
    if c + 1u >= a_c4 {
        // Channel 4 c of y is channel 4 (c + 1) - a_c of b, less 4. At the seam the lower texel of b does not exist,
        // and its substitute falls on channels of a; the upper one may not exist either, and is padding of y.
        let above = c * 4u + 4u - a_c;
        let high = above / 4u;
        let last = call.params.b_c4 - 1u;
        let low_texel = load_b(b + max(high, 1u) - 1u);
        let high_texel = select(vec4<f32>(), load_b(b + min(high, last)), high <= last);
        let from_b = window(low_texel, high_texel, above % 4u);
        v = select(from_b, v, vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(a_c));
    }
    store_y(index, v);
    //#end
}
