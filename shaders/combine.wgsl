// The update of a sampler: y = c.x * clamp(t0, +-clip) + c.y * t1 + c.z * t2 + c.w * t3 + offset.
//
// coefficients   one texel per image
// t0, t1, t2, t3 NHWC texels of one shape; those beyond `terms` are bound to another array and never read
// y              NHWC texels; zero in the padding channels
// grid           flat, one invocation per texel
//
// Rungs: this is the first.
//#read coefficients
//#read t0
//#read t1
//#read t2
//#read t3
//#include flat
//#write y

struct Params {
    texels: u32,
    image_texels: u32,
    c: u32,
    terms: u32,
    clamped: u32,
    clip: f32,
    offset: f32,
}

// NaN is found by its bits, because a compiler may assume that there is none: `clamp` and comparisons alike may turn it
// into a bound and hide the fault.
fn clamped(v: vec4<f32>, clip: f32) -> vec4<f32> {
    let is_nan = (bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    return select(clamp(v, vec4<f32>(-clip), vec4<f32>(clip)), v, is_nan);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = (call.params.c + 3u) / 4u;
    let coefficients = load_coefficients(index / call.params.image_texels);
    var first = load_t0(index);
    if call.params.clamped != 0u { first = clamped(first, call.params.clip); }
    var v = coefficients.x * first;
    if call.params.terms > 1u { v += coefficients.y * load_t1(index); }
    if call.params.terms > 2u { v += coefficients.z * load_t2(index); }
    if call.params.terms > 3u { v += coefficients.w * load_t3(index); }
    let live = vec4<u32>(index % c4 * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.c);
    store_y(index, select(vec4<f32>(), v + call.params.offset, live));
}
