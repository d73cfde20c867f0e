//! A run: many images from their start states, a batch at a time.
//!
//! [`sample`] walks one batch; a [`Run`] holds the images, their start states and their noise, so that image i of seed
//! s is the same image in any batch and in any part of the run.

use std::sync::Arc;

use super::inpaint::{self, Known, Resampling, end_factor};
use super::jump::Jump;
use super::schedule::Schedule;
use super::walk::{Method, NoiseSource, Progress, sample};
use crate::denoise::{Denoiser, Level};
use crate::noise::{Generator, Noise};
use crate::{Error, Result, tensor::Tensor};

/// The states that the images of a run start from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Start {
    /// Noise from the seed.
    #[default]
    Seeded,
    /// Standard normals (n, c, h, w), one item per image of the run, in place of noise from the seed.
    Noise(Tensor),
    /// States x (n, c, h, w) at the schedule's first level, one item per image of the run.
    State(Tensor),
    /// A clean state (1, c, h, w) under noise of the schedule's first level.
    Clean {
        /// The state without noise.
        state: Tensor,
        /// Standard normals (n, c, h, w), one item per image of the run; `None` draws them from the seed.
        noise: Option<Tensor>,
    },
}

impl Start {
    /// The tensor that holds one item per image, if there is one.
    #[must_use]
    pub fn per_image(&self) -> Option<&Tensor> {
        match self {
            Self::Seeded | Self::Clean { noise: None, .. } => None,
            Self::Noise(tensor) | Self::State(tensor) | Self::Clean { noise: Some(tensor), .. } => Some(tensor),
        }
    }
}

/// The images of a run, and everything that determines them except the denoiser.
#[derive(Clone, Debug)]
pub struct Run {
    /// The noise levels.
    pub schedule: Schedule,
    /// The sampler with its settings.
    pub method: Method,
    /// The number of images of the whole run, over all its parts. [`Generator::Torch`] gives other noise for another
    /// number.
    pub count: usize,
    /// The images to make, by their index in the whole run.
    pub images: Vec<usize>,
    /// Images per call of the denoiser, at least 1.
    pub batch: usize,
    /// The seed of all noise.
    pub seed: u64,
    /// The generator of all noise.
    pub generator: Generator,
    /// The start states.
    pub start: Start,
    /// The mean of the data, c h w values, which is added to states that start as pure noise.
    pub mean: Option<Vec<f64>>,
    /// The jump from noise to the schedule's first level, for states that start as noise.
    pub jump: Option<Arc<Jump>>,
    /// The part of all images that is known and kept.
    pub known: Option<Known>,
    /// The jumps of a walk with a known part.
    pub resampling: Option<Resampling>,
    /// `true` to name the first operation of the denoiser that makes a value that is not finite.
    pub trace_nonfinite: bool,
}

impl Run {
    /// A run of `count` images from seed 0, 16 per call.
    #[must_use]
    pub fn new(schedule: Schedule, method: Method, count: usize) -> Self {
        Self {
            schedule,
            method,
            count,
            images: (0..count).collect(),
            batch: 16,
            seed: 0,
            generator: Generator::default(),
            start: Start::default(),
            mean: None,
            jump: None,
            known: None,
            resampling: None,
            trace_nonfinite: false,
        }
    }

    /// The batches of images of shape (channels, height, width), none of them sampled yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for an image outside the run, an empty batch, and start states or a mean of another
    /// shape than the images.
    pub fn batches(self, image: [usize; 3]) -> Result<Batches> {
        self.check(image)?;
        let noise = Noise::new(self.generator, self.seed, self.count, image.iter().product());
        Ok(Batches { run: self, image, noise, next: 0 })
    }

