//! diffusers' `UNet2DConditionModel` (`models/unets/unet_2d_condition.py`) as a graph: the network of Stable
//! Diffusion 1, 2 and XL and of latent consistency models, a U-Net whose transformers attend to a context of tokens.

mod config;
mod feeds;
#[cfg(test)]
mod tests;

pub use config::{Addition, BlockType, ClassEmbedding, Config, MidBlock, TransformerLayers};

use crate::nets::feeds::Feeds;
pub use crate::nets::feeds::names;
pub use crate::nets::unet_fields::TimeScaleShift;

use crate::checkpoint::ConfigFile;
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::graph::op::{Activation, Graph, Value};
use crate::nets::architecture::{AddedInput, Architecture, CallSize, ContextInput, Inputs, LabelInput, check_batch};
use crate::nets::blocks::ladder::{self, Levels, Place, Way};
use crate::nets::blocks::transformer::Transformer;
use crate::nets::blocks::{
    Resize, Resnet, Style, downsample_conv, image_input, positional_embedding, timestep_mlp, upsample_conv,
};
use crate::nets::builder::{Builder, Key, Window};
use crate::tensor::Shape;

/// A `UNet2DConditionModel`.
#[derive(Clone, Debug, PartialEq)]
pub struct UNet2dCondition {
    config: Config,
}

impl UNet2dCondition {
    /// The class in diffusers.
    pub const CLASS: &str = "UNet2DConditionModel";

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

    /// The smallest height and width: halves are rounded up where all sides are padded, down otherwise.
    fn least_side(&self) -> usize {
        if self.config.downsample_padding == 0 { 1 << self.config.halvings() } else { 1 }
    }

    /// The table behind the input [`names::CLASS_ROWS`].
    fn class_table(&self) -> Option<Key> {
        match self.config.class_embedding {
            Some(ClassEmbedding::Table(rows)) => {
                Some(("class_embedding.weight".to_owned(), vec![rows, self.config.time_embedding_dim]))
            }
            _ => None,
        }
    }

    /// The keys of the graph and that of the table that is read on the host.
    fn with_table(&self, mut keys: Vec<Key>) -> Vec<Key> {
        keys.extend(self.class_table());
        keys
    }

    /// The graph for a checked size.
    fn build(&self, batch: usize, (height, width): (usize, usize), tokens: usize) -> Builder {
        let config = &self.config;
        let mut b = Builder::new(Self::CLASS);
        let shape = Shape::new(batch, height, width, config.in_channels);
        let x = image_input(&mut b, shape, config.center_input_sample);
        let context = b.input(names::CONTEXT, Shape::new(batch, 1, tokens, config.cross_attention_dim));
        let embedding = self.embedding(&mut b, batch);
        let mut body = Body::new(config, b, embedding, context);

        let first = body.b.conv("conv_in", x, config.block_out_channels[0], same_size(config.conv_in_kernel));
        let (deepest, skips) = ladder::down(&mut body, first);
        let middle = body.middle(deepest);
        let hidden = ladder::up(&mut body, middle, skips);

        let Body { mut b, style, .. } = body;
        let hidden = b.group_norm("conv_norm_out", hidden, (style.groups, style.eps), None);
        let hidden = b.activation("conv_act", hidden, config.act_fn);
        let sample = b.conv("conv_out", hidden, config.out_channels, same_size(config.conv_out_kernel));
        b.graph.outputs.push((names::SAMPLE.to_owned(), sample));
        b
    }

    /// The time embedding, including those of a scale of guidance and of a class, and what is added.
    fn embedding(&self, b: &mut Builder, batch: usize) -> Value {
        let config = &self.config;
        let dim = config.time_embedding_dim;
        let mut projected = self.projection(b, batch, "time_proj", names::TIMESTEP);
        if let Some(channels) = config.time_cond_proj_dim {
            let guidance = b.input(names::GUIDANCE_ROWS, Shape::vector(batch, channels));
            let guidance = b.linear_plain("time_embedding.cond_proj", guidance, config.block_out_channels[0]);
            projected = b.add("time_embedding.cond_sum", projected, guidance, 1.0);
        }
        let mut time = timestep_mlp(b, "time_embedding", projected, dim, config.act_fn);
        if let Some(activation) = config.timestep_post_act {
            time = b.activation("time_embedding.post_act", time, activation);
        }
        if let Some(class) = self.class_embedding(b, batch) {
            time = b.add("class_sum", time, class, 1.0);
        }
        if let Some(Addition { channels, .. }) = config.addition {
            let rows = b.input(names::ADDED_ROWS, Shape::vector(batch, channels));
            let added = timestep_mlp(b, "add_embedding", rows, dim, Activation::Silu);
            time = b.add("added_sum", time, added, 1.0);
        }
        match config.time_embedding_act_fn {
            Some(activation) => b.activation("time_embed_act", time, activation),
            None => time,
        }
    }

