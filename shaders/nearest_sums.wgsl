// The transpose of nearest neighbours: y[n, i, j, :] is the sum of the pixels (r, c) of x with floor(r * out_h / in_h)
// = i and floor(c * out_w / in_w) = j.
//
// x, y     NHWC texels
// grid     flat, one invocation per texel of y
// assumes  in_h * out_h and in_w * out_w below 2^32, and fewer than 30,000 pixels per sum
//
// Rungs: this is the first.
//#read x
//#include flat
//#write y

struct Params {
    texels: u32,
    in_h: u32,
    in_w: u32,
    c4: u32,
    out_h: u32,
    out_w: u32,
}

// The first row or column of x that belongs to place `at` of y, or to a later one.
fn first(at: u32, inner: u32, outer: u32) -> u32 {
    return (at * inner + outer - 1u) / outer;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let c4 = call.params.c4;
    let pixel = index / c4;
    let line = pixel / call.params.out_w;
    let i = line % call.params.out_h;
    let j = pixel % call.params.out_w;
    let image = line / call.params.out_h;
    let left = first(j, call.params.in_w, call.params.out_w);
    let right = first(j + 1u, call.params.in_w, call.params.out_w);
    var sum = vec4<f32>();
    for (var row = first(i, call.params.in_h, call.params.out_h);
        row < first(i + 1u, call.params.in_h, call.params.out_h); row += 1u) {
        let start = (image * call.params.in_h + row) * call.params.in_w;
        for (var column = left; column < right; column += 1u) {
            sum += load_x((start + column) * c4 + index % c4);
        }
    }
    store_y(index, sum);
}
