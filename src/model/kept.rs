//! The parts of a run that the next one of the same model uses: plans, contexts of texts, and those on the device.

use super::Size;
use super::decoding::Decoding;
use super::memory::Algorithms;
use super::plans::Plans;
use super::text_run::Text;
use crate::denoise::{Denoiser, Guidance, NetworkDenoiser};
use crate::error::Result;
use crate::graph::Plan;
use crate::latent::tiles::Tiling;
use crate::nets::architecture::CallSize;

/// The most texts whose contexts are kept.
const MOST_TEXTS: usize = 256;

/// The parts of a run that the next one uses.
#[derive(Default)]
pub(super) struct Kept<'e> {
    network: Option<NetworkPlan>,
    stages: Option<(StageKey, Plans)>,
    denoiser: Option<Box<NetworkDenoiser<'e>>>,
    decoding: Option<(StageKey, Decoding<'e>)>,
    form: Option<Box<dyn Denoiser + 'e>>,
    texts: Vec<(Text, Guidance)>,
}

/// The properties of a run that determine the plan of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlanKey {
    /// The call for one image.
    pub one: CallSize,
    /// Images per call, if the caller asks for a number.
    pub batch: Option<usize>,
    /// Images of the run.
    pub images: usize,
    pub memory: u64,
}

/// The plan of a network.
#[derive(Clone, Debug)]
pub(super) struct NetworkPlan {
    pub key: PlanKey,
    /// Images per call.
    pub batch: usize,
    pub plan: Plan,
    pub algorithms: Option<Algorithms>,
}

/// The properties of a run that determine the plans of the stages around its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StageKey {
    pub size: Size,
    pub tiling: Tiling,
    pub memory: u64,
    /// `true` if negative texts are encoded, and the number of blocks that are left out; `None` without texts.
    pub texts: Option<(bool, usize)>,
    pub has_picture: bool,
    pub has_predictions: bool,
}

impl<'e> Kept<'e> {
    /// The plan of a network: the one that is kept, or that of `make`.
    pub fn network(&mut self, key: PlanKey, make: impl FnOnce() -> Result<NetworkPlan>) -> Result<NetworkPlan> {
        match &self.network {
            Some(kept) if kept.key == key => Ok(kept.clone()),
            _ => Ok(self.network.insert(make()?).clone()),
        }
    }

    /// The plans of the other stages: those that are kept, or those of `make`.
    pub fn stages(&mut self, key: StageKey, make: impl FnOnce() -> Result<Plans>) -> Result<Plans> {
        match &self.stages {
            Some((of, plans)) if *of == key => Ok(plans.clone()),
            _ => {
                // What is on the device belongs to other plans.
                self.decoding = None;
                let plans = make()?;
                self.stages = Some((key, plans.clone()));
                Ok(plans)
            }
        }
    }

    /// Takes what is on the device away from it.
    pub fn leave_device(&mut self) {
        (self.denoiser, self.decoding) = (None, None);
    }

    /// The conditions of a text that was encoded before.
    pub fn guidance(&self, text: &Text) -> Option<Guidance> {
        self.texts.iter().find(|(known, _)| known == text).map(|(_, guidance)| guidance.clone())
    }

    /// Keeps the conditions of a text.
    pub fn keep_guidance(&mut self, text: &Text, guidance: &Guidance) {
        if self.texts.len() == MOST_TEXTS {
            self.texts.remove(0);
        }
        self.texts.push((text.clone(), guidance.clone()));
    }

    /// The network that is on the device, with new conditions, if it is there for calls of the same size.
    pub fn denoiser(
        &mut self,
        guidance: &Guidance,
        batch: usize,
        size: Size,
    ) -> Result<Option<Box<NetworkDenoiser<'e>>>> {
        let fits = |kept: &NetworkDenoiser| kept.network().size() == guidance.call_size(batch, size);
        match self.denoiser.take().filter(|kept| fits(kept)) {
            None => Ok(None),
            Some(mut kept) => {
                kept.set_guidance(guidance.clone())?;
                Ok(Some(kept))
            }
        }
    }

    /// The decoder that is on the device.
    pub fn decoding(&mut self, key: StageKey) -> Option<Decoding<'e>> {
        self.decoding.take().filter(|(of, _)| *of == key).map(|(_, decoding)| decoding)
    }

    /// The closed form that is on the device.
    pub fn form(&mut self) -> Option<Box<dyn Denoiser + 'e>> {
        self.form.take()
    }

    /// Keeps a network on the device.
    pub fn keep_denoiser(&mut self, denoiser: Box<NetworkDenoiser<'e>>) {
        self.denoiser = Some(denoiser);
    }

    /// Keeps a closed form on the device.
    pub fn keep_form(&mut self, form: Box<dyn Denoiser + 'e>) {
        self.form = Some(form);
    }

    /// Keeps a decoder on the device.
    pub fn keep_decoding(&mut self, decoding: Decoding<'e>) {
        if let Some((key, _)) = &self.stages {
            self.decoding = Some((*key, decoding));
        }
    }
}
