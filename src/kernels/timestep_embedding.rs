//! Sinusoidal embedding of timesteps, exact for large timesteps and high frequencies.

use super::{Dispatch, Family, Kernel, Shader, component, flat_grid, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// sin and cos of 2 pi t f for each frequency f. Reads t (one texel per image: [`split_in_three`], then zero) and
/// table (see [`table`]); writes one vector of `dim` channels per image: sin of all frequencies, then cos; a last odd
/// channel is zero.
#[derive(Clone, Copy, Debug)]
pub struct TimestepEmbedding {
    /// Timesteps.
    pub images: usize,
    /// Channels of a vector: twice the number of frequencies, and one more if odd.
    pub dim: usize,
    /// cos first.
    pub flip: bool,
}

parameters! {
    /// The parameters of `timestep_embedding.wgsl`.
    struct Params {
        images: u32,
        dim: u32,
        flip: u32,
    }
}

static KERNEL: Kernel = kernel!("timestep_embedding", Params, twin);

/// Significant bits of the first two parts of a number: the product of two such parts is exact in float32.
const PART_BITS: u32 = 12;

impl TimestepEmbedding {
    /// The dispatch of this embedding.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let params = Params { images: self.images as u32, dim: self.dim as u32, flip: u32::from(self.flip) };
        let grid = flat_grid(self.images * self.dim.div_ceil(TEXEL));
        Dispatch { shader: family.shader(&KERNEL, vec![]), params: words(&params), grid }
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        vec![family.shader(&KERNEL, vec![])]
    }
}

/// Three numbers whose sum is `value` to about 2^-48 of it; the first two have at most 12 significant bits.
#[must_use]
pub fn split_in_three(value: f64) -> [f32; 3] {
    let first = leading_bits(value);
    let second = leading_bits(value - f64::from(first));
    let third = value - f64::from(first) - f64::from(second);
    [first, second, third as f32]
}

/// `value` rounded to [`PART_BITS`] significant bits.
fn leading_bits(value: f64) -> f32 {
    let dropped = f64::MANTISSA_DIGITS - PART_BITS;
    let half = 1u64 << (dropped - 1);
    // A carry out of the mantissa goes into the exponent, as it should.
    f64::from_bits((value.to_bits() + half) & !((1 << dropped) - 1)) as f32
}

/// The table of frequencies, in revolutions per unit of t: one texel each.
#[must_use]
pub fn table(frequencies: &[f64]) -> Vec<f32> {
    frequencies
        .iter()
        .flat_map(|frequency| {
            let [first, second, third] = split_in_three(*frequency);
            [first, second, third, 0.0]
        })
        .collect()
}

/// The twin of `fraction`.
fn fraction(v: f32) -> f32 {
    v - v.round_ties_even()
}

/// The twin of `sin_of_product`.
fn sin_of_product(t: [f32; 3], f: [f32; 3], ahead: i32) -> f32 {
    let large = fraction(t[0] * f[0]);
    let middle = fraction(fraction(t[0] * f[1]) + fraction(t[1] * f[0]));
    let small = (t[0] * f[2] + t[2] * f[0]) + t[1] * f[1] + (t[1] * f[2] + t[2] * f[1]);
    let quarters = (4.0 * (large + middle + small)).round_ties_even();
    let r = ((large - 0.25 * quarters) + middle) + small;
    let s = r * r;
    let magnitude = match (quarters as i32 + ahead) & 3 {
        0 | 2 => {
            let series = [std::f32::consts::TAU, -41.341_7, 81.605_25, -76.705_86, 42.058_693];
            r * series.into_iter().rev().fold(0.0, |sum, term| sum * s + term)
        }
        _ => {
            let series = [1.0, -19.739_208, 64.939_39, -85.456_82, 60.244_64];
            series.into_iter().rev().fold(0.0, |sum, term| sum * s + term)
        }
    };
    if (quarters as i32 + ahead) & 3 >= 2 { -magnitude } else { magnitude }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    let p: Params = params(words);
    let [t, table] = reads else { return };
    let dim = p.dim as usize;
    let frequencies = dim / 2;
    let parts = |texels: &[f32], index: usize| [0, 1, 2].map(|part| component(texels, index, part));
    for (image, y) in write.chunks_mut(dim.next_multiple_of(TEXEL)).take(p.images as usize).enumerate() {
        y.fill(0.0);
        for (channel, y) in y.iter_mut().enumerate().take(2 * frequencies) {
            let ahead = (channel / frequencies) as i32 ^ p.flip as i32;
            *y = sin_of_product(parts(t, image), parts(table, channel % frequencies), ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_their_products_are_exact() {
        for value in [0.0, 1.0, 999.0, 123.456_789, -7.000_123, 1e-6, 49.999_999, 4095.5, 4096.5, std::f64::consts::PI]
        {
            let [first, second, third] = split_in_three(value);
            let sum = f64::from(first) + f64::from(second) + f64::from(third);
            assert!((sum - value).abs() <= value.abs() * 2f64.powi(-46), "{value}: {sum}");
            for part in [first, second] {
                assert_eq!(part.to_bits() & ((1 << 12) - 1), 0, "{value}: {part} has more than 12 significant bits");
                let factor = split_in_three(std::f64::consts::E)[1];
                assert_eq!(f64::from(part * factor), f64::from(part) * f64::from(factor), "{value}: inexact product");
            }
        }
    }
}
