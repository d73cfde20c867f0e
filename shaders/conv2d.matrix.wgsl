// Two-dimensional convolution for GPUs with matrix units: an implicit matrix product of pixels by output channels.
//
// Operands and parameters as in conv2d.tile.wgsl; operands are rounded to float16 (see shared/matrix.wgsl).
// grid     (blocks of 16 output texels, tiles of 64 pixels of the whole batch, 1); four subgroups of WIDTH
// assumes  zeros in the padding channels of x and of the weights; subgroups of one size
//
// Rungs: this is the first.
//#split
//#include conv2d_params
//#include source
//#weights weights
//#include epilogue
//#include matrix
//#write y

fn put(_z: u32, row: u32, column: u32, sum: vec4<f32>) {
    let pixels = call.params.out_h * call.params.out_w;
    if row < pixels * call.params.images && column < call.params.out_c4 {
        let index = row * call.params.out_c4 + column;
        store_y(index, finish(sum, row / pixels, column, index));
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
    let in_h = call.params.in_h;
    let in_w = call.params.in_w;
    let in_c4 = call.params.in_c4;
    let out_w = call.params.out_w;
    let out_c4 = call.params.out_c4;
    let pixels = call.params.out_h * out_w;
    let last_row = pixels * call.params.images - 1u;

    //#repeat i 32 / SIDE
    //#repeat j 32 / SIDE
    var acc${i}_$j = coop_mat$(SIDE)x$(SIDE)<f32, C>();
    //#end
    //#end
    for (var ky = 0u; ky < call.params.kernel_h; ky++) {
        for (var kx = 0u; kx < KX; kx++) {
            for (var first = 0u; first < in_c4; first += 8u) {
                for (var at = local; at < 512u; at += THREADS) {
                    let row = min(group.y * 64u + at / 8u, last_row);
                    let image = row / pixels;
                    let y = u32(i32(row / out_w % call.params.out_h * STRIDE + ky) - i32(call.params.pad_top));
                    let x = u32(i32(row % out_w * STRIDE + kx) - i32(call.params.pad_left));
                    let inside = y < in_h && x < in_w && first + at % 8u < in_c4;
                    let line = image * (in_h >> UP) + (min(y, in_h - 1u) >> UP);
                    let c = min(first + at % 8u, in_c4 - 1u);
                    let v = load_joined(line * (in_w >> UP) + (min(x, in_w - 1u) >> UP), c, in_c4);
                    put_a(at / 8u, at % 8u, select(vec4<f32>(), normalised(v, load_fold(image, c, in_c4)), inside));
                }
                for (var at = local; at < 512u; at += THREADS) {
                    let c = min(first + at / 64u, in_c4 - 1u);
                    let line = ((ky * in_c4 + c) * KX + kx) * 4u + at / 16u % 4u;
                    put_b(at / 16u, at % 16u, load_weights(line * out_c4 + min(group.x * 16u + at % 16u, out_c4 - 1u)));
                }
                //#insert matrix_step
            }
        }
    }
    //#insert matrix_store
}
