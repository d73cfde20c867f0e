//! The configuration of diffusers' `UNet2DConditionModel` (`models/unets/unet_2d_condition.py`, 0.42), with its
//! defaults.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::graph::op::Activation;
use crate::nets::fields::Fields;
use crate::nets::unet_fields::{
    ACTIVATIONS, MOST_CHANNELS, MOST_LAYERS, MOST_ROWS, TIME_SCALE_SHIFTS, TimeScaleShift, check_divisor, check_eps,
    check_freq_shift, check_groups, check_levels, downsample_padding, sample_size, time_embedding_dim,
};

/// Rows and columns of a kernel that no real network comes near.
const MOST_KERNEL: usize = 63;

/// Channels of the embedding of a scale of guidance: two frequencies, of which the ratio is defined.
const LEAST_GUIDANCE: usize = 4;

/// Transformer blocks of a whole network, likewise.
const MOST_BLOCKS: usize = 4096;

/// The kind of a level, down or up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    /// `DownBlock2D`, `UpBlock2D`: residual blocks.
    Plain,
    /// `CrossAttnDownBlock2D`, `CrossAttnUpBlock2D`: a transformer after each residual block.
    CrossAttention,
}

/// The middle of the network, between the ways down and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MidBlock {
    /// Nothing.
    None,
    /// `UNetMidBlock2D`: one residual block.
    Plain,
    /// `UNetMidBlock2DCrossAttn`: a transformer between two residual blocks.
    CrossAttention,
}

/// The form of the class embedding, which is added to the time embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassEmbedding {
    /// A row of `class_embedding.weight`, which has this number of rows.
    Table(usize),
    /// The label is embedded like a timestep, with separate linear layers.
    Timestep,
    /// The caller gives the vector.
    Identity,
    /// The caller gives a vector of this length, which goes through two linear layers.
    Projection(usize),
    /// The caller gives a vector of this length, which goes through one linear layer.
    SimpleProjection(usize),
}

impl std::fmt::Display for ClassEmbedding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table(rows) => write!(f, "{rows}, one label per image"),
            Self::Timestep => f.write_str("one number per image, embedded like a timestep"),
            Self::Identity => f.write_str("a vector per image"),
            Self::Projection(dim) => write!(f, "a vector of {dim} numbers per image, through two layers"),
            Self::SimpleProjection(dim) => write!(f, "a vector of {dim} numbers per image, through one layer"),
        }
    }
}

/// The vectors that are added to the time embedding besides class labels: `addition_embed_type` of `text_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Channels of the embedding of each number.
    pub per_number: usize,
    /// Channels of the embedding of a text and those of all numbers together.
    pub channels: usize,
}

/// Transformer blocks in each transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransformerLayers {
    /// On the way down, for each level (highest resolution first) and each of its layers.
    pub down: Vec<Vec<usize>>,
    pub mid: usize,
    /// On the way up, levels in the same order.
    pub up: Vec<Vec<usize>>,
}

