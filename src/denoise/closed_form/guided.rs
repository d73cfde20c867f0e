//! Guidance between two closed forms: `eps_u + W (eps_c - eps_u)`, where u is determined by all data and c by the
//! samples of one class.
//!
//! With Wiener filters, the denoiser is linear: along a direction in which all data have variance `l_u` and the class
//! `l_c`, around their means, eps is x times `sigma ((1 - W) / (l_u + sigma^2) + W / (l_c + sigma^2))`.

use std::path::{Path, PathBuf};

use super::ideal::Ideal;
use super::linear::Linear;
use super::options::{malformed, missing, unknown};
use crate::data::{Dataset, HELD_OUT, SEEN, TRAINED_ON, digit_labels};
use crate::denoise::{Denoiser, Level};
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::kernels::Engine;
use crate::tensor::Tensor;

/// The largest scale, far beyond any in use.
const LARGEST_SCALE: f64 = 1e3;

const HINT: &str = "`guided:DATA` takes the `class=` of its samples, the `scale=` of the guidance, and optionally \
                    `of=ideal|wiener` and the `labels=FILE.npy` of the samples, after commas";

/// The closed forms that are guided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuidedOf {
    /// The posterior mean over the samples.
    #[default]
    Ideal,
    /// The Wiener filter of the samples' Gaussian.
    Wiener,
}

/// Settings of guidance between closed forms.
#[derive(Clone, Debug, PartialEq)]
pub struct GuidedOptions {
    /// The label of the class.
    pub class: u32,
    /// The scale W.
    pub scale: f64,
    /// The two denoisers.
    pub of: GuidedOf,
    /// The label of each sample; `None` for the embedded digits, which have theirs.
    pub labels: Option<PathBuf>,
}

impl GuidedOptions {
    pub(super) fn parse(text: &str, options: &[(&str, &str)]) -> Result<Self> {
        let (mut class, mut scale) = (None, None);
        let mut asked = Self { class: 0, scale: 1.0, of: GuidedOf::default(), labels: None };
        for (name, value) in options {
            let refuse = |expected: &str| malformed(text, name, value, expected, HINT);
            match *name {
                "class" => class = Some(value.parse().map_err(|_| refuse("a label"))?),
                "scale" => {
                    let number = value.parse().ok().filter(|scale: &f64| scale.abs() <= LARGEST_SCALE);
                    scale = Some(number.ok_or_else(|| refuse("a scale"))?);
                }
                "of" => {
                    asked.of = match *value {
                        "ideal" => GuidedOf::Ideal,
                        "wiener" => GuidedOf::Wiener,
                        _ => return Err(refuse("`ideal` or `wiener`")),
                    }
                }
                "labels" => asked.labels = Some(PathBuf::from(value)),
                _ => return Err(unknown(name, "guided", HINT)),
            }
        }
        let class = class.ok_or_else(|| missing(text, "class", HINT))?;
        let scale = scale.ok_or_else(|| missing(text, "scale", HINT))?;
        Ok(Self { class, scale, ..asked })
    }

    /// The samples of the class.
    ///
    /// # Errors
    /// [`Error::Argument`] for data without labels, and a class without samples; [`Error::BadFile`] for labels that are
    /// not one whole number per sample.
    pub fn of_class(&self, data: &Dataset) -> Result<Dataset> {
        let labels = match &self.labels {
            Some(file) => labels_of(file, data.count())?,
            None => own_labels(data)?,
        };
        let picks: Vec<usize> = (0..data.count()).filter(|at| labels.get(*at) == Some(&self.class)).collect();
        if picks.is_empty() {
            let what = format!("`{}` does not have samples of class {}", data.name, self.class);
            return Err(Error::argument(what, "give `class` one of its labels"));
        }
        let mut shape = data.samples.shape.clone();
        shape[0] = picks.len();
        let values: Vec<f32> = picks.iter().flat_map(|at| data.samples.item(*at).to_vec()).collect();
        let name = format!("{}, class {}", data.name, self.class);
        Ok(Dataset { name, samples: Tensor::new(shape, values), ..data.clone() })
    }

