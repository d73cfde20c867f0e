//! Architectures: from the class that a configuration names to a network.
//!
//! [`ARCHITECTURES`] is the table. A new network is a folder in this module and a line there; everything above, from
//! the denoisers to the command line, uses the trait.

use std::fmt::Debug;
use std::sync::Arc;

use super::adm::AdmUNet;
use super::builder::{Key, parameters};
use super::dit::DitTransformer2d;
use super::edm::EdmNetwork;
use super::feeds::{Added, ClassLabels, Feeds};
use super::unet2d::UNet2d;
use super::unet2d_condition::UNet2dCondition;
use crate::checkpoint::{ConfigFile, Weights};
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::graph::op::Graph;
use crate::tensor::Tensor;

/// A denoising network, as a diffusers configuration describes it: the graph of a call, and the tensors it reads.
pub trait Architecture: Debug + Send + Sync {
    /// The class in diffusers.
    fn class_name(&self) -> &'static str;

    /// Channels of the images, or of the latents, that go in.
    fn in_channels(&self) -> usize;

    /// Channels of the output, including those of a learned variance.
    fn out_channels(&self) -> usize;

    /// Returns `true` if the second half of the output's channels parametrises a variance, which deterministic samplers
    /// drop.
    fn learns_variance(&self) -> bool {
        false
    }

    /// The preconditioning that its configuration states; `None` for a network whose scheduler says what it was trained
    /// on.
    fn preconditioning(&self) -> Option<Preconditioning> {
        None
    }

    /// Height and width of the images in training, if the configuration has them.
    fn sample_size(&self) -> Option<(usize, usize)>;

    /// The divisor of every height and width that the network takes.
    fn size_multiple(&self) -> usize;

    /// The smallest height and width that the network takes, a multiple of [`Architecture::size_multiple`].
    fn smallest_side(&self) -> usize {
        self.size_multiple()
    }

    /// The context of tokens that a call takes; `None` for a network without cross-attention layers.
    fn context(&self) -> Option<ContextInput> {
        None
    }

    /// The class labels that a call takes.
    fn labels(&self) -> LabelInput;

    /// The vectors that a call takes to add them to its time embedding.
    fn added(&self) -> Option<AddedInput> {
        None
    }

    /// Returns `true` if a call takes the scale of guidance that its output is to have: one call does the work of two.
    fn embeds_guidance(&self) -> bool {
        false
    }

    /// Refuses a size that the network does not take, and an empty batch, without building a graph.
    ///
    /// # Errors
    /// [`Error::Argument`].
    fn check(&self, size: CallSize) -> Result<()> {
        check_batch(size.batch)?;
        check_sides(size, self.size_multiple())
    }

    /// The graph of a call. Its inputs and its output are named in [`super::feeds::names`].
    ///
    /// # Errors
    /// Those of [`Architecture::check`].
    fn graph(&self, size: CallSize) -> Result<Graph> {
        self.graph_and_keys(size).map(|(graph, _)| graph)
    }

    /// Every tensor in a checkpoint of this network, with its shape there.
    fn keys(&self) -> Vec<Key>;

    /// The graph of a call together with the keys, which one function makes.
    ///
    /// # Errors
    /// As [`Architecture::graph`].
    fn graph_and_keys(&self, size: CallSize) -> Result<(Graph, Vec<Key>)>;

    /// Every input of the graph, by name. Each tensor is (n, c, h, w), or (n, c, 1, 1) for one vector per image.
    /// `weights` fetches the tables behind embeddings that are looked up on the host.
    ///
    /// # Errors
    /// [`Error::Argument`] if the arguments do not fit the network or each other.
    fn feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds>;

    /// Further facts for display, as pairs of a heading and a text.
    fn details(&self) -> Vec<(&'static str, String)>;

    /// The number of parameters in a checkpoint of this network.
    fn parameters(&self) -> u64 {
        parameters(&self.keys())
    }

    /// Returns `true` if the output, without a learned variance, has the channels of the input.
    fn is_denoiser(&self) -> bool {
        self.predicted_channels() == self.in_channels()
    }

    /// Channels of the output without those of a learned variance.
    fn predicted_channels(&self) -> usize {
        if self.learns_variance() { self.out_channels() / 2 } else { self.out_channels() }
    }
}

/// The preconditioning of Karras et al. (2022), which a network's own configuration states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preconditioning {
    /// The standard deviation of the data.
    pub sigma_data: f64,
    /// The least noise that the network takes.
    pub sigma_min: f64,
    /// The most noise that the network takes; infinite without a bound.
    pub sigma_max: f64,
}

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Images in the network's own scale, (n, `in_channels`, h, w).
    pub x: &'a Tensor,
    /// One timestep per image.
    pub timesteps: &'a [f64],
    /// One context per image, (n, tokens, channels).
    pub context: Option<&'a Tensor>,
    /// One class label per image.
    pub labels: Option<&'a ClassLabels>,
    /// One row per image of what is added to the time embedding.
    pub added: Option<&'a Added>,
    /// The scale of guidance that the output has, for networks that take it. Without it, they guide as they learned to
    /// without one.
    pub guidance: Option<f64>,
}

