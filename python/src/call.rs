//! Single calls of a model: x0, eps, the output of the network, and products with the Jacobian.

use std::sync::{Mutex, PoisonError};

use downhill::denoise::jacobian::{Differences, Jacobian, NetworkJacobian, Place};
use downhill::denoise::{Condition, Denoiser, Guidance, Level, Network, NetworkDenoiser};
use downhill::model::{DenoiserOptions, Kind, NetworkModel, make_ready};
use downhill::nets::architecture::{CallSize, Inputs};
use downhill::nets::feeds::{Added, ClassLabels};
use downhill::{Compiler, Error, Tensor};
use numpy::PyArrayDyn;
use pyo3::prelude::*;

use crate::array::{Floats, array, images, tensor};
use crate::error::{Result, argument};
use crate::model::PyModel;

/// The most networks of one model that stay on the device for calls of different sizes.
const MOST_KEPT: usize = 3;
/// The most bytes of their weights.
const MOST_BYTES: u64 = 1 << 30;
/// The share of sigma, or of the data's own scale, by which images are moved for differences of closed forms.
pub const DIFFERENCE: f64 = 1e-2;

/// The networks that single calls have left on the device, the latest first.
#[derive(Default)]
pub struct Calls(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    networks: Vec<(CallSize, NetworkDenoiser<'static>)>,
    /// A network that is not a denoiser: it takes more channels than it predicts, such as those of inpainting.
    raw: Option<(CallSize, Network<'static>)>,
    form: Option<Box<dyn Denoiser + 'static>>,
    jacobian: Option<(CallSize, Condition, usize, NetworkJacobian<'static>)>,
}

impl Calls {
    /// Frees everything.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }
}

/// The condition of a call, as arrays.
#[derive(Default)]
pub struct Conditions {
    context: Option<Tensor>,
    labels: Option<ClassLabels>,
    added: Option<Added>,
}

impl Conditions {
    fn read(
        context: Option<Floats>,
        labels: Option<Vec<f64>>,
        pooled: Option<Floats>,
        time_ids: Option<Floats>,
    ) -> Result<Self> {
        let context = context.as_ref().map(tensor).transpose()?;
        if let Some(context) = context.as_ref().filter(|context| context.shape.len() != 3) {
            let what = format!("`context` of shape {:?}", context.shape);
            return Err(argument(what, "a context is (n, tokens, channels), or (1, tokens, channels) for all images"));
        }
        let added = match (pooled.as_ref().map(tensor).transpose()?, time_ids.as_ref().map(tensor).transpose()?) {
            (None, None) => None,
            (Some(pooled), Some(numbers)) => Some(Added { pooled, numbers }),
            _ => return Err(argument("one of `pooled` and `time_ids` without the other", "give both")),
        };
        Ok(Self { context, labels: labels.map(ClassLabels::Numbers), added })
    }

    fn condition(self) -> Condition {
        Condition { context: self.context, labels: self.labels, added: self.added, guidance: None }
    }
}

impl Kept {
    /// The network on the device, for `images` images of a size under a condition.
    fn denoiser(
        &mut self,
        network: &NetworkModel,
        compiler: Compiler<'static>,
        x: &Tensor,
        condition: Condition,
    ) -> std::result::Result<&mut NetworkDenoiser<'static>, Error> {
        network.expect_denoiser()?;
        condition.check(network.net.as_ref())?;
        let (images, size) = (x.shape[0], (x.shape[2], x.shape[3]));
        let guidance = Guidance::none(condition);
        let call = guidance.call_size(images, size);
        if let Some(at) = self.networks.iter().position(|(kept, _)| *kept == call) {
            let found = self.networks.remove(at);
            self.networks.insert(0, found);
            let denoiser = &mut self.networks[0].1;
            denoiser.set_guidance(guidance)?;
            return Ok(denoiser);
        }
        network.net.check(call)?;
        let most = (MOST_BYTES / network.weights.bytes().max(1)).clamp(1, MOST_KEPT as u64) as usize;
        self.networks.truncate(most - 1);
        let placed = placed(network, compiler, images, &|images| guidance.call_size(images, size))?;
        self.networks.insert(0, (call, network.denoiser(placed, guidance)?));
        Ok(&mut self.networks[0].1)
    }

    /// The output of the network for z at timesteps, in its own form and with all of its channels.
    fn output(
        &mut self,
        network: &NetworkModel,
        compiler: Compiler<'static>,
        z: &Tensor,
        timesteps: &[f64],
        condition: &Condition,
    ) -> std::result::Result<Tensor, Error> {
        let inputs = Inputs::new(z, timesteps).with_context(condition.context.as_ref());
        let inputs = inputs.with_labels(condition.labels.as_ref()).with_added(condition.added.as_ref());
        if network.net.is_denoiser() {
            return self.denoiser(network, compiler, z, condition.clone())?.network().call(&inputs);
        }
        condition.check(network.net.as_ref())?;
        let guidance = Guidance::none(condition.clone());
        let calls = |images| guidance.call_size(images, (z.shape[2], z.shape[3]));
        let call = calls(z.shape[0]);
        network.net.check(call)?;
        let kept = self.raw.take().filter(|(kept, _)| *kept == call);
        let kept = match kept {
            Some(kept) => kept,
            None => (call, placed(network, compiler, z.shape[0], &calls)?),
        };
        self.raw.insert(kept).1.call(&inputs)
    }
}

/// A network on the device, for calls of `images` images, or of fewer if that is faster.
fn placed(
    network: &NetworkModel,
    compiler: Compiler<'static>,
    images: usize,
    calls: &dyn Fn(usize) -> CallSize,
) -> std::result::Result<Network<'static>, Error> {
    let (batch, plan) = network.batch(compiler, None, images, calls)?;
    make_ready(compiler.engine, std::slice::from_ref(&plan), &mut |_| Ok(()))?;
    network.planned(compiler, calls(batch), plan)
}

impl PyModel {
    /// Runs `call` on the model as a denoiser, with the interpreter free for other threads.
    fn denoising<T: Send>(
        &self,
        py: Python<'_>,
        x: &Tensor,
        condition: Condition,
        call: impl FnOnce(&mut dyn Denoiser) -> std::result::Result<T, Error> + Send,
    ) -> Result<T> {
        Ok(py.detach(|| {
            let mut kept = self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
            match self.model.network() {
                Some(network) => call(kept.denoiser(network, self.compiler()?, x, condition)?),
                None => call(self.form(&mut kept, &condition)?),
            }
        })?)
    }

    /// The closed form on the device.
    fn form<'k>(
        &self,
        kept: &'k mut Kept,
        condition: &Condition,
    ) -> std::result::Result<&'k mut (dyn Denoiser + 'static), Error> {
        if *condition != Condition::default() {
            let what = format!("`{}` does not take a context or labels", self.model.name());
            return Err(Error::argument(what, "leave them out"));
        }
        let form = if let Some(form) = kept.form.take() {
            form
        } else {
            let options = DenoiserOptions { batch: None, images: usize::MAX, label: None };
            self.model.clone().denoiser(self.compiler()?, &options, &mut |_| Ok(()))?.denoiser
        };
        Ok(kept.form.insert(form).as_mut())
    }

    /// One level per image.
    fn levels(sigmas: &[f64], images: usize) -> Result<Vec<Level>> {
        if let Some(sigma) = sigmas.iter().find(|sigma| !sigma.is_finite() || **sigma <= 0.0) {
            return Err(argument(format!("`sigma` of {sigma}"), "sigma is a noise level above 0"));
        }
        match sigmas {
            [one] => Ok(vec![Level::at_sigma(*one); images]),
            all if all.len() == images => Ok(Level::each(all)),
            all => {
                let what = format!("{} values of `sigma` for {images} images", all.len());
                Err(argument(what, "give one number, or one per image"))
            }
        }
    }
}