    /// The denoiser, of all `data` and of those of the class; `image` is the shape (c, h, w) of a sample.
    ///
    /// # Errors
    /// Those of [`Linear::wiener`] and [`Ideal::new`].
    pub(super) fn ready<'e>(
        &self,
        engine: &'e Engine,
        data: [Dataset; 2],
        image: [usize; 3],
    ) -> Result<Box<dyn Denoiser + 'e>> {
        let ready = |mut data: Dataset| -> Result<Box<dyn Denoiser + 'e>> {
            let mean = data.mean();
            Ok(match self.of {
                GuidedOf::Ideal => Box::new(Ideal::new(engine, data, mean, image)?),
                GuidedOf::Wiener => {
                    data.centre();
                    Box::new(Linear::wiener(&data, &mean, image)?)
                }
            })
        };
        let [all, class] = data;
        Ok(Box::new(Guided { unconditional: ready(all)?, conditional: ready(class)?, scale: self.scale }))
    }
}

/// The labels of the embedded digits, or of one of their parts.
fn own_labels(data: &Dataset) -> Result<Vec<u32>> {
    let first = match data.name.as_str() {
        "digits" | SEEN => 0,
        HELD_OUT => TRAINED_ON,
        _ => {
            let what = format!("`{}` does not have labels", data.name);
            return Err(Error::argument(what, "give `labels=FILE.npy`: a label for each sample"));
        }
    };
    Ok(digit_labels()?.into_iter().skip(first).take(data.count()).map(u32::from).collect())
}

/// A whole number per sample.
fn labels_of(file: &Path, count: usize) -> Result<Vec<u32>> {
    let values = npy::read_f64(file)?;
    if values.len() != count {
        let what = format!("{} labels for {count} samples", values.len());
        return Err(Error::bad_file_hint(file, what, "give one label per sample"));
    }
    let is_label = |value: &f64| value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(value);
    match values.iter().find(|value| !is_label(value)) {
        Some(value) => Err(Error::bad_file_hint(file, format!("the label {value}"), "labels are whole numbers from 0")),
        None => Ok(values.iter().map(|value| *value as u32).collect()),
    }
}

/// Guidance between two denoisers of one image shape.
pub struct Guided<'e> {
    unconditional: Box<dyn Denoiser + 'e>,
    conditional: Box<dyn Denoiser + 'e>,
    scale: f64,
}

impl<'e> Guided<'e> {
    /// Guidance from one denoiser to another.
    #[must_use]
    pub fn new(unconditional: Box<dyn Denoiser + 'e>, conditional: Box<dyn Denoiser + 'e>, scale: f64) -> Self {
        Self { unconditional, conditional, scale }
    }

    fn between(&self, unconditional: &Tensor, conditional: &Tensor) -> Tensor {
        let pairs = unconditional.data.iter().zip(&conditional.data);
        let guided = pairs.map(|(u, c)| (f64::from(*u) + self.scale * (f64::from(*c) - f64::from(*u))) as f32);
        Tensor::new(unconditional.shape.clone(), guided.collect::<Vec<_>>())
    }
}

