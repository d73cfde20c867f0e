//! Samplers at equal network calls: the distance of their samples from the data, and their cost.
//!
//! A [`Cell`] is a sampler on a schedule with a number of calls and a seed. Its images are made and kept a part at a
//! time ([`store`]), so that an interrupted run resumes where it stopped, and a larger run reuses the images of a
//! smaller one; the measurements ([`measure`]) follow from the images. Image i of a seed starts from the same noise in
//! every cell, so that cells of one seed differ only in their samplers.

pub mod captioned;
pub mod clip;
pub mod measure;
pub mod missing;
pub mod preset;
pub mod report;
pub mod store;
pub mod table;

use std::sync::Arc;

use web_time::Instant;

use crate::denoise::diffusion::NoiseTable;
use crate::denoise::{Counted, Denoiser};
use crate::error::{Error, Result};
use crate::sample::run::Run;
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::scheduler_config::SchedulerConfig;
use crate::sample::settings::{Course, Settings};
use crate::sample::solvers::analytic::{Analytic, Variances};
use crate::tensor::Tensor;

pub use measure::{Reference, Score};
pub use missing::Missing;
pub use preset::Preset;
pub use store::{Named, Store};

/// A sampler on a schedule, with a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub sampler: Sampler,
    pub schedule: ScheduleKind,
    /// The most network calls.
    pub calls: usize,
    /// The weight of the newest eps, for gradient estimation.
    pub gamma: Option<f64>,
    /// The first sigma of a schedule that has a range; `None` for the usual one.
    pub sigma_max: Option<f64>,
    /// The variances of Analytic-DDIM, on its authors' schedule and clipped as theirs.
    pub variances: Option<Arc<Variances>>,
    pub seed: u64,
}

impl Cell {
    /// The sampler on the schedule that serves it best in few steps: gradient estimation on the paper's, DDIM on the
    /// paper's baseline, PNDM on its class's `leading` spacing, most others on diffusers' `trailing` one, which begins
    /// at the full noise however few the steps. (From the full noise in 4 steps, PNDM's extrapolation over four
    /// estimates overshoots.)
    #[must_use]
    pub fn usual(sampler: Sampler, calls: usize, seed: u64) -> Self {
        Self {
            sampler,
            schedule: sampler.spec().short_kind,
            calls,
            gamma: None,
            sigma_max: None,
            variances: None,
            seed,
        }
    }

    /// Analytic-DDIM.
    #[must_use]
    pub fn analytic(calls: usize, variances: &Arc<Variances>) -> Self {
        let variances = Some(Arc::clone(variances));
        Self { schedule: ScheduleKind::Linspace, variances, ..Self::usual(Sampler::Ddim, calls, 0) }
    }

    /// Gradient estimation on its usual schedule.
    #[must_use]
    pub fn ge(calls: usize, seed: u64) -> Self {
        Self::usual(Sampler::Ge, calls, seed)
    }

    /// The steps of a schedule that take at most `calls` calls.
    fn steps(&self) -> usize {
        self.sampler.spec().calls.steps_within(self.calls)
    }
}

impl store::Named for Cell {
    /// Such as `ge-paper-10-s0`.
    fn name(&self) -> String {
        let gamma = self.gamma.map_or_else(String::new, |gamma| format!("-gamma{gamma}"));
        let start = self.sigma_max.map_or_else(String::new, |sigma| format!("-from{sigma}"));
        if let Some(variances) = &self.variances {
            return format!("analytic-ddim-{}-{}-s{}", variances.digest(), self.calls, self.seed);
        }
        format!("{}-{}{start}-{}{gamma}-s{}", self.sampler.name(), self.schedule.name(), self.calls, self.seed)
    }
}

/// The first sigma of the paper's schedule, and of its schedule "offset".
const OFFSET_SIGMA: f64 = 40.0;