impl<'a> Inputs<'a> {
    /// Images and their timesteps, with neither context nor labels.
    #[must_use]
    pub fn new(x: &'a Tensor, timesteps: &'a [f64]) -> Self {
        Self { x, timesteps, context: None, labels: None, added: None, guidance: None }
    }

    /// The same with a context or without.
    #[must_use]
    pub fn with_context(self, context: Option<&'a Tensor>) -> Self {
        Self { context, ..self }
    }

    /// The same with class labels or without.
    #[must_use]
    pub fn with_labels(self, labels: Option<&'a ClassLabels>) -> Self {
        Self { labels, ..self }
    }

    /// The same with vectors that are added to the time embedding, or without.
    #[must_use]
    pub fn with_added(self, added: Option<&'a Added>) -> Self {
        Self { added, ..self }
    }

    /// The same with a scale of guidance that the network takes, or without.
    #[must_use]
    pub fn with_guidance(self, guidance: Option<f64>) -> Self {
        Self { guidance, ..self }
    }

    /// Refuses what is added to a time embedding and a scale of guidance that `net` does not take, and vectors that are
    /// missing.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check_extras(&self, net: &dyn Architecture) -> Result<()> {
        AddedInput::check(net.added(), self.added, self.timesteps.len())?;
        check_guidance(net.embeds_guidance(), self.guidance)
    }
}

/// The extents of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSize {
    /// Images.
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    /// Tokens of context per image; 0 for a network that takes none.
    pub tokens: usize,
}

impl CallSize {
    /// `batch` images of a height and a width, without a context.
    #[must_use]
    pub const fn images(batch: usize, (height, width): (usize, usize)) -> Self {
        Self { batch, height, width, tokens: 0 }
    }

    /// The same with `tokens` tokens of context per image.
    #[must_use]
    pub const fn with_tokens(self, tokens: usize) -> Self {
        Self { tokens, ..self }
    }

    /// Height and width.
    #[must_use]
    pub const fn sides(self) -> (usize, usize) {
        (self.height, self.width)
    }
}

/// The context that a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextInput {
    /// Channels of a token.
    pub channels: usize,
    /// `true` if any layer attends to it. A network without such layers takes a context and does not read it.
    pub is_read: bool,
}

/// The vectors that a network adds to its time embedding: one of a text, and the embeddings of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedInput {
    /// Channels of both together.
    pub channels: usize,
    /// Channels of the embedding of a number.
    pub per_number: usize,
}

impl AddedInput {
    /// The numbers that come with the embedding of a text of this many channels; `None` if they do not fit.
    #[must_use]
    pub fn time_ids(self, pooled: usize) -> Option<usize> {
        let rest = self.channels.checked_sub(pooled)?;
        rest.is_multiple_of(self.per_number).then(|| rest / self.per_number)
    }

    /// Refuses vectors of other shapes, for `batch` images, and those that are missing or not taken.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(input: Option<Self>, added: Option<&Added>, batch: usize) -> Result<()> {
        match (input, added) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Error::argument(
                "this network does not take the embedding of a whole text",
                "omit `pooled` and `time_ids`",
            )),
            (Some(input), None) => Err(Error::argument(
                "this network needs the embedding of a whole text and numbers that describe the image",
                format!(
                    "give `pooled` of shape [{batch}, channels] and `time_ids` of shape [{batch}, numbers]: channels \
                     and {} for each number are {}",
                    input.per_number, input.channels
                ),
            )),
            (Some(input), Some(added)) => match (added.pooled.shape.as_slice(), added.numbers.shape.as_slice()) {
                ([images, channels], [others, count])
                    if *images == batch && others == images && input.time_ids(*channels) == Some(*count) =>
                {
                    Ok(())
                }
                (pooled, numbers) => Err(Error::argument(
                    format!("`pooled` of shape {pooled:?} and `time_ids` of shape {numbers:?} do not fit this network"),
                    format!(
                        "give [{batch}, channels] and [{batch}, numbers]: channels and {} for each number are {}",
                        input.per_number, input.channels
                    ),
                )),
            },
        }
    }
}

/// Refuses a scale of guidance that is not taken, or not finite.
///
/// # Errors
/// [`Error::Argument`].
pub fn check_guidance(is_taken: bool, scale: Option<f64>) -> Result<()> {
    match scale {
        None => Ok(()),
        Some(_) if !is_taken => {
            Err(Error::argument("this network does not take a scale of guidance", "omit `cfg_scale`"))
        }
        Some(scale) if scale.is_finite() && scale.abs() <= LARGEST_SCALE => Ok(()),
        Some(scale) => {
            Err(Error::argument(format!("`cfg_scale` of {scale} is out of range"), "a finite number, such as 8.5"))
        }
    }
}

