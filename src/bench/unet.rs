//! Calls of whole networks: the embedded one, and published topologies with generated weights.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use web_time::Instant;

use super::Settings;
use super::breakdown::Breakdown;
use super::measure::{TOLERANCE, check_within, clock, compile, wake};
use super::problem::{Expected, Job, Work, numbers, plan_shaders};
use super::report::{Call, Check, Roofs, Row};
use super::statistics::{Timing, quantile};
use crate::checkpoint::{ConfigFile, ModelFiles, Weights};
use crate::error::{Error, Result};
use crate::graph::adjoint::{adjoint_name, adjoints};
use crate::graph::op::Graph;
use crate::graph::{Compiler, Program, host};
use crate::nets::architecture::{self, Architecture, CallSize, Inputs, LabelInput};
use crate::nets::builder::Key;
use crate::nets::feeds::{Added, ClassLabels, names};
use crate::tensor::{Precision, Tensor};

/// The topology of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// The embedded network of digits.
    Digits,
    /// `google/ddpm-cifar10-32`.
    Cifar10,
    /// The network of DDIM for `CelebA` at 64 x 64 (ermongroup/ddim, `configs/celeba.yml`).
    Celeba,
    /// `DiT-S/2` (Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023, table 1), latents of 32 x 32.
    Dit,
    /// The U-Net of Stable Diffusion XL, latents of 128 x 128 with 77 tokens: one of the two calls of a guided step.
    Sdxl,
}

impl Topology {
    const ALL: [Self; 5] = [Self::Digits, Self::Cifar10, Self::Celeba, Self::Dit, Self::Sdxl];

    /// The name on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Cifar10 => "cifar10-32",
            Self::Celeba => "celeba-64",
            Self::Dit => "dit-s-2",
            Self::Sdxl => "sdxl",
        }
    }
}

/// A call of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// The network.
    pub topology: Topology,
    /// The number of images per call.
    pub batch: usize,
    /// `true` for a call with a product of the transposed Jacobian beside it, as restorations take.
    pub pulls_back: bool,
}

const CIFAR10: &str = r#"{
    "_class_name": "UNet2DModel", "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
    "block_out_channels": [128, 256, 256, 256],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": null, "norm_eps": 1e-6, "norm_num_groups": 32, "downsample_padding": 0,
    "flip_sin_to_cos": false, "freq_shift": 1
}"#;
const CELEBA: &str = r#"{
    "_class_name": "UNet2DModel", "sample_size": 64, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
    "block_out_channels": [128, 256, 256, 256, 512],
    "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
    "attention_head_dim": null, "norm_eps": 1e-6, "norm_num_groups": 32, "downsample_padding": 0,
    "flip_sin_to_cos": false, "freq_shift": 1
}"#;

const DIT: &str = r#"{
    "_class_name": "DiTTransformer2DModel", "sample_size": 32, "patch_size": 2, "in_channels": 4, "out_channels": 8,
    "num_layers": 12, "num_attention_heads": 6, "attention_head_dim": 64, "num_embeds_ada_norm": 1000
}"#;

const SDXL: &str = r#"{
    "_class_name": "UNet2DConditionModel", "sample_size": 128, "in_channels": 4, "out_channels": 4,
    "block_out_channels": [320, 640, 1280], "layers_per_block": 2, "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": true,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816
}"#;

/// Tokens of a context.
const TOKENS: usize = 77;
/// Numbers that are embedded beside a text.
const TIME_IDS: usize = 6;

/// The largest distance between device and twin with maps in float16.
const HALF_MAPS_TOLERANCE: f64 = 5e-3;
/// The least side of an image that is checked: a multiple of the smallest side of every topology below it.
const LEAST_CHECKED: usize = 4;
/// The largest number of images per call.
const MOST_IMAGES: usize = 4096;
/// A timestep in the middle of the thousand.
const TIMESTEP: f64 = 500.0;
/// The suffix of a call with a product of the transposed Jacobian.
const PRODUCT: &str = "+vjp";
/// The seeds of the images, of contexts, of texts, of covectors and of the first weight.
const IMAGES: u64 = 6;
const COVECTORS: u64 = 9;
const CONTEXTS: u64 = 7;
const TEXTS: u64 = 8;
const FIRST_WEIGHT: u64 = 100;

impl Net {
    /// The default cases.
    pub const USUAL: [Self; 5] = [
        Self::call(Topology::Digits, 1),
        Self::call(Topology::Digits, 16),
        Self::call(Topology::Cifar10, 1),
        Self::call(Topology::Cifar10, 8),
        Self::call(Topology::Celeba, 1),
    ];

