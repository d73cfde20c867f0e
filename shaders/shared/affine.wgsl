// Statistics, weight, bias and modulation of a normalisation as one multiply-add per channel:
//
//   x * a + b = (weight * (x - mean) / deviation + bias) * (1 + m[..c]) + m[c..]
//
// The kernel has the parameters channels and modulation (texels from one image's vector m to the next, 0 where there is
// none).
//#read weight
//#read bias
//#read modulation
//#include window

struct Affine {
    a: vec4<f32>,
    b: vec4<f32>,
}

fn affine(image: u32, c: u32, mean: vec4<f32>, inverse_deviation: vec4<f32>) -> Affine {
    let channels = call.params.channels;
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
    return Affine(a, b);
}