/// Every field of a `UNet2DConditionModel` that matters at inference. Lists have an entry for each level, highest
/// resolution first.
///
/// Read and without effect are `dropout`; `upcast_attention`, since all attention is in float32;
/// `resnet_skip_time_act`, `resnet_out_scale_factor`, `cross_attention_norm` and `mid_block_only_cross_attention`,
/// which only blocks read that are not supported; `addition_embed_type_num_heads`, and without an
/// `addition_embed_type` also `addition_time_embed_dim`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Height and width of the images in training, if the file has them.
    pub sample_size: Option<(usize, usize)>,
    pub in_channels: usize,
    pub out_channels: usize,
    /// Feed 2x - 1 instead of x.
    pub center_input_sample: bool,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    /// Subtracted from the number of frequencies in their exponent.
    pub freq_shift: f64,
    pub down_block_types: Vec<BlockType>,
    pub mid_block: MidBlock,
    pub up_block_types: Vec<BlockType>,
    /// The first attention of the transformer blocks attends to the context too.
    pub only_cross_attention: Vec<bool>,
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level on the way down; one more on the way up.
    pub layers_per_block: Vec<usize>,
    /// 0 pads one row below and one column right, 1 pads all sides.
    pub downsample_padding: usize,
    /// The middle block's residual sums are divided by it.
    pub mid_block_scale_factor: f64,
    /// The nonlinearity of the residual blocks, and of the layers that embed timesteps.
    pub act_fn: Activation,
    pub norm_num_groups: usize,
    pub norm_eps: f64,
    /// Channels of the context.
    pub cross_attention_dim: usize,
    pub transformer_layers: TransformerLayers,
    /// Attention heads: what the file calls `attention_head_dim`.
    pub heads: Vec<usize>,
    /// The projections around the transformers are stored as matrices.
    pub use_linear_projection: bool,
    pub class_embedding: Option<ClassEmbedding>,
    pub addition: Option<Addition>,
    /// Channels of the embedding of a scale of guidance, which is added to that of the timestep before its two layers.
    pub time_cond_proj_dim: Option<usize>,
    pub resnet_time_scale_shift: TimeScaleShift,
    /// Channels of the time embedding; by default four times the first of `block_out_channels`.
    pub time_embedding_dim: usize,
    /// Applied to the time embedding, including the class embedding, before any block reads it.
    pub time_embedding_act_fn: Option<Activation>,
    /// Applied after the second of the layers that embed timesteps.
    pub timestep_post_act: Option<Activation>,
    /// Rows and columns of the kernels of the first and of the last convolution; odd.
    pub conv_in_kernel: usize,
    pub conv_out_kernel: usize,
}

/// One value for all levels, or one for each.
#[derive(Deserialize)]
#[serde(untagged)]
enum PerLevel<T> {
    All(T),
    Each(Vec<T>),
}

impl<T: Copy> PerLevel<T> {
    fn spread(self, field: &str, levels: usize, fields: &Fields) -> Result<Vec<T>> {
        match self {
            Self::All(value) => Ok(vec![value; levels]),
            Self::Each(values) => {
                fields.check_length(field, values.len(), levels)?;
                Ok(values)
            }
        }
    }
}

