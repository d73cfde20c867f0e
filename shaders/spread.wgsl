// Pixels with zeros around and between them: y[n, i, j, :] = x[n, i', j', :] where i + skip = before + stride i' and
// j + skip = before + stride j', zero elsewhere.
//
// x, y     NHWC texels
// grid     flat, one invocation per texel of y
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
    stride: u32,
    before: u32,
    skip: u32,
}

// The row or column of x that is at place `at` of y; `count`, of which there is none, where there is none.
fn place(at: u32, count: u32) -> u32 {
    let within = at + call.params.skip;
    let before = call.params.before;
    let is_between = within < before || (within - before) % call.params.stride != 0u;
    return select(min((within - before) / call.params.stride, count), count, is_between);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    if index >= call.params.texels { return; }
    let pixel = index / call.params.c4;
    let line = pixel / call.params.out_w;
    let row = place(line % call.params.out_h, call.params.in_h);
    let column = place(pixel % call.params.out_w, call.params.in_w);
    let image = line / call.params.out_h;
    if row == call.params.in_h || column == call.params.in_w {
        store_y(index, vec4<f32>());
        return;
    }
    let at = (image * call.params.in_h + row) * call.params.in_w + column;
    store_y(index, load_x(at * call.params.c4 + index % call.params.c4));
}
