//! Walks that restore images from measurements.

use super::{Guided, Measurement, Method};
use crate::denoise::vjp::Pullback;
use crate::denoise::{Denoiser, Level};
use crate::error::{Error, Result};
use crate::sample::schedule::{Schedule, Step};
use crate::sample::walk::{self, NoiseSource, Progress, Update, Walk};
use crate::tensor::Tensor;

/// A measurement and the way in which walks fit it.
#[derive(Clone, Copy, Debug)]
pub struct Restoration<'a> {
    /// The measurements.
    pub measurement: &'a Measurement,
    /// The method.
    pub method: Method,
    /// The mean of the data, c h w values, where states start around it.
    pub mean: Option<&'a [f64]>,
}

/// A walk as [`walk::sample`], whose image i fits measurement `which[i]`. [`Method::Ddrm`] has its own steps on the
/// levels of `schedule` and does not take those of `method`.
///
/// # Errors
/// As [`walk::sample`] and [`Guided::new`]; [`Error::Argument`] for [`Method::Ddrm`] from pure noise of infinite sigma.
#[expect(clippy::too_many_arguments, reason = "the arguments of a walk, and the measurement")]
pub fn sample<'a>(
    denoiser: &'a mut dyn Denoiser,
    pullback: Option<&'a mut dyn Pullback>,
    schedule: &Schedule,
    method: &walk::Method,
    (restoration, which): (&Restoration<'a>, &[usize]),
    x: Tensor,
    noise: NoiseSource,
    watch: &mut dyn FnMut(&Progress) -> Result<()>,
) -> Result<Tensor> {
    let Restoration { measurement, method: way, .. } = *restoration;
    let bound = method.clip.map(|clip| clip.bound);
    let mut guided = Guided::new(denoiser, pullback, measurement, way, which.to_vec())?.within(bound);
    match way {
        Method::PiGdm { .. } => walk::sample(&mut guided, schedule, method, x, noise, watch),
        Method::Project { .. } => {
            let mut x = walk::sample(&mut guided, schedule, method, x, noise, watch)?;
            if measurement.noise() == 0.0 {
                // Some samplers' last steps mix estimates of several levels.
                by_modes(measurement, &mut x, |at, modes| measurement.draw_to(which[at], modes, 1.0));
            }
            Ok(x)
        }
        Method::Dps { step } => along_gradients(&mut guided, schedule, method, (measurement, step), x, noise, watch),
        Method::Ddrm { eta } => spectral(&mut guided, schedule, (restoration, eta), x, noise, watch),
    }
}

/// Changes the modes of each image.
fn by_modes(measurement: &Measurement, x: &mut Tensor, mut of: impl FnMut(usize, &mut [f64])) {
    let stride = x.stride().max(1);
    for (at, image) in x.data.chunks_mut(stride).enumerate() {
        let mut modes = measurement.modes_of(image);
        of(at, &mut modes);
        let found = measurement.operator().image(&modes);
        image.iter_mut().zip(found).for_each(|(value, found)| *value = found as f32);
    }
}

/// Algorithm 1 of Chung et al. (2023) with the steps of any sampler, as in the authors' code: along the gradient of
/// |y - A x0|, not of its square, in the scale of z = x / sqrt(1 + sigma^2). Both are divided by the largest singular
/// value, so that the units of y do not matter. No step is longer than Polyak's, to where |y - A x0| would be as long
/// as its noise if it were linear: such steps do not lead away from the images that fit (Polyak, 1969).
fn along_gradients(
    guided: &mut Guided,
    schedule: &Schedule,
    method: &walk::Method,
    (measurement, length): (&Measurement, f64),
    mut x: Tensor,
    noise: NoiseSource,
    watch: &mut dyn FnMut(&Progress) -> Result<()>,
) -> Result<Tensor> {
    guided.begin(&schedule.levels());
    let largest = measurement.operator().singular_values().iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let of_noise = measurement.noise_length();
    let mut walk = Walk::new(schedule, method);
    for (index, step) in schedule.steps().iter().enumerate() {
        rescale(&mut x, schedule.rejoin(index));
        let before = x.clone();
        let Update { eps, x0, x: mut after } = walk.step(x, guided, noise)?;
        if step.from.sigma.is_finite() {
            let which = guided.which().to_vec();
            let mut lengths = Vec::with_capacity(which.len());
            let mut apart = x0.clone();
            by_modes(measurement, &mut apart, |at, modes| {
                let (pull, length) = measurement.residual(which[at], modes);
                modes.copy_from_slice(&pull);
                lengths.push(length);
            });
            let gradient = guided.pulled(&before, &vec![step.from; which.len()], &apart)?;
            let scale = length * step.from.sigma.hypot(1.0) * step.to.sigma.hypot(1.0) / largest;
            let stride = after.stride().max(1);
            let images = after.data.chunks_mut(stride).zip(gradient.data.chunks(stride)).zip(lengths);
            for ((image, gradient), length) in images.filter(|(_, length)| *length > 0.0) {
                let square: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
                let polyak = length * (length - of_noise).max(0.0) / square.max(f64::MIN_POSITIVE);
                let factor = (scale / length).min(polyak);
                let values = image.iter_mut().zip(gradient);
                values.for_each(|(x, g)| *x = (f64::from(*x) + factor * f64::from(*g)) as f32);
            }
            check_finite(&after, index, step)?;
        }
        watch(&Progress { index, step: *step, before: &before, eps: &eps, x0: &x0, x: &after })?;
        x = after;
    }
    Ok(x)
}

