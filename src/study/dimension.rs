//! The intrinsic dimension d of data in n values: by their spectrum, by two nearest neighbours, and by the spectra of
//! neighbourhoods. The manifold hypothesis says d << n.

use serde::Serialize;
use serde_json::json;

use super::Advance;
use super::estimate::Estimate;
use super::manifolds::{self, Found, Manifold, examine};
use super::parts::{Rows, Shard};
use super::results::{File, Results};
use super::statistics::{Summary, sorted};
use crate::data::Dataset;
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::error::{Error, Result};
use crate::kernels::Engine;
use crate::report::Table;
use crate::report::plot::{Axis, Figure, Picture, Series};
use crate::spectral::basis::eigen;
use crate::spectral::host::{precise_gram, precise_second_moment};
use crate::spectral::principal::LARGEST_MATRIX;
use crate::tensor::Tensor;

/// The share of points, those with the largest ratios, that the fit by two neighbours omits (Facco et al. 2017).
const LEFT_OUT: f64 = 0.1;

/// The dimension by a spectrum of variances.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Extent {
    /// (sum of variances)^2 / sum of their squares: the number of directions if all had the same variance.
    pub participation: f64,
    /// Directions that hold 90 % of the variance.
    pub for_90: usize,
    /// Directions that hold 95 % of the variance.
    pub for_95: usize,
    /// Directions that hold 99 % of the variance.
    pub for_99: usize,
}

impl Extent {
    /// The extent of variances, largest first.
    #[must_use]
    pub fn of(variances: &[f64]) -> Self {
        let total: f64 = variances.iter().sum();
        let squares: f64 = variances.iter().map(|variance| variance * variance).sum();
        let holding = |share: f64| {
            let mut held = 0.0;
            let short = variances.iter().take_while(|variance| {
                held += **variance;
                held < share * total
            });
            (short.count() + 1).min(variances.len())
        };
        Self {
            participation: total * total / squares,
            for_90: holding(0.9),
            for_95: holding(0.95),
            for_99: holding(0.99),
        }
    }
}

impl Extent {
    fn row(&self) -> Vec<f64> {
        let counts = [self.for_90, self.for_95, self.for_99].map(|count| count as f64);
        std::iter::once(self.participation).chain(counts).collect()
    }

    /// The extent in a row of [`extents`].
    #[must_use]
    pub fn of_row(row: &[f64]) -> Self {
        let [for_90, for_95, for_99] = [1, 2, 3].map(|at| row[at] as usize);
        Self { participation: row[0], for_90, for_95, for_99 }
    }
}

/// The most samples of a spectrum.
const MOST_OF_SPECTRUM: usize = 10_000;
/// The number of values of synthetic data, and their dimensions.
const AMBIENT: usize = 100;
const SYNTHETIC: [usize; 14] = [1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99];
/// Steps of the samplers on them.
const STEPS: usize = 10;
/// The parts of the samples whose nearest neighbours are searched: all, a quarter, a sixteenth.
const PARTS: [usize; 3] = [1, 4, 16];
/// The fewest samples of a part.
const FEWEST: usize = 10;

/// Settings of the study.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Samples whose two nearest neighbours are searched.
    pub queries: usize,
    /// Samples of a neighbourhood.
    pub neighbours: usize,
    /// Neighbourhoods.
    pub neighbourhoods: usize,
    /// Samples drawn on each synthetic manifold, by each sampler.
    pub drawn: usize,
    pub seed: u64,
}

/// The variances of data along their principal components, of evenly spaced samples where there are many.
///
/// # Errors
/// Those of [`spectrum`].
pub fn variances(data: &Dataset) -> Result<Vec<f64>> {
    spectrum(&data.evenly(MOST_OF_SPECTRUM))
}

/// The estimates by neighbours: [`two_nearest`] among all samples and parts of them, and [`local_extents`].
///
/// # Errors
/// Those of the device.
pub fn by_neighbours(
    engine: &Engine,
    data: Dataset,
    settings: &Settings,
    advance: Advance,
) -> Result<(Vec<TwoNearest>, Vec<Extent>)> {
    let queries = settings.queries.min(data.count());
    let mut scales = Vec::new();
    for part in parts_of(&data) {
        let mean = part.mean();
        scales.push(two_nearest(&Neighbours::new(engine, part, mean)?, queries, advance)?);
    }
    let (mean, hoods) = (data.mean(), settings.neighbourhoods.min(data.count()));
    let local = local_extents(&Neighbours::new(engine, data, mean)?, hoods, settings.neighbours, advance)?;
    Ok((scales, local))
}

/// The parts of the data whose nearest neighbours are searched: all samples, a quarter, a sixteenth.
#[must_use]
pub fn parts_of(data: &Dataset) -> Vec<Dataset> {
    part_sizes(data).map(|size| data.evenly(size)).collect()
}

