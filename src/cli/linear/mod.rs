//! `downhill linear`: linear diffusion and what it rests on, one file a study.

mod angles;
mod baseline;
mod energy;
mod jacobian;
mod pca;
mod product;
mod schedule;
mod sigmas;
mod transition;

use clap::Subcommand;

use super::args::Global;
use crate::error::Result;
use crate::report::Console;

const EXAMPLES: &str = "\
Examples:
  downhill linear pca --data digits -k 32 --center -o components
  downhill linear pca --data X.npy -k 8 -o components
  downhill linear product --center --coupling fresh -o product
  downhill linear angles -o angles
  downhill linear transition -o transition
  downhill linear energy --steps 10,40,120 -o energy
  downhill linear baseline -o baseline
  downhill linear jacobian -o jacobian
  downhill linear schedule -o schedule";

/// Linear diffusion: the spectra of data, and what becomes of them
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    study: Study,
}

#[derive(Debug, Subcommand)]
enum Study {
    Pca(pca::Args),
    Angles(angles::Args),
    Transition(transition::Args),
    Product(product::Args),
    Energy(energy::Args),
    Baseline(baseline::Args),
    Jacobian(jacobian::Args),
    Schedule(schedule::Args),
}

/// Runs `downhill linear`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    match &args.study {
        Study::Pca(args) => pca::run(args, global, console),
        Study::Angles(args) => angles::run(args, global, console),
        Study::Transition(args) => transition::run(args, global, console),
        Study::Energy(args) => energy::run(args, global, console),
        Study::Product(args) => product::run(args, global, console),
        Study::Baseline(args) => baseline::run(args, global, console),
        Study::Jacobian(args) => jacobian::run(args, global, console),
        Study::Schedule(args) => schedule::run(args, global, console),
    }
}
