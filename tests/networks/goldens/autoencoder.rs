//! The goldens of autoencoders: those of the small latent models, and some with one or the other field changed.

use std::path::{Path, PathBuf};

use super::golden_folders;
use downhill::checkpoint::{Component, Pipeline};
use downhill::formats::npy;

use downhill::nets::autoencoder_kl::{self, AutoencoderKl};
use downhill::tensor::Tensor;

/// A folder with an autoencoder, and what both halves answer in float64.
pub struct Golden {
    pub name: String,
    pub folder: PathBuf,
    pub latent: Tensor,
    pub decoded: Tensor,
    pub image: Tensor,
    pub mean: Tensor,
    pub logvar: Tensor,
}

impl Golden {
    fn read(folder: PathBuf, stages: &Path) -> Self {
        let read = |name: &str| npy::read(stages.join(name)).unwrap_or_else(|error| panic!("{error}"));
        let [latent, decoded, image, mean, logvar] =
            ["latent.npy", "decoded.npy", "image.npy", "mean.npy", "logvar.npy"].map(read);
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        Self { name, folder, latent, decoded, image, mean, logvar }
    }

    /// Its component, not on a device.
    pub fn component(&self) -> Component {
        let pipeline = Pipeline::open(self.folder.to_str().expect("a path")).expect("pipeline");
        pipeline.component("vae").unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Its component and its network.
    pub fn open(&self) -> (Component, AutoencoderKl) {
        let component = self.component();
        let net = autoencoder_kl::open(&component.config, &component.weights)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        (component, net)
    }

    /// Height and width of the latent.
    pub fn size(&self) -> (usize, usize) {
        (self.latent.shape[2], self.latent.shape[3])
    }
}

/// All of them.
pub fn goldens() -> Vec<Golden> {
    let latent = golden_folders("latent").into_iter().map(|folder| {
        let stages = folder.join("stages");
        Golden::read(folder, &stages)
    });
    let fields = golden_folders("autoencoder").into_iter().map(|folder| Golden::read(folder.clone(), &folder));
    let all: Vec<_> = latent.chain(fields).collect();
    assert!(all.len() >= 6, "the goldens are missing");
    all
}
