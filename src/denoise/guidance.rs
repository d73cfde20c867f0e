//! Conditions of a network, and classifier-free guidance between two of them (Ho and Salimans, 2022).

use super::guidance_rule::{GuidanceMode, GuidanceRule};
use crate::error::{Error, Result};
use crate::nets::architecture::{AddedInput, Architecture, CallSize, Inputs, LabelInput, check_guidance};
use crate::nets::feeds::{Added, ClassLabels};
use crate::tensor::Tensor;

/// The inputs of a network besides images and timesteps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// One context per image, (n, tokens, channels), or one for all images, (1, tokens, channels).
    pub context: Option<Tensor>,
    /// One class label per image, or one for all images.
    pub labels: Option<ClassLabels>,
    /// Vectors that are added to the time embedding: one row per image, or one for all images.
    pub added: Option<Added>,
    /// The scale of guidance, for networks that take it.
    pub guidance: Option<f64>,
}

impl Condition {
    /// A context for all images, (1, tokens, channels).
    #[must_use]
    pub fn context(context: Tensor) -> Self {
        Self { context: Some(context), ..Self::default() }
    }

    /// Class labels by number: one per image, or one for all images.
    #[must_use]
    pub fn classes(labels: Vec<f64>) -> Self {
        Self { labels: Some(ClassLabels::Numbers(labels)), ..Self::default() }
    }

    fn tokens(&self) -> usize {
        self.context.as_ref().and_then(|context| context.shape.get(1).copied()).unwrap_or(0)
    }

    /// Refuses inputs that `net` does not take, and missing inputs that it needs.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self, net: &dyn Architecture) -> Result<()> {
        match (&self.context, net.context()) {
            (Some(_), None) => {
                return Err(Error::argument("this network does not take a context", "omit the context"));
            }
            (None, Some(input)) if input.is_read => {
                let hint = format!("give a context of shape [1, tokens, {}]", input.channels);
                return Err(Error::argument("this network needs a context", hint));
            }
            (Some(context), Some(input)) => check_context(context, input.channels)?,
            (None, _) => {}
        }
        net.labels().check(self.labels.as_ref(), self.labels.as_ref().map_or(1, ClassLabels::len))?;
        AddedInput::check(net.added(), self.added.as_ref(), self.added.as_ref().map_or(1, Added::len))?;
        check_guidance(net.embeds_guidance(), self.guidance)
    }

    /// The inputs of a call for these images.
    #[must_use]
    pub fn inputs<'a>(&'a self, x: &'a Tensor, timesteps: &'a [f64]) -> Inputs<'a> {
        Inputs {
            x,
            timesteps,
            context: self.context.as_ref(),
            labels: self.labels.as_ref(),
            added: self.added.as_ref(),
            guidance: self.guidance,
        }
    }
}

fn check_context(context: &Tensor, channels: usize) -> Result<()> {
    match context.shape[..] {
        [images, tokens, found] if images > 0 && tokens > 0 && found == channels => Ok(()),
        [_, _, found] if found != channels => Err(Error::argument(
            format!("a context of {found} channels for a network with `cross_attention_dim` {channels}"),
            "the text encoder and the network must belong to one model",
        )),
        _ => Err(Error::argument(
            format!("a context of shape {:?}", context.shape),
            format!("give shape [1, tokens, {channels}]"),
        )),
    }
}

/// The condition of a denoiser, and a second one that guidance moves away from.
#[derive(Clone, Debug, PartialEq)]
pub struct Guidance {
    pub conditional: Condition,
    /// The condition to move away from: the context of an empty or a negative prompt, or the null class.
    pub unconditional: Option<Condition>,
    /// s in `eps_u + s (eps_c - eps_u)`. It has no effect without an unconditional condition.
    pub scale: f64,
    /// The form of the guidance. A classifier follows it, too.
    pub rule: GuidanceRule,
}

impl Default for Guidance {
    /// No condition.
    fn default() -> Self {
        Self::none(Condition::default())
    }
}

impl Guidance {
    /// A condition without guidance.
    #[must_use]
    pub fn none(conditional: Condition) -> Self {
        Self { conditional, unconditional: None, scale: 1.0, rule: GuidanceRule::default() }
    }

    /// Guidance of class labels by the null class of `net`, as in `DiT` (Peebles and Xie, 2023). A scale of 1 needs no
    /// null class and halves the work.
    ///
    /// # Errors
    /// [`Error::Argument`] if the scale is not 1 and the network does not have a null class.
    pub fn classes(net: &dyn Architecture, labels: Vec<f64>, scale: f64) -> Result<Self> {
        Self::classes_by(net, labels, scale, GuidanceRule::default())
    }

    /// As [`Guidance::classes`], in another form. CFG++ needs the null class at every scale.
    ///
    /// # Errors
    /// As [`Guidance::classes`].
    pub fn classes_by(net: &dyn Architecture, labels: Vec<f64>, scale: f64, rule: GuidanceRule) -> Result<Self> {
        let conditional = Condition::classes(labels);
        if scale == 1.0 && rule.mode == GuidanceMode::Cfg {
            return Ok(Self { rule, ..Self::none(conditional) });
        }
        let LabelInput::Numbers { null: Some(null), .. } = net.labels() else {
            return Err(Error::argument(
                "this network does not have a null class, so its class labels cannot be guided",
                "take a guidance scale of 1",
            ));
        };
        Ok(Self { conditional, unconditional: Some(Condition::classes(vec![null as f64])), scale, rule })
    }

    /// Conditions per image: 2 with an unconditional one.
    #[must_use]
    pub fn conditions(&self) -> usize {
        1 + usize::from(self.unconditional.is_some())
    }

    /// Conditions per call: all of them, or one where an interval leaves some levels without guidance, so that these
    /// cost one call.
    #[must_use]
    pub fn conditions_per_call(&self) -> usize {
        if self.rule.interval.is_some() { 1 } else { self.conditions() }
    }

    /// The extents of the calls for `images` images of a size (height, width): all conditions of a call of all images
    /// are one batch.
    #[must_use]
    pub fn call_size(&self, images: usize, size: (usize, usize)) -> CallSize {
        CallSize::images(images.max(1) * self.conditions_per_call(), size).with_tokens(self.conditional.tokens())
    }

    /// Refuses conditions that do not fit `net` or each other.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self, net: &dyn Architecture) -> Result<()> {
        self.conditional.check(net)?;
        let Some(unconditional) = &self.unconditional else { return Ok(()) };
        unconditional.check(net)?;
        if unconditional.guidance != self.conditional.guidance {
            return Err(Error::argument("two scales of guidance in one call", "give both conditions the same"));
        }
        let shapes =
            [&self.conditional, unconditional].map(|one| one.context.as_ref().map(|context| &context.shape[1..]));
        if shapes[0] == shapes[1] {
            return Ok(());
        }
        Err(Error::argument(
            "contexts of different lengths",
            "both contexts of guidance must have the same tokens and channels",
        ))
    }

    /// The conditions, the conditional one first.
    pub(super) fn each(&self) -> impl Iterator<Item = &Condition> {
        std::iter::once(&self.conditional).chain(&self.unconditional)
    }
}
