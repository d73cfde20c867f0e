// Batched matrix product for GPUs: y[i, j] = finish(alpha * sum over k of a[i, k] * b[k, j]).
//
// Operands, batch and parameters as in matmul.lanes.wgsl (packed weights are one block of all columns).
// grid     (blocks of 16 texels along j, tiles of 64 rows, batch); 256 invocations, each 4 rows of one texel
// assumes  zeros in the padding of a along k
//
// Rungs: this is the first, a 64 x 64 tile in workgroup memory, 16 k at a time, 4 x 4 values an invocation.
//#include matmul_params
//#include source
//#read b
//#include epilogue
//#write y

var<workgroup> a_tile: array<vec4<f32>, 256>;  // [row][texel of k]
var<workgroup> b_tile: array<vec4<f32>, 256>;  // [k][texel of columns]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = workgroup + call.origin.xyz;
    let rows = call.params.rows;
    let k4 = (call.params.k + 3u) / 4u;
    let columns4 = (call.params.columns + 3u) / 4u;
    let image = group.z / call.params.heads;
    let head = group.z % call.params.heads;
    let a_base = image * call.params.a_image + head * call.params.a_head;
    let b_base = image * call.params.b_image + head * call.params.b_head;
    let column = group.x * 16u + local % 16u;
    let row = group.y * 64u + local / 16u * 4u;

    // What this invocation fetches of a: one texel of one row.
    let fetch_row = min(group.y * 64u + local / 4u, rows - 1u);

    //#repeat r 4
    var acc$r = vec4<f32>();
    //#end
    for (var first = 0u; first < k4; first += 4u) {
        let c = min(first + local % 4u, k4 - 1u);
        //#if JOINED
        let x = load_joined(fetch_row, c, k4);
        //#else
        let x = load_x(a_base + fetch_row * call.params.a_row + c);
        //#end
        let v = normalised(x, load_fold(fetch_row / call.params.rows_per_image, c, k4));
        a_tile[local] = select(vec4<f32>(), v, first + local % 4u < k4);
        //#if B_ROWS
        // Each of 64 invocations turns four rows of the transposed b around.
        if local < 64u {
            let block = local % 16u;
            let t = first + local / 16u;
            //#repeat j 4
            let t$j = load_b(b_base + min((group.x * 16u + block) * 4u + $(j)u, call.params.columns - 1u) * call.params.b_row
                + min(t, k4 - 1u));
            //#end
            let at = local / 16u * 64u + block;
            b_tile[at] = vec4<f32>(t0.x, t1.x, t2.x, t3.x);
            b_tile[at + 16u] = vec4<f32>(t0.y, t1.y, t2.y, t3.y);
            b_tile[at + 32u] = vec4<f32>(t0.z, t1.z, t2.z, t3.z);
            b_tile[at + 48u] = vec4<f32>(t0.w, t1.w, t2.w, t3.w);
        }
        //#else
        let fetch_k = min(first * 4u + local / 16u, call.params.k - 1u);
        b_tile[local] = load_b(b_base + fetch_k * call.params.b_row + min(column, columns4 - 1u));
        //#end
        workgroupBarrier();
        let at = local / 16u * 16u;
        //#repeat t 4
        //#repeat r 4
        let a${t}_$r = a_tile[at + $(r * 4 + t)u];
        //#end
        //#repeat j 4
        let b${t}_$j = b_tile[$(t * 64 + j * 16)u + local % 16u];
        //#end
        //#repeat r 4
        acc$r += a${t}_$r.x * b${t}_0;
        acc$r += a${t}_$r.y * b${t}_1;
        acc$r += a${t}_$r.z * b${t}_2;
        acc$r += a${t}_$r.w * b${t}_3;
        //#end
        //#end
        workgroupBarrier();
    }

    if column < columns4 {
        // The columns beyond the last are padding and must be zero.
        let live = vec4<u32>(column * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(call.params.columns);
        let y_base = image * call.params.y_image + head * call.params.y_head;
        //#repeat r 4
        if row + $(r)u < rows {
            let index = y_base + (row + $(r)u) * call.params.y_row + column;
            let sum = select(vec4<f32>(), call.params.alpha * acc$r, live);
            store_y(index, finish(sum, (row + $(r)u) / call.params.rows_per_image, column, index));
        }
        //#end
    }
}
