//! `downhill inspect`: the behaviour of denoisers beside theory, one file per study.

mod basis;
mod captioned;
mod cells;
mod compare;
mod constancy;
mod dimension;
mod error;
mod error_model;
mod frechet;
mod gamma;
mod gaussian;
mod guidance;
mod local;
mod norms;
mod projection;
mod restore;
mod schedule;
pub mod subject;
mod variances;

use super::study::studies;

/// No shared flags: each study has its own set.
pub type Flags = crate::cli::shared::NoFlags;

const EXAMPLES: &str = "\
Examples:
  downhill inspect norms -o norms                             is eps as long as the noise?
  downhill inspect error -o error                             is the added noise found?
  downhill inspect projection -o projection                   is denoising projection?
  downhill inspect constancy -o constancy                     does the gradient keep its direction?
  downhill inspect error-model -o errors                      how wrong is the gradient?
  downhill inspect schedule --error-model 0.05,2 --steps 10   what does an error model guarantee?
  downhill inspect variances -o variances                     the variances of Analytic-DDIM
  downhill inspect basis -o basis                             in which basis does it shrink images?
  downhill inspect dimension --data digits -o dimension       what is the dimension of data?
  downhill inspect compare -o quality                         samplers at equal network calls
  downhill inspect gamma -o gamma                             the best weight of the newest eps?
  downhill inspect guidance -o guidance                       the same with guidance
  downhill inspect restore -o restorations                    which method restores images best?
  downhill inspect frechet samples.npz                        how far are samples from the data?
  downhill inspect gaussian -o gaussian                       how far is eps from a Gaussian's?
  downhill inspect local -o local                             do patches of data predict samples?

Each study writes a folder with report.json, the data as .npy or .csv, and a plot as .svg and .png.";

/// Measure how a denoiser behaves: as a gradient, as descent, and against data
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    study: Studies,
}

studies! {
    Norms(norms): NetworkFlags,
    Error(error): NetworkFlags,
    Projection(projection): NetworkFlags,
    Constancy(constancy): NetworkFlags,
    ErrorModel(error_model): NetworkFlags,
    Schedule(schedule): ReportFlags,
    Variances(variances): NetworkFlags,
    Basis(basis): NetworkFlags,
    Dimension(dimension): DeviceFlags,
    Gamma(gamma): NetworkFlags,
    Guidance(guidance): DeviceFlags,
    Compare(compare): NetworkFlags,
    Restore(restore): NetworkFlags,
    Frechet(frechet): NetworkFlags,
    Gaussian(gaussian): NetworkFlags,
    Local(local): NetworkFlags,
}
