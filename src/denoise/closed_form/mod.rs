//! Denoisers that are determined by data, without a network: those named `pca:`, `gaussian:` or `wiener:`,
//! `sequential:`, `mixture:`, `ideal:`, `local:` and `guided:`.
//!
//! | name | x0, the prediction | |
//! |---|---|---|
//! | `pca:DATA[,k=N]` | the projection of x on the mean and the leading N components | [`linear`] |
//! | `pca:DATA,noise=COUPLING` | the same, of noisy samples at each level | [`noisy`] |
//! | `gaussian:DATA`, `wiener:DATA` | the posterior mean of a Gaussian of the data's mean and covariance | [`linear`] |
//! | `sequential:DATA` | that Gaussian's posterior mean of the next level, in place of x0 | [`sequential`] |
//! | `mixture:DATA,k=K` | the posterior mean of a mixture of K Gaussians, one per cluster | [`mixture`] |
//! | `ideal:DATA` | the posterior mean over the samples themselves | [`ideal`] |
//! | `local:DATA,patch=P` | for each pixel the posterior mean over the patches of the samples | [`local`] |
//! | `guided:DATA,class=C,scale=W` | guidance from all data to those of a class | [`guided`] |
//!
//! `gaussian:` and `wiener:` are two names of the same denoiser: the covariance is whole and nothing is added to it.
//!
//! `DATA` of `pca:`, `gaussian:`, `wiener:` and `sequential:` may be a file of merged [`moments`](crate::moments).
//!
//! Bytes of images count as -1 to 1, the range of the networks; arrays keep their numbers.

mod arrays;
mod clusters;
pub mod guided;
pub mod ideal;
pub mod linear;
pub mod local;
pub mod mixture;
pub mod neighbours;
pub mod noisy;
mod options;
pub mod sequential;
mod spec;

use std::path::Path;

use faer::Mat;

pub use arrays::Determined;
pub use options::{Boundary, LocalOptions, MixtureOptions, PcaOptions, USUAL_COMPONENTS};
pub use spec::{FORMS, Filter, Moments, Spec};

use self::guided::{GuidedOf, GuidedOptions};
use self::ideal::Ideal;
use self::linear::Linear;
use self::local::Local;
use self::mixture::Mixture;
use self::noisy::NoisyProjection;
use self::sequential::Sequential;
use super::Denoiser;
use crate::data::{Dataset, Noised, Pixels, Source};
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::kernels::Engine;
use crate::moments::Moments as Merged;
use crate::moments::description::{FEATURES, NUMBERS, UNIT, VALUES};
use crate::spectral::principal::LARGEST_MATRIX;
use crate::tensor::Tensor;

/// The first sigma of sampling, over the root mean square distance of the data from their mean: there the noise hides
/// all of them. A projection does not remove noise along its components and starts at the data's own spread.
const START: f64 = 10.0;
/// The first sigma of sampling over the last one above 0.
const SPAN: f64 = 1e4;
/// The tolerance for an asymmetric covariance, and for a negative eigenvalue, relative to its largest entry; above
/// the rounding of float32.
const ROUNDING: f64 = 1e-5;

/// A closed-form denoiser whose data have been read; nothing is on a device yet.
#[derive(Clone)]
pub struct ClosedForm {
    /// The name that the user gave.
    pub name: String,
    form: Form,
    /// The shape of a sample in its file.
    sample_shape: Vec<usize>,
    mean: Vec<f64>,
    /// The trace of the covariance.
    variance: f64,
}

impl std::fmt::Debug for ClosedForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClosedForm").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Form {
    Pca { data: Dataset, components: usize, noise: Option<Noised> },
    Gaussian { filter: Filter, data: Dataset },
    Moments { filter: Filter, covariance: Mat<f64> },
    Components { components: usize, covariance: Mat<f64> },
    Mixture { data: Dataset, options: MixtureOptions },
    Ideal { data: Dataset },
    Guided { data: Dataset, class: Dataset, options: GuidedOptions },
    Local { data: Dataset, options: LocalOptions },
}

impl Form {
    /// The data, unless moments take their place.
    fn data(&self) -> Option<&Dataset> {
        match self {
            Self::Pca { data, .. }
            | Self::Gaussian { data, .. }
            | Self::Mixture { data, .. }
            | Self::Ideal { data }
            | Self::Local { data, .. }
            | Self::Guided { data, .. } => Some(data),
            Self::Moments { .. } | Self::Components { .. } => None,
        }
    }
}

