// Derivatives of the pointwise nonlinearities of shared/activation.wgsl, by the same numbers; that of ReLU is 0 at 0.
//#include activation

fn slope_0(v: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(1.0);
}

fn slope_1(v: vec4<f32>) -> vec4<f32> {
    let s = sigmoid4(v);
    return s * (1.0 + v * (1.0 - s));
}

// With e = e^v and n = e (e + 2): tanh(softplus(v)) = n / (n + 2), and its own slope 4 e (e + 1) / (n + 2)^2.
fn slope_2(v: vec4<f32>) -> vec4<f32> {
    let e = exp(min(v, vec4<f32>(20.0)));
    let n = e * (e + 2.0);
    return n / (n + 2.0) + v * (4.0 * e / (n + 2.0)) * ((e + 1.0) / (n + 2.0));
}

fn slope_3(v: vec4<f32>) -> vec4<f32> {
    return 0.5 * (1.0 + erf4(v * 0.70710678118)) + v * exp(-0.5 * v * v) * 0.39894228040;
}

fn slope_4(v: vec4<f32>) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(1.0), v > vec4<f32>());
}

fn slope_5(v: vec4<f32>) -> vec4<f32> {
    let s = sigmoid4(1.702 * v);
    return s * (1.0 + 1.702 * v * (1.0 - s));
}

fn slope_6(v: vec4<f32>) -> vec4<f32> {
    let s = sigmoid4(1.5957691216 * (v + 0.044715 * v * v * v));
    return s * (1.0 + v * (1.0 - s) * 1.5957691216 * (1.0 + 0.134145 * v * v));
}
