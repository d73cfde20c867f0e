//! A run that goes on one step at a time, without a thread that waits for the device: for browsers.

use std::collections::BTreeMap;

use super::run::Batches;
use super::schedule::Step;
use super::walk::{Walk, scale};
use crate::denoise::{Counted, Denoiser};
use crate::gpu::Gpu;
use crate::{Error, Result, tensor::Tensor};

/// The batches of a run, step by step. Values are those of [`Batches::next_batch`], bit for bit.
pub struct Stepping {
    batches: Batches,
    /// The walk of the present batch.
    walk: Option<Walking>,
}

/// A batch on its way.
struct Walking {
    walk: Walk,
    images: Vec<usize>,
    x: Tensor,
    index: usize,
    calls: usize,
}

/// A finished step.
#[derive(Clone, Debug)]
pub struct Stepped {
    /// Its index in its batch, from 0.
    pub index: usize,
    /// The number of steps of a batch.
    pub steps: usize,
    /// The images of the batch, by their index in the whole run.
    pub images: Vec<usize>,
    /// The levels of the step.
    pub step: Step,
    /// Calls of the denoiser so far, in this batch.
    pub calls: usize,
    /// The denoiser's own estimate of eps at the step's `from`, (n, c, h, w).
    pub eps: Tensor,
    /// The prediction of x0, (n, c, h, w).
    pub x0: Tensor,
    /// The state x at the step's `to`, (n, c, h, w).
    pub x: Tensor,
    /// The images in the scale of the model, (n, c, h, w), after the last step.
    pub samples: Option<Tensor>,
}

impl Stepping {
    /// A run before its first step.
    ///
    /// # Errors
    /// [`Error::Argument`] for a run with a known part, whose steps are not taken one by one.
    pub fn new(batches: Batches) -> Result<Self> {
        if batches.run().known.is_some() {
            return Err(Error::argument("a run with a known part, step by step", "leave out `mask`"));
        }
        Ok(Self { batches, walk: None })
    }

    /// Takes the next step of the present batch, or the first one of the next; `None` after the last.
    ///
    /// # Errors
    /// Those of [`Walk::step`]; [`Error::Device`] or [`Error::NoMemory`] if the device fails. The run is over then.
    pub async fn next(&mut self, gpu: &Gpu, denoiser: &mut dyn Denoiser) -> Result<Option<Stepped>> {
        let walking = match self.walk.take() {
            Some(walking) => walking,
            None => match self.begin(denoiser) {
                Some(walking) => walking,
                None => return Ok(None),
            },
        };
        let Walking { walk, images, mut x, index, calls: before } = walking;
        let run = self.batches.run();
        let (step, steps) = (run.schedule.steps()[index], run.schedule.steps().len());
        scale(&mut x, run.schedule.rejoin(index));
        // A step that is taken again has the same noise, which is drawn once.
        let mut drawn = BTreeMap::new();
        let (update, walk, calls) = gpu
            .replay(|| {
                let mut walk = walk.clone();
                let mut denoiser = Counted { denoiser, calls: before };
                let mut noise = |update| {
                    let draw = || self.batches.step_noise(update, &images);
                    Ok(drawn.entry(update).or_insert_with(draw).clone())
                };
                let update = walk.step(x.clone(), &mut denoiser, &mut noise)?;
                Ok((update, walk, denoiser.calls))
            })
            .await?;
        let is_last = index + 1 == steps;
        let samples = is_last.then(|| self.batches.run().in_model_scale(&update.x));
        if !is_last {
            self.walk = Some(Walking { walk, images: images.clone(), x: update.x.clone(), index: index + 1, calls });
        }
        Ok(Some(Stepped { index, steps, images, step, calls, eps: update.eps, x0: update.x0, x: update.x, samples }))
    }

    fn begin(&mut self, denoiser: &mut dyn Denoiser) -> Option<Walking> {
        let (images, x) = self.batches.begin_next()?;
        let run = self.batches.run();
        denoiser.begin(&run.schedule.levels());
        Some(Walking { walk: Walk::new(&run.schedule, &run.method), images, x, index: 0, calls: 0 })
    }
}
