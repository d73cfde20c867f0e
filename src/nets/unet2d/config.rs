//! The configuration of diffusers' `UNet2DModel` (`models/unets/unet_2d.py`, 0.42), with its defaults.

use std::path::Path;

use serde_json::{Map, Value};

use super::skip;
use crate::error::Result;
use crate::graph::op::Activation;
use crate::nets::fields::Fields;
use crate::nets::unet_fields::{
    ACTIVATIONS, MOST_CHANNELS, MOST_LAYERS, MOST_ROWS, TIME_SCALE_SHIFTS, TimeScaleShift, check_divisor, check_eps,
    check_freq_shift, check_groups, check_levels, downsample_padding, sample_size, time_embedding_dim,
};

/// The projection of the timestep before the two linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeEmbedding {
    /// Sines and cosines of t at geometric frequencies.
    Positional,
    /// Sines and cosines of log t at the frequencies in `time_proj.weight`; the output is divided by t.
    Fourier,
    /// A row of `time_proj.weight`.
    Learned,
}

/// The kind of a level, down or up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    /// `DownBlock2D`, `UpBlock2D`: residual blocks, resampled with a convolution.
    Plain,
    /// `AttnDownBlock2D`, `AttnUpBlock2D`: attention after each residual block, resampled as `downsample_type` says.
    Attention,
    /// `ResnetDownsampleBlock2D`, `ResnetUpsampleBlock2D`: residual blocks, resampled within one of them.
    Resnet,
    /// `SkipDownBlock2D`, `SkipUpBlock2D`: residual blocks, resampled within one of them by a filter, beside the image
    /// itself on the way down and an output on the way up.
    Skip,
    /// `AttnSkipDownBlock2D`, `AttnSkipUpBlock2D`: the same with attention, on the way up after the last residual block
    /// alone.
    AttentionSkip,
}

impl BlockType {
    /// `true` for a level of NCSN++.
    #[must_use]
    pub fn is_skip(self) -> bool {
        matches!(self, Self::Skip | Self::AttentionSkip)
    }

    /// `true` for a level with attention.
    #[must_use]
    pub fn has_attention(self) -> bool {
        matches!(self, Self::Attention | Self::AttentionSkip)
    }
}

/// The resampling of a level with attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// A convolution of stride 2; nearest neighbours and a convolution.
    Conv,
    /// A residual block with a mean of 2 x 2, or nearest neighbours, inside.
    Resnet,
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
}

impl std::fmt::Display for ClassEmbedding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table(rows) => write!(f, "{rows}, one label per image"),
            Self::Timestep => f.write_str("one number per image, embedded like a timestep"),
            Self::Identity => f.write_str("a vector per image"),
        }
    }
}

/// Every field of a `UNet2DModel` that matters at inference (`dropout` is read and has no effect).
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are diffusers' own")]
pub struct Config {
    /// Height and width of the images in training, if the file has them.
    pub sample_size: Option<(usize, usize)>,
    pub in_channels: usize,
    pub out_channels: usize,
    /// Feed 2x - 1 instead of x.
    pub center_input_sample: bool,
    pub time_embedding_type: TimeEmbedding,
    /// Channels of the time embedding; by default four times the first of `block_out_channels`.
    pub time_embedding_dim: usize,
    /// Subtracted from the number of frequencies in their exponent.
    pub freq_shift: f64,
    /// Cosines before sines.
    pub flip_sin_to_cos: bool,
    pub down_block_types: Vec<BlockType>,
    /// `mid_block_type` is not null.
    pub mid_block: bool,
    pub up_block_types: Vec<BlockType>,
    /// Channels of each level, highest resolution first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level on the way down; one more on the way up.
    pub layers_per_block: usize,
    /// The middle block's residual sums are divided by it.
    pub mid_block_scale_factor: f64,
    /// 0 pads one row below and one column right, 1 pads all sides.
    pub downsample_padding: usize,
    pub downsample_type: Resample,
    pub upsample_type: Resample,
    /// The nonlinearity of the residual blocks.
    pub act_fn: Activation,
    /// Channels of an attention head; `None` is one head over all channels.
    pub attention_head_dim: Option<usize>,
    /// Groups of every normalisation; `None` for [`skip::groups`](super::skip::groups) of its channels.
    pub norm_num_groups: Option<usize>,
    /// Groups of the middle attention's normalisation; `None` there means `norm_num_groups`, or with
    /// [`TimeScaleShift::ScaleShift`] no normalisation.
    pub attn_norm_num_groups: Option<usize>,
    pub norm_eps: f64,
    pub resnet_time_scale_shift: TimeScaleShift,
    /// The middle block has an attention.
    pub add_attention: bool,
    pub class_embedding: Option<ClassEmbedding>,
    /// Rows of a learned time embedding.
    pub num_train_timesteps: Option<usize>,
}

