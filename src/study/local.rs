//! A denoiser beside local closed forms, the ideal one and the Gaussian (Kamb and Ganguli, "An analytic theory of
//! creativity in convolutional diffusion models", 2024): the size of patches that predicts it best at each noise level,
//! and how much of its samples each predicts from the same noise.

use serde_json::json;

use super::Advance;
use super::panels::{median, over_sigma};
use super::parts::Rows;
use super::predictions::{Predictions, Reference};
use super::results::{File, Results};
use super::statistics::Summary;
use super::trajectories::Trajectories;
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::tensor::Tensor;

/// The samples of a reference beside those of the denoiser, from the same noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Likeness {
    /// The name of the reference.
    pub name: String,
    /// r^2 of each sample: 1 - |x' - x|^2 / |x - mean of x|^2, where x' is the reference's.
    pub same: Vec<f64>,
    /// The same with the reference's sample from the noise of the next image: what chance makes of it.
    pub other: Vec<f64>,
}

/// At each level the reference that was nearest, as one denoiser.
struct Nearest<'a, 'b> {
    references: &'a mut [Reference<'b>],
    /// The sigma of a level, and the place of the reference.
    chosen: Vec<(f64, usize)>,
}

impl Nearest<'_, '_> {
    fn at(&self, sigma: f64) -> usize {
        let off = |at: &f64| (at.ln() - sigma.ln()).abs();
        self.chosen.iter().min_by(|a, b| off(&a.0).total_cmp(&off(&b.0))).map_or(0, |(_, reference)| *reference)
    }
}

impl Denoiser for Nearest<'_, '_> {
    fn image_shape(&self) -> [usize; 3] {
        self.references[0].denoiser.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let mut eps = Vec::with_capacity(x.data.len());
        let mut first = 0;
        // Images of equal levels in one call.
        for same in levels.chunk_by(|a, b| a.sigma == b.sigma) {
            let at = self.at(same[0].sigma);
            let some = x.slice(first..first + same.len());
            eps.extend(self.references[at].denoiser.eps(&some, same)?.data);
            first += same.len();
        }
        Ok(Tensor::new(x.shape.clone(), eps))
    }
}

/// The samples of the denoiser and of each reference from the same noise, and of the nearest of `candidates` at each
/// level of `found`, under the name `best`. `advance` counts steps of one image.
///
/// # Errors
/// Those of [`Trajectories::walk`].
pub fn samples(
    denoiser: &mut dyn Denoiser,
    references: &mut [Reference],
    found: &Predictions,
    candidates: usize,
    walk: &Trajectories,
    advance: Advance,
) -> Result<Vec<Likeness>> {
    let rows = ends(denoiser, references, walk, advance)?;
    likeness(&rows, references, found, candidates, walk, advance)
}

/// The samples of the denoiser and of each reference from the same noise, a row for each trajectory: one after the
/// other. `advance` counts steps of one image.
///
/// # Errors
/// Those of [`Trajectories::walk`].
pub fn ends(
    denoiser: &mut dyn Denoiser,
    references: &mut [Reference],
    walk: &Trajectories,
    advance: Advance,
) -> Result<Rows> {
    let mut all = vec![end(denoiser, walk, advance)?];
    for Reference { denoiser, .. } in references.iter_mut() {
        all.push(end(denoiser.as_mut(), walk, advance)?);
    }
    let width = all.iter().map(Tensor::stride).sum();
    let of = |at: usize| all.iter().flat_map(move |ends| ends.item(at)).map(|value| f64::from(*value));
    Ok(Rows::new(width, (0..walk.walked()).flat_map(of).collect()))
}

/// The likeness of each reference, from the [`ends`] of all trajectories, and that of the nearest of `candidates` at
/// each level of `found`, under the name `best`, which is walked here. `advance` counts steps of one image.
///
/// # Errors
/// Those of [`Trajectories::walk`].
pub fn likeness(
    ends: &Rows,
    references: &mut [Reference],
    found: &Predictions,
    candidates: usize,
    walk: &Trajectories,
    advance: Advance,
) -> Result<Vec<Likeness>> {
    let len = ends.width() / (1 + references.len());
    let of = |place: usize| {
        let values = (0..ends.count()).flat_map(|at| &ends.row(at)[place * len..][..len]);
        Tensor::new([ends.count(), len], values.map(|value| *value as f32).collect())
    };
    let own = of(0);
    let mut all: Vec<Likeness> =
        references.iter().enumerate().map(|(at, reference)| alike(&reference.name, &own, &of(1 + at))).collect();
    let chosen = found.best(candidates).into_iter().zip(&found.levels).map(|(at, level)| (level.sigma, at)).collect();
    let mut nearest = Nearest { references, chosen };
    all.push(alike("best", &own, &end(&mut nearest, walk, advance)?));
    Ok(all)
}

fn end(denoiser: &mut dyn Denoiser, walk: &Trajectories, advance: Advance) -> Result<Tensor> {
    walk.walk(denoiser, advance, &mut |_, _, _| Ok(()))
}