fn part_sizes(data: &Dataset) -> impl Iterator<Item = usize> + use<> {
    let count = data.count();
    PARTS.into_iter().map(move |part| count / part).filter(|size| *size >= FEWEST)
}

/// Flat and spherical data of known dimension.
#[must_use]
pub fn synthetic(seed: u64) -> Vec<Manifold> {
    let flat = SYNTHETIC.into_iter().chain([AMBIENT]).map(|dimension| Manifold::flat(dimension, AMBIENT, seed));
    flat.chain(SYNTHETIC.into_iter().map(|dimension| Manifold::sphere(dimension, AMBIENT))).collect()
}

/// Samples on synthetic data and measures the samples.
///
/// # Errors
/// Those of [`examine`].
pub fn on_manifolds(manifolds: &[Manifold], settings: &Settings, advance: Advance) -> Result<Vec<Found>> {
    let rows = manifold_rows(manifolds, settings, Shard::WHOLE, advance)?;
    Ok(manifolds.iter().enumerate().map(|(at, manifold)| Found::of_row(rows.row(at), manifold)).collect())
}

/// Samples on the synthetic data of a run and measures the samples, a row for each manifold.
///
/// # Errors
/// Those of [`examine`].
pub fn manifold_rows(manifolds: &[Manifold], settings: &Settings, shard: Shard, advance: Advance) -> Result<Rows> {
    let row = |at: usize| Ok(examine(&manifolds[at], settings.drawn, STEPS, settings.seed, advance)?.row());
    Ok(Rows::of_each(shard.items(manifolds.len()).map(row).collect::<Result<_>>()?))
}

/// The variances of data along their principal components, largest first: from their covariance, or from their inner
/// products where there are fewer samples than values.
///
/// # Errors
/// [`Error::Argument`] for data of more samples and values than the rows of the largest matrix.
pub fn spectrum(data: &Dataset) -> Result<Vec<f64>> {
    let mut data = data.clone();
    data.centre();
    let matrix = if data.dimension() <= data.count().min(LARGEST_MATRIX) {
        precise_second_moment(&data.samples)
    } else if data.count() <= LARGEST_MATRIX {
        precise_gram(&data.samples)
    } else {
        let what = format!("a spectrum of {} samples of {} values", data.count(), data.dimension());
        return Err(Error::argument(what, format!("take at most {LARGEST_MATRIX} of either")));
    };
    Ok(eigen(matrix.as_ref())?.0.into_iter().map(|value| value.max(0.0)).collect())
}

/// The dimension by the distances to two neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TwoNearest {
    /// Samples among which neighbours are searched.
    pub samples: usize,
    /// The median distance of the nearest: the scale at which the data have this dimension.
    pub scale: f64,
    pub dimension: f64,
    /// Half of the 95 % interval of the dimension, from disjoint parts of the queries; 0 where they are too few.
    pub half_width: f64,
}

/// The parts of the queries whose dimensions give the interval, and the fewest ratios of a part.
const INTERVAL_PARTS: usize = 10;
const FEWEST_RATIOS: usize = 20;

/// Facco et al. (2017): where density hardly changes from a point to its second neighbour, the ratio mu of the
/// distances of second and first follows P(mu > m) = m^-d, whatever the density; d is the slope of -ln(1 - F) over ln
/// mu, through zero, without the largest tenth of the ratios. Duplicate samples count once. Evaluated at `queries` of
/// the samples.
///
/// # Errors
/// [`Error::Argument`] for fewer than four distinct samples; those of [`Neighbours::nearest`].
pub fn two_nearest(samples: &Neighbours, queries: usize, advance: Advance) -> Result<TwoNearest> {
    let rows = nearest_two(samples, queries, Shard::WHOLE, advance)?;
    TwoNearest::of_rows(&rows, samples.data())
}

/// A row for each query of a run: the distances of the nearest other sample and of the second, NaN where there are too
/// few.
///
/// # Errors
/// Those of [`Neighbours::nearest`].
pub fn nearest_two(samples: &Neighbours, queries: usize, shard: Shard, advance: Advance) -> Result<Rows> {
    /// Neighbours requested: some may be the sample itself or copies of it.
    const ASKED: usize = 6;
    let asked = share(samples.data(), queries, shard);
    let mut rows = Vec::with_capacity(2 * asked.shape[0]);
    for first in (0..asked.shape[0]).step_by(256) {
        let some = asked.slice(first..(first + 256).min(asked.shape[0]));
        for found in samples.nearest(&some, ASKED)? {
            let mut apart = found.iter().map(|neighbour| neighbour.distance).filter(|distance| *distance > 0.0);
            match (apart.next(), apart.next()) {
                (Some(one), Some(two)) => rows.extend([one, two]),
                _ => rows.extend([f64::NAN; 2]),
            }
        }
        advance(some.shape[0] as u64);
    }
    Ok(Rows::new(2, rows))
}

