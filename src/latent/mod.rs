//! The stages around the network of a latent model: text to embeddings, and images to latents and back.

pub mod autoencoder;
pub mod emphasis;
pub mod passage;
pub mod text;
pub mod tiles;
pub mod tokenizer;