    /// The cases of a quick run.
    pub const QUICK: [Self; 2] = [Self::call(Topology::Digits, 1), Self::call(Topology::Digits, 16)];

    /// A call alone.
    const fn call(topology: Topology, batch: usize) -> Self {
        Self { topology, batch, pulls_back: false }
    }
}

impl Display for Net {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let product = if self.pulls_back { ", with a VJP" } else { "" };
        write!(f, "{}, batch {}{product}", self.topology.name(), self.batch)
    }
}

impl FromStr for Net {
    type Err = String;

    /// Parses `NAME` or `NAME:BATCH`, either with `+vjp`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (call, pulls_back) = text.strip_suffix(PRODUCT).map_or((text, false), |call| (call, true));
        let (name, batch) = call.split_once(':').unwrap_or((call, "1"));
        let Some(topology) = Topology::ALL.into_iter().find(|topology| topology.name() == name) else {
            return Err(format!("`{text}`: a network is one of {}", Topology::ALL.map(Topology::name).join(", ")));
        };
        match batch.parse() {
            Ok(batch) if (1..=MOST_IMAGES).contains(&batch) => Ok(Self { topology, batch, pulls_back }),
            _ => Err(format!("`{text}`: a batch is a number from 1 to {MOST_IMAGES}")),
        }
    }
}

/// A network with its weights.
struct Opened {
    net: Arc<dyn Architecture>,
    weights: Tensors,
    size: (usize, usize),
    pulls_back: bool,
}

/// The weights of a network.
enum Tensors {
    Embedded(Weights),
    /// Generated each time they are needed, since those of large networks do not fit in memory beside the device's: the
    /// place of each tensor among the keys of the network.
    Generated(HashMap<String, u64>),
}

impl Tensors {
    /// Weights that keep the values of every layer near one.
    fn generated(keys: Vec<Key>) -> Self {
        Self::Generated(keys.into_iter().zip(FIRST_WEIGHT..).map(|((key, _), seed)| (key, seed)).collect())
    }

    fn fetch(&self, key: &str, shape: &[usize]) -> Result<Tensor> {
        let seeds = match self {
            Self::Embedded(weights) => return weights.fetch(key, shape),
            Self::Generated(seeds) => seeds,
        };
        let Some(seed) = seeds.get(key) else {
            return Err(Error::argument(format!("no tensor `{key}` in this benchmark"), "name another network"));
        };
        let inputs: usize = shape[1..].iter().product();
        let (centre, scale) = match shape.len() {
            // The multipliers of a normalisation stay near one, every offset near zero.
            1 => (if key.ends_with("weight") { 1.0 } else { 0.0 }, 0.1),
            _ => (0.0, (inputs as f32).sqrt().recip()),
        };
        let values = numbers(*seed, shape.iter().product());
        Ok(Tensor::new(shape, values.iter().map(|value| centre + scale * value).collect::<Vec<_>>()))
    }
}

impl Opened {
    fn new(Net { topology, pulls_back, .. }: Net) -> Result<Self> {
        let (net, weights) = match topology {
            Topology::Digits => {
                let model = ModelFiles::embedded()?;
                (architecture::open(&model.config, &model.weights)?, Tensors::Embedded(model.weights))
            }
            Topology::Cifar10 => generated(CIFAR10)?,
            Topology::Celeba => generated(CELEBA)?,
            Topology::Dit => generated(DIT)?,
            Topology::Sdxl => generated(SDXL)?,
        };
        let side = net.smallest_side();
        let size = net.sample_size().unwrap_or((side, side));
        Ok(Self { net, weights, size, pulls_back })
    }

    /// The extents of a call.
    fn call(&self, batch: usize, size: (usize, usize)) -> CallSize {
        CallSize::images(batch, size).with_tokens(self.net.context().map_or(0, |_| TOKENS))
    }

    /// The graph of a call.
    fn graph(&self, batch: usize, size: (usize, usize)) -> Result<Graph> {
        let graph = self.net.graph(self.call(batch, size))?;
        if self.pulls_back { adjoints(&graph, names::X) } else { Ok(graph) }
    }

