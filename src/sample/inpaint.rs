//! Walks in which a part of the state is known: it is projected on what is known after every step, and with RePaint
//! the walk goes up again now and then, so that the rest comes to fit.

use super::schedule::{Scale, Schedule};
use super::walk::{Method, NoiseSource, Progress, Update, Walk, scale};
use crate::denoise::Denoiser;
use crate::{Error, Result, tensor::Tensor};

/// The most steps of a walk with resampling.
const MOST_STEPS: usize = 1_000_000;
/// The times that each part of a walk is taken, as in Lugmayr et al.
const USUAL_TIMES: usize = 10;
/// The longest jump, as in Lugmayr et al., and the share of the steps that it is there: 10 of 250.
const USUAL_JUMP: usize = 10;
const STEPS_PER_JUMP: usize = 25;

/// The part of a state that is known, the same for all images of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The clean state in the scale of the model, (1, c, h, w); only what is not painted counts.
    pub clean: Tensor,
    /// `true` where the state is painted, `false` where it is known: h w values, row by row.
    pub painted: Vec<bool>,
}

/// The way in which the rest is made to fit what is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Inpaint {
    /// After each step, the known part is replaced by the known values under the noise of that level: the image's
    /// initial noise, the same at every level. Exact at the end.
    #[default]
    Project,
    /// As `Project` with fresh noise at every level, and jumps: Lugmayr et al., "RePaint", CVPR 2022, algorithm 1.
    Repaint {
        /// The number of times that each part of the walk is taken; 10 by default.
        resample: Option<usize>,
        /// The number of levels of a jump; by default a 25th of the steps, from 1 to 10.
        jump: Option<usize>,
    },
}

/// The jumps of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Resampling {
    /// The number of times that each part of the walk is taken.
    pub times: usize,
    /// The number of levels of a jump.
    pub jump: usize,
}

impl Inpaint {
    /// The name of the way.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Repaint { .. } => "repaint",
        }
    }

    /// The jumps in a schedule of `steps` steps; `None` without jumps.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers out of range, and for jumps that do not fit the schedule.
    pub fn resampling(self, steps: usize) -> Result<Option<Resampling>> {
        let Self::Repaint { resample, jump } = self else { return Ok(None) };
        let times = resample.unwrap_or(USUAL_TIMES);
        let jump = jump.unwrap_or((steps / STEPS_PER_JUMP).clamp(1, USUAL_JUMP));
        if times == 0 || jump == 0 {
            let field = if times == 0 { "resample" } else { "jump" };
            return Err(Error::argument(format!("a `{field}` of 0"), "give a number from 1 on"));
        }
        if jump >= steps {
            let what = format!("a `jump` of {jump} levels in a schedule of {steps} steps");
            return Err(Error::argument(what, "choose a shorter `jump`, or more `steps`"));
        }
        let resampling = Resampling { times, jump };
        if resampling.jumps(steps).saturating_mul(jump).saturating_add(steps) > MOST_STEPS {
            let what = format!("a `resample` of {times} makes more than {MOST_STEPS} steps of {steps}");
            return Err(Error::argument(what, "choose a smaller `resample`, or fewer `steps`"));
        }
        Ok(Some(resampling))
    }
}

impl Resampling {
    /// The number of jumps in a schedule of `steps` steps.
    fn jumps(self, steps: usize) -> usize {
        let again = self.times.saturating_sub(1);
        steps.saturating_sub(self.jump).div_ceil(self.jump.max(1)).saturating_mul(again)
    }

    /// The steps of a walk by their index in a schedule of `steps` steps, each descent by itself, as diffusers'
    /// `RePaintScheduler.set_timesteps` orders them. Every `jump` steps, counted from the end, the walk goes up `jump`
    /// levels, `times` - 1 times.
    #[must_use]
    pub fn descents(self, steps: usize) -> Vec<std::ops::Range<usize>> {
        let mut left = vec![0; steps];
        for jumps in left[..steps.saturating_sub(self.jump)].iter_mut().step_by(self.jump.max(1)) {
            *jumps = self.times.saturating_sub(1);
        }
        let (mut descents, mut begun) = (Vec::new(), 0);
        for above in (0..steps).rev() {
            // `above` counts the steps that are left after this one.
            let end = steps - above;
            while left[above] > 0 {
                left[above] -= 1;
                descents.push(begun..end);
                begun = end - self.jump;
            }
        }
        descents.push(begun..steps);
        descents
    }
}