/// The queries of a run among `queries` samples, evenly spaced in the data.
fn share(data: &Dataset, queries: usize, shard: Shard) -> Tensor {
    let asked = data.evenly(queries);
    let items: Vec<usize> = shard.items(asked.count()).collect();
    let values = items.iter().flat_map(|at| asked.samples.item(*at).iter().copied()).collect();
    Tensor::new([items.len(), asked.dimension()], values)
}

impl TwoNearest {
    /// The dimension from the distances of all queries to their [two nearest](nearest_two) among `data`.
    ///
    /// # Errors
    /// [`Error::Argument`] for fewer than four distinct samples.
    pub fn of_rows(rows: &Rows, data: &Dataset) -> Result<Self> {
        let found = (0..rows.count()).map(|at| (rows.row(at)[0], rows.row(at)[1])).filter(|(one, _)| !one.is_nan());
        let (nearest, logs): (Vec<f64>, Vec<f64>) = found.map(|(one, two)| (one, (two / one).ln())).unzip();
        if logs.len() < 4 {
            let what = format!("`{}` has too few distinct samples for two neighbours", data.name);
            return Err(Error::argument(what, "take more samples"));
        }
        let part = |part: usize| logs.iter().copied().skip(part).step_by(INTERVAL_PARTS);
        let half_width = if logs.len() >= INTERVAL_PARTS * FEWEST_RATIOS {
            Estimate::of(&(0..INTERVAL_PARTS).map(|at| fitted(part(at))).collect::<Vec<_>>()).half_width
        } else {
            0.0
        };
        let scale = Summary::of(nearest).median;
        Ok(Self { samples: data.count(), scale, dimension: fitted(logs.iter().copied()), half_width })
    }
}

/// The slope of -ln(1 - F) over the logarithms of the ratios.
fn fitted(logs: impl Iterator<Item = f64>) -> f64 {
    let logs = sorted(logs);
    let kept = ((1.0 - LEFT_OUT) * logs.len() as f64) as usize;
    let (mut products, mut squares) = (0.0, 0.0);
    for (at, log) in logs[..kept].iter().enumerate() {
        let above = -(1.0 - (at + 1) as f64 / (logs.len() + 1) as f64).ln();
        products += log * above;
        squares += log * log;
    }
    products / squares
}

/// The extents of neighbourhoods of `neighbours` samples around `queries` of the samples.
///
/// # Errors
/// Those of [`Neighbours::nearest`].
pub fn local_extents(samples: &Neighbours, queries: usize, neighbours: usize, advance: Advance) -> Result<Vec<Extent>> {
    let rows = extents(samples, queries, neighbours, Shard::WHOLE, advance)?;
    Ok((0..rows.count()).map(|at| Extent::of_row(rows.row(at))).collect())
}

/// The extents of the neighbourhoods of a run, a row for each.
///
/// # Errors
/// Those of [`Neighbours::nearest`].
pub fn extents(
    samples: &Neighbours,
    queries: usize,
    neighbours: usize,
    shard: Shard,
    advance: Advance,
) -> Result<Rows> {
    let asked = share(samples.data(), queries, shard);
    let mut rows = Vec::with_capacity(asked.shape[0]);
    for first in (0..asked.shape[0]).step_by(64) {
        let some = asked.slice(first..(first + 64).min(asked.shape[0]));
        for found in samples.nearest(&some, neighbours + 1)? {
            let near = found.iter().flat_map(|found| samples.data().samples.item(found.sample).iter().copied());
            let shape = [found.len(), samples.data().dimension()];
            let near = Dataset { samples: Tensor::new(shape, near.collect()), ..samples.data().evenly(1) };
            rows.push(Extent::of(&spectrum(&near)?).row());
        }
        advance(some.shape[0] as u64);
    }
    Ok(Rows::of_each(rows))
}

/// The files of the study; those of [`super::manifolds`] are among them.
pub const FILES: &[File] = &[SPECTRUM, NEAREST, LOCAL, manifolds::TABLE, PLOT, manifolds::PLOT];
const SPECTRUM: File = File::new("spectrum.npy", "variances, largest first");
const NEAREST: File = File::new("two_nearest.csv", "samples, scale, dimension, half of its 95 % interval");
const LOCAL: File = File::new("local.csv", "the extent of each neighbourhood");
const PLOT: File = File::new("dimension", "the three estimates of the data");