impl Config {
    /// Reads the fields in `map`, which came from `file`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a field or a value without an implementation, [`crate::Error::BadFile`]
    /// for wrong types, values out of range and fields that contradict each other.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        refuse_what_is_missing_here(&mut fields)?;
        read_what_has_no_effect(&mut fields)?;
        let block_out_channels = fields.counts("block_out_channels", &[320, 640, 1280, 1280], MOST_CHANNELS)?;
        let Some(first) = block_out_channels.first().copied() else {
            return Err(fields.bad("`block_out_channels` is empty"));
        };
        check_levels(&fields, &block_out_channels)?;
        let levels = block_out_channels.len();
        let layers_per_block = counts(&mut fields, "layers_per_block", 2, levels, MOST_LAYERS)?;
        let config = Self {
            sample_size: sample_size(&mut fields)?,
            in_channels: fields.count("in_channels", 4, MOST_CHANNELS)?,
            out_channels: fields.count("out_channels", 4, MOST_CHANNELS)?,
            center_input_sample: fields.get("center_input_sample", false)?,
            flip_sin_to_cos: fields.get("flip_sin_to_cos", true)?,
            freq_shift: fields.get("freq_shift", 0.0)?,
            down_block_types: fields.choices("down_block_types", &DEFAULT_DOWN, &DOWN_BLOCKS)?,
            mid_block: fields.choice("mid_block_type", "UNetMidBlock2DCrossAttn", &MID_BLOCKS)?,
            up_block_types: fields.choices("up_block_types", &DEFAULT_UP, &UP_BLOCKS)?,
            only_cross_attention: fields.get("only_cross_attention", PerLevel::All(false))?.spread(
                "only_cross_attention",
                levels,
                &fields,
            )?,
            transformer_layers: transformer_layers(&mut fields, &layers_per_block)?,
            layers_per_block,
            downsample_padding: downsample_padding(&mut fields)?,
            mid_block_scale_factor: fields.get("mid_block_scale_factor", 1.0)?,
            act_fn: fields.choice("act_fn", "silu", &ACTIVATIONS)?,
            norm_num_groups: fields.count("norm_num_groups", 32, MOST_CHANNELS)?,
            norm_eps: fields.get("norm_eps", 1e-5)?,
            cross_attention_dim: cross_attention_dim(&mut fields, levels)?,
            heads: counts(&mut fields, "attention_head_dim", 8, levels, MOST_CHANNELS)?,
            use_linear_projection: fields.get("use_linear_projection", false)?,
            class_embedding: class_embedding(&mut fields)?,
            addition: addition(&mut fields)?,
            time_cond_proj_dim: fields.optional_count("time_cond_proj_dim", None, MOST_CHANNELS)?,
            resnet_time_scale_shift: fields.choice("resnet_time_scale_shift", "default", &TIME_SCALE_SHIFTS)?,
            time_embedding_dim: time_embedding_dim(&mut fields, 4 * first)?,
            time_embedding_act_fn: optional_activation(&mut fields, "time_embedding_act_fn")?,
            timestep_post_act: optional_activation(&mut fields, "timestep_post_act")?,
            conv_in_kernel: odd_kernel(&mut fields, "conv_in_kernel")?,
            conv_out_kernel: odd_kernel(&mut fields, "conv_out_kernel")?,
            block_out_channels,
        };
        fields.finish()?;
        config.check(&fields)?;
        Ok(config)
    }

    /// Times the resolution is halved, and doubled again.
    #[must_use]
    pub fn halvings(&self) -> usize {
        self.block_out_channels.len() - 1
    }

    /// Returns `true` if any layer attends to the context.
    #[must_use]
    pub fn has_cross_attention(&self) -> bool {
        self.mid_block == MidBlock::CrossAttention || self.attention_levels().next().is_some()
    }

    fn check(&self, fields: &Fields) -> Result<()> {
        let levels = self.block_out_channels.len();
        fields.check_length("down_block_types", self.down_block_types.len(), levels)?;
        fields.check_length("up_block_types", self.up_block_types.len(), levels)?;
        check_groups(fields, "norm_num_groups", self.norm_num_groups, &self.block_out_channels)?;
        check_divisor(fields, "mid_block_scale_factor", self.mid_block_scale_factor)?;
        check_eps(fields, self.norm_eps)?;
        check_freq_shift(fields, self.freq_shift, self.block_out_channels[0])?;
        if let Some(Addition { per_number, .. }) = self.addition
            && (per_number / 2) as f64 <= self.freq_shift
        {
            let what =
                format!("`addition_time_embed_dim` is {per_number}, too few for `freq_shift` {}", self.freq_shift);
            return Err(fields.bad(what));
        }
        if let Some(dim) = self.time_cond_proj_dim.filter(|dim| *dim < LEAST_GUIDANCE) {
            return Err(fields.bad(format!("`time_cond_proj_dim` is {dim}, at least {LEAST_GUIDANCE} are needed")));
        }
        let deepest = (self.mid_block == MidBlock::CrossAttention).then_some(self.halvings());
        for level in self.attention_levels().chain(deepest) {
            let (heads, channels) = (self.heads[level], self.block_out_channels[level]);
            if heads > channels {
                return Err(fields.bad(format!(
                    "`attention_head_dim` asks for {heads} heads over the {channels} channels of \
                     `block_out_channels`"
                )));
            }
        }
        Ok(())
    }

    /// Every level with transformers, on either way.
    fn attention_levels(&self) -> impl Iterator<Item = usize> + '_ {
        let both = self.down_block_types.iter().zip(self.up_block_types.iter().rev());
        let attends =
            |(_, (down, up)): &(usize, (&BlockType, &BlockType))| [**down, **up].contains(&BlockType::CrossAttention);
        both.enumerate().filter(attends).map(|(level, _)| level)
    }
}

const DEFAULT_DOWN: [&str; 4] = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"];
const DEFAULT_UP: [&str; 4] = ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"];

