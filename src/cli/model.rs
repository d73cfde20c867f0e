//! The model of a run: opened and checked as far as can be without a device.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::args::Size;
use crate::checkpoint::ModelFiles;
use crate::denoise::diffusion::NoiseTable;
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::graph::choose::distinct_layers;
use crate::graph::op::Graph;
use crate::graph::plan::Chunk;
use crate::graph::{CompileOptions, Compiler, Footprint, Plan, Target};
use crate::kernels::Engine;
use crate::kernels::choice::Algorithm;
use crate::nets::architecture::{self, Architecture, CallSize, LabelInput};
use crate::sample::scheduler_config::SchedulerConfig;
use crate::tensor::Tensor;

/// Images of a call where nothing is asked for.
const USUAL_BATCH: usize = 16;
/// Tokens of a context where none is given.
const USUAL_TOKENS: usize = 77;
/// Device memory for the values of a call where no batch is asked for.
const USUAL_ARENA_BYTES: u64 = 1 << 30;

/// What is known of a model whose configuration, weights' header and scheduler have been read.
pub struct Opened {
    /// What the user calls it.
    pub name: String,
    /// Its `config.json`, for messages.
    config: PathBuf,
    /// For reports.
    pub json: Value,
    /// Its network.
    pub net: Arc<dyn Architecture>,
    /// What its scheduler says, or diffusers' defaults.
    pub scheduler: SchedulerConfig,
    /// The noise levels it was trained with.
    pub table: NoiseTable,
    /// Tokens of context per image; 0 for a network that takes none.
    pub tokens: usize,
}

impl Opened {
    /// Opens what the command line calls MODEL; its files are what goes to the device.
    ///
    /// # Errors
    /// Those of [`ModelFiles::open`], [`architecture::open`] and [`SchedulerConfig::read`].
    pub fn open(spec: Option<&str>) -> Result<(Self, ModelFiles)> {
        Self::of(open_files(spec)?)
    }

    /// What [`open_files`] answered.
    ///
    /// # Errors
    /// Those of [`architecture::open`] and [`SchedulerConfig::read`].
    pub fn of(model: ModelFiles) -> Result<(Self, ModelFiles)> {
        let net = architecture::open(&model.config, &model.weights)?;
        let (scheduler, table) = noise_of(&model)?;
        let opened = Self {
            name: model.name.clone(),
            config: model.config.path.clone(),
            json: model_json(&model),
            tokens: net.context().map_or(0, |_| USUAL_TOKENS),
            net,
            scheduler,
            table,
        };
        Ok((opened, model))
    }

    /// A network that answers another number of channels than it reads is no denoiser.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming both numbers.
    pub fn expect_denoiser(&self) -> Result<()> {
        if self.net.is_denoiser() {
            return Ok(());
        }
        Err(Error::bad_file_hint(
            &self.config,
            format!("`in_channels` is {} and `out_channels` {}", self.net.in_channels(), self.net.out_channels()),
            "only a network that answers as many channels as it reads is a denoiser; \
             `downhill denoise --timesteps` calls any network",
        ))
    }

    /// A network that needs a context or class labels cannot be called without.
    ///
    /// # Errors
    /// [`Error::BadFile`].
    pub fn expect_unconditional(&self) -> Result<()> {
        if self.net.context().is_some() {
            return Err(Error::bad_file_hint(
                &self.config,
                "the network needs a context for each image, which cannot be given here",
                "`downhill denoise --timesteps T --context FILE.npy` calls such a network",
            ));
        }
        self.expect_no_labels()
    }

    /// A network that needs class labels cannot be called without.
    ///
    /// # Errors
    /// [`Error::BadFile`].
    pub fn expect_no_labels(&self) -> Result<()> {
        if self.net.labels() == LabelInput::None {
            return Ok(());
        }
        Err(Error::bad_file_hint(
            &self.config,
            "the network needs a class label for each image, which cannot be given here",
            "`downhill denoise --timesteps T --class-labels FILE.npy` calls such a network",
        ))
    }

