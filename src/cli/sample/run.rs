//! The run on a device.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::args::{Args, Choice};
use super::job::{Job, Load, Subject};
use super::latent;
use super::metadata;
use super::results::{Batch, Results};
use super::start::Start;
use crate::cli::args::Global;
use crate::cli::device::{self, adapter_json, family_text};
use crate::cli::model::{Opened, footprint_json};
use crate::cli::table::aligned;
use crate::cli::timing::{SAMPLING, Stopwatch};
use crate::denoise::{Denoiser, Guidance, Level, Network, NetworkDenoiser};
use crate::error::{Error, Result};
use crate::formats::png;
use crate::graph::{Compiler, Footprint};
use crate::kernels::selftest;
use crate::noise::Noise;
use crate::report::{Console, Progress, Report, print_stdout};
use crate::sample::samplers::Sampler;
use crate::sample::walk::{Clip, sample};
use crate::spectral::samples::MOST_VECTORS;
use crate::tensor::Tensor;

/// Runs `downhill sample`.
pub fn run(args: Args, global: &Global, console: Console) -> Result<()> {
    let mut clock = Stopwatch::start();
    if args.sampler == Some(Choice::List) {
        return print_stdout(&listed());
    }
    let mut report = Report::new("sample");
    let (mut job, load) = Job::new(args, global, console)?;
    describe_job(&mut report, &job);
    clock.lap("model");
    for (index, level) in job.schedule.levels().iter().enumerate() {
        console.detail(&format!("level {index}: {level}"));
    }
    if job.resume {
        pass_over_complete(&mut job, console);
    }
    if job.images.is_empty() {
        console.note("nothing to do: every image is there");
        report.set("outputs", json!([]));
    } else {
        let timed = compute(&job, load, global, console, clock, &mut report)?;
        if job.timings {
            print_stdout(&timed)?;
        }
    }
    global.json.as_ref().map_or(Ok(()), |file| report.write(file))
}

/// Returns one line per sampler: name, order, network calls per step, source and flags.
fn listed() -> String {
    let row = |sampler: Sampler| {
        let spec = sampler.spec();
        let unit = if spec.calls.per_step == 1 { "call per step" } else { "calls per step" };
        let flags: Vec<_> = spec.parameters.iter().map(|name| format!("--{name}")).collect();
        let flags = if flags.is_empty() { String::new() } else { format!("; {}", flags.join(", ")) };
        [
            spec.name.to_owned(),
            format!("order {}", spec.order),
            format!("{} {unit}", spec.calls.per_step),
            format!("{}{flags}", spec.source),
        ]
    };
    aligned(&Sampler::ALL.map(row))
}

/// What a run came to.
pub struct Compute {
    /// Images at a call.
    pub batch: usize,
    /// Seconds of each step.
    pub seconds: Vec<f64>,
    /// Paths of what was written.
    pub outputs: Vec<String>,
    /// What it takes on the device, for a report.
    pub memory: Value,
    /// How convolutions are computed, for a report.
    pub algorithms: Value,
}

/// Makes the images and answers what it took, in lines.
fn compute(
    job: &Job,
    load: Load,
    global: &Global,
    console: Console,
    mut clock: Stopwatch,
    report: &mut Report,
) -> Result<String> {
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, job.dtype.options(global));
    clock.lap("adapter");
    let done = match (&job.subject, load) {
        (Subject::Text { opened, prompt, tokens }, Load::Text(files)) => {
            latent::compute(job, (opened, prompt, tokens), *files, compiler, &mut clock, console)?
        }
        (_, load) => compute_images(job, load, compiler, &mut clock, console)?,
    };
    let Compute { batch, seconds, outputs, mut memory, algorithms } = done;
    memory["peak_bytes"] = engine.gpu.memory_bytes().1.into();
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("algorithms", algorithms)
        .set("batch", batch)
        .set("memory", memory)
        .set("timings", clock.json(&seconds))
        .set("outputs", outputs);
    Ok(clock.table(&seconds))
}

/// Makes images whose states are the images themselves.
fn compute_images(
    job: &Job,
    load: Load,
    compiler: Compiler,
    clock: &mut Stopwatch,
    console: Console,
) -> Result<Compute> {
    let Ready { mut denoiser, batch, footprint, algorithms } = ready(job, load, compiler, clock)?;
    let clean = match &job.start {
        Start::Image(_, picture, _) => {
            let [channels, height, width] = job.state_shape();
            Some(picture.at(channels, (height, width))?)
        }
        _ => None,
    };
    let mut results = Results::new(job);
    let mut each = |batch| results.take(batch, &mut |z: &Tensor| Ok(z.clone()));
    let seconds = batches(job, denoiser.as_mut(), batch, clean.as_ref(), &mut each, console)?;
    clock.lap_with(SAMPLING, format!("{} steps", seconds.len()));
    let outputs = results.finish(console)?;
    clock.lap("writing");
    let peak = compiler.engine.gpu.memory_bytes().1;
    let memory = footprint.map_or_else(|| json!({}), |footprint| footprint_json(&footprint, Some(peak)));
    Ok(Compute { batch, seconds, outputs, memory, algorithms })
}

