//! Conversion of stored numbers to float32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;

/// The dtypes that [`to_f32`] supports, for messages.
pub(super) const SUPPORTED_DTYPES: &str = "F16, BF16, F32, F64";

/// Converts little-endian `bytes` of `dtype` to float32, or returns `None` for a dtype that weights cannot have.
///
/// F16 and BF16 convert exactly, subnormals included; F64 is rounded to nearest.
pub(super) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(elements(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(elements(bytes, |value| f64::from_le_bytes(value) as f32)),
        Dtype::F16 => Some(widen(&elements(bytes, f16::from_le_bytes))),
        Dtype::BF16 => Some(widen(&elements(bytes, bf16::from_le_bytes))),
        _ => None,
    }
}

fn elements<const SIZE: usize, T>(bytes: &[u8], convert: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks::<SIZE>().0.iter().map(|element| convert(*element)).collect()
}

/// Converts a whole slice at once, to use the processor's conversion instructions.
fn widen<T>(halves: &[T]) -> Vec<f32>
where
    [T]: HalfFloatSliceExt,
{
    let mut values = vec![0.0; halves.len()];
    halves.convert_to_f32_slice(&mut values);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(halves: &[u16]) -> Vec<u8> {
        halves.iter().flat_map(|half| half.to_le_bytes()).collect()
    }

    /// Returns 2^exponent, exactly.
    fn power(exponent: i32) -> f32 {
        2f64.powi(exponent) as f32
    }

    #[test]
    fn f16_is_exact_from_the_smallest_subnormal_to_the_largest_value() {
        // Smallest and largest subnormal, smallest normal, one, minus two, largest, minus zero, and a ninth beyond a
        // vector of eight.
        let halves = [0x0001, 0x03ff, 0x0400, 0x3c00, 0xc000, 0x7bff, 0x8000, 0x8001, 0x3555];
        let expected =
            [power(-24), 1023.0 * power(-24), power(-14), 1.0, -2.0, 65504.0, -0.0, -power(-24), 1365.0 * power(-12)];
        let values = to_f32(Dtype::F16, &bits(&halves)).unwrap();
        assert_eq!(values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected.map(f32::to_bits));
    }

    #[test]
    fn every_finite_f16_follows_the_formula() {
        let all: Vec<u16> = (0..=u16::MAX).filter(|half| half & 0x7c00 != 0x7c00).collect();
        let values = to_f32(Dtype::F16, &bits(&all)).unwrap();
        for (half, value) in all.iter().zip(values) {
            let (exponent, mantissa) = (i32::from(half >> 10 & 0x1f), f32::from(half & 0x3ff));
            let magnitude = match exponent {
                0 => mantissa * power(-24),
                _ => (1024.0 + mantissa) * power(exponent - 25),
            };
            let expected = if half >> 15 == 1 { -magnitude } else { magnitude };
            assert_eq!(value.to_bits(), expected.to_bits(), "{half:#06x}");
        }
    }

    #[test]
    fn bf16_is_the_upper_half_of_a_float32() {
        // One, the smallest and largest subnormal, the largest value, and a negative.
        let halves = [0x3f80, 0x0001, 0x007f, 0x7f7f, 0xc0a0];
        let values = to_f32(Dtype::BF16, &bits(&halves)).unwrap();
        for (half, value) in halves.iter().zip(&values) {
            assert_eq!(value.to_bits(), u32::from(*half) << 16);
        }
        assert_eq!((values[0], values[4]), (1.0, -5.0));
        assert!(values[1] > 0.0 && values[1].is_subnormal());
    }

    #[test]
    fn f64_rounds_and_integers_are_refused() {
        let bytes: Vec<u8> = [0.1f64, 1e300].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(to_f32(Dtype::F64, &bytes).unwrap(), [0.1f32, f32::INFINITY]);
        assert_eq!(to_f32(Dtype::F32, &1.5f32.to_le_bytes()).unwrap(), [1.5]);
        assert!(to_f32(Dtype::I64, &[0; 8]).is_none());
        assert!(to_f32(Dtype::F8_E4M3, &[0; 8]).is_none());
    }
}
