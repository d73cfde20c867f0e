//! diffusers' `UNet2DModel` (`models/unets/unet_2d.py`, `unet_2d_blocks.py`) as a graph.
//!
//! Written in primitive operations, one for one with the modules there; [`crate::graph`] fuses them.

mod config;
mod feeds;
pub mod skip;
#[cfg(test)]
mod tests;

use crate::nets::feeds::Feeds;
pub use crate::nets::feeds::names;
pub use config::{BlockType, ClassEmbedding, Config, Resample, TimeEmbedding};

pub use crate::nets::unet_fields::TimeScaleShift;

use crate::checkpoint::ConfigFile;
use crate::error::Result;
use crate::graph::WeightAccess;
use crate::graph::op::{Activation, Combine, Graph, Value};
use crate::nets::architecture::{Architecture, CallSize, Inputs, LabelInput};
use crate::nets::blocks::ladder::{self, Levels, Place, Way};
use crate::nets::blocks::{
    Attention, Resize, Resnet, Style, downsample_conv, image_input, positional_embedding, timestep_mlp, upsample_conv,
};
use crate::nets::builder::{Builder, Key, Window};
use crate::tensor::Shape;

/// A `UNet2DModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct UNet2d {
    config: Config,
}

impl UNet2d {
    /// The class in diffusers.
    pub const CLASS: &str = "UNet2DModel";

    /// The network of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The configuration it was made from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network of a configuration file.
    ///
    /// # Errors
    /// Those of [`Config::from_map`].
    pub fn read(file: &ConfigFile) -> Result<Self> {
        Ok(Self::new(Config::from_map(&file.values, &file.path)?))
    }

    /// The tensor behind the input [`names::TIME_ROWS`]: a table, or the frequencies of a Fourier embedding.
    fn time_table(&self) -> Option<Key> {
        let channels = self.config.block_out_channels[0];
        let shape = match self.config.time_embedding_type {
            TimeEmbedding::Positional => return None,
            TimeEmbedding::Fourier => vec![channels],
            TimeEmbedding::Learned => vec![self.config.num_train_timesteps?, channels],
        };
        Some(("time_proj.weight".to_owned(), shape))
    }

    /// The table behind the input [`names::CLASS_ROWS`].
    fn class_table(&self) -> Option<Key> {
        match self.config.class_embedding {
            Some(ClassEmbedding::Table(rows)) => {
                Some(("class_embedding.weight".to_owned(), vec![rows, self.config.time_embedding_dim]))
            }
            Some(ClassEmbedding::Timestep | ClassEmbedding::Identity) | None => None,
        }
    }

    /// The keys of the graph and those of the tables that are read on the host.
    fn with_tables(&self, mut keys: Vec<Key>) -> Vec<Key> {
        keys.extend(self.time_table());
        keys.extend(self.class_table());
        keys
    }

    /// The graph for a checked size.
    fn build(&self, batch: usize, height: usize, width: usize) -> Builder {
        let config = &self.config;
        let mut b = Builder::new(Self::CLASS);
        let x = image_input(&mut b, Shape::new(batch, height, width, config.in_channels), config.center_input_sample);
        let embedding = self.embedding(&mut b, batch);
        let mut body = Body::new(config, b, embedding, x);

        let first = body.b.conv("conv_in", x, config.block_out_channels[0], Window::THREE);
        let (deepest, skips) = ladder::down(&mut body, first);
        let middle = if config.mid_block { body.middle(deepest) } else { deepest };
        let hidden = ladder::up(&mut body, middle, skips);

        let Body { mut b, style, output, .. } = body;
        let hidden = b.group_norm("conv_norm_out", hidden, (config.groups(b.graph.shape(hidden).c), style.eps), None);
        let hidden = b.activation("conv_act", hidden, Activation::Silu);
        let mut hidden = b.conv("conv_out", hidden, config.out_channels, Window::THREE);
        if let Some(output) = output {
            // The last level, which is not doubled, doubles the output of those before it.
            let doubled = b.fir_double("skip_sample", output);
            hidden = b.add("skip_sum", hidden, doubled, 1.0);
        }
        let sample = self.output(&mut b, hidden);
        b.graph.outputs.push((names::SAMPLE.to_owned(), sample));
        b
    }

