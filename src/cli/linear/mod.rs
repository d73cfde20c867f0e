//! `downhill linear`: linear diffusion and its foundations, one file per study.

mod angles;
mod assumptions;
mod baseline;
mod energy;
mod environments;
mod jacobian;
mod pca;
mod product;
mod schedule;
mod sigmas;
mod train;
mod transition;

use super::study::studies;

/// No shared flags: each study has its own set.
pub type Flags = crate::cli::shared::NoFlags;

const EXAMPLES: &str = "\
Examples:
  downhill linear pca --data digits -k 32 --center -o components
  downhill linear pca --data X.npy -k 8 -o components
  downhill linear product --center --coupling fresh -o product
  downhill linear angles -o angles
  downhill linear assumptions -o assumptions
  downhill linear transition -o transition
  downhill linear energy --steps 10,40,120 -o energy
  downhill linear baseline -o baseline
  downhill linear jacobian -o jacobian
  downhill linear environments -o environments
  downhill linear train -o train
  downhill linear schedule -o schedule";

/// Linear diffusion: the spectra of data under noise and projection
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    study: Studies,
}

studies! {
    Pca(pca): DeviceFlags,
    Angles(angles): DeviceFlags,
    Assumptions(assumptions): DeviceFlags,
    Transition(transition): DeviceFlags,
    Product(product): DeviceFlags,
    Energy(energy): DeviceFlags,
    Baseline(baseline): ReportFlags,
    Jacobian(jacobian): NetworkFlags,
    Environments(environments): NetworkFlags,
    Schedule(schedule): DeviceFlags,
    Train(train): ReportFlags,
}
