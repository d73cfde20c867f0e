//! Denoising networks: configuration, weights and noise levels of one, and the network on a device.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::Size;
use super::memory::usual_batch;
use crate::checkpoint::{ConfigFile, ModelFiles, Weights};
use crate::denoise::diffusion::NoiseTable;
use crate::denoise::jacobian::{JacobianSettings, NetworkJacobian};
use crate::denoise::process::Process;
use crate::denoise::vjp::{NetworkVjp, VjpSettings};
use crate::denoise::{Condition, Guidance, Network, NetworkDenoiser};
use crate::error::{Error, Result, excerpt};
use crate::graph::op::Graph;
use crate::graph::run::check_graph;
use crate::graph::{Compiler, Plan};
use crate::nets::architecture::{self, Architecture, CallSize, LabelInput, Preconditioning};
use crate::nets::fields::passed_over;
use crate::noise::Purpose;
use crate::sample::samplers::Sampler;
use crate::sample::scheduler_config::SchedulerConfig;
use crate::tensor::Tensor;

/// A denoising network whose configuration has been read and checked against its weights. Nothing is on a device yet.
///
/// A clone is cheap: it shares weights and graphs.
#[derive(Clone, Debug)]
pub struct NetworkModel {
    /// The name it was opened by.
    pub name: String,
    /// Its `config.json`.
    pub config: ConfigFile,
    /// Its architecture.
    pub net: Arc<dyn Architecture>,
    /// Its weights.
    pub weights: Weights,
    /// Its `scheduler_config.json`, if there is one.
    pub scheduler_file: Option<ConfigFile>,
    /// The settings of its scheduler, or the defaults of diffusers.
    pub scheduler: SchedulerConfig,
    /// The noise levels of its training.
    pub table: NoiseTable,
    /// The names of its classes by their label, where its files have them.
    pub classes: BTreeMap<usize, String>,
    /// The graph that was built last: the calls of one model mostly have one size.
    last: Arc<Mutex<LastGraph>>,
}

/// The graph that was built last and the size of its call.
type LastGraph = Option<(CallSize, Arc<Graph>)>;

impl NetworkModel {
    /// Reads the configuration of a network and checks it against the weights. `tokens` and `conditions` are those of
    /// the usual call for one image: tokens of context, and conditions per image.
    ///
    /// # Errors
    /// Those of [`architecture::read`]; [`Error::MissingKey`], [`Error::WrongShape`] or [`Error::UnexpectedKey`] of the
    /// weights; those of [`SchedulerConfig::read`].
    pub fn new(files: ModelFiles, tokens: usize, conditions: usize) -> Result<Self> {
        let ModelFiles { name, config, scheduler: scheduler_file, weights } = files;
        let net = architecture::read(&config)?;
        let tokens = tokens.max(usize::from(net.context().is_some()));
        let last = match net.sample_size() {
            None => {
                weights.check(&net.keys())?;
                None
            }
            Some(size) => {
                let call = CallSize::images(conditions, size).with_tokens(tokens);
                let (graph, keys) = net.graph_and_keys(call)?;
                weights.check(&keys)?;
                Some((call, Arc::new(graph)))
            }
        };
        let (mut scheduler, table) = noise_of(&config, scheduler_file.as_ref(), net.preconditioning())?;
        scheduler.learns_variance = net.learns_variance();
        let (classes, last) = (BTreeMap::new(), Arc::new(Mutex::new(last)));
        Ok(Self { name, config, net, weights, scheduler_file, scheduler, table, classes, last })
    }

    /// Refuses a network whose output is not an estimate of its input.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming both numbers of channels.
    pub fn expect_denoiser(&self) -> Result<()> {
        if self.net.is_denoiser() {
            return Ok(());
        }
        Err(Error::bad_file_hint(
            &self.config.path,
            format!("`in_channels` is {} and `out_channels` {}", self.net.in_channels(), self.net.out_channels()),
            "a denoiser has as many channels in its output as in its input; raw calls at a timestep take any network",
        ))
    }