/// One timestep per image.
fn timesteps(t: &[f64], images: usize) -> Result<Vec<f64>> {
    if let Some(t) = t.iter().find(|t| !t.is_finite()) {
        return Err(argument(format!("`t` of {t}"), "a timestep is a finite number"));
    }
    match t {
        [one] => Ok(vec![*one; images]),
        all if all.len() == images => Ok(all.to_vec()),
        all => {
            let what = format!("{} timesteps `t` for {images} images", all.len());
            Err(argument(what, "give one number, or one per image"))
        }
    }
}

#[pymethods]
impl PyModel {
    /// x0 of x = x0 + sigma eps.
    #[pyo3(signature = (x, sigma, context=None, labels=None, pooled=None, time_ids=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn denoise<'py>(
        &self,
        py: Python<'py>,
        x: Floats<'py>,
        sigma: Vec<f64>,
        context: Option<Floats<'py>>,
        labels: Option<Vec<f64>>,
        pooled: Option<Floats<'py>>,
        time_ids: Option<Floats<'py>>,
    ) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let x = images(&x, "x")?;
        let levels = Self::levels(&sigma, x.shape[0])?;
        let condition = Conditions::read(context, labels, pooled, time_ids)?.condition();
        let x0 = self.denoising(py, &x, condition, |denoiser| Ok(denoiser.parts(&x, &levels)?.1))?;
        array(py, x0)
    }

    /// eps of x = x0 + sigma eps.
    #[pyo3(signature = (x, sigma, context=None, labels=None, pooled=None, time_ids=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn eps_at_sigma<'py>(
        &self,
        py: Python<'py>,
        x: Floats<'py>,
        sigma: Vec<f64>,
        context: Option<Floats<'py>>,
        labels: Option<Vec<f64>>,
        pooled: Option<Floats<'py>>,
        time_ids: Option<Floats<'py>>,
    ) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let x = images(&x, "x")?;
        let levels = Self::levels(&sigma, x.shape[0])?;
        let condition = Conditions::read(context, labels, pooled, time_ids)?.condition();
        let eps = self.denoising(py, &x, condition, |denoiser| denoiser.eps(&x, &levels))?;
        array(py, eps)
    }

    /// The output of the network for z at timesteps, in its own form and with its learned variance; with `as_eps` as
    /// eps.
    #[pyo3(signature = (z, t, as_eps, context=None, labels=None, pooled=None, time_ids=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        z: Floats<'py>,
        t: Vec<f64>,
        as_eps: bool,
        context: Option<Floats<'py>>,
        labels: Option<Vec<f64>>,
        pooled: Option<Floats<'py>>,
        time_ids: Option<Floats<'py>>,
    ) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let z = images(&z, "x")?;
        let t = timesteps(&t, z.shape[0])?;
        let network = self.network()?;
        let condition = Conditions::read(context, labels, pooled, time_ids)?.condition();
        let output = py.detach(|| {
            let mut kept = self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !as_eps {
                return kept.output(network, self.compiler()?, &z, &t, &condition);
            }
            let denoiser = kept.denoiser(network, self.compiler()?, &z, condition)?;
            let mut output = denoiser.predict(&z, &t)?;
            let (process, prediction) = (network.table.process(), network.scheduler.prediction_type);
            let stride = z.stride();
            for (at, t) in t.iter().enumerate() {
                let sigma = network.table.sigma(*t);
                let values = output.data[at * stride..][..stride].iter_mut().zip(z.item(at));
                values.for_each(|(out, z)| {
                    *out = process.parts(prediction, f64::from(*out), f64::from(*z), sigma).0 as f32;
                });
            }
            Ok::<_, Error>(output)
        })?;
        array(py, output)
    }

    /// The seconds of `rounds` calls of x0 at sigma, one after the other, without anything of Python.
    fn time_call<'py>(&self, py: Python<'py>, x: Floats<'py>, sigma: Vec<f64>, rounds: usize) -> Result<Vec<f64>> {
        let x = images(&x, "x")?;
        let levels = Self::levels(&sigma, x.shape[0])?;
        self.denoising(py, &x, Condition::default(), |denoiser| {
            let timed = (0..rounds).map(|_| {
                let begun = std::time::Instant::now();
                denoiser.parts(&x, &levels)?;
                Ok(begun.elapsed().as_secs_f64())
            });
            timed.collect()
        })
    }

    /// J v of x0(x, sigma) at each image, for the vectors of that image: x is (n, c, h, w), v (n, k, c, h, w).
    #[pyo3(signature = (x, v, sigma, context=None, labels=None))]
    fn jvp<'py>(
        &self,
        py: Python<'py>,
        x: Floats<'py>,
        v: Floats<'py>,
        sigma: Vec<f64>,
        context: Option<Floats<'py>>,
        labels: Option<Vec<f64>>,
    ) -> Result<Bound<'py, PyArrayDyn<f32>>> {
        let (x, v) = (images(&x, "x")?, tensor(&v)?);
        let (count, len) = (x.shape[0], x.stride());
        let vectors = v.shape[1];
        let levels = Self::levels(&sigma, count)?;
        let condition = Conditions::read(context, labels, None, None)?.condition();
        let products = py.detach(|| {
            let mut kept = self.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut products = Vec::with_capacity(v.data.len());
            let mut all = |jacobian: &dyn Jacobian| {
                for (at, level) in levels.iter().enumerate() {
                    let place = Place { x: x.slice(at..at + 1), level: *level };
                    let rows = Tensor::new([vectors, len], v.item(at).to_vec());
                    products.extend(jacobian.products(&place, &rows)?.data);
                }
                Ok::<_, Error>(())
            };
            if let Some(network) = self.model.network() {
                all(kept.jacobian(network, self.compiler()?, &x, condition, vectors)?)?;
            } else {
                let spread = self.model.sigma_range().1;
                let step = move |sigma: f64| DIFFERENCE * sigma.max(1e-3 * spread);
                all(&Differences::new(self.form(&mut kept, &condition)?, &step))?;
            }
            Ok::<_, Error>(products)
        })?;
        array(py, Tensor::new(v.shape.clone(), products))
    }
}

