//! The networks of `NVlabs`' `edm` (Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models",
//! 2022) as graphs: `EDMPrecond` around `SongUNet`, which is DDPM++ and NCSN++, or around `DhariwalUNet`, which is ADM.
//!
//! `tools/convert_edm.py` makes a folder of one of their pickles. The preconditioning itself is
//! [`crate::denoise::process::Process::Edm`].

mod config;
mod feeds;
mod layout;
#[cfg(test)]
mod tests;

pub use config::{Config, Embedding, Encoder, Filter, ModelType};

use std::f64::consts::FRAC_1_SQRT_2;

use crate::checkpoint::ConfigFile;
use crate::error::Result;
use crate::graph::WeightAccess;
use crate::graph::op::{Activation, Graph, HeadSide, Heads, Value};
use crate::nets::architecture::{Architecture, CallSize, Inputs, LabelInput, Preconditioning};
use crate::nets::blocks::positional_embedding;
use crate::nets::builder::{Builder, Key, Window};
use crate::nets::feeds::{Feeds, names};
use crate::tensor::Shape;
use config::groups;
use layout::{Kind, Layer, Layout, Resize};

/// The prefix of the network inside the preconditioning.
const MODEL: &str = "model";

/// An `EDMPrecond`.
#[derive(Clone, Debug, PartialEq)]
pub struct EdmNetwork {
    config: Config,
}

impl EdmNetwork {
    /// The class in `NVlabs`' code.
    pub const CLASS: &str = "EDMPrecond";

    /// The network of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The network of a configuration file.
    ///
    /// # Errors
    /// Those of [`Config::from_map`].
    pub fn read(file: &ConfigFile) -> Result<Self> {
        Ok(Self::new(Config::from_map(&file.values, &file.path)?))
    }

    /// The frequencies of a Fourier embedding.
    fn frequencies(&self) -> Option<Key> {
        let is_fourier = self.config.embedding == Embedding::Fourier;
        is_fourier.then(|| (format!("{MODEL}.map_noise.freqs"), vec![self.config.noise_channels() / 2]))
    }

    /// The linear layer of class labels: its matrix, and its bias where it has one.
    fn class_layer(&self) -> Vec<Key> {
        let out = self.class_channels();
        let path = format!("{MODEL}.map_label");
        let bias = (self.config.model_type == ModelType::Song).then(|| (format!("{path}.bias"), vec![out]));
        let matrix = (format!("{path}.weight"), vec![out, self.config.label_dim]);
        if self.config.label_dim == 0 { Vec::new() } else { [matrix].into_iter().chain(bias).collect() }
    }

    /// Channels of the embedding of a class label.
    fn class_channels(&self) -> usize {
        match self.config.model_type {
            ModelType::Song => self.config.noise_channels(),
            ModelType::Dhariwal => self.config.embedding_channels(),
        }
    }

    /// The keys of the graph, those of the tables that are read on the host, and those of layers that are only used in
    /// training.
    fn with_tables(&self, mut keys: Vec<Key>) -> Vec<Key> {
        keys.extend(self.frequencies());
        keys.extend(self.class_layer());
        let Config { augment_dim, .. } = self.config;
        if augment_dim > 0 {
            keys.push((format!("{MODEL}.map_augment.weight"), vec![self.config.noise_channels(), augment_dim]));
        }
        keys
    }

    /// The graph for a checked size.
    fn build(&self, batch: usize, height: usize, width: usize) -> Builder {
        let mut b = Builder::new(Self::CLASS);
        let image = b.input(names::X, Shape::new(batch, height, width, self.config.img_channels));
        let embedding = self.embedding(&mut b, batch);
        let sample = Body { config: &self.config, b: &mut b, embedding }.run(image);
        b.graph.outputs.push((names::SAMPLE.to_owned(), sample));
        b
    }