    fn class_embedding(&self, b: &mut Builder, batch: usize) -> Option<Value> {
        let config = &self.config;
        let (path, dim) = ("class_embedding", config.time_embedding_dim);
        Some(match config.class_embedding? {
            ClassEmbedding::Timestep => {
                let projected = self.projection(b, batch, "class_proj", names::CLASS_TIMESTEP);
                timestep_mlp(b, path, projected, dim, config.act_fn)
            }
            ClassEmbedding::Table(_) | ClassEmbedding::Identity => {
                b.input(names::CLASS_ROWS, Shape::vector(batch, dim))
            }
            ClassEmbedding::Projection(input) => {
                let rows = b.input(names::CLASS_ROWS, Shape::vector(batch, input));
                timestep_mlp(b, path, rows, dim, Activation::Silu)
            }
            ClassEmbedding::SimpleProjection(input) => {
                let rows = b.input(names::CLASS_ROWS, Shape::vector(batch, input));
                b.linear(path, rows, dim)
            }
        })
    }

    /// A timestep, or a label treated as one, as the vector before the linear layers.
    fn projection(&self, b: &mut Builder, batch: usize, label: &str, input: &str) -> Value {
        let config = &self.config;
        let timestep = b.input(input, Shape::vector(batch, 3));
        let dim = config.block_out_channels[0];
        positional_embedding(b, label, timestep, dim, config.freq_shift, config.flip_sin_to_cos)
    }
}

impl Architecture for UNet2dCondition {
    fn class_name(&self) -> &'static str {
        Self::CLASS
    }

    fn in_channels(&self) -> usize {
        self.config.in_channels
    }

    fn out_channels(&self) -> usize {
        self.config.out_channels
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        self.config.sample_size
    }

    /// Any size from [`Architecture::smallest_side`]: on the way up, maps take the size of those they are joined with.
    fn size_multiple(&self) -> usize {
        1
    }

    fn smallest_side(&self) -> usize {
        self.least_side()
    }

    fn context(&self) -> Option<ContextInput> {
        Some(ContextInput { channels: self.config.cross_attention_dim, is_read: self.config.has_cross_attention() })
    }

    fn added(&self) -> Option<AddedInput> {
        let Addition { per_number, channels } = self.config.addition?;
        Some(AddedInput { channels, per_number })
    }

    fn embeds_guidance(&self) -> bool {
        self.config.time_cond_proj_dim.is_some()
    }

    fn labels(&self) -> LabelInput {
        let numbers = |classes| LabelInput::Numbers { classes, null: None };
        match self.config.class_embedding {
            None => LabelInput::None,
            Some(ClassEmbedding::Identity) => LabelInput::Rows(self.config.time_embedding_dim),
            Some(ClassEmbedding::Projection(dim) | ClassEmbedding::SimpleProjection(dim)) => LabelInput::Rows(dim),
            Some(ClassEmbedding::Table(rows)) => numbers(Some(rows)),
            Some(ClassEmbedding::Timestep) => numbers(None),
        }
    }

    /// A context that no layer reads may have no tokens.
    fn check(&self, size: CallSize) -> Result<()> {
        let CallSize { batch, height, width, tokens } = size;
        check_batch(batch)?;
        if tokens == 0 && self.config.has_cross_attention() {
            return Err(Error::argument("a context of no tokens", "give at least one token"));
        }
        let least = self.least_side();
        if height >= least && width >= least {
            return Ok(());
        }
        Err(Error::argument(
            format!("images of {height} x {width} do not fit this network"),
            format!("height and width must be at least {least}"),
        ))
    }

    fn keys(&self) -> Vec<Key> {
        let side = self.least_side();
        self.with_table(self.build(1, (side, side), 1).keys)
    }

    fn graph_and_keys(&self, size: CallSize) -> Result<(Graph, Vec<Key>)> {
        self.check(size)?;
        let CallSize { batch, height, width, tokens } = size;
        let Builder { graph, keys, .. } = self.build(batch, (height, width), tokens.max(1));
        Ok((graph, self.with_table(keys)))
    }

    fn feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds> {
        self.inputs_as_feeds(inputs, weights)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let counts = |values: &[usize]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let levels =
            format!("{} channels, {} layers", counts(&config.block_out_channels), counts(&config.layers_per_block));
        let classes = config.class_embedding.map(|class| ("classes", class.to_string()));
        let added = config.addition.map(|Addition { per_number, channels }| {
            ("added", format!("a text and numbers, {channels} channels, {per_number} of each number"))
        });
        let guidance = config.time_cond_proj_dim.map(|dim| ("guidance", format!("embedded, {dim} channels")));
        [("levels", levels), ("context", format!("{} channels per token", config.cross_attention_dim))]
            .into_iter()
            .chain(classes)
            .chain(added)
            .chain(guidance)
            .collect()
    }
}

