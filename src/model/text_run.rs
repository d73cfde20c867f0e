//! The text of a run: the way in which its scale of guidance takes effect, what is embedded beside it, and from tokens
//! to the conditions of a network.

use super::Size;
use super::device::{Observer, done, make_ready};
use super::guiding::Guided;
use super::latent::LatentModel;
use super::resolve::meaningless;
use super::sampling::{Framing, Sampling};
use super::text::{Prompt, Side, TextCall, TextSource, Tokenized, by_text};
use crate::denoise::{Condition, Guidance, GuidanceMode, GuidanceRule};
use crate::error::{Error, Result};
use crate::graph::{Compiler, Plan};
use crate::latent::passage::{Passage, PromptStyle};
use crate::latent::text::Encoded;
use crate::nets::feeds::Added;
use crate::tensor::Tensor;

/// Pixels that may be embedded beside a text; any image has fewer, and float32 holds them exactly.
const LARGEST_TIME_ID: usize = 1 << 20;

/// The text of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// The texts to follow and to move away from.
    pub prompt: Prompt,
    /// Their tokens.
    pub tokens: Tokenized,
    /// The way in which they are read.
    pub style: PromptStyle,
    /// The scale of the guidance.
    pub scale: f64,
    /// The way in which the scale takes effect.
    pub guidance: TextGuidance,
    /// The form of the guidance.
    pub rule: GuidanceRule,
    /// Blocks at the end of the text encoder that the text to follow does not go through.
    pub clip_skip: usize,
    /// Numbers that are embedded beside the text, for SDXL: original height and width, top and left of the crop, target
    /// height and width.
    pub time_ids: Option<[usize; 6]>,
}

/// The way in which the scale of a text's guidance takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextGuidance {
    /// Both texts, in one call: `eps_u + s (eps_c - eps_u)`.
    Both,
    /// The text to follow alone, without guidance: scales up to 1, as in diffusers.
    None,
    /// The text to follow alone; the scale is an input of the network.
    Embedded,
}

impl Text {
    /// Tokens of a context: those of all chunks.
    #[must_use]
    pub fn length(&self) -> usize {
        self.tokens.text.first().map_or(0, |passage| passage.chunks.iter().map(Vec::len).sum())
    }

    /// Contexts per call for an image: both where guidance acts at all levels.
    #[must_use]
    pub fn contexts(&self) -> usize {
        if self.guidance == TextGuidance::Both && self.rule.interval.is_none() { 2 } else { 1 }
    }

    /// The parts that are guided.
    pub(super) fn guided(&self) -> Guided {
        if self.guidance == TextGuidance::Both { Guided::Conditions } else { Guided::Nothing }
    }

    /// `true` if the text to move away from is encoded.
    #[must_use]
    pub fn encodes_negative(&self) -> bool {
        self.guidance == TextGuidance::Both && self.tokens.negative.is_some()
    }

    /// Notes on the texts: what is cut off or not read.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.tokens.notes.clone();
        if self.guidance == TextGuidance::None && self.scale < 1.0 {
            let note = "`cfg_scale` is below 1: the text is followed without guidance, as in diffusers";
            notes.push(note.to_owned());
        }
        if self.guidance != TextGuidance::Both && self.prompt.negative.as_ref().is_some_and(|text| !text.is_empty()) {
            let why =
                if self.guidance == TextGuidance::Embedded { "the network takes" } else { "there is no guidance:" };
            notes.push(format!("`negative` is not read: {why} `cfg_scale` {}", self.scale));
        }
        notes
    }
}

impl Sampling<'_> {
    /// The text of a pipeline's images of a size.
    ///
    /// # Errors
    /// [`Error::Argument`] without a prompt, and for settings without meaning for the pipeline.
    pub(super) fn text(&self, latent: &LatentModel, source: &TextSource, size: Size) -> Result<Text> {
        let (name, net) = (&latent.network.name, &latent.network.net);
        let Some(prompt) = &self.prompt else {
            let what = format!("`{name}` makes images from texts");
            return Err(Error::argument(what, "give a text to follow by `prompt`; it may be empty"));
        };
        if net.embeds_guidance() {
            // The scale is an input of the network: there are no two estimates.
            self.expect_no_rule(name)?;
        }
        let (scale, rule) = self.scale_by_rule(latent.usual_scale())?;
        let clip_skip = self.clip_skip.unwrap_or(0);
        source.check_skip(clip_skip)?;
        let guidance = match scale {
            _ if net.embeds_guidance() => TextGuidance::Embedded,
            scale if scale <= 1.0 && rule.mode == GuidanceMode::Cfg => TextGuidance::None,
            _ => TextGuidance::Both,
        };
        let tokens = source.tokens(prompt, self.style)?;
        let time_ids = if net.added().is_some() {
            Some(time_ids(self.framing, size)?)
        } else {
            self.expect_no_framing(name)?;
            None
        };
        Ok(Text { prompt: prompt.clone(), tokens, style: self.style, scale, guidance, rule, clip_skip, time_ids })
    }

    /// Refuses sizes that are embedded, for a model that does not embed any.
    pub(super) fn expect_no_framing(&self, name: &str) -> Result<()> {
        let Framing { original, crop, target } = self.framing;
        let fields = [("original_size", original), ("crop", crop), ("target_size", target)];
        match fields.into_iter().find(|(_, size)| size.is_some()) {
            None => Ok(()),
            Some((field, _)) => Err(meaningless(field, name)),
        }
    }
}