impl ClosedForm {
    /// Reads the data of the closed form that `text` names; `None` for any other name.
    ///
    /// # Errors
    /// Those of [`Spec::parse`] and [`Source::load`]; [`Error::Argument`] for more components than a sample has values;
    /// [`Error::BadFile`], [`Error::WrongShape`] and [`Error::NonFinite`] for moments that are malformed.
    pub fn open(text: &str) -> Result<Option<Self>> {
        let read = |source: &Source| {
            if Merged::is_at(Path::new(&source.to_string())) {
                let what = format!("`{source}` holds moments, not samples");
                return Err(Error::argument(what, "`wiener:`, `gaussian:`, `sequential:` and `pca:` take moments"));
            }
            source.load(Pixels::Signed)
        };
        let spec = Spec::parse(text)?;
        if let Some(form) = spec.as_ref().and_then(|spec| Self::of_merged(text, spec).transpose()) {
            return form.map(Some);
        }
        let form = match spec {
            None => return Ok(None),
            Some(Spec::Pca { data, options }) => {
                let mut data = read(&data)?;
                if let Some(count) = options.samples {
                    take_first(&mut data, count)?;
                }
                let components = components_of(&data, options.components)?;
                Form::Pca { data, components, noise: options.noise }
            }
            Some(Spec::Gaussian { filter, moments: Moments::Of(data) }) => {
                Form::Gaussian { filter, data: read(&data)? }
            }
            Some(Spec::Mixture { data, options }) => {
                Form::Mixture { data: checked_mixture(read(&data)?, options)?, options }
            }
            Some(Spec::Local { data, options }) => {
                let mut data = read(&data)?;
                if let Some(count) = options.samples {
                    take_first(&mut data, count)?;
                }
                Form::Local { data: checked_local(data, options)?, options }
            }
            Some(Spec::Ideal { data }) => Form::Ideal { data: read(&data)? },
            Some(Spec::Guided { data, options }) => {
                let data = read(&data)?;
                Form::Guided { class: options.of_class(&data)?, data, options }
            }
            Some(Spec::Gaussian { filter, moments: Moments::Files { mean, covariance } }) => {
                return Self::of_moments(text, filter, &mean, &covariance).map(Some);
            }
        };
        let Some(data) = form.data() else { return Ok(None) };
        let mean = data.mean();
        let squares = data.samples.data.iter().zip(mean.iter().cycle());
        let variance =
            squares.map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum::<f64>() / data.count() as f64;
        let sample_shape = data.sample_shape.clone();
        Ok(Some(Self { name: text.to_owned(), form, sample_shape, mean, variance }))
    }

    /// The closed form of merged moments, where the data of a Gaussian or of a projection are a file of these.
    fn of_merged(text: &str, spec: &Spec) -> Result<Option<Self>> {
        let (data, components) = match spec {
            Spec::Gaussian { moments: Moments::Of(data), .. } => (data, None),
            Spec::Pca { data, options } => (data, Some(options)),
            _ => return Ok(None),
        };
        let file = data.to_string();
        if !Merged::is_at(Path::new(&file)) {
            return Ok(None);
        }
        let merged = Merged::read_whole(Path::new(&file))?;
        let values = merged.description.setting(VALUES).unwrap_or(NUMBERS);
        if values == FEATURES {
            let what = format!("`{file}` holds moments of features, not of samples");
            return Err(Error::argument(
                what,
                "measure those of the samples themselves, without a network of features",
            ));
        }
        let dimension = merged.description.values();
        if dimension > LARGEST_MATRIX {
            let what = format!("a mean of {dimension} values");
            let hint = format!("1 to {LARGEST_MATRIX} values are expected: the covariance is a matrix of their square");
            return Err(Error::bad_file_hint(&file, what, hint));
        }
        let (mut mean, mut covariance) = (merged.mean()?, merged.covariance(0)?);
        if values == UNIT {
            // Denoisers have pixels from -1 to 1.
            for value in &mut mean {
                *value = 2.0 * *value - 1.0;
            }
            covariance *= faer::Scale(4.0);
        }
        let variance = (0..dimension).map(|at| covariance[(at, at)]).sum();
        let sample_shape = merged.description.shape.clone();
        let form = match (spec, components) {
            (Spec::Gaussian { filter, .. }, _) => Form::Moments { filter: *filter, covariance },
            (_, Some(PcaOptions { components, samples: None, noise: None })) => {
                Form::Components { components: components_within(*components, dimension)?, covariance }
            }
            _ => {
                let what = format!("`n=` and `noise=` of `{text}` need the samples, and `{file}` holds their moments");
                return Err(Error::argument(what, "omit them, or name the data"));
            }
        };
        Ok(Some(Self { name: text.to_owned(), form, sample_shape, mean, variance }))
    }

