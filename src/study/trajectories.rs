//! Trajectories: the calls of a denoiser along its own sampling path.

use super::Advance;
use crate::Result;
use crate::denoise::Denoiser;
use crate::sample::run::Run;
use crate::sample::schedule::Schedule;
use crate::sample::walk::{Method, Progress};
use crate::tensor::Tensor;

/// Sampling paths from noise to images, which do not depend on the batch.
#[derive(Clone, Copy, Debug)]
pub struct Trajectories<'a> {
    pub schedule: &'a Schedule,
    pub method: &'a Method,
    /// The number of trajectories.
    pub count: usize,
    /// Trajectories per call.
    pub batch: usize,
    pub seed: u64,
    /// The mean of the data, around which states start; `None` for zero.
    pub mean: Option<&'a [f64]>,
}

impl Trajectories<'_> {
    /// Walks all of them; `visit` sees each step of each batch, with the index of the batch's first image. `advance`
    /// counts network calls for single images. Returns the states at the end: (count, c, h, w).
    ///
    /// # Errors
    /// Those of [`Run::batches`], of sampling and of `visit`.
    pub fn walk(
        &self,
        denoiser: &mut dyn Denoiser,
        advance: Advance,
        visit: &mut dyn FnMut(&mut dyn Denoiser, usize, &Progress) -> Result<()>,
    ) -> Result<Tensor> {
        let image = denoiser.image_shape();
        let run = Run {
            batch: self.batch.max(1),
            seed: self.seed,
            mean: self.mean.map(<[f64]>::to_vec),
            ..Run::new(self.schedule.clone(), self.method.clone(), self.count)
        };
        let mut batches = run.batches(image)?;
        let mut ends = Vec::with_capacity(self.count * image.iter().product::<usize>());
        loop {
            let mut seen = Vec::with_capacity(self.schedule.steps().len());
            let sampled = batches.next_batch(denoiser, &mut |progress| {
                seen.push(Seen::new(progress));
                advance(progress.x.shape[0] as u64);
                Ok(())
            });
            let Some(samples) = sampled.transpose()? else { break };
            for seen in &seen {
                visit(denoiser, samples.images[0], &seen.as_progress())?;
            }
            ends.extend_from_slice(&samples.x.data);
        }
        Ok(Tensor::new([self.count, image[0], image[1], image[2]], ends))
    }

    /// Network calls for single images that a walk takes.
    #[must_use]
    pub fn calls(&self) -> u64 {
        (self.count * self.schedule.steps().len()) as u64
    }
}

/// A step, kept until the denoiser is free for other calls.
struct Seen {
    index: usize,
    step: crate::sample::schedule::Step,
    tensors: [Tensor; 4],
}

impl Seen {
    fn new(progress: &Progress) -> Self {
        let tensors = [progress.before, progress.eps, progress.x0, progress.x].map(Clone::clone);
        Self { index: progress.index, step: progress.step, tensors }
    }

    fn as_progress(&self) -> Progress<'_> {
        let [before, eps, x0, x] = &self.tensors;
        Progress { index: self.index, step: self.step, before, eps, x0, x }
    }
}
