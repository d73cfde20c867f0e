//! `downhill linear pca`: the principal components of data.

use std::path::Path;

use clap::ValueEnum;
use serde_json::json;

use super::sigmas::expect_components;
use crate::cli::moments::{Keeper, description_of};
use crate::cli::numbers::whole;
use crate::cli::parts::ShardArgs;
use crate::cli::shard::ShardArg;
use crate::cli::study::{DataArgs, OutputArgs, Streamed, Study, StudyRun, Usual, help};
use crate::error::{Error, Result};
use crate::formats::check_writable;
use crate::moments::merge::{listed, merge};
use crate::moments::{Blocks, Moments};
use crate::spectral::passes::Passes;
use crate::spectral::principal::LARGEST_MATRIX;
use crate::spectral::streamed::{components_of_moments, expected_passes, streamed_components};
use crate::spectral::{RelativeTo, Route, Settings, principal_components};
use crate::study::parts::Shard;
use crate::study::pca::{FILES, results, results_of_moments, results_of_passes};
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill linear pca --data digits -k 32 --center -o components
  downhill linear pca --data X.npy -k 8 -o components
  downhill linear pca --data images/ -k 8 --route matrix-free -o components
  downhill linear pca --data 'rows/*.npy' -k 8 --center --stream -o components
  downhill linear pca --data 'rows/*.npy' -k 8 --center --shard auto -o components
  downhill linear pca --data moments.npz -k 8 --center -o components   of `downhill moments`, in float64 on the host

Without --center the mean of the data is usually the first component. 8-bit pixels are scaled to 0 to 1.

Products are in float32. If that cannot hold the eigenvalues beside the largest, or does not reach --tolerance, all of \
them are computed again with products in float64 on the host, and a note says so.";

/// Find the principal components of data
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    /// Number of components, by eigenvalue, largest first
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8",
        value_parser = whole::<usize>(1..=1_000_000))]
    components: usize,

    /// Residual |A v - lambda v| to reach, relative to each eigenvalue
    #[arg(long, value_name = "R", default_value = "1e-5")]
    tolerance: f64,

    /// Method, instead of the cheapest one
    #[arg(long, value_enum, value_name = "ROUTE")]
    route: Option<RouteFlag>,

    /// Read the data in passes, a few rows at a time, with products in float64 on the host
    ///
    /// One pass for up to 4096 values per sample, else one for each product with a block of vectors. Data that the
    /// memory of this machine does not hold are read so without this flag.
    #[arg(long)]
    stream: bool,

    /// Read a contiguous range of the samples only, the I-th of N: one of N runs that share a folder. Each keeps the
    /// sums of its samples in DIR/parts; the run that finds all parts writes the results. `auto` takes I/N from the
    /// environment of Slurm, PBS, Grid Engine, LSF, Kubernetes, CI jobs, MPI or GNU parallel
    #[arg(long, value_name = "I/N|auto", conflicts_with = "samples")]
    shard: Option<ShardArg>,

    #[command(flatten)]
    output: OutputArgs,
}

/// All samples as they are.
const USUAL: Usual = Usual { samples: usize::MAX, centred: false };

/// The values of `--route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RouteFlag {
    /// By the matrix of second moments, p x p
    Moment,
    /// By the matrix of inner products of samples, n x n
    Gram,
    /// By products with the data only, on the device
    MatrixFree,
}

impl From<RouteFlag> for Route {
    fn from(flag: RouteFlag) -> Self {
        match flag {
            RouteFlag::Moment => Self::Moment,
            RouteFlag::Gram => Self::Gram,
            RouteFlag::MatrixFree => Self::MatrixFree,
        }
    }
}

impl Study for Args {
    const NAME: &'static str = "linear pca";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        if Moments::is_at(Path::new(&self.data.data)) {
            return self.of_moments(run);
        }
        if let Some(shard) = (ShardArgs { shard: self.shard }).resolve(run)? {
            return self.in_shards(shard, run);
        }
        if let Some(streamed) = self.data.stream(USUAL, self.stream, run)? {
            return self.in_passes(streamed, run);
        }
        let (data, mean) = self.data.load_with_mean(USUAL, run)?;
        expect_components(self.components, data.dimension())?;
        let settings = self.settings();
        settings.check(data.dimension())?;
        let engine = run.engine()?;
        let found = principal_components(&engine, &data.samples, &settings, self.route.map(Route::from))?;
        run.clock.lap("components");
        Ok(results(&found, mean.as_deref()))
    }
}

impl Args {
    /// The components of data whose moments are known.
    fn of_moments(&self, run: &mut StudyRun) -> Result<Results> {
        let file = &self.data.data;
        let refuse = |flag: &str, why: &str| {
            let what = format!("`{flag}` has no meaning for the moments in `{file}`, {why}");
            Err(Error::argument(what, format!("omit `{flag}`, or name the data themselves")))
        };
        if self.data.samples.is_some() {
            return refuse("--samples", "which are those of all samples");
        }
        if self.route.is_some_and(|route| route != RouteFlag::Moment) {
            return refuse("--route", "which are a matrix already");
        }
        if self.shard.is_some() {
            return refuse("--shard", "which are of all shards");
        }
        let moments = Moments::read_whole(Path::new(file))?;
        let values = moments.description.values();
        expect_components(self.components, values)?;
        let settings = self.settings();
        run.report.set(
            "data",
            json!({
                "source": file, "samples": moments.description.rows, "sample_shape": moments.description.shape,
                "centred": self.data.center, "moments": moments.description.settings,
            }),
        );
        run.clock.lap("data");
        let (found, mean) = components_of_moments(&moments, &settings, self.data.center)?;
        run.clock.lap("components");
        Ok(results_of_moments(&found, mean.as_deref()))
    }