    fn of_moments(text: &str, filter: Filter, mean_file: &Path, covariance_file: &Path) -> Result<Self> {
        let sample_shape = npy::read(mean_file)?.shape;
        let mean = npy::read_f64(mean_file)?;
        let dimension = mean.len();
        if dimension == 0 || dimension > LARGEST_MATRIX {
            let what = format!("a mean of {dimension} values");
            let hint = format!("1 to {LARGEST_MATRIX} values are expected: the covariance is a matrix of their square");
            return Err(Error::bad_file_hint(mean_file, what, hint));
        }
        let found = npy::read(covariance_file)?.shape;
        if found != [dimension, dimension] {
            let what = format!("the covariance has shape {found:?}, expected {:?}", [dimension, dimension]);
            let hint = format!("the mean in `{}` has {dimension} values", mean_file.display());
            return Err(Error::bad_file_hint(covariance_file, what, hint));
        }
        let values = npy::read_f64(covariance_file)?;
        for (file, values) in [(mean_file, &mean), (covariance_file, &values)] {
            if !values.iter().all(|value| value.is_finite()) {
                let hint = "every value must be a finite number".to_owned();
                return Err(Error::NonFinite { place: file.display().to_string(), hint });
            }
        }
        let covariance = checked_covariance(&values, dimension, covariance_file)?;
        let variance = (0..dimension).map(|at| covariance[(at, at)]).sum();
        let form = Form::Moments { filter, covariance };
        Ok(Self { name: text.to_owned(), form, sample_shape, mean, variance })
    }

