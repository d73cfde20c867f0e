//! Pointwise nonlinearities; the twin of `shaders/shared/activation.wgsl`.

/// A pointwise nonlinearity, by the names of diffusers' `act_fn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x * sigmoid(x) (`silu`, `swish`)
    Silu,
    /// x * tanh(softplus(x))
    Mish,
    /// x * Phi(x), the exact form with erf
    Gelu,
    /// max(x, 0)
    Relu,
    /// x * sigmoid(1.702 x), CLIP's approximation of GELU (`quick_gelu`)
    QuickGelu,
    /// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), another approximation of GELU (`gelu-approximate`)
    GeluTanh,
}

impl Activation {
    /// Every nonlinearity.
    pub const ALL: [Self; 6] = [Self::Silu, Self::Mish, Self::Gelu, Self::Relu, Self::QuickGelu, Self::GeluTanh];
}

/// 2 sqrt(2 / pi), of [`Activation::GeluTanh`].
const TANH_SLOPE: f32 = 1.595_769;
/// The factor of the cube, of [`Activation::GeluTanh`].
const TANH_CUBE: f32 = 0.044_715;

/// The number by which the shaders know an activation.
#[must_use]
pub const fn activation_code(activation: Option<Activation>) -> u32 {
    match activation {
        None => 0,
        Some(Activation::Silu) => 1,
        Some(Activation::Mish) => 2,
        Some(Activation::Gelu) => 3,
        Some(Activation::Relu) => 4,
        Some(Activation::QuickGelu) => 5,
        Some(Activation::GeluTanh) => 6,
    }
}

/// The twin of `activate`.
pub(super) fn activate(code: u32, v: f32) -> f32 {
    match code {
        1 => v / (1.0 + (-v).exp()),
        2 => {
            // tanh(softplus(v)) = n / (n + 2) with n = e^v (e^v + 2)
            let e = v.min(20.0).exp();
            let n = e * (e + 2.0);
            v * (n / (n + 2.0))
        }
        3 => 0.5 * v * (1.0 + libm::erff(v * std::f32::consts::FRAC_1_SQRT_2)),
        4 => v.max(0.0),
        5 => v / (1.0 + (-1.702 * v).exp()),
        // (1 + tanh(u)) / 2 = sigmoid(2 u)
        6 => v / (1.0 + (-TANH_SLOPE * (v + TANH_CUBE * v * v * v)).exp()),
        _ => v,
    }
}

/// The twin of `slope` in `shaders/shared/slope.wgsl`: the derivative of [`activate`].
pub(super) fn slope(code: u32, v: f32) -> f32 {
    match code {
        1 => {
            let s = 1.0 / (1.0 + (-v).exp());
            s * (1.0 + v * (1.0 - s))
        }
        2 => {
            let e = v.min(20.0).exp();
            let n = e * (e + 2.0);
            n / (n + 2.0) + v * (4.0 * e / (n + 2.0)) * ((e + 1.0) / (n + 2.0))
        }
        3 => {
            let density = (-0.5 * v * v).exp() * 0.398_942_3;
            0.5 * (1.0 + libm::erff(v * std::f32::consts::FRAC_1_SQRT_2)) + v * density
        }
        4 => f32::from(u8::from(v > 0.0)),
        5 => {
            let s = 1.0 / (1.0 + (-1.702 * v).exp());
            s * (1.0 + 1.702 * v * (1.0 - s))
        }
        6 => {
            let s = 1.0 / (1.0 + (-TANH_SLOPE * (v + TANH_CUBE * v * v * v)).exp());
            s * (1.0 + v * (1.0 - s) * TANH_SLOPE * (1.0 + 3.0 * TANH_CUBE * v * v))
        }
        _ => 1.0,
    }
}
