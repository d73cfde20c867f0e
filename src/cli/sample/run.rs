//! The run on a device.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::json;

use super::args::{Args, Choice};
use super::job::{Job, USUAL_OUTPUT, name_of};
use super::prompts::{self, Line};
use super::shards;
use crate::cli::args::{Dtype, Global};
use crate::cli::device;
use crate::cli::interrupt;
use crate::cli::shard::{Shard, ShardArg};
use crate::cli::spinning::spinning;
use crate::cli::stream::{self, output_name};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::Engine;
use crate::model::describe::{adapter_json, algorithms_json, family_text, guidance_json, memory_json, run_sections};
use crate::model::files::Written;
use crate::model::timing::Stopwatch;
use crate::model::{Event, Facts, Files, Session};
use crate::report::columns::aligned;
use crate::report::{Console, Progress, Report, print_stdout};
use crate::sample::samplers::Sampler;

/// Runs `downhill sample`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut clock = Stopwatch::start();
    if args.sampler == Some(Choice::List) {
        return print_stdout(&listed());
    }
    let args = &shards::named(args)?;
    if let Some(lines) = prompts::lines(args)? {
        return run_prompts(args, &lines, global, console);
    }
    let mut report = Report::new("sample");
    let mut job = Job::new(args, global, console)?;
    for (section, value) in run_sections(&job.run) {
        report.set(section, value);
    }
    report.set("shard", job.shard.map(|shard| shard.to_string()));
    clock.lap("model");
    for (index, level) in job.run.run.schedule.levels().iter().enumerate() {
        console.detail(&format!("level {index}: {level}"));
    }
    let nothing = if job.run.run.images.is_empty() { "the shard is empty" } else { "every image exists already" };
    let opened = half_maps_on_device(std::slice::from_mut(&mut job), global, console)?;
    if job.resume {
        pass_over_complete(&mut job, console)?;
    }
    if job.run.run.images.is_empty() {
        console.note(&format!("nothing to do: {nothing}"));
        report.set("outputs", json!([]));
    } else {
        let (prints, can_resume, total) = (job.timings, job.targets.is_one_file_per_image(), job.run.run.images.len());
        let engine = opened.map_or_else(|| device::open(global, console), Ok)?;
        clock.lap("adapter");
        let compiler = Compiler::new(&engine, job.dtype.options(global));
        let mut session = Session::new(job.run.model.clone(), compiler);
        let Computed { timings, images } = compute(job, &engine, &mut session, console, clock, &mut report)?;
        if prints {
            global.print(&timings)?;
        }
        if images < total {
            report.set("interrupted", true);
            global.write_report(&report)?;
            say_interrupted(console, &format!("{images} of {total} images are done"), can_resume);
            return Err(Error::Cancelled);
        }
    }
    global.write_report(&report)
}

/// Runs several prompts, one after the other, with one load of the model. The text encoder runs once for all.
fn run_prompts(args: &Args, lines: &[Line], global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("sample");
    let mut clock = Stopwatch::start();
    let (shard, note) = args.shard.map(ShardArg::resolve).transpose()?.unzip();
    note.flatten().iter().for_each(|note| console.note(note));
    let Shard { index: of_run, of: runs } = shard.unwrap_or(Shard::WHOLE);
    let model = Job::open(args)?;
    let mut first = 0;
    let (mut jobs, mut said) = (Vec::with_capacity(lines.len()), BTreeSet::new());
    for (index, line) in lines.iter().enumerate() {
        let one = prompts::of_line(args, line, index, lines.len(), USUAL_OUTPUT)?;
        let mut job = Job::of_model(&one, model.clone(), global, console, &mut said)?;
        // Images are numbered over all prompts, which may have one each.
        job.run.run.images.retain(|image| (first + image) % runs == of_run);
        first += job.run.run.count;
        jobs.push(job);
    }
    let opened = half_maps_on_device(&mut jobs, global, console)?;
    for job in jobs.iter_mut().filter(|job| job.resume) {
        pass_over_complete(job, console)?;
    }
    let can_resume = jobs.iter().all(|job| job.targets.is_one_file_per_image());
    if let Some(job) = jobs.first() {
        for (section, value) in run_sections(&job.run) {
            report.set(section, value);
        }
    }
    report.set("shard", shard.map(|shard| shard.to_string()));
    clock.lap("model");
    let engine = opened.map_or_else(|| device::open(global, console), Ok)?;
    let dtype = jobs.first().map_or(args.dtype, |job| job.dtype);
    let mut session = Session::new(model, Compiler::new(&engine, dtype.options(global)));
    session
        .encode(&jobs.iter().filter(|job| !job.run.run.images.is_empty()).map(|job| &job.run).collect::<Vec<_>>())?;
    clock.lap("texts");
    let (mut entries, mut done, total) = (Vec::new(), 0, jobs.len());
    let mut interrupted = false;
    for (job, line) in jobs.into_iter().zip(lines) {
        let (wanted, seed) = (job.run.run.images.len(), job.run.run.seed);
        let mut own = Report::new("sample");
        if wanted > 0 {
            let Computed { images, .. } = compute(job, &engine, &mut session, console, Stopwatch::start(), &mut own)?;
            interrupted = images < wanted;
        }
        let outputs = own.get("outputs").cloned().unwrap_or_else(|| json!([]));
        let negative = line.negative.as_ref().or(args.conditions.negative.as_ref());
        let timings = own.get("timings").cloned();
        let mut entry = json!({
            "prompt": line.prompt, "negative": negative, "seed": seed, "outputs": outputs, "timings": timings,
        });
        if let Some(guidance) = own.get("guidance") {
            entry["guidance"] = guidance.clone();
        }
        entries.push(entry);
        if interrupted {
            break;
        }
        done += 1;
    }
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("prompts", entries)
        .set("timings", clock.json(&[]));
    if interrupted {
        report.set("interrupted", true);
        global.write_report(&report)?;
        say_interrupted(console, &format!("{done} of {total} prompts are done"), can_resume);
        return Err(Error::Cancelled);
    }
    global.write_report(&report)
}