/// The schedules of the paper's ablation, each with its label and its first sigma.
const fn ablation_cells() -> [(&'static str, ScheduleKind, Option<f64>); 4] {
    [
        ("DDIM (from 157)", ScheduleKind::Ddim, None),
        ("DDIM offset (from 40)", ScheduleKind::Ddim, Some(OFFSET_SIGMA)),
        ("EDM (80 to 0.002)", ScheduleKind::Edm, None),
        ("paper (from 40)", ScheduleKind::Paper, None),
    ]
}

/// The measurements of a list of cells.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The score of each cell.
    pub scores: Vec<Score>,
    /// Network calls and seconds per image of each cell, where they are known.
    pub costs: Vec<Option<(usize, f64)>>,
    /// The scores of sets of as many real images.
    pub floor: Vec<Score>,
    /// The number of images that samples are compared with, where it is known.
    pub reference: Option<usize>,
    /// The name of the data.
    pub data: String,
}

/// A network on a device, and the configuration of its scheduler.
pub struct Subject<'a> {
    pub denoiser: &'a mut dyn Denoiser,
    pub config: SchedulerConfig,
    pub table: NoiseTable,
    /// Clips predictions of x0 in every sampler; otherwise none clips, as in the paper.
    pub clip: bool,
    /// Images per call.
    pub batch: usize,
}

/// The schedule and the method of a cell, for a model of this configuration.
///
/// # Errors
/// Those of [`Settings::resolve`]: a schedule that the sampler or the number of steps does not fit.
pub fn resolve(cell: &Cell, config: &SchedulerConfig, table: &NoiseTable, clip: bool) -> Result<Course> {
    // PNDM alone has this field: Runge and Kutta's start would take 13 calls before the method begins.
    let fields = config.fields.clone().with("skip_prk_steps", true.into());
    let config = SchedulerConfig { fields, ..config.clone() };
    if let Some(variances) = &cell.variances {
        return analytic(cell, Arc::clone(variances), &config, table);
    }
    let settings = Settings {
        sampler: Some(cell.sampler),
        schedule: Some(cell.schedule),
        steps: Some(cell.steps()),
        gamma: cell.gamma,
        sigma_max: cell.sigma_max,
        clip: Some(clip),
        ..Settings::default()
    };
    settings.resolve(&config, table)
}

/// Analytic-DDIM as its authors run it: timesteps evenly from the last to the first and then no noise, and predictions
/// of x0 clipped.
fn analytic(cell: &Cell, variances: Arc<Variances>, config: &SchedulerConfig, table: &NoiseTable) -> Result<Course> {
    let steps = cell.steps();
    if steps < 2 {
        let what = "Analytic-DDIM in one step, and its timesteps include the first and the last";
        return Err(Error::argument(what, "take 2 `steps` or more"));
    }
    let stride = (table.timesteps() - 1) as f64 / (steps - 1) as f64;
    // Their timesteps are numbered from 1, which decides which way halves round.
    let timesteps = (0..steps).rev().map(|at| (1.0 + at as f64 * stride).round_ties_even() - 1.0).chain([-1.0]);
    let fields = config.fields.clone().with("set_alpha_to_one", true.into());
    let config = SchedulerConfig { fields, set_alpha_to_one: Some(true), ..config.clone() };
    let settings = Settings {
        sampler: Some(cell.sampler),
        timesteps: Some(timesteps.collect()),
        clip: Some(true),
        ..Settings::default()
    };
    let mut course = settings.resolve(&config, table)?;
    course.method = Analytic { eta: 0.0, variances }.apply(course.method, cell.sampler)?;
    Ok(course)
}

/// The samples of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// The samples in the model's own scale, (n, c, h, w).
    pub images: Tensor,
    /// Network calls per image.
    pub calls: usize,
    /// Seconds by the wall clock.
    pub seconds: f64,
}

impl Subject<'_> {
    /// Samples the images `range` of a cell; `step` is called after every step, and an error of it ends the work.
    ///
    /// # Errors
    /// Those of [`resolve`], of sampling and of `step`.
    pub fn make(&mut self, cell: &Cell, range: std::ops::Range<usize>, step: &dyn Fn() -> Result<()>) -> Result<Made> {
        let Course { schedule, method, .. } = resolve(cell, &self.config, &self.table, self.clip)?;
        let image = self.denoiser.image_shape();
        let run = Run {
            images: range.clone().collect(),
            batch: self.batch,
            seed: cell.seed,
            ..Run::new(schedule, method, range.end)
        };
        let mut batches = run.batches(image)?;
        let mut counted = Counted { denoiser: self.denoiser, calls: 0 };
        let begun = Instant::now();
        let mut data = Vec::with_capacity(range.len() * image.iter().product::<usize>());
        let mut calls = 0;
        loop {
            counted.calls = 0;
            let sampled = batches.next_batch(&mut counted, &mut |_| step());
            let Some(samples) = sampled.transpose().map_err(|error| named(error, cell))? else { break };
            calls = counted.calls;
            data.extend(batches.run().in_model_scale(&samples.x).data);
        }
        let images = Tensor::new([range.len(), image[0], image[1], image[2]], data);
        Ok(Made { images, calls, seconds: begun.elapsed().as_secs_f64() })
    }
}

