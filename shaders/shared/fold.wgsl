// Statistics, weight, bias and modulation of a normalisation folded into one multiply-add a channel:
//
//   x * a + b = (weight * (x - mean) / deviation + bias) * (1 + m[..c]) + m[c..]
//
// The kernel declares the operand `factors`, for each image c4 texels of multipliers a, then c4 texels of offsets b, zero in the padding
// channels; and the parameters channels and modulation (texels from one image's vector m to the next, 0 where there is none).
//#read weight
//#read bias
//#read modulation
//#include window

fn store_fold(image: u32, c: u32, mean: vec4<f32>, inverse_deviation: vec4<f32>) {
    let channels = call.params.channels;
    let c4 = (channels + 3u) / 4u;
    var a = load_weight(c) * inverse_deviation;
    var b = load_bias(c) - mean * a;
    if call.params.modulation != 0u {
        // The second half begins at channel c of the vector, wherever in a texel that is.
        let length4 = (2u * channels + 3u) / 4u;
        let vector = image * call.params.modulation;
        let second = (channels + c * 4u) / 4u;
        let scale = 1.0 + load_modulation(vector + c);
        let low = load_modulation(vector + second);
        let high = load_modulation(vector + min(second + 1u, length4 - 1u));
        a *= scale;
        b = b * scale + window(low, high, channels % 4u);
    }
    let live = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(channels);
    let out = image * 2u * c4 + c;
    store_factors(out, select(vec4<f32>(), a, live));
    store_factors(out + c4, select(vec4<f32>(), b, live));
}
