//! Models: from a name to images.
//!
//! [`Model::open`] finds out what a name stands for: a denoising network, a pipeline of latents from text or class
//! labels, or a closed form of data. [`Model::sampling`] describes a run with a builder; [`Sampling::resolve`] refuses
//! everything that can be refused without a device; [`ModelRun::on`] puts the model on one, and [`Images`] yields
//! batches of images. The parts are at hand for other uses: [`Model::denoiser`], [`NetworkModel::on`] for raw calls,
//! [`NetworkModel::jacobian`], [`Model::restore`] from measurements, and the single stages of a pipeline in [`stages`].

mod analytic;
mod call;
mod classifier;
mod components;
mod decoding;
mod denoiser;
pub mod describe;
mod description;
mod device;
mod existing;
pub mod files;
mod guiding;
mod images;
mod kept;
mod latent;
mod masking;
mod memory;
mod metadata;
mod network;
mod open;
mod parts;
mod plans;
mod raw_call;
mod resolve;
mod restoring;
mod sampling;
mod session;
pub mod stages;
mod text;
mod text_run;
pub mod timing;
mod tunable;

pub use call::Call;
pub use classifier::{Classifier, ClassifierGuidance};
pub use components::{Components, TextFiles};
pub use denoiser::{DenoiserOptions, ModelDenoiser, levels_over};
pub use description::{Description, Outline};
pub use device::{Event, Observer, make_ready};
pub use existing::{Differs, Existing};
pub use files::{Files, Targets};
pub use images::{Batch, Facts, Images, NETWORK, Part};
pub use latent::{LatentModel, Source};
pub use masking::{Masking, Way};
pub use memory::{Algorithms, Origin, USUAL_BUDGET, largest_batch, usual_batch, within_budget};
pub use metadata::Metadata;
pub use network::NetworkModel;
pub use open::{Embedding, Kind, Model};
pub use parts::FileParts;
pub use raw_call::{RawCall, RawLevels, RawOutput};
#[cfg(feature = "cli")]
pub(crate) use resolve::fitting_size;
pub use resolve::{Labels, ModelRun};
pub use restoring::{Restored, Restorer, Restoring};
pub use sampling::{Framing, Sampling};
pub use session::Session;
pub use text::{Prompt, Side, TextCall, TextPart, TextSource, Tokenized};
pub use text_run::{Text, TextGuidance};
pub use tunable::Tunable;

/// Height and width of an image in pixels.
pub type Size = (usize, usize);
