//! The files of a run: images are written as they are made, everything else at the end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::images::Batch;
use super::metadata::Metadata;
use super::resolve::ModelRun;
use super::sampling::Sampling;
use crate::error::{Error, Result};
use crate::formats::images::{WHITE, grid, quantise, square_columns, to_unit};
use crate::formats::{Image, check_writable, folder_of, npy, one_spelling, png};
use crate::graph::Compiler;
use crate::kernels::choice::Algorithm;
use crate::kernels::{Family, Memory};
use crate::report::Output;
use crate::sample::run::Start;
use crate::tensor::{Precision, Tensor};

/// The files that the images of a run go to.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// The images in 8 bits.
    pub images: Option<Output>,
    /// The images as numbers in 0..1, in an `.npy`.
    pub floats: Option<PathBuf>,
    /// The samples in the scale of the model, in an `.npy`.
    pub samples: Option<PathBuf>,
    /// A folder for the predictions of x0, one grid per step.
    pub steps: Option<PathBuf>,
    /// A contact sheet of the predictions of x0: a row per image and a column per step, or rows of the steps of a
    /// single image.
    pub sheet: Option<PathBuf>,
    /// An animated PNG of the predictions of x0, a frame per step.
    pub animation: Option<PathBuf>,
    /// The states after each step, in an `.npy`.
    pub path: Option<PathBuf>,
}

impl Targets {
    /// Checks that everything can be written for a run of `count` images, and that no two outputs have the same path.
    /// `check` checks a path that one whole file goes to.
    ///
    /// # Errors
    /// Those of `check` and of [`check_writable`]; [`Error::Argument`] for a path that is named twice.
    pub fn check(&self, count: usize, check: impl Fn(&Path) -> Result<()>) -> Result<()> {
        if let Some(Output::Files(pattern)) = &self.images {
            check_writable(pattern.path(0))?;
            // The last index may have more digits.
            check_writable(pattern.path(count.saturating_sub(1)))?;
        }
        let whole = match &self.images {
            Some(Output::Npz(path) | Output::Grid(path)) => Some(path),
            Some(Output::Files(_)) | None => None,
        };
        let others = [&self.floats, &self.samples, &self.path, &self.sheet, &self.animation];
        let files: Vec<&PathBuf> = whole.into_iter().chain(others.into_iter().flatten()).collect();
        let places: Vec<_> = files.iter().map(|file| one_spelling(file)).collect();
        for (at, file) in files.iter().enumerate() {
            check(file)?;
            if places[at].is_some() && places[..at].contains(&places[at]) {
                let what = format!("two outputs would both be `{}`", file.display());
                return Err(Error::argument(what, "give each a different path"));
            }
        }
        self.steps.as_ref().map_or(Ok(()), |folder| check_writable(step_file(folder, 0)))
    }

    /// The targets that hold all images: files, and the folder of the steps.
    fn whole_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let whole = match &mut self.images {
            Some(Output::Npz(path) | Output::Grid(path)) => Some(path),
            Some(Output::Files(_)) | None => None,
        };
        let others = [
            &mut self.floats,
            &mut self.samples,
            &mut self.path,
            &mut self.sheet,
            &mut self.animation,
            &mut self.steps,
        ];
        whole.into_iter().chain(others.into_iter().flatten())
    }

    /// The targets that hold all images and are there already. A device or a pipe holds nothing.
    fn existing(&self) -> Vec<PathBuf> {
        let is_there = |path: &PathBuf| path.is_file() || path.is_dir() && step_file(path, 0).exists();
        self.clone().whole_mut().map(|path| path.clone()).filter(is_there).collect()
    }

    /// Returns `true` if pixels are written, for which latents are decoded.
    #[must_use]
    pub fn takes_pixels(&self) -> bool {
        self.images.is_some() || self.floats.is_some()
    }

    /// Returns `true` if the prediction of x0 at each step is written.
    #[must_use]
    pub fn takes_predictions(&self) -> bool {
        [&self.steps, &self.sheet, &self.animation].iter().any(|target| target.is_some())
    }

    /// Returns `true` if there is one file per image and nothing else. A run may then have no images.
    #[must_use]
    pub fn is_one_file_per_image(&self) -> bool {
        matches!(self.images, Some(Output::Files(_)))
            && !self.takes_predictions()
            && [&self.floats, &self.samples, &self.path].iter().all(|target| target.is_none())
    }
}

/// The file of the prediction at step `index`, from 0.
fn step_file(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("step-{:03}.png", index + 1))
}

