// Pointwise nonlinearities, by number (`activation_code` in activation.rs): 0 none, 1 SiLU, 2 Mish, 3 GELU (erf), 4
// ReLU, 5 x * sigmoid(1.702 x), 6 GELU (tanh). The template writes the number of the variant into the name that a
// kernel calls, so that the driver compiles that function and no other: a `switch` costs start-up time.

fn sigmoid4(v: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(1.0) / (vec4<f32>(1.0) + exp(-v));
}

// erf by its Maclaurin series near zero, by Abramowitz and Stegun 7.1.28 (error 3e-7) beyond.
fn erf4(v: vec4<f32>) -> vec4<f32> {
    let a = abs(v);
    let s = v * v;
    let near = v * (1.1283791671 + s * (-0.3761263890 + s * (0.1128379167 + s * (-0.0268661706
        + s * (0.0052239776 + s * (-0.0008548327 + s * 0.0001205533))))));
    let p = 1.0 + a * (0.0705230784 + a * (0.0422820123 + a * (0.0092705272
        + a * (0.0001520143 + a * (0.0002765672 + a * 0.0000430638)))));
    let p2 = p * p;
    let p4 = p2 * p2;
    let p8 = p4 * p4;
    let far = sign(v) * (1.0 - 1.0 / (p8 * p8));
    return select(far, near, a < vec4<f32>(0.75));
}

fn activate_0(v: vec4<f32>) -> vec4<f32> {
    return v;
}

fn activate_1(v: vec4<f32>) -> vec4<f32> {
    return v * sigmoid4(v);
}

// tanh(softplus(v)) = n / (n + 2) with n = e^v (e^v + 2)
fn activate_2(v: vec4<f32>) -> vec4<f32> {
    let e = exp(min(v, vec4<f32>(20.0)));
    let n = e * (e + 2.0);
    return v * (n / (n + 2.0));
}

fn activate_3(v: vec4<f32>) -> vec4<f32> {
    return 0.5 * v * (1.0 + erf4(v * 0.70710678118));
}

fn activate_4(v: vec4<f32>) -> vec4<f32> {
    return max(v, vec4<f32>(0.0));
}

fn activate_5(v: vec4<f32>) -> vec4<f32> {
    return v * sigmoid4(1.702 * v);
}

// (1 + tanh(u)) / 2 = sigmoid(2 u)
fn activate_6(v: vec4<f32>) -> vec4<f32> {
    return v * sigmoid4(1.5957691216 * (v + 0.044715 * v * v * v));
}
