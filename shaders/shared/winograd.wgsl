// The one-dimensional transforms of Winograd's convolution F(OUT, 3) on SIDE = OUT + 2 points: 0, +-1, infinity for OUT
// = 2; 0, +-3/4, +-3/2, infinity for OUT = 4 (`winograd` in kernels/winograd/mod.rs derives them and says why these).

//#if OUT / 4
fn transform_input(d: array<vec4<f32>, SIDE>) -> array<vec4<f32>, SIDE> {
    let even1 = d[4] - 2.25 * d[2];
    let odd1 = 0.75 * (d[3] - 2.25 * d[1]);
    let even2 = d[4] - 0.5625 * d[2];
    let odd2 = 1.5 * (d[3] - 0.5625 * d[1]);
    return array<vec4<f32>, SIDE>(
        1.265625 * d[0] - 2.8125 * d[2] + d[4],
        even1 + odd1,
        even1 - odd1,
        even2 + odd2,
        even2 - odd2,
        1.265625 * d[1] - 2.8125 * d[3] + d[5],
    );
}

fn transform_output(m: array<vec4<f32>, SIDE>) -> array<vec4<f32>, OUT> {
    let sum1 = m[1] + m[2];
    let difference1 = m[1] - m[2];
    let sum2 = m[3] + m[4];
    let difference2 = m[3] - m[4];
    return array<vec4<f32>, OUT>(
        m[0] + sum1 + sum2,
        0.75 * difference1 + 1.5 * difference2,
        0.5625 * sum1 + 2.25 * sum2,
        0.421875 * difference1 + 3.375 * difference2 + m[5],
    );
}

// The column of A^T at a position: the powers of its point, at infinity the last alone.
fn output_powers(position: u32) -> array<f32, OUT> {
    if position == 0u { return array<f32, OUT>(1.0, 0.0, 0.0, 0.0); }
    if position == SIDE - 1u { return array<f32, OUT>(0.0, 0.0, 0.0, 1.0); }
    let size = select(1.5, 0.75, position < 3u);
    let point = select(-size, size, (position & 1u) == 1u);
    return array<f32, OUT>(1.0, point, point * point, point * point * point);
}
//#else
fn transform_input(d: array<vec4<f32>, SIDE>) -> array<vec4<f32>, SIDE> {
    return array<vec4<f32>, SIDE>(d[2] - d[0], d[2] + d[1], d[2] - d[1], d[3] - d[1]);
}

fn transform_output(m: array<vec4<f32>, SIDE>) -> array<vec4<f32>, OUT> {
    return array<vec4<f32>, OUT>(m[0] + m[1] + m[2], m[1] - m[2] + m[3]);
}

// The column of A^T at a position: the powers of its point, at infinity the last alone.
fn output_powers(position: u32) -> array<f32, OUT> {
    if position == 0u { return array<f32, OUT>(1.0, 0.0); }
    if position == SIDE - 1u { return array<f32, OUT>(0.0, 1.0); }
    return array<f32, OUT>(1.0, select(-1.0, 1.0, position == 1u));
}
//#end