/// The steps of a walk, each descent by itself; one descent without resampling.
#[must_use]
pub fn descents(resampling: Option<Resampling>, steps: usize) -> Vec<std::ops::Range<usize>> {
    let whole = std::iter::once(0..steps).collect();
    resampling.map_or(whole, |resampling| resampling.descents(steps))
}

impl Known {
    /// Replaces the known part of `x`, (n, c, h, w), by `of(clean, at)` for each value, which knows its index in `x`.
    fn replace(&self, x: &mut Tensor, of: impl Fn(f64, usize) -> f64) {
        let pixels = self.painted.len().max(1);
        for (at, (value, clean)) in x.data.iter_mut().zip(self.clean.data.iter().cycle()).enumerate() {
            if !self.painted[at % pixels] {
                *value = of(f64::from(*clean), at) as f32;
            }
        }
    }

    /// Puts the known values into `x`, (n, c, h, w), as they are.
    pub fn paste(&self, x: &mut Tensor) {
        let pixels = self.painted.len().max(1);
        for (at, (value, clean)) in x.data.iter_mut().zip(self.clean.data.iter().cycle()).enumerate() {
            if !self.painted[at % pixels] {
                *value = *clean;
            }
        }
    }

    /// Refuses a part of other states than (c, h, w).
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self, [channels, height, width]: [usize; 3]) -> Result<()> {
        if self.clean.shape != [1, channels, height, width] || self.painted.len() != height * width {
            let what = format!(
                "a known state of shape {:?} with {} pixels for images of {:?}",
                self.clean.shape,
                self.painted.len(),
                [channels, height, width]
            );
            return Err(Error::argument(what, "the known state is (1, channels, height, width)"));
        }
        Ok(())
    }
}

/// A walk as [`super::walk::sample`], of states of which a part is known.
///
/// Without resampling, `initial`, (n, c, h, w), is the noise of the known part at every level. With resampling, that
/// noise is the one of the step's stochastic update, or the next draw where the step has none, as in diffusers'
/// `RePaintScheduler`: the places of both differ. A jump is one further draw, and the solver begins again after it, as
/// if the walk began in mid-schedule. Draws are numbered in the order of the walk, so they do not depend on the batch.
///
/// # Errors
/// As [`super::walk::sample`].
#[expect(clippy::too_many_arguments, reason = "the arguments of a walk, and the known part")]
pub fn sample(
    denoiser: &mut dyn Denoiser,
    schedule: &Schedule,
    method: &Method,
    (known, resampling): (&Known, Option<Resampling>),
    initial: &Tensor,
    mut x: Tensor,
    noise: NoiseSource,
    watch: &mut dyn FnMut(&Progress) -> Result<()>,
) -> Result<Tensor> {
    denoiser.begin(&schedule.levels());
    let steps = schedule.steps();
    let descents = descents(resampling, steps.len());
    let (mut index, mut updates) = (0, 0);
    for (at, descent) in descents.iter().enumerate() {
        let rest = schedule.clone().last(steps.len() - descent.start);
        let mut walk = Walk::after(&rest, method, updates);
        for place in descent.clone() {
            let step = steps[place];
            if place > descent.start {
                scale(&mut x, schedule.rejoin(place));
            }
            let before = x.clone();
            let mut drawn = None;
            let Update { eps, x0, x: mut after } = walk.step(x, denoiser, &mut |update| {
                let normals = noise(update)?;
                drawn = Some(normals.clone());
                Ok(normals)
            })?;
            let is_last = at + 1 == descents.len() && place + 1 == descent.end;
            if is_last {
                let factor = end_factor(schedule);
                known.replace(&mut after, |clean, _| clean / factor);
            } else {
                // The level of the next call; the state is brought to it before that call.
                let (sigma, factor) = match steps.get(place + 1).filter(|_| place + 1 < descent.end) {
                    Some(next) => (next.from.sigma, schedule.rejoin(place + 1)),
                    None => (step.to.sigma, 1.0),
                };
                let fresh = match (resampling, drawn) {
                    (None, _) => None,
                    (Some(_), Some(drawn)) => Some(drawn),
                    (Some(_), None) if sigma == 0.0 => None,
                    (Some(_), None) => Some(noise(walk.count_update())?),
                };
                let normals = fresh.as_ref().unwrap_or(initial);
                known.replace(&mut after, |clean, at| (clean + sigma * f64::from(normals.data[at])) / factor);
            }
            watch(&Progress { index, step, before: &before, eps: &eps, x0: &x0, x: &after })?;
            (x, index) = (after, index + 1);
        }
        if let Some(next) = descents.get(at + 1) {
            let (low, high) = (steps[descent.end - 1].to.sigma, steps[next.start].from.sigma);
            let spread = (high * high - low * low).max(0.0).sqrt();
            let normals = noise(walk.count_update())?;
            for (value, normal) in x.data.iter_mut().zip(&normals.data) {
                *value = (f64::from(*value) + spread * f64::from(*normal)) as f32;
            }
        }
        updates = walk.updates();
    }
    Ok(x)
}

