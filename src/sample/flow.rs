//! The noise levels of flow matching, s from 1 (noise) to 0 (data): their shift, and the grid of diffusers'
//! integrators.

use super::config_fields::Fields;
use super::schedule::Level;
use crate::Result;
use crate::denoise::process::Process;

/// Returns the level of `s`, from above 0 to 1.
pub(super) fn level(s: f64) -> Level {
    Level::at_sigma(s / (1.0 - s))
}

/// Returns T of flow matching; `None` for another process.
pub(super) fn timesteps(process: Process) -> Option<f64> {
    match process {
        Process::Flow { timesteps, .. } => Some(timesteps as f64),
        Process::Betas | Process::Angle | Process::Edm { .. } | Process::Score | Process::Consistency { .. } => None,
    }
}

/// Moves `s` towards noise (`shift` above 1) or data: Esser et al. (2024), equation 23.
pub(super) fn shifted(s: f64, shift: f64) -> f64 {
    shift * s / (1.0 + (shift - 1.0) * s)
}

/// Reads `flow_shift` of the integrators, or `shift` of the classes of flow matching: 1 where neither is given.
///
/// # Errors
/// [`crate::Error::BadFile`] for one that is not a number above 0.
pub(super) fn shift(fields: &Fields) -> Result<f64> {
    let field = if fields.is_given("flow_shift") { "flow_shift" } else { "shift" };
    let shift = fields.get_or(field, 1.0)?;
    if shift > 0.0 { Ok(shift) } else { Err(fields.malformed(field, "a number above 0")) }
}

/// Refuses levels that are shifted by the size of an image, where the model has the
/// levels of flow matching: their pipelines give the shift.
///
/// # Errors
/// [`crate::Error::UnsupportedField`], or [`crate::Error::BadFile`] for values of the wrong type.
pub(super) fn refuse_shifts(fields: &Fields, process: Process) -> Result<()> {
    if timesteps(process).is_none() {
        return Ok(());
    }
    fields.refuse_true("use_dynamic_shifting", "false: the shift would depend on the size of the image")
}

/// Returns `steps` levels even in s before the shift: down to the last one above 1/T, or from the first below 1.
///
/// diffusers' integrators (`use_flow_sigmas`) leave out s = 1, where the logarithm of sigma is infinite. All but
/// `UniPC` leave it out of the grid; `UniPC` moves it by 1e-6.
pub(super) fn even(steps: usize, shift: f64, timesteps: f64, from_noise: bool) -> Vec<f64> {
    const NEAR_NOISE: f64 = 1e-6;
    let stride = (1.0 - 1.0 / timesteps) / steps as f64;
    let at = |index: usize| {
        let even = if from_noise { 1.0 - index as f64 * stride } else { (steps - index) as f64 * stride };
        shifted(even, shift).min(1.0 - NEAR_NOISE)
    };
    (0..steps).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_keeps_the_ends() {
        for shift in [0.5, 1.0, 3.0] {
            assert_eq!((shifted(0.0, shift), shifted(1.0, shift)), (0.0, 1.0));
        }
        assert!((shifted(0.5, 3.0) - 0.75).abs() < 1e-15);
        assert!(level(1.0).sigma.is_infinite());
    }

    #[test]
    fn grids_are_even_before_the_shift() {
        let close = |found: &[f64], expected: &[f64]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(&even(3, 1.0, 1000.0, false), &[0.999, 0.666, 0.333]));
        assert!(close(&even(3, 1.0, 1000.0, true), &[1.0 - 1e-6, 0.667, 0.334]));
    }
}
