//! Trajectories: what a denoiser is asked, and answers, along its own way down a schedule.

use super::Advance;
use crate::Result;
use crate::denoise::Denoiser;
use crate::noise::{Generator, Noise};
use crate::sample::samplers::{Method, Progress, sample};
use crate::sample::schedule::Schedule;
use crate::tensor::Tensor;

/// Ways from noise to images, the same for the same seed in any batch.
#[derive(Clone, Copy, Debug)]
pub struct Trajectories<'a> {
    pub schedule: &'a Schedule,
    pub method: &'a Method,
    /// How many.
    pub count: usize,
    /// How many at a call.
    pub batch: usize,
    pub seed: u64,
    /// What the states start around: the mean of the data, or nothing for zero.
    pub mean: Option<&'a [f64]>,
}

impl Trajectories<'_> {
    /// Walks all of them; `visit` sees each step of each batch, with the index of the batch's first image. `advance` is told
    /// of each network call for one image. Answers the states at the end: (count, c, h, w).
    ///
    /// # Errors
    /// Those of [`sample`] and of `visit`.
    pub fn walk(
        &self,
        denoiser: &mut dyn Denoiser,
        advance: Advance,
        visit: &mut dyn FnMut(&mut dyn Denoiser, usize, &Progress) -> Result<()>,
    ) -> Result<Tensor> {
        let [channels, height, width] = denoiser.image_shape();
        let mut noise = Noise::new(Generator::Philox, self.seed, self.count, channels * height * width);
        let images: Vec<usize> = (0..self.count).collect();
        let mut ends = Vec::with_capacity(self.count * channels * height * width);
        for indices in images.chunks(self.batch.max(1)) {
            let shape = [indices.len(), channels, height, width];
            let mut x = self.schedule.start_state(&Tensor::new(shape, noise.initial(indices)));
            if let Some(mean) = self.mean {
                x.data.iter_mut().zip(mean.iter().cycle()).for_each(|(x, mean)| *x = (f64::from(*x) + mean) as f32);
            }
            let mut seen = Vec::with_capacity(self.schedule.steps().len());
            let mut updates = 0;
            let end = sample(
                denoiser,
                self.schedule,
                self.method,
                x,
                &mut |_| {
                    updates += 1;
                    Ok(Tensor::new(shape, noise.step(updates, indices)))
                },
                &mut |progress| {
                    seen.push(Seen::new(progress));
                    advance(indices.len() as u64);
                    Ok(())
                },
            )?;
            for seen in &seen {
                visit(denoiser, indices[0], &seen.as_progress())?;
            }
            ends.extend_from_slice(&end.data);
        }
        Ok(Tensor::new([self.count, channels, height, width], ends))
    }

    /// Network calls for single images that a walk takes.
    #[must_use]
    pub fn calls(&self) -> u64 {
        (self.count * self.schedule.steps().len()) as u64
    }
}

/// A step, kept until the denoiser is free for other questions.
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