impl Config {
    /// Reads the fields in `map`, which came from `file`.
    ///
    /// # Errors
    /// [`crate::Error::UnsupportedField`] for a field or a value without an implementation, [`crate::Error::BadFile`]
    /// for wrong types, values out of range and fields that contradict each other.
    pub fn from_map(map: &Map<String, Value>, file: &Path) -> Result<Self> {
        let mut fields = Fields::new(map, file);
        let block_out_channels = fields.counts("block_out_channels", &[224, 448, 672, 896], MOST_CHANNELS)?;
        let Some(first) = block_out_channels.first().copied() else {
            return Err(fields.bad("`block_out_channels` is empty"));
        };
        fields.get("dropout", 0.0f64)?;
        let config = Self {
            sample_size: sample_size(&mut fields)?,
            in_channels: fields.count("in_channels", 3, MOST_CHANNELS)?,
            out_channels: fields.count("out_channels", 3, MOST_CHANNELS)?,
            center_input_sample: fields.get("center_input_sample", false)?,
            time_embedding_type: fields.choice("time_embedding_type", "positional", &TIME_EMBEDDINGS)?,
            time_embedding_dim: time_embedding_dim(&mut fields, 4 * first)?,
            freq_shift: fields.get("freq_shift", 0.0)?,
            flip_sin_to_cos: fields.get("flip_sin_to_cos", true)?,
            down_block_types: fields.choices("down_block_types", &DEFAULT_DOWN, &DOWN_BLOCKS)?,
            mid_block: fields.choice(
                "mid_block_type",
                "UNetMidBlock2D",
                &[("UNetMidBlock2D", true), ("null", false)],
            )?,
            up_block_types: fields.choices("up_block_types", &DEFAULT_UP, &UP_BLOCKS)?,
            block_out_channels,
            layers_per_block: fields.count("layers_per_block", 2, MOST_LAYERS)?,
            mid_block_scale_factor: fields.get("mid_block_scale_factor", 1.0)?,
            downsample_padding: downsample_padding(&mut fields)?,
            downsample_type: fields.choice("downsample_type", "conv", &RESAMPLES)?,
            upsample_type: fields.choice("upsample_type", "conv", &RESAMPLES)?,
            act_fn: fields.choice("act_fn", "silu", &ACTIVATIONS)?,
            attention_head_dim: fields.optional_count("attention_head_dim", Some(8), MOST_CHANNELS)?,
            norm_num_groups: fields.optional_count("norm_num_groups", Some(32), MOST_CHANNELS)?,
            attn_norm_num_groups: fields.optional_count("attn_norm_num_groups", None, MOST_CHANNELS)?,
            norm_eps: fields.get("norm_eps", 1e-5)?,
            resnet_time_scale_shift: fields.choice("resnet_time_scale_shift", "default", &TIME_SCALE_SHIFTS)?,
            add_attention: fields.get("add_attention", true)?,
            class_embedding: class_embedding(&mut fields)?,
            num_train_timesteps: fields.optional_count("num_train_timesteps", None, MOST_ROWS)?,
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

    /// Height and width of an input must be multiples of this.
    #[must_use]
    pub fn size_multiple(&self) -> usize {
        1 << self.halvings()
    }

    /// Channels of the projected timestep, before the linear layers.
    #[must_use]
    pub fn time_projection_dim(&self) -> usize {
        match self.time_embedding_type {
            TimeEmbedding::Fourier => 2 * self.block_out_channels[0],
            TimeEmbedding::Positional | TimeEmbedding::Learned => self.block_out_channels[0],
        }
    }

    /// Groups of a normalisation of `channels`.
    #[must_use]
    pub fn groups(&self, channels: usize) -> usize {
        self.norm_num_groups.unwrap_or_else(|| skip::groups(channels))
    }

    /// Groups of the normalisation before the middle attention, where there is one.
    #[must_use]
    pub fn mid_attention_groups(&self) -> Option<usize> {
        let default = match self.resnet_time_scale_shift {
            TimeScaleShift::Default => Some(self.groups(self.block_out_channels[self.halvings()])),
            TimeScaleShift::ScaleShift => None,
        };
        self.attn_norm_num_groups.or(default)
    }

    fn check(&self, fields: &Fields) -> Result<()> {
        self.check_lists(fields)?;
        self.check_channels(fields)?;
        check_divisor(fields, "mid_block_scale_factor", self.mid_block_scale_factor)?;
        check_eps(fields, self.norm_eps)?;
        if self.time_embedding_type == TimeEmbedding::Positional {
            check_freq_shift(fields, self.freq_shift, self.block_out_channels[0])?;
        }
        if self.time_embedding_type == TimeEmbedding::Learned && self.num_train_timesteps.is_none() {
            return Err(fields.bad("`time_embedding_type` is \"learned\" but `num_train_timesteps` is not given"));
        }
        Ok(())
    }

    fn check_lists(&self, fields: &Fields) -> Result<()> {
        check_levels(fields, &self.block_out_channels)?;
        let levels = self.block_out_channels.len();
        fields.check_length("down_block_types", self.down_block_types.len(), levels)?;
        fields.check_length("up_block_types", self.up_block_types.len(), levels)
    }

    fn check_channels(&self, fields: &Fields) -> Result<()> {
        self.check_kinds(fields)?;
        if let Some(groups) = self.norm_num_groups {
            check_groups(fields, "norm_num_groups", groups, &self.block_out_channels)?;
        } else {
            let ends = [self.block_out_channels[0], self.block_out_channels[self.halvings()]];
            ends.iter().try_for_each(|channels| skip::check_channels(fields, *channels))?;
        }
        let deepest = self.halvings()..;
        if let (true, Some(groups)) = (self.has_mid_attention(), self.attn_norm_num_groups) {
            check_groups(fields, "attn_norm_num_groups", groups, &self.block_out_channels[deepest])?;
        }
        match self.attention_head_dim {
            Some(dim) => match self.attention_channels().find(|channels| *channels < dim) {
                Some(channels) => Err(fields.bad(format!(
                    "`attention_head_dim` is {dim}, more than the {channels} channels of an attention by \
                     `block_out_channels`"
                ))),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Refuses levels that diffusers cannot run beside each other: those of NCSN++ carry an image from level to level,
    /// and all others take `norm_num_groups`.
    fn check_kinds(&self, fields: &Fields) -> Result<()> {
        let ways = [
            ("down_block_types", &self.down_block_types, "in_channels", self.in_channels),
            ("up_block_types", &self.up_block_types, "out_channels", self.out_channels),
        ];
        for (field, kinds, of_image, channels) in ways {
            let skips = kinds.iter().filter(|kind| kind.is_skip()).count();
            if skips > 0 && skips < kinds.len() {
                return Err(fields.bad(format!("`{field}` has blocks with `Skip` beside others: all or none have it")));
            }
            if skips == 0 && self.norm_num_groups.is_none() {
                return Err(fields.bad(format!("`norm_num_groups` is null, and `{field}` has blocks that need it")));
            }
            if skips > 0 && channels != skip::IMAGE_CHANNELS {
                let what = format!("`{of_image}` is {channels}, and `{field}` has blocks with `Skip`, which take 3");
                return Err(fields.bad(what));
            }
        }
        skip::check(self, fields)
    }

    /// The middle block exists and has an attention.
    #[must_use]
    pub fn has_mid_attention(&self) -> bool {
        self.mid_block && self.add_attention
    }

    /// Channels of every level with an attention.
    fn attention_channels(&self) -> impl Iterator<Item = usize> + '_ {
        let levels = self.block_out_channels.iter();
        let down = levels.clone().zip(&self.down_block_types);
        let up = levels.zip(self.up_block_types.iter().rev());
        let of_levels = down.chain(up).filter(|(_, kind)| kind.has_attention()).map(|(channels, _)| *channels);
        let of_middle = self.block_out_channels.last().copied().filter(|_| self.has_mid_attention());
        of_levels.chain(of_middle)
    }
}

const DEFAULT_DOWN: [&str; 4] = ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"];
const DEFAULT_UP: [&str; 4] = ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"];

/// The prefix `UNetRes` comes from early releases; diffusers drops it.
const DOWN_BLOCKS: [(&str, BlockType); 8] = [
    ("DownBlock2D", BlockType::Plain),
    ("AttnDownBlock2D", BlockType::Attention),
    ("ResnetDownsampleBlock2D", BlockType::Resnet),
    ("SkipDownBlock2D", BlockType::Skip),
    ("AttnSkipDownBlock2D", BlockType::AttentionSkip),
    ("UNetResDownBlock2D", BlockType::Plain),
    ("UNetResAttnDownBlock2D", BlockType::Attention),
    ("UNetResResnetDownsampleBlock2D", BlockType::Resnet),
];
const UP_BLOCKS: [(&str, BlockType); 8] = [
    ("UpBlock2D", BlockType::Plain),
    ("AttnUpBlock2D", BlockType::Attention),
    ("ResnetUpsampleBlock2D", BlockType::Resnet),
    ("SkipUpBlock2D", BlockType::Skip),
    ("AttnSkipUpBlock2D", BlockType::AttentionSkip),
    ("UNetResUpBlock2D", BlockType::Plain),
    ("UNetResAttnUpBlock2D", BlockType::Attention),
    ("UNetResResnetUpsampleBlock2D", BlockType::Resnet),
];
const TIME_EMBEDDINGS: [(&str, TimeEmbedding); 3] = [
    ("positional", TimeEmbedding::Positional),
    ("fourier", TimeEmbedding::Fourier),
    ("learned", TimeEmbedding::Learned),
];
/// Null is `conv` in the blocks that read these fields.
const RESAMPLES: [(&str, Resample); 3] =
    [("conv", Resample::Conv), ("resnet", Resample::Resnet), ("null", Resample::Conv)];
fn class_embedding(fields: &mut Fields) -> Result<Option<ClassEmbedding>> {
    let kinds =
        [("null", None), ("timestep", Some(ClassEmbedding::Timestep)), ("identity", Some(ClassEmbedding::Identity))];
    let kind = fields.choice("class_embed_type", "null", &kinds)?;
    let rows = fields.optional_count("num_class_embeds", None, MOST_ROWS)?;
    Ok(kind.or(rows.map(ClassEmbedding::Table)))
}