    /// The components of data whose sums several runs share: this one adds those of its samples.
    fn in_shards(&self, shard: Shard, run: &mut StudyRun) -> Result<Results> {
        if self.route.is_some_and(|route| route != RouteFlag::Moment) {
            let what = "shards add to one matrix, and `--route` asks for another way";
            return Err(Error::argument(what, "omit `--route`, or omit `--shard`"));
        }
        let Some(Streamed { mut stream, centred, .. }) = self.data.stream(USUAL, true, run)? else {
            return Ok(Results::default());
        };
        let values = stream.dimension();
        expect_components(self.components, values)?;
        if values > LARGEST_MATRIX {
            let what = format!("shards add to a matrix of {values} rows, and the limit is {LARGEST_MATRIX}");
            return Err(Error::argument(what, "read the data in passes by one run: `--stream`"));
        }
        let description = description_of(stream.as_mut())?;
        let folder = self.output.output.join("parts");
        let file = |index: usize| folder.join(format!("moments-{index}-of-{}.npz", shard.of));
        let own = file(shard.index);
        check_writable(&own)?;
        expect_parts_of(&folder, shard.of)?;
        let blocks = Blocks::of(description.rows);
        let range = blocks.shard(shard.index, shard.of);
        let mut moments = Moments::new(description.clone(), range.clone())?;
        if own.exists() {
            let kept = Moments::read(&own)?;
            let same = description.expect(&kept.description, ("this run", &own.display().to_string()));
            same.map_err(|error| of_other_settings(&folder, error))?;
            moments = kept.continued(range)?;
        }
        moments.shards = Some(shard.of);
        let left = moments.end() - moments.next_row();
        let mut keeper = Keeper::new(&own);
        run.timed("reading", left as u64, "moments", |advance| {
            moments.add_stream(stream.as_mut(), &mut |moments, added| {
                advance(added as u64);
                keeper.see(moments)
            })
        })?;
        if left > 0 {
            moments.write(&own)?;
        }
        let (mut parts, mut missing) = (Vec::new(), Vec::new());
        for index in 0..shard.of {
            let range = blocks.shard(index, shard.of);
            let wanted = blocks.first_row(range.end) - blocks.first_row(range.start);
            let part = match file(index) {
                _ if index == shard.index => moments.clone(),
                file if file.exists() => Moments::read(&file)?,
                _ => {
                    missing.push(index.to_string());
                    continue;
                }
            };
            if part.held() < wanted {
                missing.push(index.to_string());
            }
            parts.push((file(index).display().to_string(), part));
        }
        let merged = merge(parts, true)?;
        if !merged.is_whole() {
            let (held, all) = (listed(&merged.rows()), description.rows);
            let (folder, missing, of) = (folder.display(), missing.join(", "), shard.of);
            run.console.note(&format!(
                "the parts in {folder} hold {held} of {all}: other runs add the rest (`--shard` {missing} of {of})"
            ));
            return Ok(Results::unfinished());
        }
        let (found, mean) = components_of_moments(&merged, &self.settings(), centred)?;
        run.clock.lap("components");
        Ok(results_of_moments(&found, mean.as_deref()))
    }

    fn settings(&self) -> Settings {
        Settings {
            tolerance: self.tolerance,
            relative_to: RelativeTo::Each,
            seed: self.output.seed,
            ..Settings::new(self.components)
        }
    }

    /// The components of data that are read in passes.
    fn in_passes(&self, streamed: Streamed, run: &mut StudyRun) -> Result<Results> {
        let Streamed { mut stream, samples, centred, because } = streamed;
        if let Some(because) = because {
            run.console.note(&format!("note: {because}: the data are read in passes, as with `--stream`"));
        }
        expect_components(self.components, stream.dimension())?;
        let settings = self.settings();
        let route = self.route.map(Route::from);
        let rows = samples as u64 * expected_passes(stream.dimension(), route);
        let found = run.timed("reading", rows, "components", |advance| {
            let watch = |rows| {
                advance(rows);
                Ok(())
            };
            streamed_components(Passes::over(stream.as_mut(), samples, &watch), &settings, centred, route)
        })?;
        Ok(results_of_passes(&found, samples))
    }
}

/// The error of a part of other settings, with the way out.
fn of_other_settings(folder: &Path, error: Error) -> Error {
    match error {
        Error::Argument { what, .. } => {
            let folder = folder.display();
            Error::argument(
                what,
                format!("repeat the settings, choose another folder by `output`, or remove `{folder}`"),
            )
        }
        other => other,
    }
}

/// Refuses a folder of parts that belong to another number of runs.
fn expect_parts_of(folder: &Path, of: usize) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((_, other)) = name.strip_suffix(".npz").and_then(|name| name.split_once("-of-")) else { continue };
        if name.starts_with("moments-") && other != of.to_string() {
            let what = format!("`{}` holds parts of {other} runs, and this is one of {of}", folder.display());
            return Err(Error::argument(what, "give another folder by `--output`, or remove the parts"));
        }
    }
    Ok(())
}
