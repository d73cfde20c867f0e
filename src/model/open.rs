//! From a name to a model: one detection for every use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::Size;
use super::latent::{LCM, LatentModel, NETWORKS, Source};
use super::network::NetworkModel;
use super::sampling::Sampling;
use crate::checkpoint::{Learned, Lora, MODEL_FORMS, Merged, ModelFiles, Part, Pipeline, refuse_address};
use crate::denoise::closed_form::{ClosedForm, FORMS};
use crate::denoise::diffusion::PredictionType;
use crate::error::{Error, Result, excerpt};
use crate::graph::op::Graph;
use crate::held;
use crate::nets::architecture::CallSize;

/// Pipelines of diffusers that are a network of pixels and a scheduler.
const OF_PIXELS: [&str; 5] =
    ["DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "ScoreSdeVePipeline", "ConsistencyModelPipeline"];
/// Pipelines of diffusers that are a network of latents, an autoencoder, and a source of conditions.
const OF_LATENTS: [&str; 8] = [
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    LCM[0],
    LCM[1],
    "DiTPipeline",
];

/// A model that has been opened and checked. Nothing is on a device yet.
#[derive(Clone, Debug)]
pub struct Model {
    name: String,
    kind: Kind,
    loras: Vec<Merged>,
    embeddings: Vec<Embedding>,
    /// A mark that clones share: the same model with the same weights.
    pub(super) identity: Arc<()>,
}

/// The kind of a model.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A denoising network of images.
    Network(Box<NetworkModel>),
    /// A pipeline: a denoising network of latents, with an autoencoder and a source of conditions.
    Latent(Box<LatentModel>),
    /// A denoiser that data determine.
    ClosedForm(Arc<ClosedForm>),
}

/// The part of a pipeline to open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Network,
}

impl Model {
    /// The network of handwritten digits that is part of the library: 28 x 28, grey.
    ///
    /// # Errors
    /// None in practice: a test opens the embedded files.
    pub fn embedded() -> Result<Self> {
        Ok(Self::of_network(NetworkModel::new(ModelFiles::embedded()?, 0, 1)?))
    }

    /// Opens what `name` stands for:
    ///
    /// * `pca:DATA[,k=N]`, `wiener:DATA`, `sequential:DATA`, `ideal:DATA`: a closed form of data
    ///   ([`crate::denoise::closed_form`]);
    /// * a diffusers folder, flat or with `model_index.json` and one folder per component;
    /// * a single file in the layout of another code base, such as Stable Diffusion's;
    /// * a `.safetensors` file beside its `config.json`;
    /// * `org/name[@revision]`: a folder in the local cache of the hub. Nothing is downloaded.
    ///
    /// # Errors
    /// [`Error::Argument`] or [`Error::FileNotFound`] for a name that is none of these; [`Error::BadFile`] and its kin
    /// for files that cannot be used, and for a pipeline of another class.
    pub fn open(name: &str) -> Result<Self> {
        Self::find(name, Extent::Whole)
    }

