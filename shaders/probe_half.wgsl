// Roof: the arithmetic rate in float16 when nothing limits it. CHAINS pairs of numbers per invocation, each stepped
// 16 * rounds times by s = fma(s, m, a); a step of one chain needs nothing from another.
//
// x        one texel: m in x, a in y, exact in float16
// y        one texel per invocation: the sums of the first and of the second numbers of its chains, twice
// grid     flat, one invocation per texel of y
// assumes  sums that stay bounded; at most 30,000 rounds
//
// Pairs, since GPUs with twice the rate in float16 have it for two numbers in a register only.
//#enable f16
//#read x
//#include flat
//#write y

struct Params {
    texels: u32,
    rounds: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let factors = load_x(0u);
    let m = vec2<f16>(f16(factors.x));
    let a = vec2<f16>(f16(factors.y));
    //#repeat p CHAINS
    var s$p = vec2<f16>(f16(f32((index + $(p)u) % 64u)), f16(f32((index + $(p + 1)u) % 64u)));
    //#end
    for (var round = 0u; round < call.params.rounds; round++) {
        //#repeat step 16
        //#repeat p CHAINS
        s$p = fma(s$p, m, a);
        //#end
        //#end
    }
    var sum = vec2<f32>();
    //#repeat p CHAINS
    sum += vec2<f32>(s$p);
    //#end
    store_y(index, vec4<f32>(sum, sum));
}