    /// Returns the inputs of a call, NCHW.
    fn feeds(&self, batch: usize, (height, width): (usize, usize)) -> Result<Vec<(String, Tensor)>> {
        let channels = self.net.in_channels();
        let x = Tensor::new([batch, channels, height, width], numbers(IMAGES, batch * channels * height * width));
        let timesteps = vec![TIMESTEP; batch];
        let labels = match self.net.labels() {
            LabelInput::Numbers { .. } => Some(ClassLabels::Numbers(vec![0.0; batch])),
            LabelInput::None | LabelInput::Rows(_) => None,
        };
        let context = self.net.context().map(|input| {
            let shape = [batch, TOKENS, input.channels];
            Tensor::new(shape, numbers(CONTEXTS, shape.iter().product()))
        });
        let added = self.net.added().map(|input| {
            let channels = input.channels.saturating_sub(TIME_IDS * input.per_number);
            let ids = vec![1024.0; batch * TIME_IDS];
            let pooled = Tensor::new([batch, channels], numbers(TEXTS, batch * channels));
            Added { pooled, numbers: Tensor::new([batch, TIME_IDS], ids) }
        });
        let inputs = Inputs::new(&x, &timesteps).with_labels(labels.as_ref());
        let inputs = inputs.with_context(context.as_ref()).with_added(added.as_ref());
        let mut feeds = self.net.feeds(&inputs, &|key, shape| self.weights.fetch(key, shape))?;
        if self.pulls_back {
            let shape = [batch, self.net.out_channels(), height, width];
            let covector = Tensor::new(shape, numbers(COVECTORS, shape.iter().product()));
            feeds.push((adjoint_name(names::SAMPLE), covector));
        }
        Ok(feeds)
    }

    fn program<'e>(&self, compiler: Compiler<'e>, batch: usize, size: (usize, usize)) -> Result<Program<'e>> {
        let graph = self.graph(batch, size)?;
        compiler.program(&graph, &|key, shape| self.weights.fetch(key, shape))
    }

    fn calls<'e>(&self, compiler: Compiler<'e>, batch: usize) -> Result<Calls<'e>> {
        let program = self.program(compiler, batch, self.size)?;
        Ok(Calls { program, feeds: self.feeds(batch, self.size)? })
    }

    /// Checks one small image on the device against the twins: the same layers, in an acceptable time.
    fn check(&self, compiler: Compiler) -> Result<Check> {
        let side = self.net.smallest_side().max(LEAST_CHECKED);
        let feeds = self.feeds(1, (side, side))?;
        let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let program = self.program(compiler, 1, (side, side))?;
        // The product, where there is one, follows from the value.
        let output = usize::from(self.pulls_back);
        let answer = program.run(&inputs)?.remove(output);
        let fetch = |key: &str, shape: &[usize]| self.weights.fetch(key, shape);
        let values = host::run(&program.plan, &fetch, &inputs, 0.0)?.remove(output).data;
        let part = format!("an image of {side} x {side}");
        // A map may be rounded the other way where device and twin differ in the last bit.
        let tolerance = if compiler.options.maps == Precision::Float16 { HALF_MAPS_TOLERANCE } else { TOLERANCE };
        check_within(&answer.data, &Expected { places: (0..values.len()).collect(), values, part }, tolerance)
    }
}

/// Creates the network of a configuration, with generated weights.
fn generated(config: &str) -> Result<(Arc<dyn Architecture>, Tensors)> {
    let file = ConfigFile::parse("(benchmark)/config.json", config.as_bytes())?;
    let net = architecture::read(&file)?;
    let weights = Tensors::generated(net.keys());
    Ok((net, weights))
}

/// A network on a device, for repeated calls with their inputs uploaded and outputs read back.
pub struct Calls<'e> {
    program: Program<'e>,
    feeds: Vec<(String, Tensor)>,
}

impl<'e> Calls<'e> {
    /// Prepares a network.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(compiler: impl Into<Compiler<'e>>, net: Net) -> Result<Self> {
        Opened::new(net)?.calls(compiler.into(), net.batch)
    }

    fn inputs(&self) -> Vec<(&str, &Tensor)> {
        self.feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
    }

    /// Returns the time of each step of a call by the device's clock, or `None` if it has none.
    fn step_times(&self) -> Result<Option<Vec<Duration>>> {
        self.program.feed(&self.inputs())?;
        self.program.step_times()
    }
}

impl Job for Calls<'_> {
    fn repeat(&self, times: usize) -> Result<()> {
        (0..times).try_for_each(|_| self.program.run(&self.inputs()).map(drop))
    }

    fn answer(&self) -> Result<Vec<f32>> {
        Ok(self.program.read()?.remove(0).data)
    }
}

