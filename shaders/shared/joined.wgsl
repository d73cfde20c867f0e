// A map, or the channels of one map after those of another, without joining them in memory.
//
// x, x2    NHWC texels of the same images, rows and columns; JOINED = 0: x2 is bound to another array and never read
// The kernel has the parameter first_c4, the channel texels of x.
//#read x
//#read x2

// Channel texel c of a pixel; c4 channel texels in all.
fn load_joined(pixel: u32, c: u32, c4: u32) -> vec4<f32> {
    //#if JOINED
    let first = call.params.first_c4;
    var v: vec4<f32>;
    if c < first {
        v = load_x(pixel * first + c);
    } else {
        v = load_x2(pixel * (c4 - first) + c - first);
    }
    return v;
    //#else
    return load_x(pixel * c4 + c);
    //#end
}
