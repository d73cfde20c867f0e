//! The sampler: one loop that walks a state down a schedule, whatever the solver of its steps.

use super::schedule::{Level, Schedule, Step};
use super::solvers::Solver;
use crate::denoise::Denoiser;
use crate::{Error, Result, tensor::Tensor};

/// How the prediction of x0 is clipped to plus and minus `range`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The largest magnitude of a value of x0.
    pub range: f64,
    /// eps is derived anew from the clipped x0, before anything is made of it; else only x0 is clipped.
    pub rederive_eps: bool,
}

/// How a schedule is walked down.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// What becomes of the state in a step.
    pub solver: Solver,
    /// Clipping of x0, if any.
    pub clip: Option<Clip>,
}

/// What a step did, for whoever watches.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Which step, from 0.
    pub index: usize,
    /// Its levels.
    pub step: Step,
    /// The state x at `step.from`: (n, c, h, w).
    pub before: &'a Tensor,
    /// The estimate of eps at `step.from`, as the denoiser gave it: (n, c, h, w).
    pub eps: &'a Tensor,
    /// The prediction of x0: (n, c, h, w).
    pub x0: &'a Tensor,
    /// The state x at `step.to` in the variance-exploding scale: (n, c, h, w).
    pub x: &'a Tensor,
}

/// Walks `x`, (n, c, h, w) in the variance-exploding scale at the schedule's first level, down to its last.
///
/// Each step is the solver's: see [`Solver`]. `noise(index)` answers standard normals w for a step and is called only
/// where noise is added; `watch` sees every step. Values are float32, each element's arithmetic is float64.
///
/// # Errors
/// [`Error::Argument`] when `x` does not have the denoiser's image shape, [`Error::NonFinite`] naming the step, and whatever
/// the denoiser, `noise` and `watch` report.
pub fn sample(
    denoiser: &mut dyn Denoiser,
    schedule: &Schedule,
    method: &Method,
    mut x: Tensor,
    noise: &mut dyn FnMut(usize) -> Result<Tensor>,
    watch: &mut dyn FnMut(&Progress) -> Result<()>,
) -> Result<Tensor> {
    denoiser.begin(&schedule.levels());
    let mut walk = Walk::new(schedule, method);
    for index in 0..schedule.steps().len() {
        scale(&mut x, schedule.rejoin(index));
        let before = x.clone();
        let Moved { eps, x0, x: after } = walk.step(index, x, denoiser, noise)?;
        let step = schedule.steps()[index];
        watch(&Progress { index, step, before: &before, eps: &eps, x0: &x0, x: &after })?;
        x = after;
    }
    Ok(x)
}

/// A walk down a schedule, one step at a time: [`sample`] without its loop.
pub struct Walk<'a> {
    schedule: &'a Schedule,
    clip: Option<Clip>,
    solving: Box<dyn Solving>,
}

impl<'a> Walk<'a> {
    /// At the first step.
    #[must_use]
    pub fn new(schedule: &'a Schedule, method: &Method) -> Self {
        Self { schedule, clip: method.clip, solving: method.solver.begin() }
    }

    /// Step `index`, the one after the last one taken, from the state `x` at its `from`.
    ///
    /// # Errors
    /// As [`sample`].
    pub fn step(
        &mut self,
        index: usize,
        x: Tensor,
        denoiser: &mut dyn Denoiser,
        noise: &mut dyn FnMut(usize) -> Result<Tensor>,
    ) -> Result<Moved> {
        check_shape(&x, denoiser.image_shape())?;
        let place = Place { steps: self.schedule.steps(), index };
        let moved = self.solving.step(place, x, &mut Calls { denoiser, noise, place, clip: self.clip })?;
        check_finite(&moved.x, "the state", place, place.step().to)?;
        Ok(moved)
    }
}

/// Where a step stands in its schedule.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// All steps.
    pub steps: &'a [Step],
    /// The present one, from 0.
    pub index: usize,
}

impl Place<'_> {
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
}

/// What came of a step; all (n, c, h, w).
#[derive(Clone, Debug)]
pub struct Moved {
    /// The denoiser's own answer at the step's `from`.
    pub eps: Tensor,
    /// The prediction of x0 there.
    pub x0: Tensor,
    /// The state at the step's `to`.
    pub x: Tensor,
}

/// The state that a solver keeps between steps, and what it does in one.
pub(super) trait Solving {
    /// Takes `x` from the present step's `from` to its `to`.
    fn step(&mut self, place: Place, x: Tensor, calls: &mut Calls) -> Result<Moved>;
}

/// The denoiser and the noise, as a step may ask for them.
pub(super) struct Calls<'a> {
    denoiser: &'a mut dyn Denoiser,
    noise: &'a mut dyn FnMut(usize) -> Result<Tensor>,
    place: Place<'a>,
    /// How x0 is clipped.
    pub clip: Option<Clip>,
}

/// What the denoiser says of a state, clipped where that is asked for: x = x0 + sigma eps, all (n, c, h, w).
pub(super) struct Estimate {
    /// The denoiser's own answer.
    pub answer: Tensor,
    /// The noise.
    pub eps: Tensor,
    /// The clean image.
    pub x0: Tensor,
}

impl Calls<'_> {
    /// The denoiser's own answer for `x` at `level`.
    pub fn answer(&mut self, x: &Tensor, level: Level) -> Result<Tensor> {
        let answer = self.denoiser.eps(x, &vec![level; x.shape[0]])?;
        check_finite(&answer, "the denoiser's answer", self.place, level)?;
        Ok(answer)
    }

    /// What `x` at `level` is made of; eps follows a clipped x0.
    pub fn estimate(&mut self, x: &Tensor, level: Level) -> Result<Estimate> {
        let answer = self.answer(x, level)?;
        let mut x0 = combine(&[(1.0, x), (-level.sigma, &answer)]);
        let eps = match self.clip {
            None => answer.clone(),
            Some(Clip { range, .. }) => {
                x0.data.iter_mut().for_each(|value| *value = value.clamp(-range as f32, range as f32));
                combine(&[(1.0 / level.sigma, x), (-1.0 / level.sigma, &x0)])
            }
        };
        Ok(Estimate { answer, eps, x0 })
    }

    /// Standard normals of the present step.
    pub fn noise(&mut self) -> Result<Tensor> {
        (self.noise)(self.place.index)
    }
}

/// The sum of `terms`, each a factor and a tensor of one shape; at least one.
pub(super) fn combine(terms: &[(f64, &Tensor)]) -> Tensor {
    let at = |index: usize| terms.iter().map(|(factor, tensor)| factor * f64::from(tensor.data[index])).sum::<f64>();
    let data = (0..terms[0].1.data.len()).map(|index| at(index) as f32).collect();
    Tensor::new(terms[0].1.shape.clone(), data)
}

/// Multiplies all of `x`.
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

fn check_finite(tensor: &Tensor, what: &str, place: Place, level: Level) -> Result<()> {
    if tensor.is_finite() {
        return Ok(());
    }
    Err(Error::NonFinite {
        place: format!("{what} in step {} of {} ({level})", place.index + 1, place.steps.len()),
        hint: "look for NaN in the weights and the start state; a smaller `--gamma` diverges less".to_owned(),
    })
}