/// The path for a part of what `path` was to hold.
fn interrupted(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(".interrupted");
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

/// The results of a run, gathered batch by batch.
#[derive(Clone, Debug)]
pub struct Files {
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
    /// The number of images whose states were taken.
    sampled: usize,
    samples: Vec<f32>,
    steps: Vec<Step>,
    singles: Singles,
    /// The targets that were there before the run.
    existing: Vec<PathBuf>,
}

/// The results of one step.
#[derive(Clone, Debug, Default)]
struct Step {
    /// Predictions of x0.
    predictions: Vec<Image>,
    /// States after the step.
    states: Vec<f32>,
}

/// The files that were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The files of single images, in the order of the images.
    pub images: Vec<PathBuf>,
    /// The files that hold all images, and the folder of the steps.
    pub others: Vec<PathBuf>,
}

/// A function that writes a whole file: it calls the function that it is given with the path to write to.
pub type Sink<'s> = &'s dyn Fn(&Path, &dyn Fn(&Path) -> Result<()>) -> Result<()>;

impl Files {
    /// No results yet.
    #[must_use]
    pub fn new(run: &ModelRun, targets: Targets, metadata: Metadata) -> Self {
        Self::empty(targets, run.state, metadata, run.run.steps_of_walk())
    }

    /// The same run without results, for other files.
    #[must_use]
    pub fn to(&self, targets: Targets) -> Self {
        Self::empty(targets, self.state, self.metadata.clone(), self.steps.len())
    }

    fn empty(targets: Targets, state: [usize; 3], metadata: Metadata, steps: usize) -> Self {
        Self {
            existing: targets.existing(),
            targets,
            state,
            metadata,
            indices: Vec::new(),
            images: Vec::new(),
            floats: Vec::new(),
            image_shape: Vec::new(),
            sampled: 0,
            samples: Vec::new(),
            steps: vec![Step::default(); steps],
            singles: Singles::default(),
        }
    }

    /// Takes a whole batch, and writes its images where each has a file.
    ///
    /// # Errors
    /// [`Error::NonFinite`] before any image of the batch is written; its states are taken all the same. Those of
    /// writing files.
    pub fn take(&mut self, batch: &Batch) -> Result<()> {
        // The states first: they are there to be written even if their pixels cannot be.
        if self.targets.samples.is_some() {
            self.samples.extend_from_slice(&batch.samples.data);
        }
        for (kept, states) in self.steps.iter_mut().zip(&batch.path) {
            kept.states.extend_from_slice(&states.data);
        }
        self.sampled += batch.indices.len();
        if self.targets.takes_pixels() {
            let quantised = batch.images()?;
            if self.targets.floats.is_some() {
                self.floats.extend(batch.pixels.data.iter().map(|value| to_unit(*value)));
            }
            self.image_shape = batch.pixels.shape[1..].to_vec();
            match &self.targets.images {
                None => {}
                Some(Output::Files(pattern)) => {
                    for (index, image) in batch.indices.iter().zip(&quantised) {
                        self.singles.write(pattern.path(*index), image, &self.metadata.of_image(*index))?;
                    }
                }
                Some(Output::Grid(_) | Output::Npz(_)) => self.images.extend(quantised),
            }
        }
        for (kept, prediction) in self.steps.iter_mut().zip(&batch.predictions) {
            kept.predictions.extend(quantise(prediction)?);
        }
        self.indices.extend_from_slice(&batch.indices);
        Ok(())
    }

    /// The number of images that were taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Returns `true` if no image was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Keeps whole files of an earlier run from being replaced by a part of this one: what would replace them goes to
    /// files beside them, `x.interrupted.png` for `x.png`. Returns the paths of both.
    pub fn spare_existing(&mut self) -> Vec<(PathBuf, PathBuf)> {
        let mut spared = Vec::new();
        for path in self.targets.whole_mut() {
            if self.existing.contains(path) {
                let other = interrupted(path);
                spared.push((std::mem::replace(path, other.clone()), other));
            }
        }
        spared
    }

