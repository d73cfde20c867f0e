//! InceptionV3 with weights that are a function of a name and a place, the same in `tools/goldens/inception.py`.

use downhill::nets::inception;
use downhill::tensor::Tensor;

/// Numbers from -1 to 1 of 24 bits, each a function of a name and a place.
pub fn numbers(name: &str, count: usize) -> Vec<f64> {
    let hash = |seed: u32, byte: u8| (seed ^ u32::from(byte)).wrapping_mul(16_777_619);
    let seed = name.bytes().fold(2_166_136_261, hash);
    let number = |at: usize| {
        let mut x = (at as u32).wrapping_mul(0x9E37_79B9).wrapping_add(seed);
        x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        f64::from((x ^ (x >> 16)) >> 8) / f64::from(1 << 23) - 1.0
    };
    (0..count).map(number).collect()
}

/// A tensor of the network.
fn tensor(name: &str, shape: &[usize]) -> Tensor {
    let values = numbers(name, shape.iter().product());
    let inputs: usize = shape[1..].iter().product();
    let scaled = |value: f64| match name {
        name if name.ends_with("conv.weight") => value * (6.0 / inputs as f64).sqrt(),
        name if name.ends_with("bn.weight") => 1.0 + 0.2 * value,
        name if name.ends_with("running_var") => 1.0 + 0.5 * value,
        _ => 0.1 * value,
    };
    Tensor::new(shape, values.into_iter().map(|value| scaled(value) as f32).collect())
}

/// The tensors of a file of pytorch-fid, with a part of the class layer, which is not read.
pub fn tensors() -> Vec<(String, Tensor)> {
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push((name.clone(), tensor(&name, shape)));
    for (key, shape) in inception::keys() {
        let (path, part) = key.rsplit_once('.').unwrap();
        if part == "weight" {
            add(format!("{path}.conv.weight"), &shape);
            continue;
        }
        for part in ["weight", "bias", "running_mean", "running_var"] {
            add(format!("{path}.bn.{part}"), &shape);
        }
    }
    add("fc.weight".to_owned(), &[1008, 2]);
    tensors
}
