//! `downhill linear`: linear diffusion and what it rests on, one file a study.

mod jacobian;
mod pca;
mod product;
mod sigmas;

use clap::Subcommand;

use super::args::Global;
use crate::error::Result;
use crate::report::Console;

const EXAMPLES: &str = "\
Examples:
  downhill linear pca --data digits -k 32 --center -o components
  downhill linear pca --data X.npy -k 8 -o components
  downhill linear product --center --coupling fresh -o product
  downhill linear jacobian -o jacobian";

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
    Product(product::Args),
    Jacobian(jacobian::Args),
}

/// Runs `downhill linear`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    match &args.study {
        Study::Pca(args) => pca::run(args, global, console),
        Study::Product(args) => product::run(args, global, console),
        Study::Jacobian(args) => jacobian::run(args, global, console),
    }
}