    /// The embedding of noise level and class label, after its nonlinearity.
    fn embedding(&self, b: &mut Builder, batch: usize) -> Value {
        let config = &self.config;
        let (noise, dim) = (config.noise_channels(), config.embedding_channels());
        let is_song = config.model_type == ModelType::Song;
        let path = |layer: &str| format!("{MODEL}.{layer}");
        let mut hidden = match config.embedding {
            // The last frequency is 1 / 10000 in `SongUNet`, whose code then puts sines before cosines.
            Embedding::Positional => {
                let timestep = b.input(names::TIMESTEP, Shape::vector(batch, 3));
                let shift = if is_song { 1.0 } else { 0.0 };
                positional_embedding(b, &path("map_noise"), timestep, noise, shift, !is_song)
            }
            Embedding::Fourier => b.input(names::TIME_ROWS, Shape::vector(batch, noise)),
        };
        let has_classes = config.label_dim > 0;
        let class = |b: &mut Builder, hidden: Value| {
            let rows = b.input(names::CLASS_ROWS, Shape::vector(batch, self.class_channels()));
            b.add(&path("class_sum"), hidden, rows, 1.0)
        };
        if is_song && has_classes {
            hidden = class(b, hidden);
        }
        let hidden = b.linear(&path("map_layer0"), hidden, dim);
        let hidden = b.activation(&path("map_layer0.silu"), hidden, Activation::Silu);
        let mut hidden = b.linear(&path("map_layer1"), hidden, dim);
        if !is_song && has_classes {
            hidden = class(b, hidden);
        }
        b.activation(&path("embedding"), hidden, Activation::Silu)
    }
}

impl Architecture for EdmNetwork {
    fn class_name(&self) -> &'static str {
        Self::CLASS
    }

    fn in_channels(&self) -> usize {
        self.config.img_channels
    }

    fn out_channels(&self) -> usize {
        self.config.img_channels
    }

    fn preconditioning(&self) -> Option<Preconditioning> {
        let Config { sigma_data, sigma_min, sigma_max, .. } = self.config;
        Some(Preconditioning { sigma_data, sigma_min, sigma_max })
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        Some((self.config.img_resolution, self.config.img_resolution))
    }

    fn size_multiple(&self) -> usize {
        self.config.size_multiple()
    }

    /// Beyond the classes, the label after the last one leaves the class out, where training did so too.
    fn labels(&self) -> LabelInput {
        let Config { label_dim, label_dropout, .. } = self.config;
        let null = (label_dropout > 0.0).then_some(label_dim);
        if label_dim == 0 { LabelInput::None } else { LabelInput::Numbers { classes: Some(label_dim), null } }
    }

    fn keys(&self) -> Vec<Key> {
        let side = self.config.img_resolution;
        self.with_tables(self.build(1, side, side).keys)
    }

    fn graph_and_keys(&self, size: CallSize) -> Result<(Graph, Vec<Key>)> {
        self.check(size)?;
        let Builder { graph, keys, .. } = self.build(size.batch, size.height, size.width);
        Ok((graph, self.with_tables(keys)))
    }

    fn feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds> {
        self.inputs_as_feeds(inputs, weights)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let network = match (config.model_type, config.embedding, config.encoder, config.skip_decoder) {
            (ModelType::Dhariwal, ..) => "DhariwalUNet (ADM)",
            (_, Embedding::Positional, Encoder::Standard, false) => "SongUNet (DDPM++)",
            (_, Embedding::Fourier, Encoder::Residual, false) => "SongUNet (NCSN++)",
            _ => "SongUNet",
        };
        let channels: Vec<String> = (0..config.channel_mult.len()).map(|at| config.channels(at).to_string()).collect();
        let levels = format!("{} channels, {} layers each", channels.join(", "), config.num_blocks);
        let mut details = vec![
            ("network", network.to_owned()),
            ("levels", levels),
            ("preconditioning", format!("EDM, sigma_data {}", config.sigma_data)),
        ];
        if config.label_dim > 0 {
            let null = if config.label_dropout > 0.0 { ", and the null class" } else { "" };
            details.push(("classes", format!("{}{null}", config.label_dim)));
        }
        if config.augment_dim > 0 {
            details
                .push(("augmentations", format!("{}, of which images that are sampled have none", config.augment_dim)));
        }
        details
    }
}

