//! Tables and plots over noise levels, which several studies share.

use crate::denoise::Level;
use crate::denoise::diffusion::NoiseTable;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, FirstRow, Heat, Scale, Series};
use crate::study::norms::ByLevel;
use crate::study::statistics::{Summary, sorted};

/// Levels are evenly spaced on an axis when no step is off by more than this share of a step.
const EVEN: f64 = 0.51;

/// Images per bin of a histogram on average, at least.
const IMAGES_OF_BIN: usize = 4;
/// Bins of a histogram, at least.
const FEWEST_BINS: usize = 8;

/// One row per level: mean, median, and the 5 % and 95 % quantiles.
pub fn table(measured: &[(&str, &ByLevel)]) -> Table {
    const COLUMNS: [&str; 4] = ["mean", "median", "low", "high"];
    let names = measured.iter().flat_map(|(name, _)| COLUMNS.map(|column| format!("{name}_{column}")));
    let names: Vec<String> = ["timestep", "sigma"].map(str::to_owned).into_iter().chain(names).collect();
    let mut table = Table::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (at, level) in measured.first().map_or(&[][..], |(_, first)| &first.levels).iter().enumerate() {
        let mut cells = vec![level.timestep.map_or(String::new(), |t| t.to_string()), level.sigma.to_string()];
        for (_, values) in measured {
            let Summary { mean, median, low, high, .. } = Summary::of(values.at(at).iter().copied());
            cells.extend([mean, median, low, high].map(|value| value.to_string()));
        }
        table.row(&cells.iter().map(|cell| cell as &dyn std::fmt::Display).collect::<Vec<_>>());
    }
    table
}

/// The median over sigma, with a band from the 5 % to the 95 % quantile.
#[must_use]
pub fn median(name: &str, measured: &ByLevel) -> Series {
    let summaries: Vec<Summary> =
        (0..measured.levels.len()).map(|at| Summary::of(measured.at(at).iter().copied())).collect();
    let points = measured.levels.iter().zip(&summaries).map(|(level, summary)| (level.sigma, summary.median)).collect();
    Series::line(name, points).band(summaries.iter().map(|summary| (summary.low, summary.high)).collect())
}

/// A dot for each value over sigma.
#[must_use]
pub fn dots(name: &str, measured: &ByLevel) -> Series {
    let levels = measured.levels.iter().enumerate();
    let points = levels.flat_map(|(at, level)| measured.at(at).iter().map(|value| (level.sigma, *value)));
    Series::points(name, points.collect()).colour(Colour::Grey)
}

/// A horizontal line.
#[must_use]
pub fn across(name: &str, measured: &ByLevel, value: f64) -> Series {
    let ends = measured.levels.first().zip(measured.levels.last());
    let points = ends.map_or(Vec::new(), |(first, last)| vec![(first.sigma, value), (last.sigma, value)]);
    Series::dashed(name, points).colour(Colour::Grey)
}

/// A figure over sigma.
#[must_use]
pub fn over_sigma(title: &str, y: Axis) -> Figure {
    Figure::new(title, Axis::log("σ"), y)
}

/// Timesteps of the usual 1000, of betas from 0.0001 to 0.02, above a figure over the sigma of `levels`.
#[must_use]
pub fn with_timesteps(figure: Figure, levels: &[Level]) -> Figure {
    let table = NoiseTable::default();
    let sigmas = sorted(levels.iter().map(|level| level.sigma));
    let (Some(low), Some(high)) = (sigmas.first(), sigmas.last()) else { return figure };
    let marks = [0, 50, 100, 200, 300, 400, 500, 600, 700, 800, 999].map(|t| (table.sigmas()[t], t.to_string()));
    let within = marks.into_iter().filter(|(sigma, _)| (*low..=*high).contains(sigma)).collect();
    figure.with_above("t", within)
}