    /// Height and width of the images: those asked for, or the ones the network was trained on.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size that the network cannot take, and where nobody names one.
    pub fn size(&self, asked: Option<Size>) -> Result<Size> {
        let trained = self.net.sample_size().map(|(height, width)| Size { height, width });
        let size = asked.or(trained).ok_or_else(|| {
            let what = format!("`{}` does not say how large its images are", self.name);
            Error::argument(what, "give `--size HEIGHTxWIDTH`")
        })?;
        self.net.graph(self.call_size(1, size))?;
        Ok(size)
    }

    /// The extents of a call.
    pub fn call_size(&self, batch: usize, size: Size) -> CallSize {
        CallSize::images(batch, (size.height, size.width)).with_tokens(self.tokens)
    }

    /// Images at a call: `asked`, or as many as fit into a modest amount of memory and each value into a storage of the
    /// device; never more than there are `images`.
    ///
    /// # Errors
    /// Those of [`Architecture::graph`].
    pub fn batch(&self, asked: Option<usize>, images: usize, size: Size, compiler: Compiler) -> Result<usize> {
        let batch =
            if let Some(batch) = asked { batch } else { usual_batch(&self.plan(1, size, compiler)?, compiler.engine) };
        Ok(batch.clamp(1, images.max(1)))
    }

    /// The plan of a call.
    ///
    /// # Errors
    /// Those of [`Architecture::graph`].
    pub fn plan(&self, batch: usize, size: Size, compiler: Compiler) -> Result<Plan> {
        Ok(compiler.plan(&self.net.graph(self.call_size(batch, size))?))
    }

    /// How the convolutions of a plan are computed, and why so.
    ///
    /// # Errors
    /// Those of [`Architecture::graph`].
    pub fn algorithms(&self, plan: &Plan, size: Size, compiler: Compiler) -> Result<Algorithms> {
        let graph = self.net.graph(self.call_size(1, size))?;
        Ok(Algorithms::of(plan, &graph, &compiler.target(), &compiler.options))
    }
}

/// The files of what the command line calls MODEL.
///
/// # Errors
/// Those of [`ModelFiles::open`].
pub fn open_files(spec: Option<&str>) -> Result<ModelFiles> {
    ModelFiles::open(spec).map_err(|error| match error {
        Error::FileNotFound { .. } => Error::argument(
            error.to_string(),
            "MODEL is a diffusers folder, a `.safetensors` beside its `config.json`, a hub id `org/name`, or a closed \
             form: `pca:DATA`, `wiener:DATA`, `sequential:DATA`, `ideal:DATA`",
        ),
        other => other,
    })
}

/// What a model's scheduler says, or diffusers' defaults, and the noise levels it was trained with.
///
/// # Errors
/// Those of [`SchedulerConfig::read`].
pub fn noise_of(model: &ModelFiles) -> Result<(SchedulerConfig, NoiseTable)> {
    let Some(file) = &model.scheduler else {
        return Ok((SchedulerConfig::default(), NoiseTable::default()));
    };
    let scheduler = SchedulerConfig::read(&file.values, &file.path)?;
    let table = scheduler.noise_table(&file.path)?;
    Ok((scheduler, table))
}

/// As many images at a call as fit into a modest amount of memory and each value into a storage of the device, by the plan for
/// `one`.
pub fn usual_batch(one: &Plan, engine: &Engine) -> usize {
    let most = |slot: &Chunk| engine.gpu.max_texels(engine.family.storage_kind(slot.precision)).0 / slot.texels.max(1);
    let by_storage = one.slots.iter().map(most).min().unwrap_or(usize::MAX);
    let by_arena = (USUAL_ARENA_BYTES / one.arena_bytes().max(1)) as usize;
    USUAL_BATCH.min(by_arena).min(by_storage)
}

/// How the convolutions of a network are computed.
pub struct Algorithms {
    convolutions: BTreeMap<Algorithm, usize>,
    origin: Origin,
}