    /// Refuses a network that needs class labels, or a context.
    ///
    /// # Errors
    /// [`Error::BadFile`].
    pub fn expect_unconditional(&self) -> Result<()> {
        let what = match (self.net.labels(), self.net.context().filter(|context| context.is_read)) {
            (LabelInput::None, None) if self.net.added().is_none() => return Ok(()),
            (LabelInput::None, None) => "the network needs the embedding of a text",
            (LabelInput::Numbers { .. } | LabelInput::Rows(_), _) => "the network needs a class label for each image",
            (LabelInput::None, Some(_)) => "the network needs a context",
        };
        let what = format!("{what}, which cannot be given here");
        Err(Error::bad_file_hint(&self.config.path, what, "raw calls at a timestep take class labels and a context"))
    }

    /// A sentence about the fields of its `config.json` that are passed over, as in diffusers, if there are any.
    #[must_use]
    pub fn passed_over(&self) -> Option<String> {
        let names: Vec<_> =
            passed_over(&self.config.values).iter().map(|name| format!("`{}`", excerpt(name))).collect();
        let file = self.config.path.display();
        (!names.is_empty()).then(|| format!("{file}: {} are passed over, as in diffusers", names.join(", ")))
    }

    /// Height and width of the images: `asked`, or those of the network's training.
    ///
    /// # Errors
    /// [`Error::Argument`] for a network without a usual size.
    pub fn size(&self, asked: Option<Size>) -> Result<Size> {
        asked.or(self.net.sample_size()).ok_or_else(|| {
            let what = format!("`{}` does not say how large its images are", self.name);
            Error::argument(what, "give `size`: height and width")
        })
    }

    /// (channels, height, width) of an image of a size.
    #[must_use]
    pub fn image_shape(&self, (height, width): Size) -> [usize; 3] {
        [self.net.in_channels(), height, width]
    }

    /// The size of a raw call of `images` images, with one token of context where the network takes one.
    #[must_use]
    pub fn call(&self, images: usize, size: Size) -> CallSize {
        CallSize::images(images, size).with_tokens(usize::from(self.net.context().is_some()))
    }