/// What samples.
struct Ready<'e> {
    denoiser: Box<dyn Denoiser + 'e>,
    /// Images at a call.
    batch: usize,
    /// What a network takes.
    footprint: Option<Footprint>,
    /// How its convolutions are computed, for a report.
    algorithms: Value,
}

/// Puts the denoiser of `job` on the device.
fn ready<'e>(job: &Job, load: Load, compiler: Compiler<'e>, clock: &mut Stopwatch) -> Result<Ready<'e>> {
    let engine = compiler.engine;
    match (&job.subject, load) {
        (Subject::Network(opened), Load::Network(model)) => {
            let Opened { scheduler, table, .. } = opened.as_ref();
            let batch = opened.batch(job.batch, job.images.len(), job.size, compiler)?;
            let plan = opened.plan(batch, job.size, compiler)?;
            let algorithms = opened.algorithms(&plan, job.size, compiler)?.json();
            let footprint = Footprint::of(&plan);
            device::make_ready(engine, &plan, clock)?;
            let size = opened.call_size(batch, job.size);
            let network = Network::new(compiler, opened.net.clone(), model.weights, size)?;
            let network = NetworkDenoiser::new(network, table.clone(), scheduler.prediction_type, Guidance::default())?;
            clock.lap_with("upload", format!("{:.1} MiB of weights", footprint.weights as f64 / f64::from(1 << 20)));
            let denoiser = Box::new(Traced { network, traces: job.trace_nonfinite });
            Ok(Ready { denoiser, batch, footprint: Some(footprint), algorithms })
        }
        (_, Load::ClosedForm(form)) => {
            selftest::ensure(engine)?;
            clock.lap("self-test");
            let denoiser = form.ready(engine)?;
            clock.lap("denoiser");
            let batch = job.batch.unwrap_or(MOST_VECTORS).min(job.images.len());
            Ok(Ready { denoiser, batch, footprint: None, algorithms: Value::Null })
        }
        _ => Err(Error::argument(
            format!("`{}` is no network", job.name()),
            "name a closed form by `pca:`, `wiener:`, `sequential:` or `ideal:`",
        )),
    }
}

/// Samples all images, a batch at a time, and hands each on; answers the seconds of each step. `clean` is the state without
/// noise that they start from, (1, channels, height, width), where there is one.
pub fn batches(
    job: &Job,
    denoiser: &mut dyn Denoiser,
    batch: usize,
    clean: Option<&Tensor>,
    each: &mut dyn FnMut(Batch) -> Result<()>,
    console: Console,
) -> Result<Vec<f64>> {
    let image = job.state_shape();
    let mut noise = Noise::new(job.generator, job.seed, job.count, image.iter().product());
    let calls = job.images.len().div_ceil(batch) * job.schedule.steps().len();
    let bar = Progress::new("sampling", calls as u64, console.verbosity);
    let mut seconds = Vec::with_capacity(calls);
    for indices in job.images.chunks(batch) {
        let shape = [indices.len(), image[0], image[1], image[2]];
        let x = start_states(job, indices, clean, &mut noise);
        let mut taken = Batch::new(indices);
        let mut since = Instant::now();
        let x = sample(
            denoiser,
            &job.schedule,
            &job.method,
            x,
            &mut |update| Ok(Tensor::new(shape, noise.step(update, indices))),
            &mut |progress| {
                taken.watch(job, progress);
                seconds.push(since.elapsed().as_secs_f64());
                since = Instant::now();
                bar.advance(1);
                Ok(())
            },
        )
        .map_err(|error| with_trace_hint(error, job))?;
        let scale = job.schedule.end().alpha_bar().sqrt();
        let z = Tensor::new(shape, x.data.iter().map(|value| (f64::from(*value) * scale) as f32).collect::<Vec<_>>());
        each(taken.done(z))?;
    }
    Ok(seconds)
}

