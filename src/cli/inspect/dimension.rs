//! `downhill inspect dimension`: the dimension of data, and samplers where it is large.

use std::path::Path;

use clap::builder::RangedU64ValueParser;

use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data::{self, Pixels, Source};
use crate::error::Result;
use crate::study::dimension::{
    Dimensions, FILES, Settings, by_neighbours, on_manifolds, results, searches, synthetic, variances,
};
use crate::study::manifolds::SAMPLERS;
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
    #[arg(long, value_name = "N", default_value_t = 2000, allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(10..=1_000_000))]
    queries: usize,

    /// Samples per neighbourhood
    #[arg(long, value_name = "K", default_value_t = 64, allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(3..=2000))]
    neighbours: usize,

    /// Number of neighbourhoods
    #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    neighbourhoods: usize,

    /// Samples drawn on each synthetic manifold, by each sampler
    #[arg(long, value_name = "N", default_value_t = 512, allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=100_000))]
    drawn: usize,

    #[command(flatten)]
    out: OutputArgs,
}

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
        let variances = variances(&data)?;
        run.clock.lap("spectrum");
        let engine = run.engine()?;
        run.report.set("seed", settings.seed);
        let name = (data.name.clone(), data.count(), data.dimension());
        let (scales, local) = run.timed("neighbours", searches(&data, &settings), "neighbours", |advance| {
            by_neighbours(&engine, data, &settings, advance)
        })?;
        let manifolds = run.timed("manifolds", manifolds.len() as u64 * SAMPLERS, "manifolds", |advance| {
            on_manifolds(&manifolds, &settings, advance)
        })?;
        Ok(results(&Dimensions { data: name, variances, scales, neighbours: self.neighbours, local, manifolds }))
    }
}