/// Opens the device of jobs with maps in float16, of which it depends on the device whether they have an effect, and
/// gives the jobs the type that has one: images record it. The device of other jobs can wait until they have images to
/// make.
fn half_maps_on_device(jobs: &mut [Job], global: &Global, console: Console) -> Result<Option<Engine>> {
    let wanted = |job: &Job| job.dtype == Dtype::F16Maps && !job.run.run.images.is_empty();
    let Some(first) = jobs.iter().find(|job| wanted(job)) else { return Ok(None) };
    let engine = device::open(global, console)?;
    let dtype = first.dtype.on(&engine, console);
    for job in jobs.iter_mut() {
        job.take_dtype(dtype);
    }
    Ok(Some(engine))
}

/// Says what an interrupted run has done, and the command that continues it or begins it again.
fn say_interrupted(console: Console, done: &str, can_resume: bool) {
    if can_resume {
        interrupt::say(console, done, &[], &["--resume"]);
    } else {
        interrupt::say_again(console, done);
        console.note("a run whose only output is one file per image, `-o DIR/%05d.png`, can be continued");
    }
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

/// The outcome of a run.
struct Computed {
    /// The timings as a table.
    timings: String,
    /// The number of images that were done; fewer than asked for in a run that was stopped.
    images: usize,
}

/// Samples and writes the images, until a signal stops the run.
fn compute(
    job: Job,
    engine: &Engine,
    session: &mut Session,
    console: Console,
    clock: Stopwatch,
    report: &mut Report,
) -> Result<Computed> {
    let (clock, seconds, since) = (RefCell::new(clock), RefCell::new(Vec::new()), RefCell::new(Instant::now()));
    let bar: OnceCell<Progress> = OnceCell::new();
    let (total, walk, finished) = (job.run.run.images.len(), job.run.run.steps_of_walk(), Cell::new(0));
    let words = |step: usize| format!("images {}/{total}, step {step}/{walk}", finished.get());
    let observer = |event: Event| {
        match event {
            Event::Begun { .. } => {}
            Event::Done { part, detail } => clock.borrow_mut().lap_with(part, detail),
            Event::Step { progress, .. } => {
                seconds.borrow_mut().push(since.borrow().elapsed().as_secs_f64());
                bar.get().into_iter().for_each(|bar| {
                    bar.say(&words(progress.index + 1));
                    bar.advance(1);
                });
            }
        }
        since.replace(Instant::now());
        Ok(())
    };
    let mut files = Files::new(&job.run, job.targets, job.metadata);
    let has_half_maps = job.dtype == Dtype::F16Maps;
    let hinted =
        |error: Error| with_range_hint(with_trace_hint(error, job.has_network && !job.trace_nonfinite), has_half_maps);
    let interrupt = interrupt::listen();
    let rule = job.run.rule;
    let dtype = job.has_network.then(|| name_of(job.dtype));
    let (mut facts, mut evaluations) = (Facts::default(), None);
    let started = session.start(job.run.observe(spinning(console, observer)).cancel(interrupt.flag()));
    let sampled = started.and_then(|mut images| {
        facts = images.facts().clone();
        let steps = images.run().steps() as u64;
        bar.get_or_init(|| Progress::worded(&words(0), steps, console.verbosity));
        since.replace(Instant::now());
        let taken = images.try_for_each(|batch| {
            files.take(&batch?)?;
            finished.set(files.len());
            console.detail(&format!("{} of {total} images are done", files.len()));
            Ok(())
        });
        evaluations = images.evaluations();
        session.finish(images);
        taken
    });
    let images = files.len();
    match sampled {
        // What is done is written.
        Ok(()) | Err(Error::Cancelled) => {}
        Err(error) => {
            drop(bar);
            if matches!(error, Error::NonFinite { .. }) {
                for path in files.finish_states(&|path, write| stream::write(path, write))? {
                    console.note(&format!("wrote {}: the samples before they became pixels", output_name(&path)));
                }
            }
            return Err(hinted(error));
        }
    }
    drop(bar);
    // A part does not replace what an earlier run has made.
    let spared = if images < total { files.spare_existing() } else { Vec::new() };
    let written =
        if images > 0 { files.finish(&|path, write| stream::write(path, write))? } else { Written::default() };
    let outputs = say_written(&written, console);
    for (path, part) in spared.iter().filter(|(_, part)| written.others.contains(part)) {
        let (path, part) = (path.display(), part.display());
        console.note(&format!("{path} is as it was before this run; {part} holds the part that is done"));
    }
    let (mut clock, seconds) = (clock.into_inner(), seconds.into_inner());
    clock.lap("writing");
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("algorithms", facts.algorithms.as_ref().map(algorithms_json))
        .set("dtype", dtype)
        .set("batch", facts.batch)
        .set("memory", memory_json(&facts, engine.gpu.memory_bytes().1))
        .set("timings", clock.json(&seconds))
        .set("outputs", outputs);
    if let Some(guidance) = guidance_json(rule, evaluations) {
        report.set("guidance", guidance);
    }
    Ok(Computed { timings: clock.table(&seconds), images })
}

/// Adds the flag that finds the cause of non-finite values of a network.
fn with_trace_hint(error: Error, can_trace: bool) -> Error {
    match error {
        Error::NonFinite { place, hint } if can_trace => Error::NonFinite {
            place,
            hint: format!("{hint}; `--trace-nonfinite` names the first operation that made one"),
        },
        other => other,
    }
}

/// Adds the flag that keeps maps in float32, whose range is larger.
fn with_range_hint(error: Error, has_half_maps: bool) -> Error {
    match error {
        Error::NonFinite { place, hint } if has_half_maps => Error::NonFinite {
            place,
            hint: format!("{hint}; `--dtype f16` keeps the maps between the layers in float32, whose range is larger"),
        },
        other => other,
    }
}

/// Drops the images whose files are complete.
///
/// # Errors
/// [`Error::Argument`] for files of images that were made with other settings.
fn pass_over_complete(job: &mut Job, console: Console) -> Result<()> {
    let Some(pattern) = job.pattern().cloned() else { return Ok(()) };
    let all = job.run.run.images.len();
    let kept = job.run.keep_complete(&pattern, &job.metadata);
    if let Some((file, differs)) = kept.others.first() {
        let count = kept.others.len();
        let what =
            format!("{count} of the existing images were made with other settings: in `{}`, {differs}", file.display());
        let hint = "repeat the settings of these images, or name other files by `output`; without `resume`, they are \
                    replaced";
        return Err(Error::argument(what, hint));
    }
    if let Some(file) = kept.unknown.first() {
        let (count, file) = (kept.unknown.len(), file.display());
        console.warning(&format!("{count} of the existing images do not say their settings, such as {file}"));
    }
    if let Some(version) = kept.versions.first() {
        let of = kept.versions.len();
        console.warning(&format!("{of} of the existing images were made by another version of the program: {version}"));
    }
    if kept.count > 0 {
        console.note(&format!("{} of {all} images exist already", kept.count));
    }
    Ok(())
}

/// Notes the files that were written, and returns their names.
fn say_written(written: &Written, console: Console) -> Vec<String> {
    match &written.images[..] {
        [] => {}
        [one] => console.note(&format!("wrote {}", one.display())),
        [first, .., last] => {
            let count = written.images.len();
            console.note(&format!("wrote {count} images, {} to {}", first.display(), last.display()));
        }
    }
    let others: Vec<String> = written.others.iter().map(|path| output_name(path)).collect();
    for path in &others {
        console.note(&format!("wrote {path}"));
    }
    others.into_iter().chain(written.images.iter().map(|path| path.display().to_string())).collect()
}