fn alike(name: &str, own: &Tensor, theirs: &Tensor) -> Likeness {
    let count = own.shape[0];
    let explained = |a: &[f32], b: &[f32]| {
        let mean = a.iter().map(|value| f64::from(*value)).sum::<f64>() / a.len() as f64;
        let whole: f64 = a.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
        1.0 - super::statistics::apart(a, b).powi(2) / whole
    };
    let beside = |shift: usize| -> Vec<f64> {
        (0..count).map(|at| explained(own.item(at), theirs.item((at + shift) % count))).collect()
    };
    Likeness { name: name.to_owned(), same: beside(0), other: beside(1) }
}

impl Predictions {
    /// The place of the reference, of the first `candidates`, whose median distance is least at each level.
    #[must_use]
    pub fn best(&self, candidates: usize) -> Vec<usize> {
        let median = |at: usize, level: usize| Summary::of(self.references[at].apart.at(level).iter().copied()).median;
        let least = |level: usize| {
            (0..candidates.min(self.references.len()))
                .min_by(|a, b| median(*a, level).total_cmp(&median(*b, level)))
                .unwrap_or(0)
        };
        (0..self.levels.len()).map(least).collect()
    }
}

/// The files of the study.
pub const FILES: &[File] = &[TABLE, BEST, SAMPLES, PLOT];
const TABLE: File = File::new("predictions.csv", "medians per level: errors, distances, unexplained shares");
const BEST: File = File::new("best.csv", "the best size of patches per level");
const SAMPLES: File = File::new("samples.csv", "r^2 of the samples of each closed form");
const PLOT: File = File::new("local", "distances and best patches over sigma, r^2 of samples");

/// The results for the denoiser called `name` on images of `data`; the first references are local, with the patches of
/// these sides.
#[must_use]
pub fn results(found: &Predictions, likeness: &[Likeness], patches: &[usize], name: &str, data: &str) -> Results {
    let best = found.best(patches.len());
    let mut table = Table::new(&["sigma", "patch", "apart", "unexplained"]);
    let mut points = Vec::new();
    for (level, at) in best.iter().enumerate() {
        let beside = &found.references[*at];
        let median = |values: &[f64]| Summary::of(values.iter().copied()).median;
        let sigma = found.levels[level].sigma;
        points.push((sigma, patches[*at] as f64));
        table.row(&[&sigma, &patches[*at], &median(beside.apart.at(level)), &median(beside.unexplained.at(level))]);
    }
    let mut alike = Table::new(&["name", "r2_median", "r2_low", "r2_high", "other_noise_median"]);
    for Likeness { name, same, other } in likeness {
        let (own, chance) = (Summary::of(same.iter().copied()), Summary::of(other.iter().copied()));
        alike.row(&[name, &own.median, &own.low, &own.high, &chance.median]);
    }
    let mut distances = over_sigma("Distance of predictions from the network's", Axis::log("|x0' − x0| / √n"));
    for (at, beside) in found.references.iter().enumerate() {
        distances = distances.with(median(&beside.name, &beside.apart).colour(Colour::Cycle(at)));
    }
    let sizes = over_sigma("The patch that predicts best", Axis::linear("side in pixels"))
        .with(Series::line("", points.clone()))
        .with(Series::points("", points));
    let mut shares = Figure::new("Samples from the same noise", Axis::linear("closed form"), Axis::linear("r²"));
    let indexed = |of: fn(&Likeness) -> &Vec<f64>| -> Vec<(f64, f64)> {
        likeness.iter().enumerate().map(|(at, it)| (at as f64, Summary::of(of(it).iter().copied()).median)).collect()
    };
    shares = shares
        .with(Series::bars("median", indexed(|it| &it.same)))
        .with(Series::points("from other noise", indexed(|it| &it.other)));
    let mut results = Results::default();
    let title = format!("{name} beside the patches of {data}");
    results
        .set("data", json!({ "source": data, "images": found.images }))
        .set("predictions", found.json())
        .set(
            "samples",
            likeness
                .iter()
                .map(|it| json!({ "name": it.name, "r2": it.same, "other_noise": it.other }))
                .collect::<Vec<_>>(),
        )
        .table(TABLE, found.table())
        .table(BEST, table)
        .table(SAMPLES, alike)
        .plot(PLOT, Picture::new(&title, 3, vec![distances.into(), sizes.into(), shares.into()]));
    for (level, at) in best.iter().enumerate() {
        let beside = &found.references[*at];
        let apart = Summary::of(beside.apart.at(level).iter().copied());
        results.note(format!(
            "sigma {:.3}: {} predicts best, distance {:.4} (median of {} images; 5 % to 95 %: {:.4} to {:.4})",
            found.levels[level].sigma, beside.name, apart.median, found.images, apart.low, apart.high
        ));
    }
    for Likeness { name, same, other } in likeness {
        let (own, chance) = (Summary::of(same.iter().copied()), Summary::of(other.iter().copied()));
        results.note(format!(
            "{name}: r^2 of {} samples {:.3} (median; 5 % to 95 %: {:.3} to {:.3}), {:.3} from other noise",
            same.len(),
            own.median,
            own.low,
            own.high,
            chance.median
        ));
    }
    results
}
