// Roof: the rate of matrix units when nothing limits it. CHAINS tiles of SIDE x SIDE per subgroup, each stepped
// 8 * rounds times by s = a b + s: operands in float16, sums in float32.
//
// x        one texel: a factor of a in x, one of b in y
// y        SIDE * SIDE / 4 texels per chain, by workgroup, subgroup and chain: the rows of its tile
// grid     (workgroups, 1, 1), four subgroups of WIDTH
// assumes  at most 30,000 rounds; subgroups of one size
//
// Each chain has another b, a row further down in b_tile, lest a compiler finds that chains are the same.
//#enable f16
//#enable wgpu_cooperative_matrix
//#read x
//#write y

struct Params {
    rounds: u32,
}

const THREADS: u32 = 4u * WIDTH;
const TILE: u32 = SIDE * SIDE;

var<workgroup> a_tile: array<f16, $(SIDE * SIDE)>;
var<workgroup> b_tile: array<f16, $((SIDE + CHAINS) * SIDE)>;
var<workgroup> c_tile: array<f32, $(4 * SIDE * SIDE)>;  // for each subgroup a tile on its way out

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) quarter: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let factors = load_x(0u);
    for (var at = local; at < TILE; at += THREADS) {
        a_tile[at] = f16(factors.x * f32(1u + (at / SIDE + at % SIDE) % 3u));
    }
    for (var at = local; at < $((SIDE + CHAINS) * SIDE)u; at += THREADS) {
        b_tile[at] = f16(factors.y * f32(1u + (at / SIDE + 2u * (at % SIDE)) % 5u));
    }
    workgroupBarrier();
    let a = coopLoadT<coop_mat$(SIDE)x$(SIDE)<f16, A>>(&a_tile[0], SIDE);
    //#repeat p CHAINS
    let b$p = coopLoadT<coop_mat$(SIDE)x$(SIDE)<f16, B>>(&b_tile[$(p * SIDE)], SIDE);
    var s$p = coop_mat$(SIDE)x$(SIDE)<f32, C>();
    //#end
    for (var round = 0u; round < call.params.rounds; round++) {
        //#repeat step 8
        //#repeat p CHAINS
        s$p = coopMultiplyAdd(a, b$p, s$p);
        //#end
        //#end
    }
    let first = (group.x * 4u + quarter) * $(CHAINS * SIDE * SIDE / 4)u;
    //#repeat p CHAINS
    coopStoreT(s$p, &c_tile[quarter * TILE], SIDE);
    workgroupBarrier();
    for (var at = lane; at < $(SIDE * SIDE / 4)u; at += WIDTH) {
        let c = quarter * TILE + at * 4u;
        let sum = vec4<f32>(c_tile[c], c_tile[c + 1u], c_tile[c + 2u], c_tile[c + 3u]);
        store_y(first + $(p * SIDE * SIDE / 4)u + at, sum);
    }
    workgroupBarrier();
    //#end
}
