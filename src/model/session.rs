//! Many runs of one model on one device: weights, plans and pipelines stay between runs of one size.

use std::sync::Arc;

use super::images::Images;
use super::kept::Kept;
use super::latent::Source;
use super::memory::within_budget;
use super::open::{Kind, Model};
use super::resolve::ModelRun;
use super::text_run::{Text, encode};
use crate::error::{Error, Result};
use crate::graph::{Compiler, Footprint};

/// A model on a device, for many runs one after the other.
///
/// ```no_run
/// # use downhill::{Engine, Model, Options};
/// # use downhill::model::Session;
/// let engine = Engine::open(&Options::default())?;
/// let mut session = Session::new(Model::embedded()?, &engine);
/// for seed in 0..3 {
///     let run = session.model().sampling().seed(seed).count(4).resolve()?;
///     let mut images = session.start(run)?;
///     for batch in &mut images {
///         println!("{} images", batch?.indices.len());
///     }
///     session.finish(images);
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Session<'e> {
    model: Model,
    compiler: Compiler<'e>,
    kept: Kept<'e>,
}

impl<'e> Session<'e> {
    /// A session of `model`. Nothing is on the device before the first run.
    #[must_use]
    pub fn new(model: Model, compiler: impl Into<Compiler<'e>>) -> Self {
        Self { model, compiler: compiler.into(), kept: Kept::default() }
    }

    /// The model, from which runs are described.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The compiler of all runs.
    #[must_use]
    pub fn compiler(&self) -> Compiler<'e> {
        self.compiler
    }

    /// Starts a run of [`Session::model`], with what the last one has left. A run that fails leaves nothing.
    ///
    /// # Errors
    /// [`Error::Argument`] for a run of another model; those of [`ModelRun::on`].
    pub fn start<'a>(&mut self, run: ModelRun<'a>) -> Result<Images<'e, 'a>> {
        if !Arc::ptr_eq(&run.model.identity, &self.model.identity) {
            let what = format!("a run of `{}` in a session of another model", run.model.name());
            return Err(Error::argument(what, "describe runs from the model of the session"));
        }
        Images::new(run, self.compiler, std::mem::take(&mut self.kept))
    }

    /// Encodes the texts of runs that follow, so that the text encoders are on the device once for all of them.
    ///
    /// # Errors
    /// [`Error::OverLimit`] for an encoder beyond the memory of the runs; what the device reports.
    pub fn encode(&mut self, runs: &[&ModelRun]) -> Result<()> {
        let Kind::Latent(latent) = self.model.kind() else { return Ok(()) };
        let Source::Text(source) = &latent.source else { return Ok(()) };
        let mut left: Vec<(&Text, u64)> = Vec::new();
        for run in runs {
            let Some(text) = run.text.as_ref().filter(|text| self.kept.guidance(text).is_none()) else { continue };
            if left.iter().all(|(other, _)| *other != text) {
                left.push((text, run.options.memory));
            }
        }
        let calls = |text: &Text| (text.encodes_negative(), text.clip_skip);
        while let Some((first, budget)) = left.first().copied() {
            let (same, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|(text, _)| calls(text) == calls(first));
            left = others;
            let same: Vec<&Text> = same.into_iter().map(|(text, _)| text).collect();
            let (with_negative, skip) = calls(first);
            let mut plans = Vec::new();
            for call in source.calls(with_negative, skip) {
                let plan = source.plan(self.compiler, call.part, call.readout, call.sides.len());
                within_budget(source.parts[call.part].name, Footprint::of(&plan).allocated, budget)?;
                plans.push((call, plan));
            }
            let encoded = encode(&same, source, plans, self.compiler, &mut |_| Ok(()))?;
            same.iter().zip(&encoded).for_each(|(text, guidance)| self.kept.keep_guidance(text, guidance));
        }
        Ok(())
    }

    /// Ends a run, whether it is whole or not, and keeps what the next one may use.
    pub fn finish(&mut self, images: Images<'e, '_>) {
        self.kept = images.into_kept();
    }
}
