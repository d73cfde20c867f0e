//! The settings of a sampling run for a denoiser that has noise levels and no timesteps: grids of sigma.

use super::grids;
use super::samplers::Sampler;
use super::schedule::{ScheduleKind, StartNoise};
use super::scheduler_config::SchedulerConfig;
use super::settings::{Course, Settings, default_steps};
use crate::denoise::diffusion::NoiseTable;
use crate::{Error, Result};

/// The most steps of a grid.
const MOST_STEPS: usize = 100_000;

impl Settings {
    /// Returns the course for a denoiser that has an estimate at any sigma. The sampler is DDIM and the schedule
    /// `exponential` (N log-spaced sigmas over `range`, first and last, then 0) where nothing else is asked for;
    /// `loglinear` (N + 1 of them) and `karras` have the same range. States start with sigma of noise.
    ///
    /// # Errors
    /// [`Error::Argument`] for timesteps, schedules of timesteps, and what [`Settings::resolve`] refuses.
    pub fn on_sigmas(&self, range: (f64, f64)) -> Result<Course> {
        if self.analytic_start.is_some() {
            return Err(Error::argument(
                "`analytic_start` has no meaning for a closed-form denoiser",
                "leave it out: it is for networks of pixels",
            ));
        }
        if self.timesteps.is_some() {
            return Err(no_timesteps("`timesteps`"));
        }
        let sampler = self.sampler.unwrap_or(Sampler::Ddim);
        let mut listed = Self { sampler: Some(sampler), clip: Some(self.clip.unwrap_or(false)), ..self.clone() };
        let mut kind = None;
        if self.sigmas.is_none() {
            let usual = if self.error_model.is_some() { ScheduleKind::Admissible } else { ScheduleKind::Exponential };
            let asked = self.schedule.unwrap_or(usual);
            kind = Some(asked);
            listed.sigmas = Some(self.sigma_list(asked, sampler, range)?);
            listed =
                Self { schedule: None, steps: None, sigma_max: None, sigma_min: None, error_model: None, ..listed };
        }
        let course = listed.resolve(&SchedulerConfig::default(), &NoiseTable::default())?;
        Ok(Course { kind, schedule: course.schedule.starting(StartNoise::Sigma), ..course })
    }

    fn sigma_list(&self, kind: ScheduleKind, sampler: Sampler, range: (f64, f64)) -> Result<Vec<f64>> {
        let steps = self.steps.unwrap_or(default_steps(sampler, &NoiseTable::default()));
        if !(1..=MOST_STEPS).contains(&steps) {
            let what = format!("a schedule of {steps} steps");
            return Err(Error::argument(what, format!("`steps` takes 1 to {MOST_STEPS}")));
        }
        let high = grids::positive("sigma_max", self.sigma_max.unwrap_or(range.0))?;
        // A given start shifts the default end by the same ratio.
        let low = grids::below(self.sigma_min.unwrap_or(high * range.1 / range.0), high)?;
        if let Some(model) = self.expected_error_model(kind)? {
            return model.longest_steps(high, low, self.steps);
        }
        match kind {
            ScheduleKind::Exponential => Ok(grids::log_spaced(high, low, steps).into_iter().chain([0.0]).collect()),
            ScheduleKind::Karras => Ok(grids::rho_spaced(high, low, steps).into_iter().chain([0.0]).collect()),
            ScheduleKind::Beta => Ok(grids::beta_spaced(high, low, steps).into_iter().chain([0.0]).collect()),
            ScheduleKind::LogLinear => Ok(grids::log_spaced(high, low, steps + 1)),
            ScheduleKind::Paper
            | ScheduleKind::Ddim
            | ScheduleKind::Edm
            | ScheduleKind::Leading
            | ScheduleKind::Trailing
            | ScheduleKind::Linspace
            | ScheduleKind::Admissible
            | ScheduleKind::Flow
            | ScheduleKind::Own => Err(no_timesteps("a schedule of timesteps")),
        }
    }
}

fn no_timesteps(what: &str) -> Error {
    Error::argument(
        format!("{what} for a closed-form denoiser, which has noise levels and no timesteps"),
        "take `sigmas`, or one of the schedules `exponential`, `loglinear`, `karras`, `beta` and `admissible`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_lie_over_the_range_of_the_data() {
        let levels = |settings: &Settings| -> Vec<f64> {
            let levels = settings.on_sigmas((100.0, 0.01)).unwrap().schedule.levels();
            levels.iter().map(|level| level.sigma).collect()
        };
        let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        let five = Settings { steps: Some(5), ..Settings::default() };
        assert!(close(&levels(&five), &[100.0, 10.0, 1.0, 0.1, 0.01, 0.0]));
        let log_linear = Settings { schedule: Some(ScheduleKind::LogLinear), sigma_max: Some(10.0), ..five.clone() };
        let found = levels(&log_linear);
        assert!(found.len() == 6 && (found[0] - 10.0).abs() < 1e-9 && (found[5] - 1e-3).abs() < 1e-9, "{found:?}");
        let settings = Settings { sigmas: Some(vec![3.0, 1.0]), ..Settings::default() };
        assert_eq!(levels(&settings), [3.0, 1.0]);
        let usual = Settings::default().on_sigmas((1.0, 0.1)).unwrap();
        assert_eq!(
            (usual.sampler, usual.kind, usual.method.clip),
            (Sampler::Ddim, Some(ScheduleKind::Exponential), None)
        );
    }

    #[test]
    fn timesteps_and_empty_ranges_are_refused() {
        let refused = |settings: Settings| settings.on_sigmas((100.0, 0.01)).unwrap_err().to_string();
        let none = Settings::default();
        assert!(refused(Settings { timesteps: Some(vec![9.0, 0.0]), ..none.clone() }).contains("no timesteps"));
        assert!(refused(Settings { schedule: Some(ScheduleKind::Paper), ..none.clone() }).contains("no timesteps"));
        assert!(refused(Settings { steps: Some(0), ..none.clone() }).contains("0 steps"));
        assert!(refused(Settings { sigma_min: Some(200.0), ..none.clone() }).contains("a range of sigma"));
        let both = Settings { sigmas: Some(vec![3.0, 1.0]), schedule: Some(ScheduleKind::Karras), ..none };
        assert!(refused(both).contains("contradicts"));
    }
}