    /// Calls of the sampling loop: the steps of all batches.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.images.len().div_ceil(self.batch.max(1)) * self.steps_of_walk()
    }

    /// Steps of one walk: those of the schedule, and with resampling those that are taken again.
    #[must_use]
    pub fn steps_of_walk(&self) -> usize {
        inpaint::descents(self.resampling, self.schedule.steps().len()).iter().map(std::ops::Range::len).sum()
    }

    /// A state at the schedule's last level in the scale of the model: z = sqrt(alpha bar) x, or (1 - s) x with flow
    /// matching. What is known is exact.
    #[must_use]
    pub fn in_model_scale(&self, x: &Tensor) -> Tensor {
        let scale = end_factor(&self.schedule);
        let data = x.data.iter().map(|value| (f64::from(*value) * scale) as f32).collect();
        let mut z = Tensor::new(x.shape.clone(), data);
        if let Some(known) = &self.known {
            known.paste(&mut z);
        }
        z
    }

    /// Refuses what [`Run::batches`] refuses.
    ///
    /// # Errors
    /// As [`Run::batches`].
    pub fn check(&self, image: [usize; 3]) -> Result<()> {
        if self.batch == 0 {
            return Err(Error::argument("a `batch` of no images", "give at least one image"));
        }
        if let Some(index) = self.images.iter().find(|index| **index >= self.count) {
            let what = format!("image {index} of a run of {} images", self.count);
            return Err(Error::argument(what, "images are numbered from 0"));
        }
        let items = self.images.iter().max().map_or(0, |last| last + 1);
        let fits = |tensor: &Tensor, items: usize| {
            tensor.shape.len() == 4 && tensor.shape[0] >= items && tensor.shape[1..] == image
        };
        if let Some(given) = self.start.per_image().filter(|given| !fits(given, items)) {
            let what = format!("start states of shape {:?} for {items} images of {image:?}", given.shape);
            return Err(Error::argument(what, "start states are (images, channels, height, width)"));
        }
        if let Start::Clean { state, .. } = &self.start
            && !fits(state, 1)
        {
            let what = format!("a clean state of shape {:?} for images of {image:?}", state.shape);
            return Err(Error::argument(what, "the clean state is (1, channels, height, width)"));
        }
        if let Some(known) = &self.known {
            known.check(image)?;
        }
        let values: usize = image.iter().product();
        match &self.mean {
            Some(mean) if mean.len() != values => {
                let what = format!("a mean of {} values for images of {image:?}", mean.len());
                Err(Error::argument(what, format!("the mean has {values} values")))
            }
            _ => Ok(()),
        }
    }
}

/// A denoiser that finds the operation at fault when its result is not finite.
struct Traced<'d>(&'d mut dyn Denoiser);

impl Denoiser for Traced<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.0.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let eps = self.0.eps(x, levels)?;
        if !eps.is_finite() {
            self.0.trace_nonfinite(x, levels)?;
        }
        Ok(eps)
    }

    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> Result<(Tensor, Tensor)> {
        let parts = self.0.parts(x, levels)?;
        if !parts.0.is_finite() {
            self.0.trace_nonfinite(x, levels)?;
        }
        Ok(parts)
    }

    fn variance(&self) -> Option<&Tensor> {
        self.0.variance()
    }

    fn gradient(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        self.0.gradient(x, levels)
    }

    fn shift(&mut self, x: &Tensor, levels: &[Level]) -> Result<Option<Tensor>> {
        self.0.shift(x, levels)
    }

    fn begin(&mut self, levels: &[Level]) {
        self.0.begin(levels);
    }

    fn trace_nonfinite(&mut self, x: &Tensor, levels: &[Level]) -> Result<()> {
        self.0.trace_nonfinite(x, levels)
    }
}

/// The samples of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The images, by their index in the whole run.
    pub images: Vec<usize>,
    /// Their states x at the schedule's last level, (n, c, h, w), in the variance-exploding scale.
    pub x: Tensor,
}

/// The batches of a run, one after the other. The denoiser is free between two batches.
pub struct Batches {
    run: Run,
    image: [usize; 3],
    noise: Noise,
    /// Images that are done, or under way.
    next: usize,
}

impl Batches {
    /// The run.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The images of the next batch, by their index in the whole run; none after the last batch.
    #[must_use]
    pub fn upcoming(&self) -> &[usize] {
        &self.run.images[self.next..(self.next + self.run.batch).min(self.run.images.len())]
    }