    fn output(&self, b: &mut Builder, hidden: Value) -> Value {
        if self.config.time_embedding_type != TimeEmbedding::Fourier {
            return hidden;
        }
        let shape = b.graph.shape(hidden);
        let coefficients = b.input(names::OUTPUT_COEFFICIENTS, Shape::vector(shape.n, 1));
        let op = Combine { coefficients, terms: vec![hidden], clip: None, offset: 0.0 };
        b.graph.push(op, shape, "divide_by_timestep")
    }

    /// The time embedding, including the class embedding.
    fn embedding(&self, b: &mut Builder, batch: usize) -> Value {
        let dim = self.config.time_embedding_dim;
        let projected = self.projection(b, batch, "time_proj", (names::TIMESTEP, names::TIME_ROWS));
        let time = timestep_mlp(b, "time_embedding", projected, dim, Activation::Silu);
        let class = match self.config.class_embedding {
            None => return time,
            Some(ClassEmbedding::Timestep) => {
                let names = (names::CLASS_TIMESTEP, names::CLASS_ROWS);
                let projected = self.projection(b, batch, "class_proj", names);
                timestep_mlp(b, "class_embedding", projected, dim, Activation::Silu)
            }
            Some(ClassEmbedding::Table(_) | ClassEmbedding::Identity) => {
                b.input(names::CLASS_ROWS, Shape::vector(batch, dim))
            }
        };
        b.add("class_sum", time, class, 1.0)
    }

    /// A timestep, or a label treated as one, as the vector before the linear layers. Only the positional projection is
    /// free of checkpoint tensors and made in the graph; the others are rows made with the feeds.
    fn projection(&self, b: &mut Builder, batch: usize, label: &str, (parts, rows): (&str, &str)) -> Value {
        let config = &self.config;
        let dim = config.time_projection_dim();
        match config.time_embedding_type {
            TimeEmbedding::Positional => {
                let timestep = b.input(parts, Shape::vector(batch, 3));
                positional_embedding(b, label, timestep, dim, config.freq_shift, config.flip_sin_to_cos)
            }
            TimeEmbedding::Fourier | TimeEmbedding::Learned => b.input(rows, Shape::vector(batch, dim)),
        }
    }
}

impl Architecture for UNet2d {
    fn class_name(&self) -> &'static str {
        Self::CLASS
    }

    fn in_channels(&self) -> usize {
        self.config.in_channels
    }

    fn out_channels(&self) -> usize {
        self.config.out_channels
    }

    /// As diffusers' `DDPMScheduler` decides it: by the number of channels.
    fn learns_variance(&self) -> bool {
        self.config.out_channels == 2 * self.config.in_channels
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        self.config.sample_size
    }

    fn size_multiple(&self) -> usize {
        self.config.size_multiple()
    }

    fn labels(&self) -> LabelInput {
        let numbers = |classes| LabelInput::Numbers { classes, null: None };
        match self.config.class_embedding {
            None => LabelInput::None,
            Some(ClassEmbedding::Identity) => LabelInput::Rows(self.config.time_embedding_dim),
            Some(ClassEmbedding::Table(rows)) => numbers(Some(rows)),
            Some(ClassEmbedding::Timestep) => numbers(None),
        }
    }

    fn keys(&self) -> Vec<Key> {
        let side = self.size_multiple();
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
        let channels: Vec<String> = config.block_out_channels.iter().map(ToString::to_string).collect();
        let levels = format!("{} channels, {} layers each", channels.join(", "), config.layers_per_block);
        let classes = config.class_embedding.map(|class| ("classes", class.to_string()));
        std::iter::once(("levels", levels)).chain(classes).collect()
    }
}

/// The levels of a network under construction.
struct Body<'a> {
    config: &'a Config,
    style: Style,
    b: Builder,
    /// The time embedding after its nonlinearity, which is the same for every residual block.
    time: Value,
    /// The image, at the resolution of the level on the way down: for blocks with `Skip`.
    image: Value,
    /// The output of the levels so far on the way up, where they are blocks with `Skip`.
    output: Option<Value>,
}

