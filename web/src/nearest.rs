//! Distances of images to the nearest embedded digit.

use downhill::data::{Pixels, digits};
use downhill::{Result, Tensor};

/// Values that are compared before a digit is given up.
const PIECE: usize = 112;

/// The embedded digits, with values from -1 to 1.
pub struct Digits {
    samples: Tensor,
}

impl Digits {
    /// Reads the digits.
    ///
    /// # Errors
    /// None in practice.
    pub fn load() -> Result<Self> {
        Ok(Self { samples: digits(Pixels::Signed)?.samples })
    }

    /// |x - d| / sqrt(values) for each image x and its nearest digit d.
    pub fn distances(&self, images: &Tensor) -> Vec<f32> {
        let dimension = images.stride().max(1);
        let nearest = |image: &[f32]| {
            let digits = self.samples.data.chunks_exact(dimension);
            let square = digits.fold(f32::INFINITY, |least, digit| squared_distance(image, digit, least));
            (square / dimension as f32).sqrt()
        };
        images.data.chunks_exact(dimension).map(nearest).collect()
    }
}

/// The smaller of `least` and |a - b|^2.
fn squared_distance(a: &[f32], b: &[f32], least: f32) -> f32 {
    let mut sum = 0.0;
    for (a, b) in a.chunks(PIECE).zip(b.chunks(PIECE)) {
        let mut lanes = [0.0f32; 8];
        for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
            for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += (a - b) * (a - b);
            }
        }
        let rest = a.len() / 8 * 8;
        sum += lanes.iter().sum::<f32>();
        sum += a[rest..].iter().zip(&b[rest..]).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        if sum >= least {
            return least;
        }
    }
    sum
}
