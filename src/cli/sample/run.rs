//! The run on a device.

use std::cell::{OnceCell, RefCell};
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::args::{Args, Choice};
use super::job::Job;
use super::metadata;
use super::results::Results;
use crate::cli::args::Global;
use crate::cli::device;
use crate::error::{Error, Result};
use crate::formats::png;
use crate::graph::Compiler;
use crate::model::describe::{adapter_json, algorithms_json, family_text, footprint_json};
use crate::model::timing::Stopwatch;
use crate::model::{Event, Facts, NETWORK};
use crate::report::columns::aligned;
use crate::report::{Console, Progress, Report, print_stdout};
use crate::sample::samplers::Sampler;
use crate::sample::walk::Clip;

/// Runs `downhill sample`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut clock = Stopwatch::start();
    if args.sampler == Some(Choice::List) {
        return print_stdout(&listed());
    }
    let mut report = Report::new("sample");
    let mut job = Job::new(args, global, console)?;
    describe_job(&mut report, &job);
    clock.lap("model");
    for (index, level) in job.run.run.schedule.levels().iter().enumerate() {
        console.detail(&format!("level {index}: {level}"));
    }
    if job.resume {
        pass_over_complete(&mut job, console);
    }
    if job.run.run.images.is_empty() {
        console.note("nothing to do: every image is there");
        report.set("outputs", json!([]));
    } else {
        let prints = job.timings;
        let timings = compute(job, global, console, clock, &mut report)?;
        if prints {
            global.print(&timings)?;
        }
    }
    global.write_report(&report)
}

/// Returns one line per sampler: name, order, network calls per step, default steps, source and flags.
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
            format!("{} steps", spec.steps),
            format!("{}{flags}", spec.source),
        ]
    };
    aligned(&Sampler::ALL.map(row))
}

/// Makes the images, writes them, and returns the timings in lines.
fn compute(job: Job, global: &Global, console: Console, mut clock: Stopwatch, report: &mut Report) -> Result<String> {
    let engine = device::open(global, console)?;
    clock.lap("adapter");
    let (clock, seconds, since) = (RefCell::new(clock), RefCell::new(Vec::new()), RefCell::new(Instant::now()));
    let bar: OnceCell<Progress> = OnceCell::new();
    let observer = |event: Event| {
        match event {
            Event::Done { part, detail } => clock.borrow_mut().lap_with(part, detail),
            Event::Step { .. } => {
                seconds.borrow_mut().push(since.borrow().elapsed().as_secs_f64());
                bar.get().into_iter().for_each(|bar| bar.advance(1));
            }
        }
        since.replace(Instant::now());
        Ok(())
    };
    let mut results = Results::new(&job);
    let hinted = |error: Error| with_trace_hint(error, job.has_network && !job.trace_nonfinite);
    let mut images = job.run.observe(observer).on(Compiler::new(&engine, job.dtype.options(global)))?;
    let steps = images.run().steps() as u64;
    bar.get_or_init(|| Progress::new("sampling", steps, console.verbosity));
    since.replace(Instant::now());
    for batch in &mut images {
        results.take(batch.map_err(hinted)?)?;
    }
    let facts = images.facts().clone();
    drop(images);
    drop(bar);
    let outputs = results.finish(console)?;
    let (mut clock, seconds) = (clock.into_inner(), seconds.into_inner());
    clock.lap("writing");
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("algorithms", facts.algorithms.as_ref().map(algorithms_json))
        .set("batch", facts.batch)
        .set("memory", memory_json(&facts, engine.gpu.memory_bytes().1))
        .set("timings", clock.json(&seconds))
        .set("outputs", outputs);
    Ok(clock.table(&seconds))
}

/// The footprints of a run: that of its network, or one per component of a pipeline.
fn memory_json(facts: &Facts, peak: u64) -> Value {
    let mut memory = match &facts.parts[..] {
        [network] if network.name == NETWORK => footprint_json(&network.footprint, Some(peak)),
        parts => parts.iter().map(|part| (part.name.to_owned(), footprint_json(&part.footprint, None))).collect(),
    };
    memory["peak_bytes"] = peak.into();
    memory
}

/// Values of a network that are not finite can be traced.
fn with_trace_hint(error: Error, can_trace: bool) -> Error {
    match error {
        Error::NonFinite { place, hint } if can_trace => {
            Error::NonFinite { place, hint: format!("{hint}; `--trace-nonfinite` names the first operation at fault") }
        }
        other => other,
    }
}

/// Drops the images whose files are complete, and says when they were made otherwise.
fn pass_over_complete(job: &mut Job, console: Console) {
    let Some(pattern) = job.pattern().cloned() else { return };
    let shared = metadata::of_run(job);
    let all = job.run.run.images.len();
    let mut others = Vec::new();
    job.run.run.images.retain(|index| {
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
    let left = job.run.run.images.len();
    if left < all {
        console.note(&format!("{} of {all} images are there already", all - left));
    }
}

fn describe_job(report: &mut Report, job: &Job) {
    let run = &job.run.run;
    let levels: Vec<Value> =
        run.schedule.levels().iter().map(|level| json!({ "timestep": level.timestep, "sigma": level.sigma })).collect();
    let clip =
        run.method.clip.map(|Clip { range, rederive_eps }| json!({ "range": range, "rederive_eps": rederive_eps }));
    // Numbers as numbers: `1`, `0.5`, `true` are JSON as they stand.
    let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let settings = run.method.solver.settings().into_iter();
    let mut method: Map<String, Value> = settings.map(|(name, text)| (name.to_owned(), value(text))).collect();
    method.insert("sampler".to_owned(), job.run.sampler.name().into());
    method.insert("clip".to_owned(), json!(clip));
    report
        .set("model", job.model.clone())
        .set("seed", run.seed)
        .set("rng", run.generator.to_string())
        .set("count", run.count)
        .set("shard", job.shard.map(|shard| format!("{}/{}", shard.index, shard.of)))
        .set("size", json!([job.run.size.0, job.run.size.1]))
        .set("asked", json!(job.run.settings))
        .set("method", method)
        .set(
            "schedule",
            json!({
                "name": metadata::schedule_name(job),
                "steps": run.schedule.steps().len(),
                "scale": run.schedule.scale(),
                "levels": levels,
            }),
        );
    if let Some(labels) = &job.run.labels {
        report.set("class_labels", json!({ "labels": labels.labels, "guidance_scale": labels.scale }));
    }
}
