//! Networks: from a diffusers configuration to a graph.
//!
//! [`fields`] reads a configuration, [`builder`] makes layers, [`blocks`] makes the blocks that networks share, and
//! each network has its own folder. [`architecture`] is the table of the denoising networks.

pub mod adm;
pub mod architecture;
pub mod autoencoder;
pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod blocks;
pub mod builder;
pub mod classifier;
pub mod clip_text;
pub mod clip_vision;
pub mod dit;
pub mod edm;
pub mod feeds;
pub mod fields;
pub mod inception;
pub mod unet2d;
pub mod unet2d_condition;
mod unet_fields;

pub use architecture::{Architecture, CallSize, Inputs, LabelInput, open};
pub use feeds::{Added, ClassLabels};