/// Why an algorithm is chosen.
enum Origin {
    /// `--exact`.
    Exact,
    /// Nothing was measured.
    Prior,
    /// So many of the distinct layers for which there is a choice were measured by `downhill tune`, the prior decides
    /// the others.
    Cache { measured: usize, layers: usize },
}

impl Algorithms {
    /// Those of the plan of `graph`, which may be for another batch.
    pub fn of(plan: &Plan, graph: &Graph, target: &Target, options: &CompileOptions) -> Self {
        let layers = distinct_layers(graph);
        let measured = layers.keys().filter(|layer| target.measured.contains_key(layer)).count();
        let origin = match (options.forced, measured) {
            (Some(_), _) => Origin::Exact,
            (None, 0) => Origin::Prior,
            (None, measured) => Origin::Cache { measured, layers: layers.len() },
        };
        Self { convolutions: plan.convolutions(), origin }
    }

    /// For a report.
    pub fn json(&self) -> Value {
        let counts: serde_json::Map<_, _> =
            self.convolutions.iter().map(|(algorithm, count)| (algorithm.to_string(), (*count).into())).collect();
        match self.origin {
            Origin::Exact => json!({ "origin": "exact", "convolutions": counts }),
            Origin::Prior => json!({ "origin": "prior", "convolutions": counts }),
            Origin::Cache { measured, layers } => json!({
                "origin": "cache", "measured_layers": measured, "layers": layers, "convolutions": counts,
            }),
        }
    }
}

impl std::fmt::Display for Algorithms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<_> =
            self.convolutions.iter().map(|(algorithm, count)| format!("{count} {algorithm}")).collect();
        write!(f, "{} convolutions", counts.join(", "))?;
        match self.origin {
            Origin::Exact => f.write_str("; exact"),
            Origin::Prior => f.write_str("; not measured here (`downhill tune`)"),
            Origin::Cache { measured, layers } => write!(f, "; {measured} of {layers} layers measured here"),
        }
    }
}

/// A footprint for a report; `peak` is the most that the device held, where there was one.
pub fn footprint_json(footprint: &Footprint, peak: Option<u64>) -> Value {
    json!({
        "dtype": footprint.dtype.to_string(),
        "weights_bytes": footprint.weights,
        "arena_bytes": footprint.arena,
        "arena_lower_bound_bytes": footprint.lower_bound,
        "planned_bytes": footprint.allocated,
        "peak_bytes": peak,
        "peak_over_lower_bound": footprint.over_least(peak.unwrap_or(footprint.allocated)),
    })
}

/// A model for a report.
pub fn model_json(model: &ModelFiles) -> Value {
    let ModelFiles { name, config, scheduler, weights } = model;
    json!({
        "name": name,
        "class": config.class_name().ok(),
        "config": config.path.display().to_string(),
        "weights": weights.path().display().to_string(),
        "parameters": weights.parameters(),
        "stored_bytes": weights.bytes(),
        "scheduler": scheduler.as_ref().map(|file| file.path.display().to_string()),
    })
}

/// Finite images of shape (N, `channels`, H, W) from a file, one at least.
///
/// # Errors
/// Those of [`npy::read`]; [`Error::BadFile`] for another shape, [`Error::NonFinite`].
pub fn read_images(file: &Path, channels: usize) -> Result<Tensor> {
    let tensor = npy::read(file)?;
    if tensor.shape.len() != 4 || tensor.shape[1] != channels || tensor.data.is_empty() {
        return Err(Error::bad_file_hint(
            file,
            format!("the array has shape {:?}, expected [N, {channels}, H, W]", tensor.shape),
            format!("the network takes images of {channels} channels: (images, channels, height, width)"),
        ));
    }
    if !tensor.is_finite() {
        let hint = "every value must be a finite number".to_owned();
        return Err(Error::NonFinite { place: file.display().to_string(), hint });
    }
    Ok(tensor)
}
