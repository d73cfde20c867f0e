//! The results of a run: images are written as they are made, everything else at the end.

use std::path::PathBuf;

use super::job::Job;
use super::metadata::{self, Metadata};
use super::targets::{Targets, step_file};
use crate::cli::stream::{self, output_name};
use crate::error::Result;
use crate::formats::images::{WHITE, grid, quantise, square_columns, to_unit};
use crate::formats::{Image, npy, png};
use crate::model::Batch;
use crate::report::output::Pattern;
use crate::report::{Console, Output};
use crate::tensor::Tensor;

/// The results of a run, gathered batch by batch.
pub struct Results {
    targets: Targets,
    /// (channels, height, width) of a state.
    state: [usize; 3],
    metadata: Metadata,
    /// The images made so far, by their index in the whole run.
    indices: Vec<usize>,
    /// The images, for a grid or an archive.
    images: Vec<Image>,
    /// All images as numbers, where they are wanted, and the (channels, height, width) of one.
    floats: Vec<f32>,
    image_shape: Vec<usize>,
    samples: Vec<f32>,
    steps: Vec<StepResults>,
    files: usize,
}

/// The results of one step.
#[derive(Clone, Default)]
struct StepResults {
    /// Predictions of x0.
    predictions: Vec<Image>,
    /// States after the step.
    states: Vec<f32>,
}

impl Results {
    /// No results yet.
    pub fn new(job: &Job) -> Self {
        Self {
            targets: job.targets.clone(),
            state: job.run.state,
            metadata: metadata::of_run(job),
            indices: Vec::new(),
            images: Vec::new(),
            floats: Vec::new(),
            image_shape: Vec::new(),
            samples: Vec::new(),
            steps: vec![StepResults::default(); job.run.run.schedule.steps().len()],
            files: 0,
        }
    }

    /// Takes a whole batch, and writes its images where each has a file.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] before anything of the batch is written; those of writing files.
    pub fn take(&mut self, batch: Batch) -> Result<()> {
        if self.targets.takes_pixels() {
            let quantised = batch.images()?;
            if self.targets.floats.is_some() {
                self.floats.extend(batch.pixels.data.iter().map(|value| to_unit(*value)));
            }
            self.image_shape = batch.pixels.shape[1..].to_vec();
            match self.targets.images.clone() {
                None => {}
                Some(Output::Files(pattern)) => self.write_files(&pattern, &batch.indices, &quantised)?,
                Some(Output::Grid(_) | Output::Npz(_)) => self.images.extend(quantised),
            }
        }
        if self.targets.samples.is_some() {
            self.samples.extend_from_slice(&batch.samples.data);
        }
        for (kept, prediction) in self.steps.iter_mut().zip(&batch.predictions) {
            kept.predictions.extend(quantise(prediction)?);
        }
        for (kept, states) in self.steps.iter_mut().zip(&batch.path) {
            kept.states.extend_from_slice(&states.data);
        }
        self.indices.extend_from_slice(&batch.indices);
        Ok(())
    }

    fn write_files(&mut self, pattern: &Pattern, indices: &[usize], images: &[Image]) -> Result<()> {
        for (index, image) in indices.iter().zip(images) {
            png::write_png(pattern.path(*index), image, &metadata::of_image(&self.metadata, *index))?;
            self.files += 1;
        }
        Ok(())
    }

    /// All batches are done: writes what holds all images, says so, and returns the paths.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn finish(self, console: Console) -> Result<Vec<String>> {
        let targets = &self.targets;
        let mut written: Vec<String> = Vec::new();
        let grid_metadata = metadata::of_grid(&self.metadata, &self.indices);
        match &targets.images {
            Some(Output::Grid(path)) => {
                stream::write(path, |file| png::write_png(file, &whole_grid(&self.images), &grid_metadata))?;
                written.push(output_name(path));
            }
            Some(Output::Npz(path)) => {
                npy::write_npz(path, &self.images)?;
                written.push(path.display().to_string());
            }
            Some(Output::Files(pattern)) => {
                let path = |index: &usize| pattern.path(*index).display().to_string();
                match (self.indices.first(), self.indices.last()) {
                    (Some(first), Some(last)) if first != last => {
                        console.note(&format!("wrote {} images, {} to {}", self.files, path(first), path(last)));
                    }
                    (Some(one), _) => console.note(&format!("wrote {}", path(one))),
                    _ => {}
                }
            }
            None => {}
        }
        if let Some(path) = &targets.samples {
            stream::write(path, |file| npy::write(file, &self.array(&[], self.samples.clone())))?;
            written.push(output_name(path));
        }
        if let Some(path) = &targets.floats {
            let shape: Vec<usize> = std::iter::once(self.indices.len()).chain(self.image_shape.clone()).collect();
            stream::write(path, |file| npy::write(file, &Tensor::new(shape, self.floats.clone())))?;
            written.push(output_name(path));
        }
        if let Some(path) = &targets.path {
            let states = self.steps.iter().flat_map(|step| step.states.iter().copied()).collect();
            stream::write(path, |file| npy::write(file, &self.array(&[self.steps.len()], states)))?;
            written.push(output_name(path));
        }
        if let Some(folder) = &targets.steps {
            for (index, step) in self.steps.iter().enumerate() {
                let pairs = metadata::with(&grid_metadata, "prediction of x0 at step", (index + 1).to_string());
                png::write_png(step_file(folder, index), &whole_grid(&step.predictions), &pairs)?;
            }
            written.push(folder.display().to_string());
        }
        for path in &written {
            console.note(&format!("wrote {path}"));
        }
        let files = match &targets.images {
            Some(Output::Files(pattern)) => self.indices.iter().map(|index| pattern.path(*index)).collect(),
            _ => Vec::<PathBuf>::new(),
        };
        written.extend(files.iter().map(|path| path.display().to_string()));
        Ok(written)
    }

    /// Values of all images, (`leading`..., images, channels, height, width).
    fn array(&self, leading: &[usize], values: Vec<f32>) -> Tensor {
        let shape: Vec<usize> = leading.iter().copied().chain([self.indices.len()]).chain(self.state).collect();
        Tensor::new(shape, values)
    }
}

fn whole_grid(images: &[Image]) -> Image {
    grid(images, square_columns(images.len()), WHITE)
}
