//! `downhill inspect`: what denoisers do, beside what the theory asks of them, one file a study.

mod cells;
mod compare;
mod frechet;
mod gamma;
mod schedule;

use clap::Subcommand;

use super::args::Global;
use crate::error::Result;
use crate::report::Console;

const EXAMPLES: &str = "\
Examples:
  downhill inspect schedule --error-model 0.05,2 --steps 10     what an error model promises of a schedule
  downhill inspect compare -o quality                           samplers at equal network calls
  downhill inspect gamma -o gamma                               how much to lean on the newest eps
  downhill inspect frechet samples.npz                          how far samples are from the data

Each study writes a folder with report.json, the data as .npy or .csv, and a plot as .svg and .png.";

/// Look into denoisers: are their answers gradients, their steps descent, their images like the data?
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    study: Study,
}

#[derive(Debug, Subcommand)]
enum Study {
    Schedule(schedule::Args),
    Gamma(gamma::Args),
    Compare(compare::Args),
    Frechet(frechet::Args),
}

/// Runs `downhill inspect`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    match &args.study {
        Study::Schedule(args) => schedule::run(args, global, console),
        Study::Gamma(args) => gamma::run(args, global, console),
        Study::Compare(args) => compare::run(args, global, console),
        Study::Frechet(args) => frechet::run(args, global, console),
    }
}
