//! The loop that walks a state down a schedule, and the trait of its solvers.

use std::fmt;
use std::sync::Arc;

use super::schedule::{Schedule, Step};
use crate::denoise::{Denoiser, Level};
use crate::{Error, Result, tensor::Tensor};

/// Clipping of the prediction of x0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The values of x0 that are kept.
    pub bound: Bound,
    /// `true` if eps is derived again from the clipped x0 before it is used; otherwise only x0 is clipped.
    pub rederive_eps: bool,
}

/// The values of a prediction of x0 that are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Those up to this magnitude.
    Range(f64),
    /// Dynamic thresholding: Saharia et al. (2022), section 2.3. Those up to a quantile of the magnitudes of an image,
    /// from 1 to `most`; the image is then divided by it.
    Quantile {
        /// The share of the values of an image that the quantile is not below.
        share: f64,
        /// The largest bound.
        most: f64,
    },
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Quantile { share, most } => write!(f, "quantile {share} up to {most}"),
        }
    }
}

impl Bound {
    /// Returns the largest magnitude that is kept of `x0`, one image, and the divisor of what is kept.
    #[must_use]
    pub fn of(self, x0: impl Iterator<Item = f64>) -> (f64, f64) {
        match self {
            Self::Range(range) => (range, 1.0),
            Self::Quantile { share, most } => {
                let mut magnitudes: Vec<f64> = x0.map(f64::abs).collect();
                magnitudes.sort_by(f64::total_cmp);
                let place = share.clamp(0.0, 1.0) * magnitudes.len().saturating_sub(1) as f64;
                let at = |index: usize| magnitudes.get(index).or(magnitudes.last()).copied().unwrap_or(1.0);
                let (low, high) = (at(place as usize), at(place as usize + 1));
                let bound = (low + (high - low) * place.fract()).max(1.0).min(most);
                (bound, bound)
            }
        }
    }

    /// Clips each image of `x0`.
    pub fn clip(self, x0: &mut Tensor) {
        let stride = x0.stride().max(1);
        for image in x0.data.chunks_mut(stride) {
            let (most, divisor) = self.of(image.iter().map(|value| f64::from(*value)));
            let (most, divisor) = (most as f32, divisor as f32);
            for value in image {
                *value = value.clamp(-most, most) / divisor;
            }
        }
    }
}

/// The rule of a step, with its settings.
///
/// Every solver here is linear in the state, the estimates of this step and those it remembers, and the noise. In the
/// variance-exploding scale, x = x0 + sigma eps, its coefficients follow from the sigmas alone, so that a solver is a
/// few lines about sigma; formulas published for z = sqrt(alpha bar) x are divided by sqrt(alpha bar) at the step's
/// end.
pub trait Solver: fmt::Debug + Send + Sync {
    /// Returns the state before the first step.
    fn begin(&self) -> Box<dyn Stepper>;

    /// Returns the settings by name, for reports.
    fn settings(&self) -> Vec<(&'static str, String)>;

    /// Returns `true` if steps add noise.
    fn is_stochastic(&self) -> bool {
        false
    }

    /// The reason for which CFG++ has no meaning for the solver: no noise that was estimated comes back in its steps.
    /// `None` by default.
    fn never_renoises(&self) -> Option<&'static str> {
        None
    }
}

/// The memory of a solver between the steps of one walk. It can be copied, so that a step can be taken again.
pub trait Stepper: CopiedStepper {
    /// Takes `x`, (n, c, h, w) at the step's `from`, to its `to`.
    ///
    /// # Errors
    /// Those of `oracle`.
    fn step(&mut self, position: Position, x: Tensor, oracle: &mut Oracle) -> Result<Update>;
}

/// Copies of a [`Stepper`]. Every stepper that is `Clone` has them.
pub trait CopiedStepper: Send {
    /// Returns a copy.
    fn copied(&self) -> Box<dyn Stepper>;
}

impl<S: Stepper + Clone + Send + 'static> CopiedStepper for S {
    fn copied(&self) -> Box<dyn Stepper> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Stepper> {
    fn clone(&self) -> Self {
        self.as_ref().copied()
    }
}

/// A solver, and how predictions of x0 are clipped.
#[derive(Clone, Debug)]
pub struct Method {
    /// The rule of a step.
    pub solver: Arc<dyn Solver>,
    /// Clipping of x0, if any.
    pub clip: Option<Clip>,
}