impl Denoiser for Guided<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.unconditional.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let (unconditional, conditional) = (self.unconditional.eps(x, levels)?, self.conditional.eps(x, levels)?);
        Ok(self.between(&unconditional, &conditional))
    }

    fn parts(&mut self, x: &Tensor, levels: &[Level]) -> Result<(Tensor, Tensor)> {
        let (unconditional, conditional) = (self.unconditional.parts(x, levels)?, self.conditional.parts(x, levels)?);
        let [eps, x0] = [(unconditional.0, conditional.0), (unconditional.1, conditional.1)]
            .map(|(unconditional, conditional)| self.between(&unconditional, &conditional));
        Ok((eps, x0))
    }

    fn begin(&mut self, levels: &[Level]) {
        self.unconditional.begin(levels);
        self.conditional.begin(levels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denoise::closed_form::{ClosedForm, Spec};

    fn parse(text: &str) -> Result<GuidedOptions> {
        match Spec::parse(text)? {
            Some(Spec::Guided { options, .. }) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_understood_or_refused() {
        let options = parse("guided:digits,class=3,scale=2.5,of=wiener").unwrap();
        assert_eq!(options, GuidedOptions { class: 3, scale: 2.5, of: GuidedOf::Wiener, labels: None });
        assert_eq!(parse("guided:digits,scale=1,class=0").unwrap().of, GuidedOf::Ideal);
        for (text, part) in [
            ("guided:digits", "does not give `class=`"),
            ("guided:digits,class=3", "does not give `scale=`"),
            ("guided:digits,class=three,scale=1", "is not a label"),
            ("guided:digits,class=3,scale=inf", "is not a scale"),
            ("guided:digits,class=3,scale=1,of=pca", "`ideal` or `wiener`"),
            ("guided:digits,class=3,scale=1,k=2", "`k=` is not an option of `guided:`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = ClosedForm::open("guided:digits,class=11,scale=1").unwrap_err().to_string();
        assert!(error.contains("class 11"), "{error}");
        let error = ClosedForm::open("guided:spiked:n=20,p=12,class=1,scale=1").unwrap_err().to_string();
        assert!(error.contains("does not have labels"), "{error}");
    }

    #[test]
    fn parts_of_the_digits_have_their_labels() {
        let options = parse("guided:digits,class=7,scale=2").unwrap();
        let of = |text: &str| {
            let data = crate::data::Source::parse(text).unwrap().load(crate::data::Pixels::Signed).unwrap();
            options.of_class(&data).unwrap().samples.data
        };
        assert_eq!([of("digits-train"), of("digits-held-out")].concat(), of("digits"));
    }

    #[test]
    fn labels_of_a_file_pick_samples() {
        let folder = tempfile::tempdir().unwrap();
        let [data, labels] = ["x.npy", "y.npy"].map(|name| folder.path().join(name));
        let write = |file: &Path, shape: &[usize], values: &[f32]| {
            npy::write(file, &Tensor::new(shape, values.to_vec())).unwrap();
        };
        write(&data, &[4, 1, 1, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        write(&labels, &[4], &[1.0, 0.0, 1.0, 2.0]);
        let text = format!("guided:{},class=1,scale=2,labels={}", data.display(), labels.display());
        let options = parse(&text).unwrap();
        let whole = crate::data::Source::parse(&data.display().to_string()).unwrap();
        let whole = whole.load(crate::data::Pixels::Signed).unwrap();
        let class = options.of_class(&whole).unwrap();
        assert_eq!((class.count(), &class.samples.data[..]), (2, &[0.0, 1.0, 4.0, 5.0][..]));
        write(&labels, &[3], &[1.0, 0.0, 1.0]);
        assert!(options.of_class(&whole).unwrap_err().to_string().contains("3 labels for 4 samples"));
        write(&labels, &[4], &[1.0, 0.5, 1.0, 2.0]);
        assert!(options.of_class(&whole).unwrap_err().to_string().contains("the label 0.5"));
    }

    /// The eps of N(mean, variance).
    struct Normal(f64, f64);

    impl Denoiser for Normal {
        fn image_shape(&self) -> [usize; 3] {
            [1, 1, 1]
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
            let sigma = levels[0].sigma;
            let eps = sigma * (f64::from(x.data[0]) - self.0) / (self.1 + sigma * sigma);
            Ok(Tensor::new(x.shape.clone(), vec![eps as f32]))
        }
    }

    #[test]
    fn guidance_of_two_normals_is_its_formula() {
        for scale in [0.0, 1.0, 3.5] {
            let mut guided = Guided::new(Box::new(Normal(0.5, 2.0)), Box::new(Normal(-1.0, 0.3)), scale);
            let x = Tensor::new([1, 1, 1, 1], vec![1.7]);
            let (eps, x0) = guided.parts(&x, &[Level::at_sigma(0.8)]).unwrap();
            let [u, c] = [(0.5, 2.0), (-1.0, 0.3)].map(|(mean, variance)| 0.8 * (1.7 - mean) / (variance + 0.64));
            let expected = u + scale * (c - u);
            assert!((f64::from(eps.data[0]) - expected).abs() < 1e-6, "{scale}");
            assert!((f64::from(x0.data[0]) - (1.7 - 0.8 * expected)).abs() < 1e-6, "{scale}");
            assert_eq!(guided.eps(&x, &[Level::at_sigma(0.8)]).unwrap(), eps);
        }
    }
}
