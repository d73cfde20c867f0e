//! `downhill inspect`: what denoisers do, beside what the theory asks of them, one file a study.

mod schedule;

use clap::Subcommand;

use super::args::Global;
use crate::error::Result;
use crate::report::Console;

const EXAMPLES: &str = "\
Examples:
  downhill inspect schedule --error-model 0.05,2 --steps 10     what an error model promises of a schedule

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
}

/// Runs `downhill inspect`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    match &args.study {
        Study::Schedule(args) => schedule::run(args, global, console),
    }
}