    /// (channels, height, width) of an image: (h, w) has one channel; any other shape than (c, h, w) counts as channels
    /// of one pixel.
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        image_shape(&self.sample_shape)
    }

    /// Returns `true` if a sample is an image: (h, w) or (c, h, w).
    #[must_use]
    pub fn has_pixels(&self) -> bool {
        matches!(self.sample_shape.len(), 2 | 3)
    }

    /// The mean of the data, with as many values as an image. Sampling starts from it under noise.
    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The first sigma and the last one above 0 of sampling, by default. It begins at ten times the root mean square
    /// distance of the data from their mean; a projection on k components does not remove noise along them, so it
    /// begins where that noise has the energy of the data; the walk of a sequential filter ends nearer to the mean the
    /// more noise it starts with, so it begins as a projection on the usual number of components.
    #[must_use]
    pub fn sigma_range(&self) -> (f64, f64) {
        let distance = if self.variance > 0.0 { self.variance.sqrt() } else { 1.0 };
        let first = match &self.form {
            Form::Pca { components, .. } | Form::Components { components, .. } => {
                distance / (*components as f64).sqrt()
            }
            Form::Gaussian { filter: Filter::Sequential, .. } | Form::Moments { filter: Filter::Sequential, .. } => {
                distance / (USUAL_COMPONENTS.min(self.mean.len()) as f64).sqrt()
            }
            _ => START * distance,
        };
        (first, first / SPAN)
    }

    /// Half the distance over which to take differences of the denoiser, at a noise level. Projections and the
    /// filters of one Gaussian are linear in the image, so the step is the extent of the data, where rounding is
    /// negligible. The weights of the others change by a factor e when an image moves by sigma^2 over the distance of
    /// samples.
    pub fn difference_step(&self) -> impl Fn(f64) -> f64 + use<> {
        let distance = if self.variance > 0.0 { self.variance.sqrt() } else { 1.0 };
        let is_linear = match &self.form {
            Form::Mixture { .. } | Form::Ideal { .. } | Form::Local { .. } => false,
            Form::Guided { options, .. } => options.of == GuidedOf::Wiener,
            Form::Pca { .. } | Form::Gaussian { .. } | Form::Moments { .. } | Form::Components { .. } => true,
        };
        move |sigma| if is_linear { distance.max(sigma) } else { 0.05 * sigma * sigma / (sigma + distance) }
    }

    /// `x` as images (n, c, h, w): (n, ...) where each item has the shape of a sample or of an image, or is flat.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming `file`, where `x` came from.
    pub fn as_images(&self, x: Tensor, file: &Path) -> Result<Tensor> {
        let image = self.image_shape();
        let dimension = self.mean.len();
        if let [count, item @ ..] = x.shape.as_slice()
            && *count > 0
            && (item == self.sample_shape || item == image || item == [dimension])
        {
            return Ok(Tensor::new([*count, image[0], image[1], image[2]], x.data));
        }
        let what = format!("the array has shape {:?}, samples of `{}` are {:?}", x.shape, self.name, self.sample_shape);
        let hint = format!("give an array (N, ...) of items of that shape, or each of them flat: (N, {dimension})");
        Err(Error::bad_file_hint(file, what, hint))
    }

    /// For reports.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let (kind, samples) = match &self.form {
            Form::Pca { data, .. } => ("pca", Some(data.count())),
            Form::Gaussian { filter, data } => (filter.name(), Some(data.count())),
            Form::Moments { filter, .. } => (filter.name(), None),
            Form::Components { .. } => ("pca", None),
            Form::Mixture { data, .. } => ("mixture", Some(data.count())),
            Form::Ideal { data } => ("ideal", Some(data.count())),
            Form::Guided { data, .. } => ("guided", Some(data.count())),
            Form::Local { data, .. } => ("local", Some(data.count())),
        };
        let (components, noise) = match &self.form {
            Form::Pca { components, noise, .. } => (Some(components), noise.as_ref()),
            Form::Components { components, .. } => (Some(components), None),
            Form::Mixture { options, .. } => (Some(&options.components), None),
            _ => (None, None),
        };
        let mixture = match &self.form {
            Form::Mixture { options, .. } => Some(serde_json::json!({ "rank": options.rank, "seed": options.seed })),
            _ => None,
        };
        let guidance = match &self.form {
            Form::Guided { class, options, .. } => Some(serde_json::json!({
                "class": options.class, "samples": class.count(), "scale": options.scale,
            })),
            _ => None,
        };
        let local = match &self.form {
            Form::Local { options, .. } => {
                Some(serde_json::json!({ "patch": options.patch, "boundary": options.boundary }))
            }
            _ => None,
        };
        serde_json::json!({
            "name": self.name,
            "closed_form": kind,
            "samples": samples,
            "sample_shape": self.sample_shape,
            "components": components,
            "noise": noise.map(|noise| serde_json::json!({ "coupling": noise.coupling, "seed": noise.seed })),
            "mixture": mixture,
            "guidance": guidance,
            "local": local,
            "total_variance": self.variance,
        })
    }

    /// The denoiser, on a device where it needs one.
    ///
    /// # Errors
    /// Those of [`Linear::projection`], [`Linear::wiener`], [`Mixture::of_clusters`], [`Ideal::new`] and
    /// [`Local::new`].
    pub fn ready(self, engine: &Engine) -> Result<Box<dyn Denoiser + '_>> {
        let image = self.image_shape();
        let mean = self.mean;
        Ok(match self.form {
            Form::Pca { mut data, components, noise } => {
                data.centre();
                match noise {
                    None => Box::new(Linear::projection(engine, &data, &mean, components, image)?),
                    Some(noise) => Box::new(NoisyProjection::new(engine, data, mean, components, image, noise)),
                }
            }
            Form::Gaussian { filter, mut data } => {
                data.centre();
                filter.of(Linear::wiener(&data, &mean, image)?)
            }
            Form::Moments { filter, covariance } => filter.of(Linear::of_moments(&mean, &covariance, image)?),
            Form::Components { components, covariance } => {
                Box::new(Linear::of_moments(&mean, &covariance, image)?.leading(components))
            }
            Form::Mixture { data, options: MixtureOptions { components, rank, seed } } => {
                Box::new(Mixture::of_clusters(&data, components, rank, seed, image)?)
            }
            Form::Ideal { data } => Box::new(Ideal::new(engine, data, mean, image)?),
            Form::Guided { data, class, options } => options.ready(engine, [data, class], image)?,
            Form::Local { data, options } => Box::new(Local::new(engine, data, &options, image)?),
        })
    }
}