impl Method {
    /// Steps of `solver`, without clipping.
    #[must_use]
    pub fn new(solver: impl Solver + 'static) -> Self {
        Self { solver: Arc::new(solver), clip: None }
    }
}

/// A finished step, as a watcher sees it.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Its index, from 0.
    pub index: usize,
    /// Its levels.
    pub step: Step,
    /// The state x at `step.from`: (n, c, h, w).
    pub before: &'a Tensor,
    /// The denoiser's own estimate of eps at `step.from`: (n, c, h, w).
    pub eps: &'a Tensor,
    /// The prediction of x0: (n, c, h, w).
    pub x0: &'a Tensor,
    /// The state x at `step.to` in the variance-exploding scale: (n, c, h, w).
    pub x: &'a Tensor,
}

/// Standard normals for the stochastic updates of a walk, numbered from 1: (n, c, h, w).
pub type NoiseSource<'a> = &'a mut (dyn FnMut(u32) -> Result<Tensor> + Send);

/// Walks `x`, (n, c, h, w) in the variance-exploding scale at the schedule's first level, down to its last.
///
/// `noise(k)` returns the standard normals of the k-th stochastic update, as [`crate::noise::Noise::step`] numbers
/// them, and is called only where noise is added; `watch` sees every step. Values are float32, each element's
/// arithmetic is float64.
///
/// # Errors
/// [`Error::Argument`] if `x` does not have the denoiser's image shape, [`Error::NonFinite`] naming the step, and the
/// errors of the denoiser, `noise` and `watch`.
pub fn sample(
    denoiser: &mut dyn Denoiser,
    schedule: &Schedule,
    method: &Method,
    mut x: Tensor,
    noise: NoiseSource,
    watch: &mut dyn FnMut(&Progress) -> Result<()>,
) -> Result<Tensor> {
    denoiser.begin(&schedule.levels());
    let mut walk = Walk::new(schedule, method);
    for (index, step) in schedule.steps().iter().enumerate() {
        scale(&mut x, schedule.rejoin(index));
        let before = x.clone();
        let Update { eps, x0, x: after } = walk.step(x, denoiser, noise)?;
        watch(&Progress { index, step: *step, before: &before, eps: &eps, x0: &x0, x: &after })?;
        x = after;
    }
    Ok(x)
}

/// A walk down a schedule, one step at a time: [`sample`] without its loop. A copy takes the same steps.
#[derive(Clone)]
pub struct Walk {
    schedule: Arc<Schedule>,
    clip: Option<Clip>,
    stepper: Box<dyn Stepper>,
    /// Steps taken.
    index: usize,
    /// Stochastic updates made.
    updates: u32,
}

impl Walk {
    /// A walk before its first step.
    #[must_use]
    pub fn new(schedule: &Schedule, method: &Method) -> Self {
        Self::after(schedule, method, 0)
    }

    /// A walk before its first step, after a number of draws of noise.
    #[must_use]
    pub(super) fn after(schedule: &Schedule, method: &Method, updates: u32) -> Self {
        Self {
            schedule: Arc::new(schedule.clone()),
            clip: method.clip,
            stepper: method.solver.begin(),
            index: 0,
            updates,
        }
    }

    /// The number of draws so far.
    #[must_use]
    pub(super) fn updates(&self) -> u32 {
        self.updates
    }

    /// Counts a draw of noise that is not a step's, and returns its number.
    pub(super) fn count_update(&mut self) -> u32 {
        self.updates += 1;
        self.updates
    }

    /// Takes the next step, from the state `x` at its `from`.
    ///
    /// # Errors
    /// As [`sample`]; [`Error::Argument`] after the last step.
    pub fn step(&mut self, x: Tensor, denoiser: &mut dyn Denoiser, noise: NoiseSource) -> Result<Update> {
        check_shape(&x, denoiser.image_shape())?;
        let skipped = self.schedule.skipped();
        let position = Position { steps: self.schedule.steps(), index: self.index, skipped };
        if self.index >= position.steps.len() {
            let what = format!("step {} of a walk of {}", self.index + 1, position.steps.len());
            return Err(Error::argument(what, "a walk has as many steps as its schedule"));
        }
        let (clip, updates) = (self.clip, &mut self.updates);
        let mut oracle = Oracle { denoiser, noise, position, clip, updates, called: false, shift: None, moved: None };
        let mut update = self.stepper.step(position, x, &mut oracle)?;
        if let Some(shift) = &oracle.shift {
            update.x0 = combine(&[(1.0, &update.x0), (1.0, shift)]);
        }
        update.x = oracle.moved(update.x);
        check_finite(&update.x, "the state", position, position.step().to)?;
        self.index += 1;
        Ok(update)
    }
}

