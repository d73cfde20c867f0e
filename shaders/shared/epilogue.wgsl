// The epilogue of a product, before it is stored: y = (act(acc + bias + per_image) + residual) * scale. An operand
// whose flag is not set is bound to another array and never read. Padding channels stay zero: each term is zero there,
// and every activation keeps zero.
//
// Constants: TERMS, 1 if there is any term or scale; ACTIVATION. On software adapters a branch not taken costs as much
// as one that is. The last parameters of the kernel are: flags (1 bias, 2 per_image, 4 residual), scale, per_image_row
// (texels from one image's vector to the next).
//#read bias
//#read per_image
//#read residual

//#include activation

fn finish(acc: vec4<f32>, image: u32, column: u32, index: u32) -> vec4<f32> {
    return finish_with(acc, bias_of(column), per_image_of(image, column), index);
}

// The parts of `finish`, for kernels that load a vector once for many outputs.

fn bias_of(column: u32) -> vec4<f32> {
    var v = vec4<f32>();
    //#if TERMS
    if (call.params.flags & 1u) != 0u { v = load_bias(column); }
    //#end
    return v;
}

fn per_image_of(image: u32, column: u32) -> vec4<f32> {
    var v = vec4<f32>();
    //#if TERMS
    if (call.params.flags & 2u) != 0u { v = load_per_image(image * call.params.per_image_row + column); }
    //#end
    return v;
}

fn finish_with(acc: vec4<f32>, bias: vec4<f32>, per_image: vec4<f32>, index: u32) -> vec4<f32> {
    var v = acc;
    //#if TERMS
    // Not without the tests: -0 + 0 is 0.
    if (call.params.flags & 1u) != 0u { v += bias; }
    if (call.params.flags & 2u) != 0u { v += per_image; }
    v = activate_${ACTIVATION}(v);
    if (call.params.flags & 4u) != 0u { v += load_residual(index); }
    v *= call.params.scale;
    //#end
    return v;
}