impl Filter {
    /// The name of the filter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wiener => "wiener",
            Self::Sequential => "sequential",
        }
    }

    /// The denoiser of the Gaussian that `wiener` is the Wiener filter of.
    #[must_use]
    pub fn of(self, wiener: Linear) -> Box<dyn Denoiser> {
        match self {
            Self::Wiener => Box::new(wiener),
            Self::Sequential => Box::new(Sequential::new(wiener)),
        }
    }
}

/// (channels, height, width) of samples of a shape.
fn image_shape(sample_shape: &[usize]) -> [usize; 3] {
    match sample_shape[..] {
        [height, width] => [1, height, width],
        [channels, height, width] => [channels, height, width],
        _ => [sample_shape.iter().product(), 1, 1],
    }
}

/// Data that are images, not smaller than the patches.
fn checked_local(data: Dataset, options: LocalOptions) -> Result<Dataset> {
    if !matches!(data.sample_shape.len(), 2 | 3) {
        let what = format!("samples of `{}` have shape {:?}, and are not images", data.name, data.sample_shape);
        return Err(Error::argument(what, "`local:` compares patches: give samples of shape (h, w) or (c, h, w)"));
    }
    local::check(&options, image_shape(&data.sample_shape), data.count())?;
    Ok(data)
}

/// Data with at least as many samples as Gaussians, and as many values as variances.
fn checked_mixture(data: Dataset, options: MixtureOptions) -> Result<Dataset> {
    let (samples, dimension) = (data.count(), data.dimension());
    if options.components > samples {
        let what =
            format!("`k={}` asks for more Gaussians than the {samples} samples of `{}`", options.components, data.name);
        return Err(Error::argument(what, format!("give `k` a number from 1 to {samples}")));
    }
    if let Some(rank) = options.rank.filter(|rank| *rank > dimension) {
        let what = format!("`rank={rank}` asks for more variances than the {dimension} values of a sample");
        return Err(Error::argument(what, format!("give `rank` a number from 0 to {dimension}")));
    }
    Ok(data)
}

/// Keeps the first `count` samples.
fn take_first(data: &mut Dataset, count: usize) -> Result<()> {
    if count > data.count() {
        let what = format!("`n={count}` asks for more samples than the {} of `{}`", data.count(), data.name);
        return Err(Error::argument(what, format!("give `n` a number from 1 to {}", data.count())));
    }
    data.samples = data.samples.slice(0..count);
    Ok(())
}

/// The number of components, at most the values of a sample.
fn components_of(data: &Dataset, asked: Option<usize>) -> Result<usize> {
    components_within(asked, data.dimension())
}

/// As [`components_of`], for samples of `dimension` values.
fn components_within(asked: Option<usize>, dimension: usize) -> Result<usize> {
    match asked {
        None => Ok(USUAL_COMPONENTS.min(dimension)),
        Some(count) if count <= dimension => Ok(count),
        Some(count) => {
            let what = format!("`k={count}` asks for more components than the {dimension} values of a sample");
            Err(Error::argument(what, format!("give `k` a number from 1 to {dimension}")))
        }
    }
}

/// A covariance from the values of a square matrix: symmetric, no negative eigenvalue beyond rounding.
fn checked_covariance(values: &[f64], dimension: usize, file: &Path) -> Result<Mat<f64>> {
    let matrix = Mat::from_fn(dimension, dimension, |i, j| values[i * dimension + j]);
    let most = ROUNDING * matrix.norm_max();
    let hint = "a covariance is symmetric, and no direction has a variance below zero";
    if (&matrix - matrix.transpose()).norm_max() > most {
        return Err(Error::bad_file_hint(file, "the covariance is not symmetric", hint));
    }
    let (variances, _) = crate::spectral::basis::eigen(matrix.as_ref())?;
    match variances.last() {
        Some(least) if *least < -most => {
            Err(Error::bad_file_hint(file, format!("the covariance has the eigenvalue {least:.3e}"), hint))
        }
        _ => Ok(matrix),
    }
}
