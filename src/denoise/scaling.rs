//! Between x = x0 + sigma eps and the inputs and outputs of networks, image by image.

use super::Level;
use super::diffusion::{NoiseTable, PredictionType};
use super::process::Process;
use crate::tensor::Tensor;

/// `x` at each level in the scale of the network, and the timesteps to call it at.
pub(super) fn input(table: &NoiseTable, x: &Tensor, levels: &[Level]) -> (Tensor, Vec<f64>) {
    let mut z = x.clone();
    let stride = z.stride();
    for (values, level) in z.data.chunks_mut(stride).zip(levels) {
        let scale = table.process().input_scale(level.sigma);
        for value in values {
            *value = (f64::from(*value) * scale) as f32;
        }
    }
    (z, levels.iter().map(|level| level.called_at(table)).collect())
}

/// Turns the network's output for the input `z`, in place, into eps.
pub(super) fn eps(table: &NoiseTable, prediction: PredictionType, output: &mut Tensor, z: &Tensor, levels: &[Level]) {
    let stride = z.stride();
    for (at, level) in levels.iter().enumerate() {
        let values = output.data[at * stride..][..stride].iter_mut().zip(z.item(at));
        let eps = |out: f32, z: f32| table.process().parts(prediction, f64::from(out), f64::from(z), level.sigma).0;
        values.for_each(|(out, z)| *out = eps(*out, *z) as f32);
    }
}

/// x0 of the first of two outputs for the input `z`, less that of the second.
pub(super) fn apart(
    table: &NoiseTable,
    prediction: PredictionType,
    (one, other): (&Tensor, &Tensor),
    z: &Tensor,
    levels: &[Level],
) -> Tensor {
    let (process, stride) = (table.process(), z.stride());
    let mut difference = one.clone();
    for (at, level) in levels.iter().enumerate() {
        let values = difference.data[at * stride..][..stride].iter_mut().zip(other.item(at)).zip(z.item(at));
        let x0 = |out: f32, z: f32| process.parts(prediction, f64::from(out), f64::from(z), level.sigma).1;
        values.for_each(|((one, other), z)| *one = (x0(*one, *z) - x0(*other, *z)) as f32);
    }
    difference
}

/// eps and x0 from the network's output for the input `z` of `x`.
///
/// For variance-preserving networks, x0 is x - sigma eps, but at pure noise; the others give x0 more exactly where x is
/// almost noise.
pub(super) fn parts(
    table: &NoiseTable,
    prediction: PredictionType,
    mut output: Tensor,
    (x, z): (&Tensor, &Tensor),
    levels: &[Level],
) -> (Tensor, Tensor) {
    let (process, stride) = (table.process(), z.stride());
    let mut x0 = x.clone();
    for (at, level) in levels.iter().enumerate() {
        let range = at * stride..(at + 1) * stride;
        let values = output.data[range.clone()].iter_mut().zip(z.item(at)).zip(&mut x0.data[range]);
        for ((out, z), x0) in values {
            let (eps, clean) = process.parts(prediction, f64::from(*out), f64::from(*z), level.sigma);
            *out = eps as f32;
            *x0 = match process {
                Process::Betas | Process::Angle if level.sigma.is_finite() => {
                    (f64::from(*x0) - level.sigma * f64::from(*out)) as f32
                }
                Process::Betas
                | Process::Angle
                | Process::Edm { .. }
                | Process::Score
                | Process::Consistency { .. }
                | Process::Flow { .. } => clean as f32,
            };
        }
    }
    (output, x0)
}