/// The measurements of the dimension of data.
#[derive(Clone, Debug)]
pub struct Dimensions {
    /// The name of the data, their samples and the values per sample.
    pub data: (String, usize, usize),
    /// Variances along principal components, largest first.
    pub variances: Vec<f64>,
    /// By two neighbours, among all samples and parts of them.
    pub scales: Vec<TwoNearest>,
    /// Samples per neighbourhood.
    pub neighbours: usize,
    /// The extent of each neighbourhood.
    pub local: Vec<Extent>,
    /// Synthetic data of known dimension.
    pub manifolds: Vec<Found>,
}

/// The results of the study.
#[must_use]
pub fn results(found: &Dimensions) -> Results {
    let Dimensions { data: (name, count, n), variances, scales, neighbours, local, manifolds } = found;
    let extent = Extent::of(variances);
    let participation = Summary::of(local.iter().map(|extent| extent.participation));
    let for_95 = Summary::of(local.iter().map(|extent| extent.for_95 as f64));
    let mut nearest = Table::new(&["samples", "scale", "dimension", "half_width_95"]);
    for TwoNearest { samples, scale, dimension, half_width } in scales {
        nearest.row(&[samples, scale, dimension, half_width]);
    }
    let mut extents = Table::new(&["participation", "for_90", "for_95", "for_99"]);
    for Extent { participation, for_90, for_95, for_99 } in local {
        extents.row(&[participation, for_90, for_95, for_99]);
    }
    let title = format!("{name}: {count} samples of {n} values");
    let mut results = Results::default();
    results
        .set("data", json!({ "source": name, "samples": count, "values": n }))
        .set("spectrum", json!(extent))
        .set("two_nearest", json!(scales))
        .set("local", json!({ "neighbours": neighbours, "participation": participation, "for_95": for_95 }))
        .set("manifolds", json!(manifolds))
        .numbers(SPECTRUM, &[variances.len()], variances)
        .table(NEAREST, nearest)
        .table(LOCAL, extents)
        .table(manifolds::TABLE, manifolds::table(manifolds))
        .plot(PLOT, picture(variances, scales, local, &title))
        .plot(manifolds::PLOT, manifolds::picture(manifolds))
        .note(format!(
            "spectrum: {} directions hold 95 % of the variance, participation {:.1}, of {n}",
            extent.for_95, extent.participation
        ));
    if let Some(TwoNearest { dimension, scale, half_width, .. }) = scales.first() {
        results.note(format!(
            "two nearest neighbours: dimension {dimension:.1} +- {half_width:.1} (95 %) at distance {scale:.2}"
        ));
    }
    results.note(format!(
        "neighbourhoods of {neighbours}: {:.0} directions hold 95 % of the variance, participation {:.1}",
        for_95.median, participation.median
    ));
    for sampler in manifolds.first().map_or(&[][..], |found| &found.samplers).iter().map(|samples| samples.sampler) {
        let chances = manifolds.iter().flat_map(|found| &found.samplers).filter(|samples| samples.sampler == sampler);
        let far = chances.filter(|samples| samples.chance < CHANCE).count();
        let all = manifolds.len();
        results.note(format!(
            "{sampler}: farther from the data than 95 % of other data in {far} of {all} data sets; {:.1} by chance",
            CHANCE * all as f64
        ));
    }
    results
}

/// The chance below which samples are told apart from other data.
const CHANCE: f64 = 0.05;

fn picture(variances: &[f64], scales: &[TwoNearest], local: &[Extent], title: &str) -> Picture {
    let total: f64 = variances.iter().sum();
    let held = variances.iter().scan(0.0, |held, variance| {
        *held += variance / total;
        Some(*held)
    });
    let held = held.enumerate().map(|(at, held)| ((at + 1) as f64, held)).collect();
    let pca = Figure::new("Spectrum", Axis::log("directions"), Axis::linear("share of the variance").over(0.0, 1.05))
        .with(Series::line("held by the leading ones", held));
    let points: Vec<(f64, f64)> = scales.iter().map(|scale| (scale.scale, scale.dimension)).collect();
    let band = |scale: &TwoNearest| (scale.dimension - scale.half_width, scale.dimension + scale.half_width);
    let two = Figure::new(
        "Two nearest neighbours",
        Axis::linear("median distance of the nearest"),
        Axis::linear("dimension"),
    )
    .with(
        Series::points("among all, 1/4, 1/16 of the samples; 95 %", points.clone())
            .band(scales.iter().map(band).collect()),
    )
    .with(Series::line("", points));
    let mut counts = std::collections::BTreeMap::new();
    for extent in local {
        *counts.entry(extent.for_95).or_insert(0.0) += 1.0;
    }
    let bars = counts.into_iter().map(|(dimension, count)| (dimension as f64, count)).collect();
    let hoods = Figure::new(
        "Neighbourhoods",
        Axis::linear("directions for 95 % of the variance"),
        Axis::linear("neighbourhoods"),
    )
    .with(Series::bars("", bars));
    Picture::new(title, 3, vec![pca.into(), two.into(), hoods.into()])
}
