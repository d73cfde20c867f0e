// Batched matrix product with packed weights for GPUs with matrix units: y[i, j] = finish(alpha * sum over k of a[i, k]
// * b[k, j]).
//
// Operands, batch and parameters as in matmul.tile.wgsl; operands are rounded to float16 (see
// shared/matrix.wgsl).
// grid     (blocks of 16 texels along j, tiles of 64 rows, batch); four subgroups of WIDTH
// assumes  zeros in the padding of a along k; subgroups of one size
//
// Rungs: this is the first.
//#split
//#include matmul_params
//#include source
//#weights b
//#include epilogue
//#include matrix
//#write y

fn put(z: u32, row: u32, column: u32, sum: vec4<f32>) {
    if row < call.params.rows && column < (call.params.columns + 3u) / 4u {
        let image = z / call.params.heads;
        let head = z % call.params.heads;
        // The columns beyond the last are padding and must be zero.
        let live = vec4<u32>(column * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.columns);
        let index = image * call.params.y_image + head * call.params.y_head + row * call.params.y_row + column;
        let v = select(vec4<f32>(), call.params.alpha * sum, live);
        store_y(index, finish(v, row / call.params.rows_per_image, column, index));
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) quarter: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = workgroup + call.origin.xyz;
    let last_row = call.params.rows - 1u;
    let k4 = (call.params.k + 3u) / 4u;
    let last_k = call.params.k - 1u;
    let last_column = (call.params.columns + 3u) / 4u - 1u;
    let image = group.z / call.params.heads;
    let head = group.z % call.params.heads;
    let a_base = image * call.params.a_image + head * call.params.a_head;
    let b_base = image * call.params.b_image + head * call.params.b_head;

    //#repeat i 32 / SIDE
    //#repeat j 32 / SIDE
    var acc${i}_$j = coop_mat$(SIDE)x$(SIDE)<f32, C>();
    //#end
    //#end
    for (var first = 0u; first < k4; first += 8u) {
        for (var at = local; at < 512u; at += THREADS) {
            let row = min(group.y * 64u + at / 8u, last_row);
            let c = min(first + at % 8u, k4 - 1u);
            //#if JOINED
            let x = load_joined(row, c, k4);
            //#else
            let x = load_x(a_base + row * call.params.a_row + c);
            //#end
            let v = normalised(x, load_fold(row / call.params.rows_per_image, c, k4));
            put_a(at / 8u, at % 8u, select(vec4<f32>(), v, first + at % 8u < k4));
        }
        for (var at = local; at < 512u; at += THREADS) {
            let k = min(first * 4u + at / 16u, last_k);
            let b_column = min(group.x * 16u + at % 16u, last_column);
            put_b(at / 16u, at % 16u, load_b(b_base + k * call.params.b_row + b_column));
        }
        //#insert matrix_step
    }
    //#insert matrix_store
}