/// A convolution of an odd kernel that keeps the resolution.
const fn same_size(side: usize) -> Window {
    Window { side, stride: 1, pad_before: side / 2, pad_after: side / 2 }
}

/// The levels of a network under construction.
struct Body<'a> {
    config: &'a Config,
    style: Style,
    b: Builder,
    /// The time embedding after its nonlinearity, which is the same for every residual block.
    time: Value,
    context: Value,
}

impl<'a> Body<'a> {
    fn new(config: &'a Config, mut b: Builder, embedding: Value, context: Value) -> Self {
        let style = Style {
            activation: config.act_fn,
            groups: config.norm_num_groups,
            eps: config.norm_eps,
            scale_shift: config.resnet_time_scale_shift == TimeScaleShift::ScaleShift,
        };
        let time = b.activation("time_embedding.nonlinearity", embedding, config.act_fn);
        Self { config, style, b, time, context }
    }

    fn middle(&mut self, x: Value) -> Value {
        let (kind, level) = (self.config.mid_block, self.config.halvings());
        if kind == MidBlock::None {
            return x;
        }
        let channels = self.b.graph.shape(x).c;
        let scale = self.config.mid_block_scale_factor;
        let x = self.resnet("mid_block.resnets.0", x, channels, scale);
        if kind == MidBlock::Plain {
            return x;
        }
        let blocks = self.config.transformer_layers.mid;
        let x = self.transformer("mid_block.attentions.0", x, level, blocks, false);
        self.resnet("mid_block.resnets.1", x, channels, scale)
    }

    fn resnet(&mut self, path: &str, x: Value, out: usize, output_scale_factor: f64) -> Value {
        let Self { style, b, time, .. } = self;
        Resnet { style, path, out, output_scale_factor, resize: Resize::Keep }.build(b, x, Some(*time))
    }

    fn transformer(&mut self, path: &str, x: Value, level: usize, blocks: usize, only_cross_attention: bool) -> Value {
        let Self { config, b, context, .. } = self;
        let (groups, heads) = (config.norm_num_groups, config.heads[level]);
        let linear_projection = config.use_linear_projection;
        Transformer { path, groups, heads, blocks, linear_projection, only_cross_attention }.build(b, x, *context)
    }
}

impl Levels for Body<'_> {
    fn builder(&mut self) -> &mut Builder {
        &mut self.b
    }

    fn layers(&self) -> Vec<usize> {
        self.config.layers_per_block.clone()
    }

    fn layer(&mut self, place: Place, layer: usize, x: Value) -> Value {
        let (config, Place { way, level, path }) = (self.config, place);
        let (kind, blocks) = match way {
            Way::Down => (config.down_block_types[level], &config.transformer_layers.down),
            Way::Up => (config.up_block_types[config.halvings() - level], &config.transformer_layers.up),
        };
        let x = self.resnet(&format!("{path}.resnets.{layer}"), x, config.block_out_channels[level], 1.0);
        match kind {
            BlockType::Plain => x,
            BlockType::CrossAttention => {
                let path = format!("{path}.attentions.{layer}");
                self.transformer(&path, x, level, blocks[level][layer], config.only_cross_attention[level])
            }
        }
    }

    fn halve(&mut self, _place: Place, path: &str, x: Value) -> Value {
        downsample_conv(&mut self.b, path, x, self.config.downsample_padding)
    }

    fn double(&mut self, _place: Place, path: &str, x: Value, size: (usize, usize)) -> Value {
        upsample_conv(&mut self.b, path, x, size)
    }
}
