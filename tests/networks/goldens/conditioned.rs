//! The goldens of networks that look at a context: the small latent models, networks with one or the other field
//! changed, and one of inpainting.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::golden_folders;
use downhill::checkpoint::{Component, Pipeline};
use downhill::formats::npy;
use downhill::nets::{Added, Architecture, CallSize, ClassLabels, Inputs, open};
use downhill::tensor::Tensor;

/// A folder with a network, and what it answers in float64.
pub struct Golden {
    pub name: String,
    pub folder: PathBuf,
    pub x: Tensor,
    pub timesteps: Vec<f64>,
    pub context: Tensor,
    pub eps: Tensor,
    pub added: Option<Added>,
    pub guidance: Option<f64>,
    labels: Option<ClassLabels>,
}

impl Golden {
    fn read(folder: PathBuf, stages: &Path) -> Self {
        let read = |name: &str| npy::read(stages.join(name)).unwrap_or_else(|error| panic!("{error}"));
        let labels = stages.join("labels.npy");
        let labels = labels.exists().then(|| match read("labels.npy") {
            rows if rows.shape.len() == 2 => ClassLabels::Rows(rows),
            _ => ClassLabels::Numbers(npy::read_f64(&labels).expect("labels")),
        });
        let timesteps = npy::read_f64(stages.join("t.npy")).expect("t.npy");
        let (x, context, eps) = (read("x.npy"), read("context.npy"), read("eps.npy"));
        let added = stages.join("pooled.npy").exists();
        let added = added.then(|| Added { pooled: read("pooled.npy"), numbers: read("time_ids.npy") });
        let about = std::fs::read(folder.join("golden.json")).ok();
        let about: Option<serde_json::Value> = about.map(|about| serde_json::from_slice(&about).expect("JSON"));
        let guidance = about.and_then(|about| about["embedded_guidance"].as_f64());
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        Self { name, folder, x, timesteps, context, eps, added, guidance, labels }
    }

    /// Its U-Net.
    pub fn open(&self) -> (Component, Arc<dyn Architecture>) {
        let pipeline = Pipeline::open(self.folder.to_str().expect("a path")).expect("pipeline");
        let component = pipeline.component("unet").unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let net = open(&component.config, &component.weights).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        (component, net)
    }

    /// The inputs of its call.
    pub fn inputs(&self) -> Inputs<'_> {
        let inputs = Inputs::new(&self.x, &self.timesteps).with_context(Some(&self.context));
        let inputs = inputs.with_labels(self.labels.as_ref()).with_added(self.added.as_ref());
        inputs.with_guidance(self.guidance)
    }

    /// The extents of a call for `batch` images.
    pub fn size(&self, batch: usize) -> CallSize {
        CallSize::images(batch, (self.x.shape[2], self.x.shape[3])).with_tokens(self.context.shape[1])
    }
}

/// All of them.
pub fn goldens() -> Vec<Golden> {
    let latent = golden_folders("latent").into_iter().map(|folder| {
        let stages = folder.join("stages");
        Golden::read(folder, &stages)
    });
    let fields = golden_folders("conditioned").into_iter().map(|folder| Golden::read(folder.clone(), &folder));
    let inpainting = golden_folders("inpaint").into_iter().filter(|folder| folder.join("stages").is_dir());
    let inpainting = inpainting.map(|folder| Golden::read(folder.clone(), &folder.join("stages")));
    let all: Vec<_> = latent.chain(fields).chain(inpainting).collect();
    assert!(all.len() >= 15, "the goldens are missing");
    all
}
