//! `downhill inspect dimension`: the dimension of data, and samplers where it is large.

use std::path::Path;

use serde_json::json;

use crate::cli::numbers::whole;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data::{self, Dataset, Pixels, Source};
use crate::denoise::closed_form::neighbours::Neighbours;
use crate::error::Result;
use crate::study::dimension::{
    Dimensions, Extent, FILES, Settings, TwoNearest, extents, manifold_rows, nearest_two, parts_of, results, synthetic,
    variances,
};
use crate::study::manifolds::{Found, SAMPLERS};
use crate::study::parts::Rows;
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill inspect dimension -o dimension
  downhill inspect dimension --data X.npy --neighbours 32 -o dimension

The dimension d of data in n values, by three estimators: the spectrum of their covariance; the ratio of the distances \
to the two nearest neighbours (Facco et al. 2017), among all, a quarter, and a sixteenth of the samples; the spectra \
of neighbourhoods. Then data of known d in 100 values, d/n from 0.01 to 1: the error of the exact denoiser as a \
projection, and the quality of samples. 8-bit pixels are scaled to -1 to 1.";

/// Measure the intrinsic dimension of data, and samplers on data of large dimension
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[arg(long, value_name = "DATA", default_value = "digits", help = format!("Data: {}", data::forms()))]
    data: String,

    /// Samples whose two nearest neighbours are searched
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = whole::<usize>(10..=1_000_000))]
    queries: usize,

    /// Samples per neighbourhood
    #[arg(long, value_name = "K", default_value_t = 64, value_parser = whole::<usize>(3..=2000))]
    neighbours: usize,

    /// Number of neighbourhoods
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<usize>(1..=100_000))]
    neighbourhoods: usize,

    /// Samples drawn on each synthetic manifold, by each sampler
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = whole::<usize>(2..=100_000))]
    drawn: usize,

    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    out: OutputArgs,
}

/// The names of the rows of queries among all samples, a quarter and a sixteenth.
const SCALES: [&str; 3] = ["all", "quarter", "sixteenth"];

impl Study for Args {
    const NAME: &'static str = "inspect dimension";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.out.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let data = Source::parse(&self.data)?.load(Pixels::Signed)?;
        let settings = Settings {
            queries: self.queries,
            neighbours: self.neighbours,
            neighbourhoods: self.neighbourhoods,
            drawn: self.drawn,
            seed: self.out.seed,
        };
        let manifolds = synthetic(settings.seed);
        let engine = run.engine()?;
        run.report.set("seed", settings.seed);
        let mut parts = run.parts(&self.shard, &self.out, Some(&engine), || {
            json!({
                "data": data_settings(&data), "queries": self.queries, "neighbours": self.neighbours,
                "neighbourhoods": self.neighbourhoods, "drawn": self.drawn,
            })
        })?;
        // The spectrum is of all samples together: the first run has it.
        parts.measure("spectrum", 1, |_| {
            let row = variances(&data)?;
            run.clock.lap("spectrum");
            Ok(Rows::of_each(vec![row]))
        })?;
        let scales = parts_of(&data);
        for (name, part) in SCALES.into_iter().zip(&scales) {
            let queries = self.queries.min(part.count());
            parts.measure(name, queries, |shard| {
                let neighbours = Neighbours::new(&engine, part.clone(), part.mean())?;
                run.timed("two nearest", shard.len(queries) as u64, "neighbours", |advance| {
                    nearest_two(&neighbours, queries, shard, advance)
                })
            })?;
        }
        let hoods = self.neighbourhoods.min(data.count());
        parts.measure("neighbourhoods", hoods, |shard| {
            let neighbours = Neighbours::new(&engine, data.clone(), data.mean())?;
            run.timed("neighbourhoods", shard.len(hoods) as u64, "neighbourhoods", |advance| {
                extents(&neighbours, hoods, self.neighbours, shard, advance)
            })
        })?;
        parts.measure("manifolds", manifolds.len(), |shard| {
            run.timed("manifolds", shard.len(manifolds.len()) as u64 * SAMPLERS, "manifolds", |advance| {
                manifold_rows(&manifolds, &settings, shard, advance)
            })
        })?;
        let Some(found) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let two_nearest = |(name, part): (&str, &Dataset)| TwoNearest::of_rows(found.rows(name)?, part);
        let (local, of_manifolds) = (found.rows("neighbourhoods")?, found.rows("manifolds")?);
        let rows = manifolds.iter().enumerate();
        Ok(results(&Dimensions {
            data: (data.name.clone(), data.count(), data.dimension()),
            variances: found.rows("spectrum")?.row(0).to_vec(),
            scales: SCALES.into_iter().zip(&scales).map(two_nearest).collect::<Result<_>>()?,
            neighbours: self.neighbours,
            local: (0..local.count()).map(|at| Extent::of_row(local.row(at))).collect(),
            manifolds: rows.map(|(at, manifold)| Found::of_row(of_manifolds.row(at), manifold)).collect(),
        }))
    }
}
