//! Events of a run, and pipelines compiled before they are needed.

use super::network::NetworkModel;
use super::sampling::Hooks;
use crate::denoise::{Guidance, NetworkDenoiser};
use crate::error::Result;
use crate::graph::{Compiler, Footprint, Plan};
use crate::kernels::{Engine, selftest};
use crate::sample::walk::Progress;
use crate::tensor::Tensor;

/// Something that happened in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A part of the run that may take long begins.
    Begun {
        /// The part: `pipelines`.
        part: &'static str,
        /// The amount of work, in words.
        detail: String,
    },
    /// A part of the run is done.
    Done {
        /// The part: `pipelines`, `self-test`, `text`, `image`, `upload`, `denoiser`, `sampling` or `decoding`.
        part: &'static str,
        /// The amount of work, in words; often empty.
        detail: String,
    },
    /// A step of a batch is done.
    Step {
        /// The images of the batch, by their index in the whole run.
        images: &'a [usize],
        /// The state before and after the step.
        progress: &'a Progress<'a>,
    },
}

/// A function that sees the events of a run. An error stops the run.
pub type Observer<'a> = dyn FnMut(Event) -> Result<()> + 'a;

/// Reports that `part` is done.
pub(super) fn done(observer: &mut Observer, part: &'static str, detail: impl Into<String>) -> Result<()> {
    observer(Event::Done { part, detail: detail.into() })
}

/// Compiles the pipelines of `plans`, and ensures that the device has passed the self-test, which a software adapter
/// does with shaders of the plans; others that it needs are compiled with them.
///
/// # Errors
/// [`crate::Error::Device`] for a shader that is refused and a self-test that fails; those of `observer`.
pub fn make_ready(engine: &Engine, plans: &[Plan], observer: &mut Observer) -> Result<()> {
    let steps = plans.iter().flat_map(|plan| &plan.steps);
    let mut shaders: Vec<_> = steps.map(|step| &step.dispatch.shader).collect();
    let tested = selftest::is_known(engine);
    let tests = selftest::pending(engine, &shaders);
    shaders.extend(&tests);
    let missing = engine.missing(&shaders).len();
    if missing > 0 {
        let plural = if missing == 1 { "" } else { "s" };
        observer(Event::Begun { part: "pipelines", detail: format!("{missing} pipeline{plural}") })?;
    }
    engine.pipelines(&shaders)?;
    done(observer, "pipelines", format!("{} compiled", engine.compiled()))?;
    selftest::ensure(engine)?;
    let known = if tested { "known from an earlier run" } else { "first run on this adapter" };
    done(observer, "self-test", known)
}

/// Puts the network of a run on the device, for `batch` images of a size, with the channels that it takes besides.
pub(super) fn upload<'e>(
    network: &NetworkModel,
    (guidance, appended): (Guidance, Option<Tensor>),
    (batch, size): (usize, (usize, usize)),
    plan: Plan,
    compiler: Compiler<'e>,
    hooks: &mut Hooks,
) -> Result<NetworkDenoiser<'e>> {
    make_ready(compiler.engine, std::slice::from_ref(&plan), &mut |event| hooks.see(event))?;
    let weights = Footprint::of(&plan).weights as f64 / f64::from(1 << 20);
    let placed = network.planned(compiler, guidance.call_size(batch, size), plan)?;
    let denoiser = network.denoiser_with(placed, guidance, appended)?;
    hooks.done("upload", format!("{weights:.1} MiB of weights"))?;
    Ok(denoiser)
}