    /// The graph of a call. Calls that differ from the last one in their number of images alone share its graph.
    ///
    /// # Errors
    /// Those of [`Architecture::graph`].
    pub fn graph(&self, call: CallSize) -> Result<Arc<Graph>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, graph)) = last.as_ref().filter(|(size, _)| *size == call) {
            return Ok(graph.clone());
        }
        self.net.check(call)?;
        let of_other_batch = |(size, _): &&(CallSize, Arc<Graph>)| CallSize { batch: call.batch, ..*size } == call;
        let graph = Arc::new(match last.as_ref().filter(of_other_batch) {
            Some((size, graph)) => graph.for_images(size.batch, call.batch),
            None => self.net.graph(call)?,
        });
        *last = Some((call, graph.clone()));
        Ok(graph)
    }

    /// The plan of a call.
    ///
    /// # Errors
    /// Those of [`Architecture::graph`]; [`Error::OverLimit`] for a map that no storage of the device can hold.
    pub fn plan<'e>(&self, compiler: impl Into<Compiler<'e>>, call: CallSize) -> Result<Plan> {
        let (compiler, graph) = (compiler.into(), self.graph(call)?);
        check_graph(compiler.engine, &graph, &compiler.options)?;
        Ok(compiler.plan(&graph))
    }

    /// The number of images per call, and the plan of such a call: `batch`, or the usual number, but never more than
    /// `images`. `call` returns the extents of a call for a number of images.
    ///
    /// # Errors
    /// As [`NetworkModel::plan`].
    pub fn batch(
        &self,
        compiler: Compiler,
        batch: Option<usize>,
        images: usize,
        call: &dyn Fn(usize) -> CallSize,
    ) -> Result<(usize, Plan)> {
        let images = images.max(1);
        if let Some(batch) = batch {
            let batch = batch.clamp(1, images);
            return Ok((batch, self.plan(compiler, call(batch))?));
        }
        let one = self.plan(compiler, call(1))?;
        match usual_batch(&one, compiler.engine).min(images) {
            1 => Ok((1, one)),
            batch => Ok((batch, self.plan(compiler, call(batch))?)),
        }
    }

    /// The network on a device, for raw calls of one size.
    ///
    /// # Errors
    /// [`Error::Argument`] for a size that the network does not take; what the device reports.
    pub fn on<'e>(&self, compiler: impl Into<Compiler<'e>>, call: CallSize) -> Result<Network<'e>> {
        let compiler = compiler.into();
        self.planned(compiler, call, self.plan(compiler, call)?)
    }

    /// As [`NetworkModel::on`], by a plan that was made for this call.
    ///
    /// # Errors
    /// As [`NetworkModel::on`].
    pub fn planned<'e>(&self, compiler: Compiler<'e>, call: CallSize, plan: Plan) -> Result<Network<'e>> {
        Network::with_plan(compiler.engine, self.net.clone(), self.weights.clone(), call, plan)
    }

    /// A denoiser of a network on a device.
    ///
    /// # Errors
    /// Those of [`NetworkDenoiser::new`].
    pub fn denoiser<'e>(&self, network: Network<'e>, guidance: Guidance) -> Result<NetworkDenoiser<'e>> {
        NetworkDenoiser::new(network, self.table.clone(), self.scheduler.prediction_type, guidance)
    }

    /// The same of a network that takes further channels, (1, channels, h, w), after those that it denoises.
    ///
    /// # Errors
    /// Those of [`NetworkDenoiser::with_appended`].
    pub fn denoiser_with<'e>(
        &self,
        network: Network<'e>,
        guidance: Guidance,
        appended: Option<Tensor>,
    ) -> Result<NetworkDenoiser<'e>> {
        let (table, prediction) = (self.table.clone(), self.scheduler.prediction_type);
        match appended {
            None => self.denoiser(network, guidance),
            Some(appended) => NetworkDenoiser::with_appended(network, table, prediction, guidance, appended),
        }
    }

    /// The exact Jacobian of the network, for `block` vectors per call and images of a size.
    ///
    /// # Errors
    /// Those of [`NetworkJacobian::new`].
    pub fn jacobian<'e>(
        &self,
        compiler: impl Into<Compiler<'e>>,
        condition: Condition,
        size: Size,
        block: usize,
    ) -> Result<NetworkJacobian<'e>> {
        let (table, prediction) = (self.table.clone(), self.scheduler.prediction_type);
        let settings = JacobianSettings { table, prediction, condition, size, block };
        NetworkJacobian::new(compiler, self.net.clone(), self.weights.clone(), settings)
    }

    /// The same network with random weights, for controls: normals of variance 1 / inputs, scales of 1 and shifts of 0,
    /// from `seed`.
    #[must_use]
    pub fn with_random_weights(&self, seed: u64) -> Self {
        let draw = |(index, (name, shape)): (usize, (String, Vec<usize>))| {
            let len: usize = shape.iter().product();
            let values = match (shape.as_slice(), name.ends_with("weight")) {
                ([] | [_], true) => vec![1.0; len],
                ([] | [_], false) => vec![0.0; len],
                ([_, inputs @ ..], _) => {
                    let scale = (inputs.iter().product::<usize>() as f64).sqrt().recip();
                    let drawn = Purpose::ControlWeights.normals(seed, index as u64, 0, len);
                    drawn.into_iter().map(|value| (scale * f64::from(value)) as f32).collect()
                }
            };
            (name, Tensor::new(shape, values))
        };
        let tensors = self.net.keys().into_iter().enumerate().map(draw).collect();
        Self {
            name: format!("{} with random weights", self.name),
            weights: Weights::from_tensors(tensors),
            ..self.clone()
        }
    }

    /// The exact transposed Jacobian of the network, for `images` images of a size per call.
    ///
    /// # Errors
    /// Those of [`NetworkVjp::new`].
    pub fn vjp<'e>(
        &self,
        compiler: impl Into<Compiler<'e>>,
        guidance: Guidance,
        size: Size,
        images: usize,
    ) -> Result<NetworkVjp<'e>> {
        let (table, prediction) = (self.table.clone(), self.scheduler.prediction_type);
        let settings = VjpSettings { table, prediction, guidance, size, images };
        NetworkVjp::new(compiler, self.net.clone(), self.weights.clone(), settings)
    }

    /// The label of a class: a number, or a name of one of [`NetworkModel::classes`], or a part of it between commas.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not there, and one of several classes.
    pub fn label(&self, text: &str) -> Result<f64> {
        let text = text.trim();
        if let Ok(label) = text.parse() {
            return Ok(label);
        }
        let named = |name: &&String| *name == text || name.split(',').any(|part| part.trim() == text);
        let found: Vec<usize> = self.classes.iter().filter(|(_, name)| named(name)).map(|(label, _)| *label).collect();
        match found[..] {
            [label] => Ok(label as f64),
            [] if self.classes.is_empty() => {
                let what =
                    format!("`{text}` is not a class label, and the files of `{}` do not name classes", self.name);
                Err(Error::argument(what, "give class labels as numbers"))
            }
            [] => {
                let names = self.classes.values().map(String::as_str);
                let near = names.min_by_key(|name| strsim::levenshtein(name, text)).unwrap_or_default();
                let what = format!("`{}` does not have a class `{text}`", self.name);
                Err(Error::argument(what, format!("the nearest name is `{near}`")))
            }
            _ => {
                let numbers: Vec<_> = found.iter().map(ToString::to_string).collect();
                let what = format!("`{text}` names several classes of `{}`", self.name);
                Err(Error::argument(what, format!("give one of the numbers {}", numbers.join(", "))))
            }
        }
    }
}