    /// Samples the next batch; `None` after the last. `watch` sees every step.
    ///
    /// # Errors
    /// Those of [`sample`]. The batch after a failed one is the next.
    pub fn next_batch(
        &mut self,
        denoiser: &mut dyn Denoiser,
        watch: &mut dyn FnMut(&Progress) -> Result<()>,
    ) -> Option<Result<Samples>> {
        let upcoming = self.upcoming().to_vec();
        let initial = self.run.known.is_some().then(|| self.initial_noise(&upcoming));
        let Run { schedule, method, known, resampling, .. } = &self.run;
        let (schedule, method) = (schedule.clone(), method.clone());
        let (known, resampling) = (known.clone(), *resampling);
        let mut traced;
        let denoiser: &mut dyn Denoiser = if self.run.trace_nonfinite {
            traced = Traced(denoiser);
            &mut traced
        } else {
            denoiser
        };
        self.next_batch_by(&mut |x, noise| match (&known, &initial) {
            (Some(known), Some(initial)) => {
                inpaint::sample(denoiser, &schedule, &method, (known, resampling), initial, x, noise, watch)
            }
            (_, _) => sample(denoiser, &schedule, &method, x, noise, watch),
        })
    }

    /// As [`Batches::next_batch`], by another walk from the start states, which it is given with the noise of the run.
    /// The part of the images that is known has no say in it.
    ///
    /// # Errors
    /// Those of `walk`.
    pub fn next_batch_by(
        &mut self,
        walk: &mut dyn FnMut(Tensor, NoiseSource) -> Result<Tensor>,
    ) -> Option<Result<Samples>> {
        let (images, x) = self.begin_next()?;
        let mut noise = |update| Ok(self.step_noise(update, &images));
        let walked = walk(x, &mut noise);
        Some(walked.map(|x| Samples { images, x }))
    }

    /// Begins the next batch: its images, by their index in the whole run, and the states that they start from. `None`
    /// after the last.
    pub(super) fn begin_next(&mut self) -> Option<(Vec<usize>, Tensor)> {
        let images = self.upcoming().to_vec();
        if images.is_empty() {
            return None;
        }
        self.next += images.len();
        let x = self.start_states(&images);
        Some((images, x))
    }

    /// Draws the standard normals of a stochastic update of some images.
    pub(super) fn step_noise(&mut self, update: u32, images: &[usize]) -> Tensor {
        let [channels, height, width] = self.image;
        Tensor::new([images.len(), channels, height, width], self.noise.step(update, images))
    }

    /// The noise of the start states of `indices`; that of the seed where states are given.
    fn initial_noise(&mut self, indices: &[usize]) -> Tensor {
        let [channels, height, width] = self.image;
        let values = match &self.run.start {
            Start::Noise(noise) | Start::Clean { noise: Some(noise), .. } => {
                indices.iter().flat_map(|&at| noise.item(at).to_vec()).collect()
            }
            Start::Seeded | Start::State(_) | Start::Clean { noise: None, .. } => self.noise.initial(indices),
        };
        Tensor::new([indices.len(), channels, height, width], values)
    }