/// The prefix `UNetRes` comes from early releases; diffusers drops it.
const DOWN_BLOCKS: [(&str, BlockType); 4] = [
    ("DownBlock2D", BlockType::Plain),
    ("CrossAttnDownBlock2D", BlockType::CrossAttention),
    ("UNetResDownBlock2D", BlockType::Plain),
    ("UNetResCrossAttnDownBlock2D", BlockType::CrossAttention),
];
const MID_BLOCKS: [(&str, MidBlock); 3] = [
    ("UNetMidBlock2DCrossAttn", MidBlock::CrossAttention),
    ("UNetMidBlock2D", MidBlock::Plain),
    ("null", MidBlock::None),
];
const UP_BLOCKS: [(&str, BlockType); 4] = [
    ("UpBlock2D", BlockType::Plain),
    ("CrossAttnUpBlock2D", BlockType::CrossAttention),
    ("UNetResUpBlock2D", BlockType::Plain),
    ("UNetResCrossAttnUpBlock2D", BlockType::CrossAttention),
];

/// The values that stand for something without an implementation.
fn refuse_what_is_missing_here(fields: &mut Fields) -> Result<()> {
    let only = [
        ("num_attention_heads", Value::Null),
        ("encoder_hid_dim", Value::Null),
        ("encoder_hid_dim_type", Value::Null),
        ("dual_cross_attention", false.into()),
        ("class_embeddings_concat", false.into()),
        ("attention_type", "default".into()),
        ("time_embedding_type", "positional".into()),
    ];
    for (field, supported) in only {
        let value = fields.get(field, supported.clone())?;
        if value != supported {
            return Err(fields.unsupported(field, &value.to_string(), supported.to_string()));
        }
    }
    Ok(())
}

/// See [`Config`].
fn read_what_has_no_effect(fields: &mut Fields) -> Result<()> {
    fields.get("dropout", 0.0f64)?;
    fields.get("upcast_attention", None::<bool>)?;
    fields.get("resnet_skip_time_act", false)?;
    fields.get("resnet_out_scale_factor", 1.0f64)?;
    fields.get("cross_attention_norm", None::<String>)?;
    fields.get("mid_block_only_cross_attention", None::<bool>)?;
    fields.get("addition_embed_type_num_heads", 64usize)?;
    Ok(())
}

/// A count for all levels, or one for each.
fn counts(fields: &mut Fields, field: &'static str, default: usize, levels: usize, limit: usize) -> Result<Vec<usize>> {
    let counts = fields.get(field, PerLevel::All(default))?.spread(field, levels, fields)?;
    counts.iter().try_for_each(|count| fields.check_count(field, *count, limit).map(|_| ()))?;
    Ok(counts)
}

fn cross_attention_dim(fields: &mut Fields, levels: usize) -> Result<usize> {
    let dims = counts(fields, "cross_attention_dim", 1280, levels, MOST_CHANNELS)?;
    if dims.iter().any(|dim| *dim != dims[0]) {
        return Err(fields.unsupported("cross_attention_dim", &format!("{dims:?}"), "one number for all levels"));
    }
    Ok(dims[0])
}

fn optional_activation(fields: &mut Fields, field: &'static str) -> Result<Option<Activation>> {
    let choices: Vec<_> = ACTIVATIONS.iter().map(|(name, one)| (*name, Some(*one))).chain([("null", None)]).collect();
    fields.choice(field, "null", &choices)
}

fn odd_kernel(fields: &mut Fields, field: &'static str) -> Result<usize> {
    match fields.count(field, 3, MOST_KERNEL)? {
        even if even.is_multiple_of(2) => Err(fields.unsupported(field, &even.to_string(), "odd numbers")),
        odd => Ok(odd),
    }
}

fn class_embedding(fields: &mut Fields) -> Result<Option<ClassEmbedding>> {
    let input = fields.optional_count("projection_class_embeddings_input_dim", None, MOST_CHANNELS)?;
    let rows = fields.optional_count("num_class_embeds", None, MOST_ROWS)?;
    let projected = |kind: fn(usize) -> ClassEmbedding| Some(kind(input.unwrap_or(0)));
    let kinds = [
        ("null", rows.map(ClassEmbedding::Table)),
        ("timestep", Some(ClassEmbedding::Timestep)),
        ("identity", Some(ClassEmbedding::Identity)),
        ("projection", projected(ClassEmbedding::Projection)),
        ("simple_projection", projected(ClassEmbedding::SimpleProjection)),
    ];
    match fields.choice("class_embed_type", "null", &kinds)? {
        Some(ClassEmbedding::Projection(0) | ClassEmbedding::SimpleProjection(0)) => Err(fields.bad(
            "`class_embed_type` projects vectors but `projection_class_embeddings_input_dim` is not \
             given",
        )),
        embedding => Ok(embedding),
    }
}

