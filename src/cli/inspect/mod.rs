//! `downhill inspect`: what denoisers do, beside what the theory asks of them, one file a study.

mod cells;
mod compare;
mod constancy;
mod dimension;
mod error;
mod error_model;
mod frechet;
mod gamma;
mod norms;
mod panels;
mod projection;
mod schedule;
pub mod subject;

use clap::Subcommand;

use super::args::Global;
use crate::error::Result;
use crate::report::Console;

const EXAMPLES: &str = "\
Examples:
  downhill inspect norms -o norms                             are answers as long as noise is?
  downhill inspect error -o error                             is the noise found that was added?
  downhill inspect projection -o projection                   is denoising projection?
  downhill inspect constancy -o constancy                     does the gradient keep its direction?
  downhill inspect error-model -o errors                      how wrong is the gradient?
  downhill inspect schedule --error-model 0.05,2 --steps 10   what is promised of a schedule
  downhill inspect dimension --data digits -o dimension       how many dimensions have data?
  downhill inspect compare -o quality                         samplers at equal network calls
  downhill inspect gamma -o gamma                             how much to lean on the newest eps
  downhill inspect frechet samples.npz                        how far samples are from the data

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
    Norms(norms::Args),
    Error(error::Args),
    Projection(projection::Args),
    Constancy(constancy::Args),
    ErrorModel(error_model::Args),
    Schedule(schedule::Args),
    Dimension(dimension::Args),
    Gamma(gamma::Args),
    Compare(compare::Args),
    Frechet(frechet::Args),
}

/// Runs `downhill inspect`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    match &args.study {
        Study::Norms(args) => norms::run(args, global, console),
        Study::Error(args) => error::run(args, global, console),
        Study::Projection(args) => projection::run(args, global, console),
        Study::Constancy(args) => constancy::run(args, global, console),
        Study::ErrorModel(args) => error_model::run(args, global, console),
        Study::Schedule(args) => schedule::run(args, global, console),
        Study::Dimension(args) => dimension::run(args, global, console),
        Study::Gamma(args) => gamma::run(args, global, console),
        Study::Compare(args) => compare::run(args, global, console),
        Study::Frechet(args) => frechet::run(args, global, console),
    }
}
