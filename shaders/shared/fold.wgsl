// Statistics, weight, bias and modulation of a normalisation (shared/affine.wgsl) stored as the factors of one
// multiply-add a channel.
//
// The kernel declares the operand `factors`, for each image c4 texels of multipliers a, then c4 texels of offsets b,
// zero in the padding channels.
//#include affine

fn store_fold(image: u32, c: u32, mean: vec4<f32>, inverse_deviation: vec4<f32>) {
    let channels = call.params.channels;
    let c4 = (channels + 3u) / 4u;
    let line = affine(image, c, mean, inverse_deviation);
    let live = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels);
    let out = image * 2u * c4 + c;
    store_factors(out, select(vec4<f32>(), line.a, live));
    store_factors(out + c4, select(vec4<f32>(), line.b, live));
}
