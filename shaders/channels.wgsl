// A range of the channels of a map: y[.., c] = x[.., first + c].
//
// x, y     NHWC texels of the same images, rows and columns
// grid     flat, one invocation per texel of y
//
// ALIGNED: the range begins a texel of x. Otherwise a texel of y gathers pieces of two texels of x.
//
// Rungs: this is the first.
//#read x
//#include flat
//#include window
//#write y

struct Params {
    texels: u32,
    first: u32,
    x_c4: u32,
    y_c: u32,
    y_c4: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c = index % call.params.y_c4;
    let pixel = index / call.params.y_c4 * call.params.x_c4;
    let at = call.params.first + 4u * c;
    let low = pixel + at / 4u;
    //#if ALIGNED
    let v = load_x(low);
    //#else
    // The upper texel may not exist: all that it would give is padding of y.
    let v = window(load_x(low), load_x(min(low + 1u, pixel + call.params.x_c4 - 1u)), at % 4u);
    //#end
    let is_channel = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.y_c);
    store_y(index, select(vec4<f32>(), v, is_channel));
}
