//! `downhill inspect dimension`: of how many dimensions data are, and what happens where they are of too many.

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use crate::cli::args::Global;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::data::{Pixels, Source};
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::error::Result;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::report::{Console, Table};
use crate::study::dimension::{Extent, TwoNearest, evenly, local_extents, spectrum, two_nearest};
use crate::study::manifolds::{Found, Manifold, SAMPLERS, examine};
use crate::study::statistics::Summary;

const FILES: [&str; 6] = ["spectrum.npy", "two_nearest.csv", "local.csv", "manifolds.csv", "dimension", "manifolds"];
/// Samples of a spectrum at most.
const SPECTRUM: usize = 10_000;
/// Values of the space that synthetic manifolds lie in, and their dimensions.
const AMBIENT: usize = 100;
const DIMENSIONS: [usize; 14] = [1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99];
/// Steps of the samplers on them.
const STEPS: usize = 10;

const EXAMPLES: &str = "\
Examples:
  downhill inspect dimension -o dimension
  downhill inspect dimension --data X.npy --neighbours 32 -o dimension

The dimension d of data in n values, by three estimators: the spectrum of their covariance; the ratio of
the distances to the two nearest neighbours (Facco et al. 2017), among all, a quarter, a sixteenth of the
samples; the spectra of neighbourhoods. Then data of known d in 100 values, d/n from 0.01 to 1: how wrong
the exact denoiser is as a projection, and how good samples are. The folder gets spectrum.npy,
two_nearest.csv, local.csv, manifolds.csv, dimension.svg, dimension.png, manifolds.svg, manifolds.png and
report.json. Bytes of images count as -1 to 1.";

/// Measure the intrinsic dimension of data, and what samplers do where it is large
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// `digits`, an `.npy` of shape (N,...), an IDX file (gzip or not) or a folder of images
    #[arg(long, value_name = "DATA", default_value = "digits")]
    data: String,

    /// Samples whose two nearest neighbours are looked for
    #[arg(long, value_name = "N", default_value_t = 2000, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(10..=1_000_000))]
    queries: usize,

    /// Samples of a neighbourhood
    #[arg(long, value_name = "K", default_value_t = 64, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(3..=2000))]
    neighbours: usize,

    /// Neighbourhoods
    #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    neighbourhoods: usize,

    /// Samples drawn on each synthetic manifold, by each sampler
    #[arg(long, value_name = "N", default_value_t = 512, allow_negative_numbers = true, value_parser = RangedU64ValueParser::<usize>::new().range(2..=100_000))]
    drawn: usize,

    #[command(flatten)]
    out: OutputArgs,
}

/// Runs `downhill inspect dimension`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("inspect dimension", &args.out.output, &FILES, global, console)?;
    let data = Source::parse(&args.data)?.load(Pixels::Signed)?;
    let manifolds: Vec<Manifold> = DIMENSIONS
        .into_iter()
        .chain([AMBIENT])
        .map(|dimension| Manifold::flat(dimension, AMBIENT, args.out.seed))
        .chain(DIMENSIONS.into_iter().map(|dimension| Manifold::sphere(dimension, AMBIENT)))
        .collect();
    let variances = spectrum(&evenly(&data, SPECTRUM))?;
    run.clock.lap("spectrum");
    let engine = run.engine()?;
    let (queries, hoods) = (args.queries.min(data.count()), args.neighbourhoods.min(data.count()));
    let sizes: Vec<usize> = [1, 4, 16].iter().map(|part| data.count() / part).filter(|size| *size >= 10).collect();
    let total: usize = sizes.iter().map(|size| queries.min(*size)).sum::<usize>() + hoods;
    let bar = run.progress("dimensions", total as u64 + manifolds.len() as u64 * SAMPLERS);
    let advance = |done| bar.advance(done);
    let mut scales = Vec::new();
    for size in sizes {
        let part = evenly(&data, size);
        let mean = part.mean();
        scales.push(two_nearest(&Neighbours::new(&engine, part, mean)?, queries, &advance)?);
    }
    let (n, count, name, mean) = (data.dimension(), data.count(), data.name.clone(), data.mean());
    let local = local_extents(&Neighbours::new(&engine, data, mean)?, hoods, args.neighbours, &advance)?;
    run.clock.lap("neighbours");
    let found = manifolds.iter().map(|manifold| examine(manifold, args.drawn, STEPS, args.out.seed, &advance));
    let found = found.collect::<Result<Vec<_>>>()?;
    drop(bar);
    run.clock.lap("manifolds");

    let extent = Extent::of(&variances);
    let participation = Summary::of(local.iter().map(|extent| extent.participation));
    let for_95 = Summary::of(local.iter().map(|extent| extent.for_95 as f64));
    run.report
        .set("data", json!({ "source": name, "samples": count, "values": n }))
        .set("seed", args.out.seed)
        .set("spectrum", json!(extent))
        .set("two_nearest", json!(scales))
        .set("local", json!({ "neighbours": args.neighbours, "participation": participation, "for_95": for_95 }))
        .set("manifolds", json!(found));
    run.folder.numbers(FILES[0], &[variances.len()], &variances)?;
    let mut table = Table::new(&["samples", "scale", "dimension"]);
    for TwoNearest { samples, scale, dimension } in &scales {
        table.row(&[samples, scale, dimension]);
    }
    run.folder.table(FILES[1], &table)?;
    let mut table = Table::new(&["participation", "for_90", "for_95", "for_99"]);
    for Extent { participation, for_90, for_95, for_99 } in &local {
        table.row(&[participation, for_90, for_95, for_99]);
    }
    run.folder.table(FILES[2], &table)?;
    run.folder.table(FILES[3], &table_of(&found))?;
    run.folder.picture(
        FILES[4],
        &data_picture(&variances, &scales, &local, &format!("{name}: {count} samples of {n} values")),
    )?;
    run.folder.picture(FILES[5], &manifolds_picture(&found))?;
    console.note(&format!(
        "spectrum: {} directions hold 95 % of the variance, participation {:.1}, of {n}",
        extent.for_95, extent.participation
    ));
    if let Some(TwoNearest { dimension, scale, .. }) = scales.first() {
        console.note(&format!("two nearest neighbours: dimension {dimension:.1} at distance {scale:.2}"));
    }
    console.note(&format!(
        "neighbourhoods of {}: {:.0} directions hold 95 % of the variance, participation {:.1}",
        args.neighbours, for_95.median, participation.median
    ));
    run.finish()
}

