//! Operands, and the plain sums on the host that an answer is held against.

use crate::size::Case;

/// Places of an answer that are computed on the host, spread over all of it.
const PLACES: usize = 64;

/// `len` numbers with mean 0 and variance `1 / terms`, the same for the same seed.
#[must_use]
pub fn numbers(seed: u64, len: usize, terms: usize) -> Vec<f32> {
    // splitmix64 (Steele, Lea and Flood 2014), its upper bits as a fraction.
    let fraction = |at: u64| {
        let mut bits = (seed << 40).wrapping_add(at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    let scale = (12.0 / terms as f64).sqrt();
    (0..len as u64).map(|at| ((fraction(at) - 0.5) * scale) as f32).collect()
}

/// max |answer - sum| / max |sum| over some places, the sums in float64.
///
/// `x` and `answer` are NCHW or row-major, `weights` OIHW or row-major.
#[must_use]
pub fn error(case: Case, x: &[f32], weights: &[f32], answer: &[f32]) -> f64 {
    let count = PLACES.min(answer.len());
    let mut largest = f64::MIN_POSITIVE;
    let mut furthest = 0.0f64;
    for place in (0..count).map(|at| at * (answer.len() - 1) / (count - 1).max(1)) {
        let expected = sum(case, x, weights, place);
        largest = largest.max(expected.abs());
        let distance = (f64::from(answer[place]) - expected).abs();
        // A NaN is as far as anything can be.
        furthest = if distance.is_nan() { f64::INFINITY } else { furthest.max(distance) };
    }
    furthest / largest
}

fn sum(case: Case, x: &[f32], weights: &[f32], place: usize) -> f64 {
    let product = |a: usize, b: usize| f64::from(x[a]) * f64::from(weights[b]);
    match case {
        Case::Matmul { k, columns, .. } => {
            let (row, column) = (place / columns, place % columns);
            (0..k).map(|at| product(row * k + at, at * columns + column)).sum()
        }
        Case::Conv { channels, height, width, .. } => {
            let (px, py) = (place % width, place / width % height);
            let (to, image) = (place / (width * height) % channels, place / (width * height * channels));
            let mut sum = 0.0;
            for (from, tap) in (0..channels).flat_map(|from| (0..9).map(move |tap| (from, tap))) {
                let (qx, qy) = (px + tap % 3, py + tap / 3);
                if (1..=width).contains(&qx) && (1..=height).contains(&qy) {
                    let pixel = ((image * channels + from) * height + qy - 1) * width + qx - 1;
                    sum += product(pixel, (to * channels + from) * 9 + tap);
                }
            }
            sum
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_variance_asked_for() {
        let drawn = numbers(3, 100_000, 4);
        let variance = drawn.iter().map(|value| f64::from(value * value)).sum::<f64>() / drawn.len() as f64;
        assert!((variance - 0.25).abs() < 0.005, "{variance}");
        assert_ne!(numbers(1, 8, 1), numbers(2, 8, 1));
    }

    #[test]
    fn a_product_is_summed_over_the_inner_extent() {
        let case = Case::Matmul { rows: 2, k: 2, columns: 1 };
        assert_eq!(error(case, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], &[17.0, 39.0]), 0.0);
        assert_eq!(error(case, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], &[17.0, 0.0]), 1.0);
        assert_eq!(error(case, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], &[f32::NAN, 39.0]), f64::INFINITY);
    }

    #[test]
    fn a_convolution_reads_nothing_beyond_its_border() {
        let case = Case::Conv { images: 1, channels: 1, height: 2, width: 3 };
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        // The tap to the upper left only, then the one in the middle.
        let upper_left = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(error(case, &x, &upper_left, &[0.0, 0.0, 0.0, 0.0, 1.0, 2.0]), 0.0);
        let middle = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(error(case, &x, &middle, &x), 0.0);
    }
}