/// Measures a network: calls it for the first time, checks it, then times it.
///
/// # Errors
/// Those of the device and of [`check_within`].
pub fn measure_call(compiler: Compiler, row: Row, net: Net, roofs: &Roofs, settings: Settings) -> Result<Row> {
    let (engine, mut row, repeats) = (compiler.engine, row, settings.repeats);
    let opened = Opened::new(net)?;
    let graph = opened.graph(net.batch, opened.size)?;
    let shaders = plan_shaders(&compiler.plan(&graph));
    row.kernels = shaders.iter().map(ToString::to_string).collect();
    let pipelines = compile(engine, &shaders)?;
    if net.topology == Topology::Sdxl {
        // Before the network is on the device for its own size: twice its weights do not fit in most memories.
        row.check = Some(opened.check(compiler)?);
    }
    let begin = Instant::now();
    let calls = opened.calls(compiler, net.batch)?;
    let prepare_seconds = begin.elapsed().as_secs_f64();
    // A driver may defer the compilation until a shader runs.
    let first_seconds = clock(|| calls.repeat(1))?;
    if row.check.is_none() {
        row.check = Some(opened.check(compiler)?);
    }

    let count = wake(engine.gpu.adapter.kind, &mut |times| calls.repeat(times))?;
    let (mut samples, mut kernels, mut gaps) = (Vec::with_capacity(repeats), Vec::new(), Vec::new());
    let mut times_of_steps = Vec::new();
    for _ in 0..repeats {
        let sample = clock(|| calls.repeat(count))? / count as f64;
        samples.push(sample);
        // By turns, so that other load on the machine falls on both. Reading the clock takes time too, so this call is
        // not itself a sample.
        if let Some(times) = calls.step_times()? {
            let seconds = times.iter().map(Duration::as_secs_f64).sum::<f64>();
            kernels.push(seconds);
            gaps.push(1.0 - seconds / sample);
            times_of_steps.push(times);
        }
    }
    let timing = Timing::new(samples, count);
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then(|| quantile(&values, 0.5))
    };
    row.compile_seconds = Some(pipelines + (first_seconds - timing.median).max(0.0));
    row.call = Some(Call {
        parameters: opened.net.parameters(),
        prepare_seconds,
        first_seconds,
        dispatches: calls.program.dispatches(),
        kernel_seconds: median(kernels),
        gap: median(gaps),
    });
    if settings.breaks_down && !times_of_steps.is_empty() {
        let Program { plan, .. } = &calls.program;
        row.breakdown = Some(Breakdown::new(plan, &calls.program.step_dispatches(), &times_of_steps, roofs));
    }
    Ok(row.timed(timing, Work::Flops(graph.flops()), roofs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{CompileOptions, Plan, Target};

    #[test]
    fn the_topologies_have_as_many_parameters_as_the_published_networks() {
        let parameters = |config: &str| {
            let file = ConfigFile::parse("config.json", config.as_bytes()).unwrap();
            architecture::read(&file).unwrap().parameters()
        };
        assert_eq!(parameters(CIFAR10), 35_746_307);
        assert_eq!(parameters(CELEBA), 78_700_803);
        assert_eq!(parameters(SDXL), 2_567_463_684);
        // Diffusers has an embedding of timestep and class in each of the 12 blocks, the published network has one.
        assert_eq!(parameters(DIT), 32_865_056 + 11 * 630_912);
        let net = architecture::read(&ConfigFile::parse("config.json", DIT.as_bytes()).unwrap()).unwrap();
        // "DiT-S/2, 6.06 Gflops" of the paper, where a multiply-add counts as one.
        let gflop = net.graph(CallSize::images(1, (32, 32))).unwrap().flops() as f64 / 2e9;
        assert!((6.0..6.2).contains(&gflop), "{gflop}");
    }

    #[test]
    fn generated_weights_fit_their_network_and_keep_values_moderate() {
        let unet = CIFAR10.replace("[128, 256, 256, 256]", "[32, 32, 64, 64]");
        let dit = DIT.replace(r#""attention_head_dim": 64"#, r#""attention_head_dim": 8"#);
        let sdxl = SDXL.replace("[320, 640, 1280]", "[32, 32, 64]").replace("2048", "24").replace("2816", "1600");
        for small in [unet, dit, sdxl] {
            let (net, weights) = generated(&small).unwrap();
            let opened = Opened { net, weights, size: (8, 8), pulls_back: false };
            let graph = opened.net.graph(opened.call(1, (8, 8))).unwrap();
            let target = Target::without_device(crate::kernels::Family::Tile);
            let plan = Plan::new(&graph, &target, &CompileOptions::default());
            let feeds = opened.feeds(1, opened.size).unwrap();
            let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            let fetch = |key: &str, shape: &[usize]| opened.weights.fetch(key, shape);
            let answer = host::run(&plan, &fetch, &inputs, 0.0).unwrap().remove(0);
            let largest = answer.data.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            assert!((0.1..100.0).contains(&largest), "{small}: {largest}");
        }
    }
}
