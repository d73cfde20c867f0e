//! Weights that need no file: the same numbers as in `tools/goldens/drawn.py`, exact in float32.

use downhill::checkpoint::Weights;
use downhill::tensor::Tensor;

/// splitmix64.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Tensors of these names and shapes, in the order of their names.
pub fn tensors(mut keys: Vec<(String, Vec<usize>)>) -> Vec<(String, Tensor)> {
    keys.sort();
    let draw = |(index, (name, shape)): (usize, (String, Vec<usize>))| {
        let count: usize = shape.iter().product();
        let uniform = |at: usize| {
            let bits = mixed(((index as u64) << 32) + at as u64) >> 48;
            bits as f64 / 32768.0 - 1.0
        };
        let fan_in: usize = shape[1..].iter().product();
        let scale = 2f64.powf(-(fan_in as f64).sqrt().log2().floor());
        let value = |at: usize| match (shape.len(), name.ends_with("weight")) {
            (1, true) => 1.0 + uniform(at) / 4.0,
            (1, false) => uniform(at) / 8.0,
            _ => uniform(at) * scale,
        };
        let data: Vec<f32> = (0..count).map(|at| value(at) as f32).collect();
        (name, Tensor::new(shape, data))
    };
    keys.into_iter().enumerate().map(draw).collect()
}

/// The same as weights.
pub fn weights(keys: Vec<(String, Vec<usize>)>) -> Weights {
    Weights::from_tensors(tensors(keys))
}