fn table_of(found: &[Found]) -> Table {
    let columns =
        ["shape", "dimension", "ambient", "relative_error_median", "relative_error_high", "nu_low", "nu_high"];
    let samplers = found.first().map_or(&[][..], |found| &found.samplers);
    let names: Vec<&str> =
        columns.into_iter().chain(samplers.iter().map(|(name, _)| *name)).chain(["other data"]).collect();
    let mut table = Table::new(&names);
    for each in found {
        let (error, nu) = (&each.relative_error, &each.nu);
        let mut cells: Vec<&dyn std::fmt::Display> =
            vec![&each.shape, &each.dimension, &each.ambient, &error.median, &error.high, &nu.low, &nu.high];
        cells.extend(each.samplers.iter().map(|(_, distance)| distance as &dyn std::fmt::Display));
        cells.push(&each.floor);
        table.row(&cells);
    }
    table
}

fn data_picture(variances: &[f64], scales: &[TwoNearest], local: &[Extent], title: &str) -> Picture {
    let total: f64 = variances.iter().sum();
    let held = variances.iter().scan(0.0, |held, variance| {
        *held += variance / total;
        Some(*held)
    });
    let held = held.enumerate().map(|(at, held)| ((at + 1) as f64, held)).collect();
    let pca = Figure::new("Spectrum", Axis::log("directions"), Axis::linear("share of the variance").over(0.0, 1.05))
        .with(Series::line("held by the leading ones", held));
    let points: Vec<(f64, f64)> = scales.iter().map(|scale| (scale.scale, scale.dimension)).collect();
    let two = Figure::new("Two nearest neighbours", Axis::linear("distance of the nearest"), Axis::linear("dimension"))
        .with(Series::points("among all, 1/4, 1/16 of the samples", points.clone()))
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
    Picture::new(title, 2, vec![pca.into(), two.into(), hoods.into()])
}

fn manifolds_picture(found: &[Found]) -> Picture {
    let of = |shape: &'static str| found.iter().filter(move |found| found.shape == shape);
    let at = |found: &Found| found.dimension as f64 / found.ambient as f64;
    let mut panels = Vec::new();
    let mut errors =
        Figure::new("Error of the denoiser as a projection", Axis::linear("d / n"), Axis::log("error / distance"));
    for (index, shape) in ["flat", "sphere"].into_iter().enumerate() {
        let points = of(shape).map(|found| (at(found), found.relative_error.high)).collect();
        errors = errors.with(Series::line(&format!("{shape}, 95 %"), points).colour(Colour::Cycle(index)));
    }
    let law = (1..100).map(|at| f64::from(at) / 100.0).map(|share| (share, (share / (1.0 - share)).sqrt())).collect();
    let errors = errors
        .with(Series::dashed("√(d / (n − d))", law).colour(Colour::Black))
        .with(Series::dashed("1: no gradient left", vec![(0.0, 1.0), (1.0, 1.0)]).colour(Colour::Grey));
    panels.push(errors.into());
    for shape in ["flat", "sphere"] {
        let title = format!("Samples, {shape}");
        let mut figure = Figure::new(&title, Axis::linear("d / n"), Axis::log("sliced Wasserstein distance"));
        let names = of(shape).next().map_or(Vec::new(), |found| found.samplers.iter().map(|(name, _)| *name).collect());
        for (index, name) in names.into_iter().enumerate() {
            let points = of(shape).map(|found| (at(found), found.samplers[index].1)).collect();
            figure = figure.with(Series::line(name, points).colour(Colour::Cycle(index)));
        }
        let floor = of(shape).map(|found| (at(found), found.floor)).collect();
        panels.push(figure.with(Series::dashed("other data", floor).colour(Colour::Grey)).into());
    }
    Picture::new("Data of d dimensions in 100 values", 2, panels)
}