impl<'a> Body<'a> {
    fn new(config: &'a Config, mut b: Builder, embedding: Value, image: Value) -> Self {
        let style = Style {
            activation: config.act_fn,
            groups: config.groups(config.block_out_channels[config.halvings()]),
            eps: config.norm_eps,
            scale_shift: config.resnet_time_scale_shift == TimeScaleShift::ScaleShift,
        };
        let time = b.activation("time_embedding.nonlinearity", embedding, config.act_fn);
        Self { config, style, b, time, image, output: None }
    }

    fn middle(&mut self, x: Value) -> Value {
        let config = self.config;
        let channels = self.b.graph.shape(x).c;
        let scale = config.mid_block_scale_factor;
        let mut x = self.resnet("mid_block.resnets.0", x, channels, scale, Resize::Keep);
        if config.add_attention {
            let attention = Attention {
                path: "mid_block.attentions.0",
                norm: config.mid_attention_groups().map(|groups| (groups, config.norm_eps)),
                head_dim: config.attention_head_dim.unwrap_or(channels),
                rescale_output_factor: scale,
            };
            x = attention.build(&mut self.b, x);
        }
        self.resnet("mid_block.resnets.1", x, channels, scale, Resize::Keep)
    }

    fn resnet(&mut self, path: &str, x: Value, out: usize, output_scale_factor: f64, resize: Resize) -> Value {
        let Self { style, b, time, .. } = self;
        Resnet { style, path, out, output_scale_factor, resize }.build(b, x, Some(*time))
    }
}

impl Body<'_> {
    /// The kind of a level, and its channels.
    fn level(&self, place: Place) -> (BlockType, usize) {
        let config = self.config;
        let kind = match place.way {
            Way::Down => config.down_block_types[place.level],
            Way::Up => config.up_block_types[config.halvings() - place.level],
        };
        (kind, config.block_out_channels[place.level])
    }
}

impl Levels for Body<'_> {
    fn builder(&mut self) -> &mut Builder {
        &mut self.b
    }

    fn layers(&self) -> Vec<usize> {
        vec![self.config.layers_per_block; self.config.block_out_channels.len()]
    }

    /// A residual block, and an attention after it where the level has them.
    fn layer(&mut self, place: Place, layer: usize, x: Value) -> Value {
        let ((kind, channels), path) = (self.level(place), place.path);
        if kind.is_skip() {
            return self.skip_layer(place, layer, x);
        }
        let x = self.resnet(&format!("{path}.resnets.{layer}"), x, channels, 1.0, Resize::Keep);
        if kind != BlockType::Attention {
            return x;
        }
        let attention = Attention {
            path: &format!("{path}.attentions.{layer}"),
            norm: Some((self.style.groups, self.style.eps)),
            head_dim: self.config.attention_head_dim.unwrap_or(channels),
            rescale_output_factor: 1.0,
        };
        attention.build(&mut self.b, x)
    }

    fn halve(&mut self, place: Place, path: &str, x: Value) -> Value {
        let (kind, channels) = self.level(place);
        match (kind, self.config.downsample_type) {
            (BlockType::Plain, _) | (BlockType::Attention, Resample::Conv) => {
                downsample_conv(&mut self.b, path, x, self.config.downsample_padding)
            }
            (BlockType::Resnet, _) | (BlockType::Attention, Resample::Resnet) => {
                self.resnet(path, x, channels, 1.0, Resize::Halve)
            }
            (BlockType::Skip | BlockType::AttentionSkip, _) => self.skip_halve(place, x),
        }
    }

    fn double(&mut self, place: Place, path: &str, x: Value, size: (usize, usize)) -> Value {
        let (kind, channels) = self.level(place);
        match (kind, self.config.upsample_type) {
            (BlockType::Plain, _) | (BlockType::Attention, Resample::Conv) => upsample_conv(&mut self.b, path, x, size),
            (BlockType::Resnet, _) | (BlockType::Attention, Resample::Resnet) => {
                self.resnet(path, x, channels, 1.0, Resize::Double)
            }
            (BlockType::Skip | BlockType::AttentionSkip, _) => self.skip_double(place, x),
        }
    }
}
