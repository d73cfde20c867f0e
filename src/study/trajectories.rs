//! Trajectories: the calls of a denoiser along its own sampling path.

use super::Advance;
use super::parts::Shard;
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
    /// The number of trajectories, of all runs together.
    pub count: usize,
    /// Trajectories per call.
    pub batch: usize,
    pub seed: u64,
    /// The mean of the data, around which states start; `None` for zero.
    pub mean: Option<&'a [f64]>,
    /// The run whose trajectories are walked, where several runs share them.
    pub shard: Shard,
}

impl Trajectories<'_> {
    /// Walks those of the run; `visit` sees each step of each batch, with the place of the batch's first image among
    /// them. `advance` counts network calls for single images. Returns the states at the end: (walked, c, h, w).
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
            images: self.shard.items(self.count).collect(),
            ..Run::new(self.schedule.clone(), self.method.clone(), self.count)
        };
        let mut batches = run.batches(image)?;
        let mut ends = Vec::with_capacity(self.walked() * image.iter().product::<usize>());
        let mut first = 0;
        loop {
            let mut seen = Vec::with_capacity(self.schedule.steps().len());
            let sampled = batches.next_batch(denoiser, &mut |progress| {
                seen.push(Seen::new(progress));
                advance(progress.x.shape[0] as u64);
                Ok(())
            });
            let Some(samples) = sampled.transpose()? else { break };
            for seen in &seen {
                visit(denoiser, first, &seen.as_progress())?;
            }
            first += samples.images.len();
            ends.extend_from_slice(&samples.x.data);
        }
        Ok(Tensor::new([self.walked(), image[0], image[1], image[2]], ends))
    }

    /// The number of trajectories of the run.
    #[must_use]
    pub const fn walked(&self) -> usize {
        self.shard.len(self.count)
    }

    /// Network calls for single images that a walk takes.
    #[must_use]
    pub fn calls(&self) -> u64 {
        (self.walked() * self.schedule.steps().len()) as u64
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