/// The factor from x at the end of a schedule to the scale of the model.
pub(super) fn end_factor(schedule: &Schedule) -> f64 {
    match schedule.scale() {
        Scale::VariancePreserving | Scale::VarianceExploding => schedule.end().alpha_bar().sqrt(),
        Scale::Flow => Scale::Flow.factor(schedule.end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The timesteps of diffusers' `RePaintScheduler.set_timesteps(10, 3, 2)` with 10 training timesteps, without those
    /// of its `undo_step`.
    #[test]
    fn descents_are_those_of_diffusers() {
        let called = |times, jump, steps: usize| -> Vec<usize> {
            let descents = Resampling { times, jump }.descents(steps);
            descents.into_iter().flatten().map(|index| steps - 1 - index).collect()
        };
        assert_eq!(called(2, 3, 10), [9, 8, 7, 6, 8, 7, 6, 5, 4, 3, 5, 4, 3, 2, 1, 0, 2, 1, 0]);
        assert_eq!(called(1, 3, 4), [3, 2, 1, 0]);
        assert_eq!(called(3, 1, 3), [2, 1, 1, 1, 0, 0, 0]);
        assert_eq!(called(3, 2, 4), [3, 2, 1, 0, 1, 0, 1, 0]);
        let all = descents(None, 4);
        assert_eq!((all.len(), &all[0]), (1, &(0..4)));
    }

    #[test]
    fn jumps_that_do_not_fit_are_refused() {
        let repaint = |resample, jump| Inpaint::Repaint { resample, jump };
        assert_eq!(Inpaint::Project.resampling(10).unwrap(), None);
        let usual = repaint(None, None);
        assert_eq!(usual.resampling(250).unwrap(), Some(Resampling { times: 10, jump: 10 }));
        assert_eq!(usual.resampling(10).unwrap(), Some(Resampling { times: 10, jump: 1 }));
        let refused = |way: Inpaint, steps| way.resampling(steps).unwrap_err().to_string();
        assert!(refused(repaint(Some(0), None), 10).contains("`resample` of 0"));
        assert!(refused(repaint(None, Some(0)), 10).contains("`jump` of 0"));
        assert!(refused(repaint(None, Some(10)), 10).contains("`jump` of 10 levels in a schedule of 10 steps"));
        assert!(refused(usual, 1).contains("`jump` of 1 levels"));
        assert!(refused(repaint(Some(usize::MAX), None), 10).contains("more than 1000000 steps"));
    }
}
