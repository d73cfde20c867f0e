// Roof: the rate of dot products of four numbers of eight bits. CHAINS words per invocation, each stepped 8 * rounds
// times by s = dot4I8Packed(s, factor) + addend; a step of one chain needs nothing from another.
//
// y        one texel per invocation: the sum of its chains, the lower and the upper half of the word, twice
// grid     flat, one invocation per texel of y
// assumes  at most 30,000 rounds
//
// A device without the instruction has the product by shifts and multiplications, as wgpu writes it out.
//#include flat
//#write y

struct Params {
    texels: u32,
    rounds: u32,
    factor: u32,
    addend: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let factor = call.params.factor;
    let addend = bitcast<i32>(call.params.addend);
    //#repeat p CHAINS
    var s$p = bitcast<i32>((index + $(p)u) * 40503u);
    //#end
    for (var round = 0u; round < call.params.rounds; round++) {
        //#repeat step 8
        //#repeat p CHAINS
        s$p = dot4I8Packed(bitcast<u32>(s$p), factor) + addend;
        //#end
        //#end
    }
    var sum = 0;
    //#repeat p CHAINS
    sum += s$p;
    //#end
    let halves = vec2<f32>(f32(bitcast<u32>(sum) & 65535u), f32(bitcast<u32>(sum) >> 16u));
    store_y(index, vec4<f32>(halves, halves));
}