/// Scales of guidance that a network may be given; far beyond any that it was trained with.
const LARGEST_SCALE: f64 = 1e6;

/// The class labels that a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelInput {
    None,
    /// One number per image.
    Numbers {
        /// The number of classes, if labels are rows of a table.
        classes: Option<usize>,
        /// The label that stands for "no class" in classifier-free guidance.
        null: Option<usize>,
    },
    /// One vector of this length per image.
    Rows(usize),
}

impl LabelInput {
    /// Refuses labels of another kind or number, for `batch` images.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(self, labels: Option<&ClassLabels>, batch: usize) -> Result<()> {
        match (self, labels) {
            (Self::None, None) => Ok(()),
            (Self::None, Some(_)) => {
                Err(Error::argument("this network does not take class labels", "omit the class labels"))
            }
            (Self::Numbers { .. } | Self::Rows(_), None) => {
                Err(Error::argument("this network needs class labels", "give one class label per image"))
            }
            (Self::Rows(dim), Some(ClassLabels::Rows(rows))) if rows.shape == [batch, dim] => Ok(()),
            (Self::Rows(dim), Some(_)) => Err(Error::argument(
                "the class labels do not fit this network",
                format!("give one vector of {dim} numbers per image: class labels of shape [{batch}, {dim}]"),
            )),
            (Self::Numbers { .. }, Some(ClassLabels::Numbers(numbers))) if numbers.len() == batch => Ok(()),
            (Self::Numbers { .. }, Some(_)) => Err(Error::argument(
                "the class labels do not fit this network",
                format!("give one number per image: {batch} class labels"),
            )),
        }
    }
}

/// An architecture in the table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The class in diffusers.
    pub class_name: &'static str,
    read: fn(&ConfigFile) -> Result<Arc<dyn Architecture>>,
}

/// Every architecture.
pub const ARCHITECTURES: [Entry; 6] = [
    Entry { class_name: UNet2d::CLASS, read: |file| Ok(Arc::new(UNet2d::read(file)?)) },
    Entry { class_name: UNet2dCondition::CLASS, read: |file| Ok(Arc::new(UNet2dCondition::read(file)?)) },
    Entry { class_name: AdmUNet::CLASS, read: |file| Ok(Arc::new(AdmUNet::read(file)?)) },
    Entry { class_name: DitTransformer2d::CLASS, read: |file| Ok(Arc::new(DitTransformer2d::read(file)?)) },
    Entry { class_name: DitTransformer2d::PUBLISHED_CLASS, read: |file| Ok(Arc::new(DitTransformer2d::read(file)?)) },
    Entry { class_name: EdmNetwork::CLASS, read: |file| Ok(Arc::new(EdmNetwork::read(file)?)) },
];

/// The network that a configuration describes.
///
/// # Errors
/// [`Error::UnsupportedField`] for a class, a field or a value without an implementation; [`Error::BadFile`] for wrong
/// types, values out of range and fields that contradict each other.
pub fn read(config: &ConfigFile) -> Result<Arc<dyn Architecture>> {
    let name = config.expect_class(&ARCHITECTURES.map(|entry| entry.class_name))?;
    match ARCHITECTURES.iter().find(|entry| entry.class_name == name) {
        Some(entry) => (entry.read)(config),
        None => Err(config.unsupported("_class_name", "the classes of the table of architectures")),
    }
}

/// The network that a configuration describes, checked against the weights.
///
/// # Errors
/// As [`read`]; then [`Error::MissingKey`], [`Error::WrongShape`] or [`Error::UnexpectedKey`] of the weights.
pub fn open(config: &ConfigFile, weights: &Weights) -> Result<Arc<dyn Architecture>> {
    let net = read(config)?;
    weights.check(&net.keys())?;
    Ok(net)
}

/// Refuses an empty batch.
pub(super) fn check_batch(batch: usize) -> Result<()> {
    if batch == 0 { Err(Error::argument("a batch of no images", "give at least one image")) } else { Ok(()) }
}

/// Refuses a height or a width that is 0 or not a multiple of `multiple`.
pub(super) fn check_sides(size: CallSize, multiple: usize) -> Result<()> {
    let fits = |side: usize| side > 0 && side.is_multiple_of(multiple);
    if fits(size.height) && fits(size.width) {
        return Ok(());
    }
    Err(Error::argument(
        format!("images of {} x {} do not fit this network", size.height, size.width),
        format!("height and width must be multiples of {multiple}"),
    ))
}