/// The position of a step in its schedule.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// All steps.
    pub steps: &'a [Step],
    /// The present one, from 0.
    pub index: usize,
    /// Steps of the whole schedule before the first of these, where the walk begins in mid-schedule.
    pub skipped: usize,
}

impl Position<'_> {
    /// The present step.
    #[must_use]
    pub fn step(&self) -> Step {
        self.steps[self.index]
    }

    /// Steps from here to the end, this one included: 1 at the last.
    #[must_use]
    pub fn left(&self) -> usize {
        self.steps.len() - self.index
    }

    /// The index of the present step in the whole schedule.
    #[must_use]
    pub fn place(&self) -> usize {
        self.skipped + self.index
    }

    /// The number of steps of the whole schedule.
    #[must_use]
    pub fn whole(&self) -> usize {
        self.skipped + self.steps.len()
    }
}

/// The result of a step; all (n, c, h, w).
#[derive(Clone, Debug)]
pub struct Update {
    /// The denoiser's own estimate of eps at the step's `from`.
    pub eps: Tensor,
    /// The prediction of x0 there.
    pub x0: Tensor,
    /// The state at the step's `to`.
    pub x: Tensor,
}

/// The denoiser and the source of noise, as a step uses them.
pub struct Oracle<'a> {
    denoiser: &'a mut dyn Denoiser,
    noise: NoiseSource<'a>,
    position: Position<'a>,
    updates: &'a mut u32,
    /// Clipping of x0, if any.
    pub clip: Option<Clip>,
    /// `true` after the first call of the step.
    called: bool,
    /// The shift of guidance in x0 at the first call of the step, and in the state at its end.
    shift: Option<Arc<Tensor>>,
    moved: Option<Arc<Tensor>>,
}

/// An estimate of the parts of a state, x = x0 + sigma eps, clipped on request; all (n, c, h, w).
pub struct Estimate {
    /// The denoiser's own eps, before clipping.
    pub raw: Tensor,
    /// The noise.
    pub eps: Tensor,
    /// The clean image.
    pub x0: Tensor,
}

