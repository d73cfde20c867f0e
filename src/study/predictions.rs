//! The predictions of a denoiser beside those of others, on the same noised images: what [`super::gaussian`] and
//! [`super::local`] measure over noise levels.

use serde_json::{Value, json};

use super::Advance;
use super::error::OnImages;
use super::norms::ByLevel;
use super::parts::Rows;
use super::statistics::Summary;
use crate::denoise::{Denoiser, Level};
use crate::error::{Error, Result};
use crate::report::Table;
use crate::tensor::Tensor;

/// A denoiser that another is compared with.
pub struct Reference<'a> {
    /// Its name in tables and plots.
    pub name: String,
    /// The denoiser.
    pub denoiser: Box<dyn Denoiser + 'a>,
}

/// A reference beside the denoiser in question, x0 for each at every level and image.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    /// The name of the reference.
    pub name: String,
    /// |x0' - x0| / sqrt(n), the distance of its prediction x0' from the denoiser's.
    pub apart: ByLevel,
    /// |eps' - eps|^2 / |eps|^2, the share of the denoiser's eps that it does not explain.
    pub unexplained: ByLevel,
    /// |x0' - k| / sqrt(n), the distance of its prediction from the image k under the noise.
    pub error: ByLevel,
}

/// The denoiser and its references on the same noised images.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The levels, from most noise to least.
    pub levels: Vec<Level>,
    /// The number of images.
    pub images: usize,
    /// |x0 - k| / sqrt(n) of the denoiser in question.
    pub error: ByLevel,
    /// Its references.
    pub references: Vec<Beside>,
}

/// Calls the denoiser and its references on images k under independent noise at each level, x = k + sigma w. `advance`
/// counts images of one denoiser.
///
/// # Errors
/// [`Error::Argument`] for images whose shape is not the denoiser's; those of the denoisers; [`Error::NonFinite`].
pub fn predictions(
    denoiser: &mut dyn Denoiser,
    references: &mut [Reference],
    on: &OnImages,
    advance: Advance,
) -> Result<Predictions> {
    on.expect(denoiser.image_shape())?;
    let blank = || on.blank();
    let (levels, images) = (on.levels.to_vec(), on.measured());
    let mut found = Predictions { levels, images, error: blank(), references: Vec::new() };
    for Reference { name, .. } in references.iter() {
        let beside = Beside { name: name.clone(), apart: blank(), unexplained: blank(), error: blank() };
        found.references.push(beside);
    }
    let root = (on.images.stride() as f64).sqrt();
    on.each(&mut |call| {
        let (first, (index, level), some) = (call.first, call.level, &call.images);
        let (sigma, count, x) = (level.sigma, some.shape[0], call.noised());
        let level_of_each = vec![level; count];
        let eps = denoiser.eps(&x, &level_of_each)?;
        expect_finite(&eps, &level)?;
        let error = |eps: &Tensor, at: usize| {
            let pairs = x.item(at).iter().zip(eps.item(at)).zip(some.item(at));
            let off = |((x, eps), k): ((&f32, &f32), &f32)| f64::from(*x) - sigma * f64::from(*eps) - f64::from(*k);
            pairs.map(|it| off(it).powi(2)).sum::<f64>().sqrt() / root
        };
        for at in 0..count {
            found.error.set(index, first + at, error(&eps, at));
        }
        advance(count as u64);
        for (Reference { denoiser, .. }, beside) in references.iter_mut().zip(&mut found.references) {
            let theirs = denoiser.eps(&x, &level_of_each)?;
            expect_finite(&theirs, &level)?;
            for at in 0..count {
                let apart = super::statistics::apart(theirs.item(at), eps.item(at));
                let whole = super::statistics::norm(eps.item(at));
                beside.apart.set(index, first + at, sigma * apart / root);
                beside.unexplained.set(index, first + at, (apart / whole).powi(2));
                beside.error.set(index, first + at, error(&theirs, at));
            }
            advance(count as u64);
        }
        Ok(())
    })?;
    Ok(found)
}

fn expect_finite(eps: &Tensor, level: &Level) -> Result<()> {
    if eps.is_finite() {
        return Ok(());
    }
    let hint = "look for NaN in the weights".to_owned();
    Err(Error::NonFinite { place: format!("the eps of a denoiser at {level}"), hint })
}

impl Predictions {
    /// These values as rows, one per image.
    #[must_use]
    pub fn rows(&self) -> Rows {
        let references = self.references.iter().flat_map(|of| [&of.apart, &of.unexplained, &of.error]);
        Rows::of(&std::iter::once(&self.error).chain(references).collect::<Vec<_>>())
    }

    /// The inverse of [`Self::rows`], for references of these names.
    #[must_use]
    pub fn of_rows(rows: &Rows, levels: &[Level], names: &[String]) -> Self {
        let of = |set: usize| rows.by_level(set * levels.len(), levels);
        let beside = |(at, name): (usize, &String)| {
            let [apart, unexplained, error] = [1, 2, 3].map(|set| of(3 * at + set));
            Beside { name: name.clone(), apart, unexplained, error }
        };
        let references = names.iter().enumerate().map(beside).collect();
        Self { levels: levels.to_vec(), images: rows.count(), error: of(0), references }
    }

    /// One row per level: the median error of each denoiser, and the median distance and unexplained share of each
    /// reference.
    #[must_use]
    pub fn table(&self) -> Table {
        let of = |beside: &Beside| ["error", "apart", "unexplained"].map(|what| format!("{}_{what}", beside.name));
        let names = self.references.iter().flat_map(of);
        let names: Vec<String> = ["sigma", "error"].map(str::to_owned).into_iter().chain(names).collect();
        let mut table = Table::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let median = |values: &ByLevel, at: usize| Summary::of(values.at(at).iter().copied()).median;
        for (at, level) in self.levels.iter().enumerate() {
            let mut cells = vec![level.sigma, median(&self.error, at)];
            for Beside { apart, unexplained, error, .. } in &self.references {
                cells.extend([error, apart, unexplained].map(|values| median(values, at)));
            }
            table.row(&cells.iter().map(|cell| cell as &dyn std::fmt::Display).collect::<Vec<_>>());
        }
        table
    }

    /// For reports: the median of each at each level.
    #[must_use]
    pub fn json(&self) -> Value {
        let medians = |values: &ByLevel| -> Vec<f64> {
            (0..self.levels.len()).map(|at| Summary::of(values.at(at).iter().copied()).median).collect()
        };
        let references = self.references.iter().map(|beside| {
            json!({
                "name": beside.name,
                "median_apart": medians(&beside.apart),
                "median_unexplained": medians(&beside.unexplained),
                "median_error": medians(&beside.error),
            })
        });
        json!({
            "images": self.images,
            "sigmas": self.levels.iter().map(|level| level.sigma).collect::<Vec<_>>(),
            "median_error": medians(&self.error),
            "references": references.collect::<Vec<_>>(),
        })
    }
}