/// The numbers that SDXL embeds beside a text, for images of a size.
pub(super) fn time_ids(framing: Framing, size: Size) -> Result<[usize; 6]> {
    let Framing { original, crop, target } = framing;
    let (original, crop, target) = (original.unwrap_or(size), crop.unwrap_or((0, 0)), target.unwrap_or(size));
    let numbers = [original.0, original.1, crop.0, crop.1, target.0, target.1];
    match numbers.iter().find(|number| **number > LARGEST_TIME_ID) {
        None => Ok(numbers),
        Some(number) => Err(Error::argument(
            format!("{number} pixels in `original_size`, `crop` or `target_size`"),
            format!("up to {LARGEST_TIME_ID} pixels are taken"),
        )),
    }
}

/// The conditions of some texts, all of which are encoded by the same calls, by the plans of these
/// ([`TextSource::calls`]). One text encoder at a time is on the device, and removed from it afterwards.
///
/// # Errors
/// Those of the device and of `observer`.
pub(super) fn encode(
    texts: &[&Text],
    source: &TextSource,
    plans: Vec<(TextCall, Plan)>,
    compiler: Compiler,
    observer: &mut Observer,
) -> Result<Vec<Guidance>> {
    let mut read: Vec<(Vec<Encoded>, Vec<Encoded>)> = vec![(Vec::new(), Vec::new()); texts.len()];
    for (call, plan) in plans {
        make_ready(compiler.engine, std::slice::from_ref(&plan), observer)?;
        let mut all: Vec<(usize, Side, &Passage)> = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let sides = call.sides.iter();
            all.extend(sides.filter_map(|side| Some((at, *side, passage_of(text, *side, call.part)?))));
        }
        let ids: Vec<Vec<u32>> = all.iter().flat_map(|(.., passage)| passage.chunks.clone()).collect();
        let encoded = source.parts[call.part].on(compiler, call.sides.len(), plan)?.read(&ids)?;
        let each = by_text(all.iter().map(|(.., passage)| *passage), &encoded);
        for ((at, side, _), one) in all.iter().zip(each) {
            let (followed, avoided) = &mut read[*at];
            if *side == Side::Text { followed } else { avoided }.push(one);
        }
    }
    done(observer, "text", "")?;
    texts.iter().zip(read).map(|(text, (followed, avoided))| guidance(text, &followed, &avoided)).collect()
}

/// The conditions of a text, from the states of each encoder.
fn guidance(text: &Text, followed: &[Encoded], avoided: &[Encoded]) -> Result<Guidance> {
    let followed = Encoded::beside(followed)?;
    let unconditional = match text.guidance {
        TextGuidance::None | TextGuidance::Embedded => None,
        TextGuidance::Both if text.encodes_negative() => Some(Encoded::beside(avoided)?),
        TextGuidance::Both => {
            let zeros = |tensor: &Tensor| Tensor::zeros(tensor.shape.clone());
            Some(Encoded { hidden: zeros(&followed.hidden), pooled: followed.pooled.as_ref().map(zeros) })
        }
    };
    let condition = |encoded| text_condition(text, encoded);
    let unconditional = unconditional.map(condition);
    Ok(Guidance { conditional: condition(followed), unconditional, scale: text.scale, rule: text.rule })
}

/// The tokens of one of the texts, for an encoder.
fn passage_of(text: &Text, side: Side, part: usize) -> Option<&Passage> {
    let all = match side {
        Side::Text => Some(&text.tokens.text),
        Side::Negative => text.tokens.negative.as_ref(),
    };
    all.and_then(|all| all.get(part))
}

/// A text as the condition of a network.
fn text_condition(text: &Text, encoded: Encoded) -> Condition {
    let added = encoded.pooled.zip(text.time_ids).map(|(pooled, ids)| {
        let numbers = ids.iter().map(|number| *number as f32).collect::<Vec<_>>();
        Added { pooled, numbers: Tensor::new([1, numbers.len()], numbers) }
    });
    let guidance = (text.guidance == TextGuidance::Embedded).then_some(text.scale);
    Condition { context: Some(encoded.hidden), added, guidance, ..Condition::default() }
}