impl Oracle<'_> {
    /// Calls the denoiser on `x` at `level` and returns its own eps.
    ///
    /// # Errors
    /// Those of the denoiser; [`Error::NonFinite`] naming the step.
    pub fn eps(&mut self, x: &Tensor, level: Level) -> Result<Tensor> {
        let eps = self.denoiser.eps(x, &vec![level; x.shape[0]])?;
        check_finite(&eps, "the denoiser's output", self.position, level)?;
        if level.sigma.is_finite() {
            self.see_shift(x, level, &|| combine(&[(1.0, x), (-level.sigma, &eps)]))?;
        }
        Ok(eps)
    }

    /// Calls the denoiser on `x` at `level` and returns the parts of `x`; eps follows from a clipped x0, and both from
    /// what guides the walk.
    ///
    /// # Errors
    /// As [`Oracle::eps`].
    pub fn estimate(&mut self, x: &Tensor, level: Level) -> Result<Estimate> {
        let (raw, mut x0) = self.denoiser.parts(x, &vec![level; x.shape[0]])?;
        check_finite(&raw, "the denoiser's output", self.position, level)?;
        self.see_shift(x, level, &|| x0.clone())?;
        let mut eps = match self.clip {
            None => raw.clone(),
            Some(clip) => {
                clip.bound.clip(&mut x0);
                let is_noise = level.sigma.is_infinite();
                if is_noise { x.clone() } else { combine(&[(1.0 / level.sigma, x), (-1.0 / level.sigma, &x0)]) }
            }
        };
        // Guidance moves the score after the clipping, as `condition_score` of guided-diffusion.
        if let Some(gradient) = self.gradient(x, level)? {
            eps = combine(&[(1.0, &eps), (-level.sigma, &gradient)]);
            x0 = combine(&[(1.0, x), (-level.sigma, &eps)]);
        }
        Ok(Estimate { raw, eps, x0 })
    }

    /// Keeps what guidance adds to the clean image `x0` of the state that the step begins with, as clipped as this is.
    fn see_shift(&mut self, x: &Tensor, level: Level, x0: &dyn Fn() -> Tensor) -> Result<()> {
        if std::mem::replace(&mut self.called, true) {
            return Ok(());
        }
        let Some(mut shift) = self.denoiser.shift(x, &vec![level; x.shape[0]])? else { return Ok(()) };
        check_finite(&shift, "the guidance", self.position, level)?;
        if let Some(clip) = self.clip {
            let mut own = x0();
            let mut guided = combine(&[(1.0, &own), (1.0, &shift)]);
            clip.bound.clip(&mut own);
            clip.bound.clip(&mut guided);
            shift = combine(&[(1.0, &guided), (-1.0, &own)]);
        }
        let shift = Arc::new(shift);
        (self.shift, self.moved) = (Some(Arc::clone(&shift)), Some(shift));
        Ok(())
    }

    /// The part of the guided x0 that the estimates of the step do not have, with CFG++: that of the state which the
    /// step begins with. Every state that the step makes of that one has it, too; the walk adds it to the last.
    #[must_use]
    pub fn shift(&self) -> Option<Arc<Tensor>> {
        self.moved.clone()
    }

    /// Takes the shift of an earlier state in place of this step's, for a step that begins with that state again.
    pub fn begins_with(&mut self, shift: Option<Arc<Tensor>>) {
        self.moved = shift;
    }

    /// A state on the way of the step, with its shift.
    #[must_use]
    pub fn moved(&self, x: Tensor) -> Tensor {
        match &self.moved {
            None => x,
            Some(shift) => combine(&[(1.0, &x), (1.0, shift)]),
        }
    }

    /// Returns the gradient of log p(y | x) that guides the walk at `x`, if one does: see [`Denoiser::gradient`].
    ///
    /// # Errors
    /// As [`Oracle::eps`].
    pub fn gradient(&mut self, x: &Tensor, level: Level) -> Result<Option<Tensor>> {
        let gradient = self.denoiser.gradient(x, &vec![level; x.shape[0]])?;
        if let Some(gradient) = &gradient {
            check_finite(gradient, "the classifier's gradient", self.position, level)?;
        }
        Ok(gradient)
    }

    /// Returns the channels of a variance that the last call of the denoiser gave.
    ///
    /// # Errors
    /// [`Error::Argument`] for a denoiser without any.
    pub fn variance(&self) -> Result<Tensor> {
        self.denoiser.variance().cloned().ok_or_else(|| {
            Error::argument("this denoiser does not give a variance", "take a `variance_type` that is not learned")
        })
    }

    /// Draws the standard normals of the next stochastic update.
    ///
    /// # Errors
    /// Those of the source of noise.
    pub fn noise(&mut self) -> Result<Tensor> {
        *self.updates += 1;
        (self.noise)(*self.updates)
    }
}

/// Returns the sum of `terms`, each a factor and a tensor of one shape; there is at least one.
#[must_use]
pub fn combine(terms: &[(f64, &Tensor)]) -> Tensor {
    let at = |index: usize| terms.iter().map(|(factor, tensor)| factor * f64::from(tensor.data[index])).sum::<f64>();
    let data = (0..terms[0].1.data.len()).map(|index| at(index) as f32).collect();
    Tensor::new(terms[0].1.shape.clone(), data)
}

/// Multiplies all values of `x`.
pub(super) fn scale(x: &mut Tensor, factor: f64) {
    if factor != 1.0 {
        x.data.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
}

fn check_shape(x: &Tensor, image: [usize; 3]) -> Result<()> {
    if x.shape.len() == 4 && x.shape[1..] == image {
        return Ok(());
    }
    let what = format!("a start state of shape {:?} for images of {image:?}", x.shape);
    Err(Error::argument(what, "the start state is (images, channels, height, width)"))
}

fn check_finite(tensor: &Tensor, what: &str, position: Position, level: Level) -> Result<()> {
    if tensor.is_finite() {
        return Ok(());
    }
    Err(Error::NonFinite {
        place: format!("{what} in step {} of {} ({level})", position.index + 1, position.steps.len()),
        hint: "look for NaN in the weights and the start state; a smaller `gamma` diverges less".to_owned(),
    })
}
