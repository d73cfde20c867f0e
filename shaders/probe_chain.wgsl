// Roof: the arithmetic rate of a device when nothing limits it. CHAINS numbers per invocation, each stepped
// 32 * rounds times by s = s * m + a; a step of one chain needs nothing from another.
//
// x        one texel: m in x, a in y
// y        one texel per invocation: the sum of its chains, four times
// grid     flat, one invocation per texel of y
// assumes  |m| < 1, so that sums stay bounded and rounding is forgotten; at most 30,000 rounds
//
// Ten chains: as many vector registers as a software adapter has to spare; with twelve it spills, and reaches a third.
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
    let m = factors.x;
    let a = factors.y;
    //#repeat p CHAINS
    var s$p = f32((index + $(p)u) % 64u);
    //#end
    for (var round = 0u; round < call.params.rounds; round++) {
        //#repeat step 32
        //#repeat p CHAINS
        //#if FUSED
        s$p = fma(s$p, m, a);
        //#else
        s$p = s$p * m + a;
        //#end
        //#end
        //#end
    }
    var sum = 0.0;
    //#repeat p CHAINS
    sum += s$p;
    //#end
    store_y(index, vec4<f32>(sum));
}
