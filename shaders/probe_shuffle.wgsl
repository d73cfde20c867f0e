// Start-up probe: is a shuffle of a subgroup by a constant one instruction? A chain of shuffles, or of products.
//
// x        one texel per lane
// y        one texel per lane: the chain's end, four times
// grid     one workgroup, which is one subgroup of LANES: the time does not depend on the number of cores
// assumes  at most 30,000 rounds; |x| < 1, so that the chain stays bounded
//#read x
//#write y

struct Params {
    rounds: u32,
}

@compute @workgroup_size(LANES)
fn main(@builtin(subgroup_invocation_id) lane: u32) {
    let x = load_x(lane).x;
    var v = x;
    for (var round = 0u; round < call.params.rounds; round++) {
        //#repeat step 4
        //#if SHUFFLES
        v = 0.5 * subgroupShuffle(v, $(step * 2 + 1)u) + x;
        //#else
        v = 0.5 * (v * 0.75) + x;
        //#end
        //#end
    }
    store_y(lane, vec4<f32>(v));
}