/// The histogram of the values at each level; the noise rises to the right. Levels that are even on no axis are shown
/// over log sigma, each over the columns to which it is the nearest. There are at most `bins` bins, and fewer for few
/// images, so that a column is not a row of single images.
#[must_use]
pub fn histogram(title: &str, label: &str, measured: &ByLevel, bins: usize) -> Heat {
    let bins = bins.min((measured.images / IMAGES_OF_BIN).max(FEWEST_BINS));
    let (x, shown) = columns_of(&measured.levels);
    let columns = shown.len();
    let summary = Summary::of(measured.values.iter().copied());
    // Values above two are counted in the last bin.
    let (mut low, mut high) = (summary.least.min(0.9), summary.most.clamp(1.1, 2.0));
    let room = 0.05 * (high - low);
    (low, high) = ((low - room).max(0.0), high + room);
    let mut values = vec![0.0; bins * columns];
    for (column, at) in shown.into_iter().enumerate() {
        for value in measured.at(at).iter().filter(|value| value.is_finite()) {
            let bin = ((value - low) / (high - low) * bins as f64) as usize;
            values[bin.min(bins - 1) * columns + column] += 1.0 / measured.images as f64;
        }
    }
    Heat {
        title: title.to_owned(),
        x,
        y: Axis::linear(label).over(low, high),
        rows: bins,
        columns,
        values,
        colours: Axis::linear(&format!("share of {} images", measured.images)),
        first_row: FirstRow::Bottom,
    }
}

/// The axis of falling levels, and the level of each column from the least noise: timesteps or log sigma where they are
/// even, else log sigma, with as many columns as there are levels.
fn columns_of(levels: &[Level]) -> (Axis, Vec<usize>) {
    let timesteps: Option<Vec<f64>> = levels.iter().map(|level| level.timestep).collect();
    let logs: Vec<f64> = levels.iter().map(|level| level.sigma.ln()).collect();
    let each = (0..levels.len()).rev().collect();
    let over_sigma =
        |(low, high): (f64, f64)| Axis { scale: Scale::Log, ..Axis::linear("σ") }.over(low.exp(), high.exp());
    if let Some((low, high)) = timesteps.as_deref().and_then(even) {
        return (Axis::linear("timestep").over(low, high), each);
    }
    if let Some(range) = even(&logs) {
        return (over_sigma(range), each);
    }
    let (least, most) = (logs[logs.len() - 1], logs[0]);
    let stride = (most - least) / (logs.len() - 1) as f64;
    let nearest = |column: usize| {
        let place = least + column as f64 * stride;
        let apart = |at: &usize| (logs[*at] - place).abs();
        (0..logs.len()).min_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap_or(0)
    };
    (over_sigma((least - 0.5 * stride, most + 0.5 * stride)), (0..logs.len()).map(nearest).collect())
}

/// The range of cells around values that fall evenly; `None` for others.
fn even(values: &[f64]) -> Option<(f64, f64)> {
    let (first, last) = (values.first()?, values.last()?);
    let stride = (first - last) / (values.len().max(2) - 1) as f64;
    let off = |(at, value): (usize, &f64)| (first - at as f64 * stride - value).abs() > EVEN * stride;
    (stride > 0.0 && !values.iter().enumerate().any(off)).then_some((last - 0.5 * stride, first + 0.5 * stride))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_of_few_images_has_few_bins() {
        let of = |images: usize| {
            let mut measured = ByLevel::new([2.0, 1.0].map(Level::at_sigma).to_vec(), images);
            (0..2 * images).for_each(|at| measured.set(at / images, at % images, 1.0));
            histogram("", "", &measured, 40)
        };
        assert_eq!([of(2).rows, of(32).rows, of(100).rows, of(1000).rows], [8, 8, 25, 40]);
        assert!((of(100).values.iter().sum::<f64>() - 2.0).abs() < 1e-9, "each column is whole");
    }

    #[test]
    fn uneven_levels_are_shown_over_sigma() {
        let levels: Vec<Level> = [100.0, 10.0, 0.02, 0.01].map(Level::at_sigma).to_vec();
        let (axis, columns) = columns_of(&levels);
        assert_eq!((axis.scale, axis.label.as_str()), (Scale::Log, "σ"));
        // Of places 0.01, 0.215, 4.6 and 100: the levels nearest in log sigma.
        assert_eq!(columns, [3, 2, 1, 0]);
        let levels: Vec<Level> = [100.0, 0.03, 0.02, 0.01].map(Level::at_sigma).to_vec();
        assert_eq!(columns_of(&levels).1, [3, 1, 0, 0]);
    }
}