    /// Writes the states of a run whose pixels are not finite: samples, and the path. Returns their files.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn finish_states(self, sink: Sink) -> Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        let states = self.steps.iter().flat_map(|step| step.states.iter().copied()).collect();
        let arrays = [
            (&self.targets.samples, vec![self.sampled], self.samples),
            (&self.targets.path, vec![self.steps.len(), self.sampled], states),
        ];
        for (path, leading, values) in arrays {
            let (Some(path), false) = (path, values.is_empty()) else { continue };
            let array = Tensor::new([&leading[..], &self.state].concat(), values);
            sink(path, &|file| npy::write(file, &array))?;
            written.push(path.clone());
        }
        Ok(written)
    }

    /// Writes what holds all images that were taken.
    ///
    /// # Errors
    /// Those of writing files; [`Error::BadFile`] if files of single images are not there any more.
    pub fn finish(self, sink: Sink) -> Result<Written> {
        let targets = &self.targets;
        let mut written = Written::default();
        let grid_metadata = self.metadata.of_grid(&self.indices);
        match &targets.images {
            Some(Output::Grid(path)) => {
                let image = whole_grid(&self.images);
                sink(path, &|file| png::write_png(file, &image, grid_metadata.pairs()))?;
                written.others.push(path.clone());
            }
            Some(Output::Npz(path)) => {
                sink(path, &|file| npy::write_npz(file, &self.images))?;
                written.others.push(path.clone());
            }
            Some(Output::Files(_)) | None => {}
        }
        let mut array = |path: &Option<PathBuf>, shape: Vec<usize>, values: Vec<f32>| -> Result<()> {
            let Some(path) = path else { return Ok(()) };
            let array = Tensor::new(shape, values);
            sink(path, &|file| npy::write(file, &array))?;
            written.others.push(path.clone());
            Ok(())
        };
        let count = self.indices.len();
        let shaped = |leading: &[usize], item: &[usize]| [leading, &[count], item].concat();
        if targets.samples.is_some() {
            array(&targets.samples, shaped(&[], &self.state), self.samples)?;
        }
        if targets.floats.is_some() {
            array(&targets.floats, shaped(&[], &self.image_shape), self.floats)?;
        }
        if targets.path.is_some() {
            let states = self.steps.iter().flat_map(|step| step.states.iter().copied()).collect();
            array(&targets.path, shaped(&[self.steps.len()], &self.state), states)?;
        }
        if let Some(folder) = &targets.steps {
            for (index, step) in self.steps.iter().enumerate() {
                let metadata = grid_metadata.with("prediction of x0 at step", (index + 1).to_string());
                png::write_png(step_file(folder, index), &whole_grid(&step.predictions), metadata.pairs())?;
            }
            written.others.push(folder.clone());
        }
        let by_step: Vec<&[Image]> = self.steps.iter().map(|step| &step.predictions[..]).collect();
        let metadata = grid_metadata.with("prediction of x0 at step", format!("1 to {}", by_step.len()));
        if let Some(path) = &targets.sheet {
            let sheet = contact_sheet(&by_step);
            sink(path, &|file| png::write_png(file, &sheet, metadata.pairs()))?;
            written.others.push(path.clone());
        }
        if let Some(path) = &targets.animation {
            let frames: Vec<Image> = by_step.iter().map(|images| whole_grid(images)).collect();
            sink(path, &|file| png::write_animation(file, &frames, metadata.pairs()))?;
            written.others.push(path.clone());
        }
        written.images = self.singles.finish()?;
        Ok(written)
    }
}

/// The files of single images that a run has written.
#[derive(Clone, Debug, Default)]
struct Singles {
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Singles {
    /// Writes the file of an image, and makes its folder if this is the first file there. A folder that is gone after
    /// that is not made again, since the images in it are gone too.
    fn write(&mut self, file: PathBuf, image: &Image, metadata: &Metadata) -> Result<()> {
        let folder = folder_of(&file);
        if self.folders.contains(folder) && !folder.exists() {
            return Err(self.removed(folder));
        }
        png::write_png(&file, image, metadata.pairs())?;
        self.folders.insert(folder.to_path_buf());
        self.files.push(file);
        Ok(())
    }

    /// Checks that all files are still there, and returns their paths in the order of writing.
    fn finish(self) -> Result<Vec<PathBuf>> {
        match self.files.iter().find(|file| !file.exists()) {
            Some(missing) => Err(self.removed(missing)),
            None => Ok(self.files),
        }
    }

    /// The error for a file or a folder that was removed while the run wrote.
    fn removed(&self, place: &Path) -> Error {
        let (written, there) = (self.files.len(), self.files.iter().filter(|file| file.exists()).count());
        let what = format!("removed during the run; of the {written} images written, {there} are there");
        Error::bad_file_hint(place, what, "run it again with a folder that stays in place")
    }
}

/// The images of all steps as one: a row per image, or rows of the steps of a single image.
fn contact_sheet(by_step: &[&[Image]]) -> Image {
    let (steps, images) = (by_step.len(), by_step.first().map_or(0, |images| images.len()));
    let rows = (0..images).flat_map(|image| by_step.iter().map(move |step| step[image].clone()));
    let columns = if images == 1 { square_columns(steps) } else { steps };
    grid(&rows.collect::<Vec<_>>(), columns, WHITE)
}

fn whole_grid(images: &[Image]) -> Image {
    grid(images, square_columns(images.len()), WHITE)
}

impl Sampling<'_> {
    /// Samples all images and writes them to `output`: `x.png` for one grid, `dir/%05d.png` for one file per image,
    /// `x.npz` for one array. Returns the files that were written.
    ///
    /// # Errors
    /// Those of [`Output::parse`], [`Targets::check`] and [`Sampling::resolve`] before anything runs; those of
    /// [`Sampling::run`] and of writing files.
    pub fn save<'e>(self, compiler: impl Into<Compiler<'e>>, output: &str) -> Result<Vec<PathBuf>> {
        let (targets, compiler) =
            (Targets { images: Some(Output::parse(output)?), ..Targets::default() }, compiler.into());
        let run = self.resolve()?;
        targets.check(run.run.count, |path| check_writable(path))?;
        let metadata = run.metadata_for(&compiler);
        let mut files = Files::new(&run, targets, metadata);
        for batch in run.on(compiler)? {
            files.take(&batch?)?;
        }
        let Written { images, others } = files.finish(&|path, write| write(path))?;
        Ok([images, others].concat())
    }
}