/// The states x that images `indices` start from, at the schedule's first level.
fn start_states(job: &Job, indices: &[usize], clean: Option<&Tensor>, noise: &mut Noise) -> Tensor {
    let rows =
        |tensor: &Tensor| -> Vec<f32> { indices.iter().flat_map(|&index| tensor.item(index).to_vec()).collect() };
    let [channels, height, width] = job.state_shape();
    let shape = [indices.len(), channels, height, width];
    let mut x = match &job.start {
        Start::Seeded => job.schedule.start_state(&Tensor::new(shape, noise.initial(indices))),
        Start::Noise(_, tensor) => job.schedule.start_state(&Tensor::new(shape, rows(tensor))),
        Start::State(_, tensor) => return Tensor::new(shape, rows(tensor)),
        Start::Image(_, _, given) => {
            let drawn = given.as_ref().map_or_else(|| noise.initial(indices), |(_, tensor)| rows(tensor));
            let (sigma, clean) = (job.schedule.start().sigma, clean.map_or(&[][..], |clean| &clean.data));
            let pairs = drawn.into_iter().zip(clean.iter().cycle());
            let x = pairs.map(|(noise, clean)| (f64::from(*clean) + sigma * f64::from(noise)) as f32);
            return Tensor::new(shape, x.collect::<Vec<_>>());
        }
    };
    if let Subject::ClosedForm { mean, .. } = &job.subject {
        x.data.iter_mut().zip(mean.iter().cycle()).for_each(|(x, mean)| *x = (f64::from(*x) + mean) as f32);
    }
    x
}

/// A network that, asked to, looks for the operation at fault when its answer is not finite.
pub struct Traced<N> {
    pub network: N,
    pub traces: bool,
}

impl<N: Denoiser> Denoiser for Traced<N> {
    fn image_shape(&self) -> [usize; 3] {
        self.network.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let answer = self.network.eps(x, levels)?;
        if self.traces && !answer.is_finite() {
            self.network.trace_nonfinite(x, levels)?;
        }
        Ok(answer)
    }

    fn begin(&mut self, levels: &[Level]) {
        self.network.begin(levels);
    }
}

fn with_trace_hint(error: Error, job: &Job) -> Error {
    match error {
        Error::NonFinite { place, hint }
            if !job.trace_nonfinite && !matches!(job.subject, Subject::ClosedForm { .. }) =>
        {
            Error::NonFinite { place, hint: format!("{hint}; `--trace-nonfinite` names the first operation at fault") }
        }
        other => other,
    }
}

/// Drops the images whose files are there, and says when they were made otherwise.
fn pass_over_complete(job: &mut Job, console: Console) {
    let Some(pattern) = job.pattern().cloned() else { return };
    let shared = metadata::of_run(job);
    let all = job.images.len();
    let mut others = Vec::new();
    job.images.retain(|index| {
        let is_complete = pattern.is_complete(*index);
        if is_complete {
            let found = png::read_metadata(pattern.path(*index)).unwrap_or_default();
            let mut expected = metadata::of_image(&shared, *index);
            expected.retain(|pair| !found.contains(pair));
            if !expected.is_empty() {
                others.push(pattern.path(*index));
            }
        }
        !is_complete
    });
    if let Some(one) = others.first() {
        let count = others.len();
        console.warning(&format!("{count} of the images that are kept were made otherwise, such as {}", one.display()));
    }
    if job.images.len() < all {
        console.note(&format!("{} of {all} images are there already", all - job.images.len()));
    }
}

fn describe_job(report: &mut Report, job: &Job) {
    let levels: Vec<Value> =
        job.schedule.levels().iter().map(|level| json!({ "timestep": level.timestep, "sigma": level.sigma })).collect();
    let clip =
        job.method.clip.map(|Clip { range, rederive_eps }| json!({ "range": range, "rederive_eps": rederive_eps }));
    // Numbers as numbers: `1`, `0.5`, `true` are JSON as they stand.
    let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let settings = job.method.solver.settings().into_iter();
    let mut method: Map<String, Value> = settings.map(|(name, text)| (name.to_owned(), value(text))).collect();
    method.insert("sampler".to_owned(), job.sampler.name().into());
    method.insert("clip".to_owned(), json!(clip));
    let model = match &job.subject {
        Subject::Network(opened) => &opened.json,
        Subject::Text { opened, .. } => &opened.json,
        Subject::ClosedForm { json, .. } => json,
    };
    report
        .set("model", model.clone())
        .set("seed", job.seed)
        .set("rng", job.generator.to_string())
        .set("count", job.count)
        .set("shard", job.shard.map(|shard| format!("{}/{}", shard.index, shard.of)))
        .set("size", json!([job.size.height, job.size.width]))
        .set("asked", json!(job.settings))
        .set("method", method)
        .set(
            "schedule",
            json!({
                "name": metadata::schedule_name(job),
                "steps": job.schedule.steps().len(),
                "scale": job.schedule.scale(),
                "levels": levels,
            }),
        );
}