    /// The states x of `indices` at the schedule's first level.
    fn start_states(&mut self, indices: &[usize]) -> Tensor {
        let rows = |tensor: &Tensor| -> Vec<f32> { indices.iter().flat_map(|&at| tensor.item(at).to_vec()).collect() };
        let [channels, height, width] = self.image;
        let shape = [indices.len(), channels, height, width];
        let run = &self.run;
        let mut x = match &run.start {
            Start::Seeded | Start::Noise(_) if run.jump.is_some() => {
                let noise = match &run.start {
                    Start::Noise(noise) => rows(noise),
                    _ => self.noise.initial(indices),
                };
                let (noise, mean) = (Tensor::new(shape, noise), run.mean.as_deref());
                let x = run.jump.as_ref().map(|jump| jump.start_state(&run.schedule, &noise, mean));
                return x.unwrap_or(noise);
            }
            Start::Seeded => run.schedule.start_state(&Tensor::new(shape, self.noise.initial(indices))),
            Start::Noise(noise) => run.schedule.start_state(&Tensor::new(shape, rows(noise))),
            Start::State(state) => return Tensor::new(shape, rows(state)),
            Start::Clean { state, noise } => {
                let drawn = noise.as_ref().map_or_else(|| self.noise.initial(indices), rows);
                let level = run.schedule.start();
                // At pure noise, nothing is seen of the clean state.
                let (kept, sigma) = if level.sigma.is_infinite() { (0.0, 1.0) } else { (1.0, level.sigma) };
                let pairs = drawn.into_iter().zip(state.data.iter().cycle());
                let x = pairs.map(|(noise, clean)| (kept * f64::from(*clean) + sigma * f64::from(noise)) as f32);
                return Tensor::new(shape, x.collect::<Vec<_>>());
            }
        };
        if let Some(mean) = &run.mean {
            x.data.iter_mut().zip(mean.iter().cycle()).for_each(|(x, mean)| *x = (f64::from(*x) + mean) as f32);
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::settings::Settings;

    /// The eps of a standard normal.
    struct Gaussian;

    impl Denoiser for Gaussian {
        fn image_shape(&self) -> [usize; 3] {
            [1, 2, 2]
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
            let gain = levels[0].sigma / (1.0 + levels[0].sigma.powi(2));
            Ok(Tensor::new(x.shape.clone(), x.data.iter().map(|x| (f64::from(*x) * gain) as f32).collect()))
        }
    }

    fn run(settings: &Settings, count: usize) -> Run {
        let resolved = settings.on_sigmas((10.0, 0.01)).unwrap();
        Run::new(resolved.schedule, resolved.method, count)
    }

    fn all(run: &Run) -> Result<Vec<f32>> {
        let mut batches = run.clone().batches([1, 2, 2])?;
        let mut values = Vec::new();
        while let Some(samples) = batches.next_batch(&mut Gaussian, &mut |_| Ok(())) {
            values.extend(samples?.x.data);
        }
        Ok(values)
    }

    #[test]
    fn an_image_is_the_same_in_any_batch_and_part() {
        let settings = Settings { steps: Some(4), eta: Some(1.0), ..Settings::default() };
        let whole = run(&settings, 7);
        let values = all(&whole).unwrap();
        for batch in [1, 2, 3] {
            assert_eq!(all(&Run { batch, ..whole.clone() }).unwrap(), values);
        }
        let odd: Vec<f32> = [1, 3, 5].iter().flat_map(|at| values[at * 4..][..4].to_vec()).collect();
        assert_eq!(all(&Run { images: vec![1, 3, 5], batch: 2, ..whole.clone() }).unwrap(), odd);
        assert_ne!(all(&Run { seed: 1, ..whole }).unwrap(), values);
    }

    #[test]
    fn a_start_of_another_shape_is_refused() {
        let run = run(&Settings::default(), 3);
        let refused = |run: Run| all(&run).unwrap_err().to_string();
        let start = |shape: [usize; 4]| Start::State(Tensor::zeros(shape));
        assert!(refused(Run { start: start([2, 1, 2, 2]), ..run.clone() }).contains("3 images"));
        assert!(refused(Run { start: start([3, 1, 2, 3]), ..run.clone() }).contains("[3, 1, 2, 3]"));
        let clean = Start::Clean { state: Tensor::zeros([1, 3, 2, 2]), noise: None };
        assert!(refused(Run { start: clean, ..run.clone() }).contains("clean state"));
        assert!(refused(Run { images: vec![3], ..run.clone() }).contains("image 3 of a run of 3"));
        assert!(refused(Run { mean: Some(vec![0.0]), ..run.clone() }).contains("mean of 1 values"));
        assert!(refused(Run { batch: 0, ..run }).contains("`batch`"));
    }
}