impl ModelRun<'_> {
    /// The metadata that all images of the run share when it is computed with `compiler`: [`ModelRun::metadata`] with
    /// the start and the arithmetic in words.
    #[must_use]
    pub fn metadata_for(&self, compiler: &Compiler) -> Metadata {
        self.metadata(start(self), &arithmetic(self, compiler))
    }
}

/// The start of a run in words.
fn start(run: &ModelRun) -> &'static str {
    match (&run.run.start, run.options.picture.is_some() && !run.begins_at_noise()) {
        (Start::Seeded, false) => "seeded noise",
        (Start::Seeded, true) | (Start::Clean { noise: None, .. }, _) => "seeded noise over an image",
        (Start::Noise(_), false) => "given noise",
        (Start::Noise(_), true) | (Start::Clean { noise: Some(_), .. }, _) => "given noise over an image",
        (Start::State(_), _) => "given state",
    }
}

/// Keyword and text of every way in which `compiler` computes the network of a run otherwise than usual.
fn arithmetic(run: &ModelRun, compiler: &Compiler) -> Vec<(&'static str, String)> {
    let options = &compiler.options;
    let has_half_maps = options.maps == Precision::Float16 && compiler.engine.family.memory() == Memory::Buffer;
    let dtype = match (options.weights, has_half_maps) {
        (Precision::Float32, _) => None,
        (Precision::Float16, false) => Some("f16"),
        (Precision::Float16, true) => Some("f16-maps"),
    };
    let forced = options.forced.map(|algorithm| match algorithm {
        Algorithm::Direct => "by their definition".to_owned(),
        other => format!("by {other}"),
    });
    let is_matrix = matches!(compiler.engine.family, Family::Matrix { .. });
    let ways = [
        dtype.map(|dtype| ("dtype", dtype.to_owned())),
        forced.map(|text| ("convolutions", text)),
        is_matrix.then(|| ("products", "float16 on matrix units".to_owned())),
    ];
    ways.into_iter().flatten().filter(|_| run.model.network().is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn image() -> Image {
        Image { height: 1, width: 1, channels: 1, pixels: vec![3] }
    }

    #[test]
    fn a_contact_sheet_has_a_row_per_image() {
        let steps: Vec<Vec<Image>> =
            (0..3).map(|step| (0..2).map(|at| Image { pixels: vec![10 * at + step], ..image() }).collect()).collect();
        let by_step: Vec<&[Image]> = steps.iter().map(|images| &images[..]).collect();
        let sheet = contact_sheet(&by_step);
        let (gap, width) = (sheet.width - 3, sheet.width);
        assert_eq!((sheet.height, gap), (2 + gap / 2, 2 * (gap / 2)));
        let at = |row: usize, column: usize| sheet.pixels[row * (1 + gap / 2) * width + column * (1 + gap / 2)];
        assert_eq!([at(0, 0), at(0, 1), at(0, 2), at(1, 0), at(1, 2)], [0, 1, 2, 10, 12]);
        let one: Vec<&[Image]> = steps.iter().map(|images| &images[..1]).collect();
        assert_eq!(contact_sheet(&one).width, 2 + gap / 2, "two columns of three steps");
    }

    #[test]
    fn a_folder_that_is_removed_during_a_run_ends_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("digits");
        let mut singles = Singles::default();
        singles.write(folder.join("0.png"), &image(), &Metadata::default()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let error = singles.write(folder.join("1.png"), &image(), &Metadata::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::File);
        assert!(error.to_string().ends_with("of the 1 images written, 0 are there"), "{error}");
        assert!(!folder.exists());
    }

    #[test]
    fn files_that_are_removed_during_a_run_are_not_reported_as_written() {
        let place = tempfile::tempdir().unwrap();
        let mut singles = Singles::default();
        for index in 0..3 {
            singles.write(place.path().join(format!("{index}/x.png")), &image(), &Metadata::default()).unwrap();
        }
        assert_eq!(singles.clone().finish().unwrap().len(), 3);
        std::fs::remove_dir_all(place.path().join("1")).unwrap();
        let error = singles.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::File);
        assert!(error.to_string().ends_with("of the 3 images written, 2 are there"), "{error}");
    }
}