fn named(error: Error, cell: &Cell) -> Error {
    match error {
        Error::NonFinite { place, hint } => Error::NonFinite { place: format!("`{}`: {place}", cell.name()), hint },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::Level;

    /// The eps of a standard normal.
    struct Gaussian;

    impl Denoiser for Gaussian {
        fn image_shape(&self) -> [usize; 3] {
            [1, 2, 2]
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
            let sigma = levels[0].sigma;
            let gain = sigma / (1.0 + sigma * sigma);
            Ok(Tensor::new(x.shape.clone(), x.data.iter().map(|x| (f64::from(*x) * gain) as f32).collect()))
        }
    }

    fn made(cell: &Cell, range: std::ops::Range<usize>) -> Result<Made> {
        let mut denoiser = Gaussian;
        let mut subject = Subject {
            denoiser: &mut denoiser,
            config: SchedulerConfig::default(),
            table: NoiseTable::default(),
            clip: false,
            batch: 3,
        };
        subject.make(cell, range, &|| Ok(()))
    }

    #[test]
    fn no_sampler_exceeds_its_calls_and_none_wastes_many() {
        for sampler in Sampler::ALL {
            for calls in [5, 10, 20, 50] {
                let found = made(&Cell::usual(sampler, calls, 0), 0..1).unwrap().calls;
                assert!(found <= calls && found + 1 >= calls, "{sampler:?} with {calls}: {found}");
            }
        }
    }

    #[test]
    fn images_depend_on_seed_and_index_alone() {
        for cell in [Cell::ge(5, 7), Cell::usual("ddpm".parse().unwrap(), 5, 7)] {
            let whole = made(&cell, 0..8).unwrap().images;
            let part = made(&cell, 2..6).unwrap().images;
            assert_eq!(part.data, whole.data[2 * 4..6 * 4]);
            assert_ne!(made(&Cell { seed: 8, ..cell }, 0..8).unwrap().images, whole);
        }
    }

    #[test]
    fn analytic_cells_have_their_authors_schedule() {
        let variances = Arc::new(Variances::new(vec![1.0], vec![0.5]).unwrap());
        let of = |calls: usize| {
            resolve(&Cell::analytic(calls, &variances), &SchedulerConfig::default(), &NoiseTable::default(), false)
        };
        let course = of(5).unwrap();
        let timesteps: Vec<_> = course.schedule.levels().iter().map(|level| level.timestep).collect();
        assert_eq!(timesteps, [Some(999.0), Some(749.0), Some(499.0), Some(250.0), Some(0.0), None]);
        assert_eq!(course.schedule.end(), Level::CLEAN);
        assert!(course.method.clip.is_some_and(|clip| !clip.rederive_eps), "x0 is clipped, and eps is not");
        assert!(course.method.solver.is_stochastic());
        assert!(of(1).is_err());
        let cell = Cell { seed: 2, ..Cell::analytic(10, &variances) };
        assert_eq!(cell.name(), format!("analytic-ddim-{}-10-s2", variances.digest()));
        assert_eq!(made(&cell, 0..2).unwrap().calls, 10);
    }

    #[test]
    fn names_tell_cells_apart() {
        let cell = Cell::ge(10, 3);
        assert_eq!(cell.name(), "ge-paper-10-s3");
        assert_eq!(Cell { gamma: Some(1.5), ..cell.clone() }.name(), "ge-paper-10-gamma1.5-s3");
        let other = Cell { schedule: ScheduleKind::LogLinear, sigma_max: Some(40.0), ..cell };
        assert_eq!(other.name(), "ge-loglinear-from40-10-s3");
    }
}
