//! The plans of a pipeline's components, and whether the device and the budget hold them.

use super::Size;
use super::images::Part;
use super::latent::{LatentModel, Source};
use super::memory::within_budget;
use super::resolve::RunOptions;
use super::text::TextCall;
use super::text_run::Text;
use crate::error::Result;
use crate::graph::run::check_values;
use crate::graph::{Compiler, Footprint, Plan};
use crate::latent::autoencoder::{Planned, compiler_for};
use crate::latent::tiles::Room;
use crate::nets::autoencoder::Autoencoder;

/// Images that are decoded in one call.
const DECODED_AT_ONCE: usize = 1;

/// The plans of a pipeline, but for that of its network. One of them is on the device at a time.
#[derive(Clone)]
pub(super) struct Plans {
    /// The calls of the text encoders, in their order.
    pub text: Vec<(TextCall, Plan)>,
    /// The encoder of a picture to start from.
    pub encoder: Option<Plan>,
    /// The decoder.
    pub decoder: Planned,
    /// The decoder of the predictions at each step, if they are kept and it is another one.
    pub preview: Option<Planned>,
}

impl Plans {
    /// The plans for a text, or none, and images of a size.
    ///
    /// # Errors
    /// Those of the autoencoder's graphs and of [`Planned::new`].
    pub(super) fn new(
        latent: &LatentModel,
        text: Option<&Text>,
        size: Size,
        options: &RunOptions,
        compiler: Compiler,
    ) -> Result<Self> {
        let text = match (&latent.source, text) {
            (Source::Text(source), Some(text)) => {
                let calls = source.calls(text.encodes_negative(), text.clip_skip).into_iter();
                let plan = |call: TextCall| source.plan(compiler, call.part, call.readout, call.sides.len());
                calls.map(|call| (call, plan(call))).collect()
            }
            (Source::Text(_) | Source::Labels, _) => Vec::new(),
        };
        let encoder = match options.picture {
            Some(_) => {
                let compiler = compiler_for(latent.autoencoder.as_ref(), compiler);
                Some(compiler.plan(&latent.autoencoder.encoder(1, size)?))
            }
            None => None,
        };
        let [_, height, width] = latent.latent_shape(size);
        let decoder = |net: &dyn Autoencoder| {
            let room = Room::new(compiler_for(net, compiler), Some(options.memory));
            Planned::new(net, DECODED_AT_ONCE, (height, width), options.tiling, &room)
        };
        let preview = latent.preview.as_ref().filter(|_| options.output.predictions);
        let preview = preview.map(|(net, _)| decoder(net.as_ref())).transpose()?;
        let decoder = decoder(latent.autoencoder.as_ref())?;
        Ok(Self { text, encoder, decoder, preview })
    }

    /// Returns `true` if the network and the decoders may stay on the device while another stage is there.
    pub(super) fn all_stay(&self, network: &Plan, budget: u64) -> bool {
        let of = |plans: &[Plan]| Footprint::largest(plans).map_or(0, |footprint| footprint.allocated);
        let decoders = of(self.decoder.plans()) + self.preview.as_ref().map_or(0, |preview| of(preview.plans()));
        let texts = self.text.iter().map(|(_, plan)| Footprint::of(plan).allocated);
        let passing = texts.max().unwrap_or(0).max(of(self.encoder.as_slice()));
        Footprint::of(network).allocated + decoders + passing <= budget
    }

    /// Refuses what the device or the budget cannot hold. Returns `true` if network and decoder fit together.
    ///
    /// # Errors
    /// [`crate::Error::OverLimit`] naming the component.
    pub(super) fn check(&self, latent: &LatentModel, network: &Plan, budget: u64, compiler: Compiler) -> Result<bool> {
        let takes = |name: &str, plans: &[Plan]| -> Result<u64> {
            let Some(footprint) = Footprint::largest(plans) else { return Ok(0) };
            plans.iter().try_for_each(|plan| check_values(compiler.engine, plan))?;
            within_budget(name, footprint.allocated, budget)?;
            Ok(footprint.allocated)
        };
        for (call, plan) in &self.text {
            takes(text_name(latent, *call), std::slice::from_ref(plan))?;
        }
        takes("vae_encoder", self.encoder.as_slice())?;
        let network = takes(latent.component, std::slice::from_ref(network))?;
        let preview = takes("preview_decoder", self.preview.as_ref().map_or(&[], Planned::plans))?;
        let decoder = takes("vae_decoder", self.decoder.plans())?;
        within_budget("vae_decoder with that of previews", decoder + preview, budget)?;
        Ok(network + decoder + preview <= budget)
    }

    /// The components by name, each with its largest footprint.
    pub(super) fn parts(&self, latent: &LatentModel, network: &Plan) -> Vec<Part> {
        let mut texts: Vec<Part> = Vec::new();
        for (call, plan) in &self.text {
            let part = Part { name: text_name(latent, *call), footprint: Footprint::of(plan) };
            match texts.last_mut().filter(|last| last.name == part.name) {
                Some(last) if last.footprint.allocated < part.footprint.allocated => *last = part,
                Some(_) => {}
                None => texts.push(part),
            }
        }
        [
            texts,
            parts("vae_encoder", &self.encoder),
            parts(latent.component, [network]),
            parts("vae_decoder", self.decoder.plans()),
            parts("preview_decoder", self.preview.iter().flat_map(Planned::plans)),
        ]
        .concat()
    }
}

/// The name of the encoder of a call.
fn text_name(latent: &LatentModel, call: TextCall) -> &'static str {
    match &latent.source {
        Source::Text(source) => source.parts[call.part].name,
        Source::Labels => "text_encoder",
    }
}

/// The largest of some plans, by a name.
pub(super) fn parts<'p>(name: &'static str, plans: impl IntoIterator<Item = &'p Plan>) -> Vec<Part> {
    let largest = plans.into_iter().map(Footprint::of).max_by_key(|footprint| footprint.allocated);
    largest.into_iter().map(|footprint| Part { name, footprint }).collect()
}