/// The steps of Kawar et al. (2022), equations 4 to 8 with `eta_b` = 1, in the scale x = x0 + sigma eps.
fn spectral(
    guided: &mut Guided,
    schedule: &Schedule,
    (restoration, eta): (&Restoration, f64),
    mut x: Tensor,
    noise: NoiseSource,
    watch: &mut dyn FnMut(&Progress) -> Result<()>,
) -> Result<Tensor> {
    let Restoration { measurement, mean, .. } = *restoration;
    let start = schedule.start().sigma;
    if start.is_infinite() {
        let what = "`ddrm` from noise alone, at an infinite sigma";
        return Err(Error::argument(what, "take a schedule with a finite first sigma, or `project`"));
    }
    guided.begin(&schedule.levels());
    let which = guided.which().to_vec();
    let (s, deviation) = (measurement.operator().singular_values(), measurement.noise());
    let centre = mean.map_or_else(|| vec![0.0; s.len()], |mean| measurement.operator().modes(mean));
    by_modes(measurement, &mut x, |at, modes| {
        for (mode, value) in modes.iter_mut().enumerate() {
            let known = deviation / s[mode];
            if s[mode] > 0.0 && start >= known {
                let normal = (*value - centre[mode]) / start;
                *value = measurement.modes(which[at])[mode] / s[mode] + (start * start - known * known).sqrt() * normal;
            }
        }
    });
    let mut draws = 0;
    for (index, step) in schedule.steps().iter().enumerate() {
        rescale(&mut x, schedule.rejoin(index));
        let (eps, x0) = guided.parts(&x, &vec![step.from; which.len()])?;
        let (from, to) = (step.from.sigma, step.to.sigma);
        let normals = if to > 0.0 {
            draws += 1;
            noise(draws)?
        } else {
            Tensor::zeros(x.shape.clone())
        };
        let mut after = x.clone();
        by_modes(measurement, &mut after, |at, modes| {
            let (clean, normal) = (measurement.modes_of(x0.item(at)), measurement.modes_of(normals.item(at)));
            for (mode, value) in modes.iter_mut().enumerate() {
                let (clean, normal, y) = (clean[mode], normal[mode], measurement.modes(which[at])[mode]);
                let (known, kept) = (deviation / s[mode], (1.0 - eta * eta).sqrt());
                *value = if s[mode] == 0.0 {
                    clean + kept * to * (*value - clean) / from + eta * to * normal
                } else if to < known {
                    clean + kept * to * (y / s[mode] - clean) / known + eta * to * normal
                } else {
                    y / s[mode] + (to * to - known * known).sqrt() * normal
                };
            }
        });
        check_finite(&after, index, step)?;
        watch(&Progress { index, step: *step, before: &x, eps: &eps, x0: &x0, x: &after })?;
        x = after;
    }
    Ok(x)
}

fn rescale(x: &mut Tensor, factor: f64) {
    if factor != 1.0 {
        x.data.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
}

fn check_finite(x: &Tensor, index: usize, step: &Step) -> Result<()> {
    if x.is_finite() {
        return Ok(());
    }
    let Level { sigma, .. } = step.to;
    let place = format!("the state after step {} (sigma {sigma})", index + 1);
    Err(Error::NonFinite { place, hint: "a smaller `step_size` diverges less".to_owned() })
}