/// The layers of a network under construction.
struct Body<'a> {
    config: &'a Config,
    b: &'a mut Builder,
    /// The embedding after its nonlinearity, which is the same for every block.
    embedding: Value,
}

impl Body<'_> {
    /// All layers; returns the output.
    fn run(&mut self, image: Value) -> Value {
        let Layout { encoder, decoder } = Layout::of(self.config);
        let (mut x, mut aux) = (image, image);
        let mut skips = Vec::new();
        for layer in &encoder {
            let path = format!("{MODEL}.enc.{}", layer.name);
            let is_kept = layer.is_block() || layer.kind == Kind::Conv;
            match layer.kind {
                Kind::Conv => x = self.b.conv(&path, x, layer.out, Window::THREE),
                Kind::AuxDown => aux = self.resized(&path, aux, Resize::Halve),
                Kind::AuxSkip => {
                    let product = self.b.conv(&path, aux, layer.out, Window::ONE);
                    x = self.b.add(&format!("{path}.sum"), x, product, 1.0);
                }
                Kind::AuxResidual => {
                    let halved = self.halving_conv(&path, aux, layer.out);
                    x = self.b.add(&format!("{path}.sum"), x, halved, FRAC_1_SQRT_2);
                    aux = x;
                }
                Kind::Block { .. } => x = self.block(&path, layer, x),
                Kind::AuxUp | Kind::Output => {}
            }
            if is_kept {
                skips.push(x);
            } else if let (Kind::AuxSkip | Kind::AuxResidual, Some(last)) = (layer.kind, skips.last_mut()) {
                *last = x;
            }
        }
        let mut output: Option<Value> = None;
        for layer in &decoder {
            // `DhariwalUNet` has its last layers beside the decoder.
            let path = if layer.name == "out" { format!("{MODEL}.out") } else { format!("{MODEL}.dec.{}", layer.name) };
            match layer.kind {
                Kind::AuxUp => output = output.map(|output| self.resized(&path, output, Resize::Double)),
                Kind::Output => {
                    let norm = (groups(layer.input), self.eps());
                    let hidden = self.b.group_norm(&format!("{path}_norm"), x, norm, None);
                    let hidden = self.b.activation(&format!("{path}_norm.silu"), hidden, Activation::Silu);
                    let hidden = self.b.conv(&format!("{path}_conv"), hidden, layer.out, Window::THREE);
                    output = Some(match output {
                        Some(before) => self.b.add(&format!("{path}.sum"), hidden, before, 1.0),
                        None => hidden,
                    });
                }
                Kind::Block { .. } => {
                    let joins = self.b.graph.shape(x).c != layer.input;
                    if let Some(skip) = skips.pop_if(|_| joins) {
                        x = self.b.concat(&format!("{path}.concat"), x, skip);
                    }
                    x = self.block(&path, layer, x);
                }
                Kind::Conv | Kind::AuxDown | Kind::AuxSkip | Kind::AuxResidual => {}
            }
        }
        output.unwrap_or(x)
    }

    /// Epsilon of every normalisation.
    fn eps(&self) -> f64 {
        match self.config.model_type {
            ModelType::Song => 1e-6,
            ModelType::Dhariwal => 1e-5,
        }
    }

    /// The factor of the sums of residual branches.
    fn skip_scale(&self) -> f64 {
        match self.config.model_type {
            ModelType::Song => FRAC_1_SQRT_2,
            ModelType::Dhariwal => 1.0,
        }
    }

    fn resized(&mut self, label: &str, x: Value, resize: Resize) -> Value {
        match (resize, self.config.filter) {
            (Resize::Keep, _) => x,
            (Resize::Halve, Filter::Box) => self.b.average_pool(&format!("{label}.resample"), x),
            (Resize::Halve, Filter::Smooth) => self.b.fir_halve(&format!("{label}.resample"), x, 1),
            (Resize::Double, Filter::Box) => self.b.upsample_nearest(&format!("{label}.resample"), x),
            (Resize::Double, Filter::Smooth) => self.b.fir_double(&format!("{label}.resample"), x),
        }
    }

    /// `Conv2d` with `fused_resample` and `down`: zeros are put around the image once, before the convolution, and the
    /// filter adds none. The factors of the filter add up to one, so that the bias may come first.
    fn halving_conv(&mut self, path: &str, x: Value, out: usize) -> Value {
        match self.config.filter {
            Filter::Box => {
                let convolved = self.b.conv(path, x, out, Window::THREE);
                self.b.average_pool(&format!("{path}.resample"), convolved)
            }
            Filter::Smooth => {
                let wider = Window { side: 3, stride: 1, pad_before: 2, pad_after: 2 };
                let convolved = self.b.conv(path, x, out, wider);
                self.b.fir_halve(&format!("{path}.resample"), convolved, 0)
            }
        }
    }

    /// `UNetBlock` at `path`.
    fn block(&mut self, path: &str, layer: &Layer, x: Value) -> Value {
        let Kind::Block { resize, attention } = layer.kind else { return x };
        let label = |part: &str| format!("{path}.{part}");
        let (input, out, eps) = (self.b.graph.shape(x).c, layer.out, self.eps());
        let hidden = self.b.group_norm(&label("norm0"), x, (groups(input), eps), None);
        let hidden = self.b.activation(&label("norm0.silu"), hidden, Activation::Silu);
        let hidden = self.resized(&label("conv0"), hidden, resize);
        let hidden = self.b.conv(&label("conv0"), hidden, out, Window::THREE);
        let norm = (groups(out), eps);
        let hidden = match self.config.model_type {
            ModelType::Song => {
                let shift = self.b.linear(&label("affine"), self.embedding, out);
                let hidden = self.b.add(&label("shifted"), hidden, shift, 1.0);
                self.b.group_norm(&label("norm1"), hidden, norm, None)
            }
            ModelType::Dhariwal => {
                let modulation = self.b.linear(&label("affine"), self.embedding, 2 * out);
                self.b.group_norm(&label("norm1"), hidden, norm, Some(modulation))
            }
        };
        let hidden = self.b.activation(&label("norm1.silu"), hidden, Activation::Silu);
        let hidden = self.b.conv(&label("conv1"), hidden, out, Window::THREE);
        let skip = self.resized(&label("skip"), x, resize);
        // `SongUNet` has a product wherever anything changes, `DhariwalUNet` only where channels do.
        let is_projected = input != out || (resize != Resize::Keep && self.config.model_type == ModelType::Song);
        let skip = if is_projected { self.b.conv(&label("skip"), skip, out, Window::ONE) } else { skip };
        let hidden = self.b.add(&label("sum"), hidden, skip, self.skip_scale());
        if attention { self.attention(path, hidden) } else { hidden }
    }

    /// The attention of a `UNetBlock`. The outputs of `qkv` are ordered by head, channel, and then query, key, value.
    fn attention(&mut self, path: &str, x: Value) -> Value {
        let label = |part: &str| format!("{path}.{part}");
        let channels = self.b.graph.shape(x).c;
        let count = self.config.heads(channels);
        if count == 0 {
            return x;
        }
        let heads = Heads { count, dim: channels / count, side: HeadSide::Out };
        let order: Vec<usize> = (0..3).flat_map(|part| (0..channels).map(move |channel| 3 * channel + part)).collect();
        let hidden = self.b.group_norm(&label("norm2"), x, (groups(channels), self.eps()), None);
        let stacked = Heads { count: 3 * count, ..heads };
        let qkv = self.b.linear_to_heads_in_order(&label("qkv"), hidden, stacked, &order);
        let hidden = self.b.self_attention(&label("attention"), qkv, heads);
        let hidden = self.b.linear_from_heads(&label("proj"), hidden, heads, channels);
        self.b.add(&label("attention.sum"), hidden, x, self.skip_scale())
    }
}
