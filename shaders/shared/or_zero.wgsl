// Texel `lane` of the pixel (row, column) of an image of x, or zero outside of the map.
fn or_zero(image: u32, row: i32, column: i32, lane: u32) -> vec4<f32> {
    let in_h = i32(call.params.in_h);
    let in_w = i32(call.params.in_w);
    if row < 0 || column < 0 || row >= in_h || column >= in_w { return vec4<f32>(0.0); }
    return load_x(((image * call.params.in_h + u32(row)) * call.params.in_w + u32(column)) * call.params.c4 + lane);
}