impl Kept {
    /// The Jacobian of a network on the device, for `vectors` vectors per call.
    fn jacobian(
        &mut self,
        network: &NetworkModel,
        compiler: Compiler<'static>,
        x: &Tensor,
        condition: Condition,
        vectors: usize,
    ) -> std::result::Result<&NetworkJacobian<'static>, Error> {
        /// The most vectors per call.
        const MOST_VECTORS: usize = 16;
        let (size, block) = ((x.shape[2], x.shape[3]), vectors.clamp(1, MOST_VECTORS));
        let call = Guidance::none(condition.clone()).call_size(1, size);
        let is_same = self.jacobian.as_ref().is_some_and(|(kept_call, kept_condition, kept_block, _)| {
            *kept_call == call && *kept_condition == condition && *kept_block == block
        });
        if !is_same {
            // Its memory is free before the next takes its place.
            self.jacobian = None;
            downhill::low_level::kernels::selftest::ensure(compiler.engine)?;
            let made = network.jacobian(compiler, condition.clone(), size, block)?;
            self.jacobian = Some((call, condition, block, made));
        }
        match &self.jacobian {
            Some((.., jacobian)) => Ok(jacobian),
            None => Err(Error::argument("no Jacobian", "open the model again")),
        }
    }
}

impl PyModel {
    /// The model as a denoiser of a run or a study of Python's own: (c, h, w), and the denoiser on the device.
    pub fn boxed(&self, images: usize) -> std::result::Result<Box<dyn Denoiser + 'static>, Error> {
        if let Kind::ClosedForm(_) = self.model.kind() {
            downhill::low_level::kernels::selftest::ensure(self.compiler()?.engine)?;
        }
        let options = DenoiserOptions { batch: None, images, label: None };
        Ok(self.model.clone().denoiser(self.compiler()?, &options, &mut |_| Ok(()))?.denoiser)
    }
}