    /// Opens a model whose files are in memory: a folder under `name` with `files` by the paths inside it, or a single
    /// file whose path is `name`. What [`Model::open`] says about folders and files on a disk holds for these.
    ///
    /// ```
    /// # use downhill::Model;
    /// let refused = Model::from_files("weights.safetensors", [("weights.safetensors", b"GGUF".to_vec())]);
    /// assert!(refused.unwrap_err().to_string().contains("GGUF"));
    /// ```
    ///
    /// # Errors
    /// As [`Model::open`]; [`Error::Argument`] without a name, which messages need.
    pub fn from_files<P: Into<PathBuf>>(name: &str, files: impl IntoIterator<Item = (P, Vec<u8>)>) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::argument("files without a name", "give the name of their folder"));
        }
        let place = |(path, content): (P, Vec<u8>)| {
            let path: PathBuf = path.into();
            let place = if path == Path::new(name) { path } else { Path::new(name).join(path) };
            (place, Arc::new(content))
        };
        held::with(files.into_iter().map(place).collect(), || Self::open(name))
    }

    /// As [`Model::open_or_embedded`], for a network that predicts `prediction`, whatever its files say.
    ///
    /// # Errors
    /// As [`Model::open`]; [`Error::Argument`] for a closed form, which is not a network.
    pub fn open_predicting(name: Option<&str>, prediction: PredictionType) -> Result<Self> {
        let mut model = match name {
            None => Self::embedded()?,
            Some(name) => Self::find_predicting(name, Extent::Whole, Some(prediction))?,
        };
        match &mut model.kind {
            Kind::Network(network) => network.scheduler.prediction_type = prediction,
            Kind::Latent(latent) => latent.network.scheduler.prediction_type = prediction,
            Kind::ClosedForm(_) => {
                let what = format!("`prediction` has no meaning for `{}`", model.name);
                return Err(Error::argument(what, "leave out `prediction`"));
            }
        }
        Ok(model)
    }

    /// As [`Model::open_or_embedded`], but opens only the network of a pipeline, whatever else is in the folder.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_network(name: Option<&str>) -> Result<Self> {
        name.map_or_else(Self::embedded, |name| Self::find(name, Extent::Network))
    }

    fn find(name: &str, extent: Extent) -> Result<Self> {
        Self::find_predicting(name, extent, None)
    }

    fn find_predicting(name: &str, extent: Extent, prediction: Option<PredictionType>) -> Result<Self> {
        refuse_address(name)?;
        if let Some(form) = ClosedForm::open(name)? {
            return Ok(Self::of_closed_form(form));
        }
        let Some(pipeline) =
            Pipeline::find_predicting(name, prediction.map(PredictionType::name)).map_err(with_forms)?
        else {
            // A single file of weights.
            return Ok(Self::of_network(NetworkModel::new(ModelFiles::open(Some(name))?, 0, 1)?));
        };
        expect_supported(&pipeline)?;
        if extent == Extent::Whole && LatentModel::is_in(&pipeline)? {
            let latent = LatentModel::open(&pipeline)?;
            return Ok(Self {
                name: name.to_owned(),
                kind: Kind::Latent(Box::new(latent)),
                loras: Vec::new(),
                embeddings: Vec::new(),
                identity: Arc::default(),
            });
        }
        let mut network = NetworkModel::new(network_files(&pipeline)?, 0, 1)?;
        network.classes = class_names(&pipeline)?;
        Ok(Self::of_network(network))
    }

    /// As [`Model::open`], or [`Model::embedded`] without a name.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_or_embedded(name: Option<&str>) -> Result<Self> {
        name.map_or_else(Self::embedded, Self::open)
    }

    /// A model of a closed form that was made separately.
    #[must_use]
    pub fn of_closed_form(form: ClosedForm) -> Self {
        Self {
            name: form.name.clone(),
            kind: Kind::ClosedForm(Arc::new(form)),
            loras: Vec::new(),
            embeddings: Vec::new(),
            identity: Arc::default(),
        }
    }

    /// A model of a network that was opened separately.
    #[must_use]
    pub fn of_network(network: NetworkModel) -> Self {
        Self {
            name: network.name.clone(),
            kind: Kind::Network(Box::new(network)),
            loras: Vec::new(),
            embeddings: Vec::new(),
            identity: Arc::default(),
        }
    }

    /// The model with the changes of a LoRA file, times `weight`, merged into the weights of its network and its text
    /// encoders: in float64, rounded to float32 once, when the weights are read. Several are added up.
    ///
    /// # Errors
    /// Those of [`Lora::open`] and [`Lora::merge`]; [`Error::Argument`] for a closed form.
    pub fn lora(mut self, file: impl AsRef<Path>, weight: f64) -> Result<Self> {
        let lora = Lora::open(file.as_ref())?;
        let mut parts = Vec::new();
        match &mut self.kind {
            Kind::ClosedForm(_) => {
                let what = format!("`lora` has no meaning for `{}`, which has no weights", self.name);
                return Err(Error::argument(what, "leave out `lora`"));
            }
            Kind::Network(network) => parts.push((Part::Network, &mut network.weights)),
            Kind::Latent(latent) => {
                parts.push((Part::Network, &mut latent.network.weights));
                if let Source::Text(source) = &mut latent.source {
                    let names = [Part::TextEncoder, Part::TextEncoder2];
                    parts.extend(names.into_iter().zip(source.parts.iter_mut().map(|part| &mut part.files.weights)));
                }
            }
        }
        let merged = lora.merge(weight, &mut parts, &self.name)?;
        self.loras.push(merged);
        self.identity = Arc::default();
        Ok(self)
    }

    /// The pipeline with a learned token of a file (textual inversion): `token`, or the one that the file names.
    ///
    /// # Errors
    /// Those of [`Learned::open`] and [`super::TextSource::learn`]; [`Error::Argument`] for a model without texts.
    pub fn embedding(mut self, file: impl AsRef<Path>, token: Option<&str>) -> Result<Self> {
        let Kind::Latent(latent) = &mut self.kind else { return Err(without_texts(&self.name)) };
        let Source::Text(source) = &mut latent.source else { return Err(without_texts(&self.name)) };
        let learned = Learned::open(file.as_ref())?;
        let token = source.learn(&learned, token)?;
        let vectors = learned.vectors[0].shape[0];
        self.embeddings.push(Embedding { path: learned.path, token, vectors, sha256: learned.sha256 });
        self.identity = Arc::default();
        Ok(self)
    }

    /// The learned tokens that were added, in their order.
    #[must_use]
    pub fn embeddings(&self) -> &[Embedding] {
        &self.embeddings
    }

    /// Returns the pipeline with another autoencoder, such as a small one that is fast
    /// (`AutoencoderTiny`): a folder of one, or the `vae` of a pipeline.
    ///
    /// # Errors
    /// Those of [`LatentModel::replace_autoencoder`]; [`Error::Argument`] for a model without latents.
    pub fn autoencoder(mut self, name: &str) -> Result<Self> {
        self.expect_latents("vae")?.replace_autoencoder(name)?;
        self.identity = Arc::default();
        Ok(self)
    }

    /// The pipeline with another autoencoder for the predictions at each step alone.
    ///
    /// # Errors
    /// As [`Model::autoencoder`].
    pub fn preview_autoencoder(mut self, name: &str) -> Result<Self> {
        self.expect_latents("preview_vae")?.preview_by(name)?;
        self.identity = Arc::default();
        Ok(self)
    }

    /// The pipeline of latents, or else an error about `field`.
    fn expect_latents(&mut self, field: &str) -> Result<&mut LatentModel> {
        match &mut self.kind {
            Kind::Latent(latent) => Ok(latent),
            Kind::Network(_) | Kind::ClosedForm(_) => {
                let what = format!("`{field}` has no meaning for `{}`, which has no latents", self.name);
                Err(Error::argument(what, format!("leave out `{field}`")))
            }
        }
    }

    /// The LoRA files that were merged into its weights, in their order.
    #[must_use]
    pub fn loras(&self) -> &[Merged] {
        &self.loras
    }

    /// The name that it was opened by; `digits` for the embedded network.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind, with everything that has been read.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The kind, without the name.
    #[must_use]
    pub fn into_kind(self) -> Kind {
        self.kind
    }

    /// The denoising network; `None` for a closed form. The network of a pipeline denoises latents.
    #[must_use]
    pub fn network(&self) -> Option<&NetworkModel> {
        match &self.kind {
            Kind::Network(network) => Some(network),
            Kind::Latent(latent) => Some(&latent.network),
            Kind::ClosedForm(_) => None,
        }
    }

    /// The denoising network, or else an error.
    ///
    /// # Errors
    /// [`Error::Argument`] for a closed form.
    pub fn expect_network(&self) -> Result<&NetworkModel> {
        self.network().ok_or_else(|| {
            let what = format!("`{}` is a closed form and has no network", self.name);
            Error::argument(what, format!("give a network: {MODEL_FORMS}"))
        })
    }

    /// The graph of a call of the network for `images` images of a size in pixels, or of the size of its training.
    ///
    /// # Errors
    /// [`Error::Argument`] for a closed form, and for a size that the network does not take.
    pub fn call_graph(&self, images: usize, size: Option<Size>) -> Result<Arc<Graph>> {
        let network = self.expect_network()?;
        match &self.kind {
            Kind::Latent(latent) => {
                let size = size.or(latent.trained_size());
                size.iter().try_for_each(|size| latent.expect_size(*size))?;
                let latents = size.map(|(height, width)| (height / latent.factor(), width / latent.factor()));
                let call = CallSize::images(images, network.size(latents)?).with_tokens(latent.tokens());
                network.graph(call)
            }
            Kind::Network(_) | Kind::ClosedForm(_) => network.graph(network.call(images, network.size(size)?)),
        }
    }

    /// Begins the description of a sampling run.
    #[must_use]
    pub fn sampling<'a>(&self) -> Sampling<'a> {
        Sampling::new(self.clone())
    }
}