/// The settings of a scheduler, or the defaults of diffusers, and the noise levels of its training. A network that
/// states its preconditioning has its own defaults, and a scheduler of the same.
///
/// # Errors
/// Those of [`SchedulerConfig::read`]; [`Error::BadFile`] for a scheduler of another process than the network.
fn noise_of(
    config: &ConfigFile,
    file: Option<&ConfigFile>,
    preconditioning: Option<Preconditioning>,
) -> Result<(SchedulerConfig, NoiseTable)> {
    let own = preconditioning.map(usual_scheduler);
    let (map, path) = match (file, &own) {
        (Some(file), _) => (&file.values, &file.path),
        (None, Some(own)) => (own, &config.path),
        (None, None) => return Ok((SchedulerConfig::default(), NoiseTable::default())),
    };
    let scheduler = SchedulerConfig::read(map, path)?;
    let table = scheduler.noise_table(path)?;
    match preconditioning {
        Some(Preconditioning { sigma_data, .. }) if table.process() != (Process::Edm { sigma_data }) => {
            let what = format!("not the noise of the network, which is EDM's with a `sigma_data` of {sigma_data}");
            let hint = "leave out the file, or take one of `edm_sampler`, `EDMEulerScheduler` or \
                        `EDMDPMSolverMultistepScheduler` with the same `sigma_data`";
            Err(Error::bad_file_hint(path, what, hint))
        }
        Some(_) | None => Ok((scheduler, table)),
    }
}

/// The settings of `NVlabs`' `edm_sampler` for a network.
fn usual_scheduler(preconditioning: Preconditioning) -> Map<String, Value> {
    /// The range of `edm_sampler`, within that of the network.
    const RANGE: (f64, f64) = (0.002, 80.0);
    let Preconditioning { sigma_data, sigma_min, sigma_max } = preconditioning;
    let fields = [
        ("_class_name", json!(Sampler::EdmHeun.spec().class)),
        ("sigma_data", json!(sigma_data)),
        ("sigma_min", json!(sigma_min.max(RANGE.0))),
        ("sigma_max", json!(sigma_max.min(RANGE.1))),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
