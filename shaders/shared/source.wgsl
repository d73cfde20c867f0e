// A map as a layer reads it: joined (see joined.wgsl), and normalised on the way, act(v * a + b), so that the
// normalised map is never materialised either. Padding is put in by the kernel, after this. UP: the kernel reads each
// pixel as 2 x 2.
//
// factors  NORM: for each image c4 texels of a, then c4 texels of b (fold.wgsl); otherwise bound to another array and
//          never read
//#include joined
//#read factors
//#include activation

struct Fold {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn load_fold(image: u32, c: u32, c4: u32) -> Fold {
    //#if NORM
    let at = image * 2u * c4 + c;
    return Fold(load_factors(at), load_factors(at + c4));
    //#else
    return Fold();
    //#end
}

fn normalised(v: vec4<f32>, fold: Fold) -> vec4<f32> {
    //#if NORM
    return activate_${NORM_ACTIVATION}(v * fold.a + fold.b);
    //#else
    return v;
    //#end
}