/// A learned token that was added to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// The file.
    pub path: PathBuf,
    /// The token in texts.
    pub token: String,
    /// The number of its vectors.
    pub vectors: usize,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Embedding {
    /// A sentence for the user: the token, and the number of its vectors.
    #[must_use]
    pub fn note(&self) -> String {
        let unit = if self.vectors == 1 { "vector" } else { "vectors" };
        format!("the token `{}` stands for {} {unit} of `{}`", excerpt(&self.token), self.vectors, self.path.display())
    }
}

/// The error for learned tokens of a model without texts.
fn without_texts(name: &str) -> Error {
    let what = format!("`embedding` has no meaning for `{name}`, which does not take texts");
    Error::argument(what, "leave out `embedding`")
}

/// Adds the forms of names to the error for an unknown name.
fn with_forms(error: Error) -> Error {
    match error {
        Error::FileNotFound { .. } => {
            Error::argument(error.to_string(), format!("a model is {MODEL_FORMS}, or a closed form: {FORMS}"))
        }
        other => other,
    }
}

/// Refuses a pipeline of a class that is not known, by its `model_index.json`.
fn expect_supported(pipeline: &Pipeline) -> Result<()> {
    let Some(index) = pipeline.index().filter(|index| index.values.contains_key("_class_name")) else { return Ok(()) };
    let known: Vec<&str> = OF_PIXELS.into_iter().chain(OF_LATENTS).collect();
    index.expect_class(&known).map(|_| ())
}

/// The files of the network of a pipeline, or of a flat folder.
pub(super) fn network_files(pipeline: &Pipeline) -> Result<ModelFiles> {
    let component = pipeline.component(network_component(pipeline))?;
    component.config.class_name()?;
    Ok(ModelFiles {
        name: pipeline.name.clone(),
        config: component.config,
        scheduler: pipeline.scheduler()?,
        weights: component.weights,
    })
}

/// The name of the component that denoises: the first of the known names that the pipeline has.
pub(super) fn network_component(pipeline: &Pipeline) -> &'static str {
    NETWORKS.into_iter().find(|name| pipeline.has(name)).unwrap_or(NETWORKS[0])
}

/// The names of classes in a `model_index.json`: `id2label`.
pub(super) fn class_names(pipeline: &Pipeline) -> Result<BTreeMap<usize, String>> {
    let Some(index) = pipeline.index() else { return Ok(BTreeMap::new()) };
    let wrong = || index.wrong_value("id2label", "an object of class labels and their names");
    match index.values.get("id2label") {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(names)) => {
            let pair =
                |(label, name): (&String, &Value)| Some((label.parse::<usize>().ok()?, name.as_str()?.to_owned()));
            names.iter().map(|entry| pair(entry).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}