fn addition(fields: &mut Fields) -> Result<Option<Addition>> {
    let per_number = fields.optional_count("addition_time_embed_dim", None, MOST_CHANNELS)?;
    let channels = fields.optional_count("projection_class_embeddings_input_dim", None, MOST_CHANNELS)?;
    if !fields.choice("addition_embed_type", "null", &[("null", false), ("text_time", true)])? {
        return Ok(None);
    }
    match (per_number, channels) {
        (Some(per_number), Some(channels)) => Ok(Some(Addition { per_number, channels })),
        (None, _) => Err(fields.bad("`addition_embed_type` is text_time but `addition_time_embed_dim` is not given")),
        (_, None) => {
            Err(fields
                .bad("`addition_embed_type` is text_time but `projection_class_embeddings_input_dim` is not given"))
        }
    }
}

/// An entry of `transformer_layers_per_block`: for all layers of a level, or for each.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum LevelLayers {
    All(usize),
    Each(Vec<usize>),
}

impl LevelLayers {
    /// The entries for `layers` layers; further ones are ignored, as in diffusers.
    fn spread(&self, field: &str, layers: usize, fields: &Fields) -> Result<Vec<usize>> {
        let counts = match self {
            Self::All(count) => vec![*count; layers],
            Self::Each(counts) => counts.iter().copied().take(layers).collect(),
        };
        if counts.len() < layers {
            return Err(fields.bad(format!("`{field}` has {} entries for a level of {layers} layers", counts.len())));
        }
        match counts.iter().find(|count| **count > MOST_LAYERS) {
            Some(count) => Err(fields.bad(format!("`{field}` is {count}, at most {MOST_LAYERS} is allowed"))),
            None => Ok(counts),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Layers {
    All(usize),
    Each(Vec<LevelLayers>),
}

fn transformer_layers(fields: &mut Fields, layers: &[usize]) -> Result<TransformerLayers> {
    const FIELD: &str = "transformer_layers_per_block";
    const REVERSE: &str = "reverse_transformer_layers_per_block";
    let given = match fields.get(FIELD, Layers::All(1))? {
        Layers::All(count) => vec![LevelLayers::All(count); layers.len()],
        Layers::Each(entries) => entries,
    };
    let reverse = fields.get(REVERSE, None::<Vec<LevelLayers>>)?;
    fields.check_length(FIELD, given.len(), layers.len())?;
    let up = match reverse {
        None if given.iter().any(|entry| matches!(entry, LevelLayers::Each(_))) => {
            return Err(fields.bad(format!("`{FIELD}` has a list for a level, which requires `{REVERSE}`")));
        }
        None => given.clone(),
        Some(mut reverse) => {
            fields.check_length(REVERSE, reverse.len(), layers.len())?;
            reverse.reverse();
            reverse
        }
    };
    let spread = |field: &str, entries: &[LevelLayers], more: usize| {
        let entries = entries.iter().zip(layers);
        entries.map(|(entry, layers)| entry.spread(field, layers + more, fields)).collect::<Result<Vec<_>>>()
    };
    let mid = match given.last() {
        Some(deepest) => deepest.spread(FIELD, 1, fields)?[0],
        None => 1,
    };
    let layers = TransformerLayers { down: spread(FIELD, &given, 0)?, mid, up: spread(REVERSE, &up, 1)? };
    let all = layers.down.iter().chain(&layers.up).flatten().sum::<usize>() + layers.mid;
    if all > MOST_BLOCKS {
        return Err(fields.bad(format!("`{FIELD}` makes {all} transformer blocks, at most {MOST_BLOCKS} are allowed")));
    }
    Ok(layers)
}
