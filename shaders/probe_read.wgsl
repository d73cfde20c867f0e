// Roof: the rate at which kernels read an array of some size. Each invocation sums 4 * rounds texels of x, `stride`
// apart and round again at the end.
//
// x        mask + 1 texels, a power of two
// y        one texel per invocation
// grid     flat, one invocation per texel of y
// assumes  at most 30,000 rounds
//#read x
//#include flat
//#write y

struct Params {
    texels: u32,
    rounds: u32,
    stride: u32,
    mask: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    var at = index;
    //#repeat p 4
    var sum$p = vec4<f32>();
    //#end
    for (var round = 0u; round < call.params.rounds; round++) {
        //#repeat p 4
        sum$p += load_x((at + $(p)u * call.params.stride) & call.params.mask);
        //#end
        at += 4u * call.params.stride;
    }
    store_y(index, (sum0 + sum1) + (sum2 + sum3));
}
