//! `downhill serve`: one model on one device for many runs: JSON lines in, JSON lines out, images as files.
//!
//! [`request`] turns a line into the flags of `downhill sample`, [`lines`] reads bounded lines, and [`events`] writes
//! what happens. The runs are those of [`crate::model::Session`].

mod events;
mod lines;
mod request;

pub use request::Request;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::args::{Dtype, Global, denoiser_help};
use super::changes::ChangeArgs;
use super::flags::Flags as FieldNames;
use super::interrupt::{self, Interrupt};
use super::sample::{Job, Memory};
use super::{device, exit, sample};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Compiler;
use crate::graph::counters::counts;
use crate::kernels::Engine;
use crate::model::describe::{adapter_json, family_text, guidance_json, memory_json, model_json, run_sections};
use crate::model::{Event, Files, Model, Session};
use crate::report::{Console, Report, Verbosity};
use events::emit;
use lines::{Line, Lines};

/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;

const EXAMPLES: &str = "\
Examples:
  printf '%s\\n' '{\"output\": \"a.png\", \"seed\": 1}' '{\"output\": \"b.png\", \"seed\": 2}' | downhill serve
  downhill serve DIR --dtype f16 --lora style.safetensors:0.8 < requests.jsonl > events.jsonl

A request is one JSON object per line. Its fields are the flags of `downhill sample` that describe images, with \
underscores: `prompt`, `negative`, `count` (or `n`), `steps`, `sampler`, `schedule`, `seed`, `size`, `cfg_scale`, \
`class_labels`, `init_image`, `strength`, `output`, `save_samples` and so on; `output` or a `save_` field is needed. \
Numbers, texts and true or false are values of flags; fields of several numbers take lists, and `size` [H, W]. An `id` \
of any form stands in every event about the request. Relative paths are those of the server.

Events are JSON objects, one per line, by their `event`: `ready` once, with model and adapter; `progress` after each \
step, with `step`, `steps` and the `images` of the batch; `done` with the `files` and the `report` of the run, as \
`downhill sample --json` writes it; `error` with `kind`, `message`, `hint` and `exit_code`. A request that cannot be \
served is an error and nothing else: the server goes on. It ends with 0 after the last line, at once when the device \
fails, and after the current batch at SIGINT or SIGTERM, whose images are written.

Weights, plans and pipelines stay between requests of one size.";

/// Sample many times with one load of the model: requests and events as JSON lines
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[arg(help = denoiser_help())]
    pub model: Option<String>,

    #[command(flatten)]
    changes: ChangeArgs,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Limit on device memory for requests without `memory` [default: 8GiB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Memory>,
}

/// Runs `downhill serve`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("serve");
    let model = args.changes.apply(Model::open_or_embedded(args.model.as_deref())?)?;
    if model.network().is_none() {
        args.dtype.expect_network(model.name())?;
    }
    let engine = device::open(global, console)?;
    let interrupt = interrupt::listen();
    let ready = emit(&json!({
        "event": "ready",
        "program": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "model": model_json(&model),
        "adapter": adapter_json(&engine.gpu.adapter),
        "family": family_text(engine.family),
    }));
    report.set("model", model_json(&model)).set("adapter", adapter_json(&engine.gpu.adapter));
    let compiler = Compiler::new(&engine, args.dtype.on(&engine, console).options(global));
    let mut server = Server {
        args,
        global,
        // What there is to say stands in the events.
        console: Console::new(Verbosity::Quiet),
        // Fields of requests have the names of the library.
        names: FieldNames::default(),
        engine: &engine,
        session: Session::new(model, compiler),
        interrupt,
        served: 0,
        refused: 0,
    };
    let ended = ready.and_then(|()| server.serve());
    report.set("requests", json!({ "served": server.served, "refused": server.refused }));
    global.write_report(&report)?;
    match ended {
        // The reader of the events has gone.
        Err(Error::Cancelled) if interrupt.check().is_ok() => Ok(()),
        ended => ended,
    }
}

/// The state between requests.
struct Server<'s, 'e> {
    args: &'s Args,
    global: &'s Global,
    console: Console,
    /// The words of errors.
    names: FieldNames,
    engine: &'e Engine,
    session: Session<'e>,
    interrupt: &'static Interrupt,
    served: usize,
    refused: usize,
}

impl Server<'_, '_> {
    /// Serves until there are no more lines, a signal asks to stop, or the device fails.
    fn serve(&mut self) -> Result<()> {
        let mut lines = Lines::of_stdin();
        while let Some(line) = lines.next(self.interrupt)? {
            let (id, done) = match line {
                Line::Long(bytes) => (Value::Null, Err(lines::too_long(bytes))),
                Line::Text(text) if text.trim_ascii().is_empty() => continue,
                Line::Text(text) => match Request::parse(&text) {
                    Err(error) => (Value::Null, Err(error)),
                    Ok(request) => (request.id.clone(), self.answer(&request)),
                },
            };
            match done {
                Ok(()) => self.served += 1,
                Err(error) => {
                    self.refused += 1;
                    emit(&self.error_event(&id, &error))?;
                    // A device that has failed cannot be used again.
                    if matches!(error.kind(), ErrorKind::Device | ErrorKind::Cancelled) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn error_event(&self, id: &Value, error: &Error) -> Value {
        let code = if error.kind() == ErrorKind::Cancelled { interrupt::exit_code() } else { exit::code(error.kind()) };
        json!({
            "event": "error",
            "id": id,
            "kind": events::kind(error.kind()),
            "message": self.names.message(error),
            "hint": self.names.hint(error),
            "exit_code": code,
        })
    }

    /// Runs a request.
    fn answer(&mut self, request: &Request) -> Result<()> {
        let (begun, before) = (Instant::now(), counts());
        let mut args = request.args()?;
        args.dtype = self.args.dtype;
        args.conditions.memory = args.conditions.memory.or(self.args.memory);
        let mut report = Report::new("serve");
        let Job { run, targets, metadata, .. } =
            Job::of_model(&args, self.session.model().clone(), self.global, self.console, &mut BTreeSet::new())?;
        for (section, value) in run_sections(&run) {
            report.set(section, value);
        }
        let notes = run.notes.clone();
        let mut files = Files::new(&run, targets, metadata);
        // The number of batches is known on the device.
        let (steps, mut step) = (Cell::new(0), 0);
        let observer = |event: Event| {
            let Event::Step { images, progress } = event else { return Ok(()) };
            step += 1;
            emit(&json!({
                "event": "progress", "id": request.id, "step": step, "steps": steps.get(), "images": images,
                "sigma": progress.step.to.sigma,
            }))
        };
        let rule = run.rule;
        let mut images = self.session.start(run.observe(observer).cancel(self.interrupt.flag()))?;
        steps.set(images.run().steps());
        let facts = images.facts().clone();
        let sampled = images.try_for_each(|batch| files.take(&batch?));
        let evaluations = images.evaluations();
        self.session.finish(images);
        let count = files.len();
        match &sampled {
            Ok(()) => {}
            Err(Error::Cancelled) if count > 0 => drop(files.spare_existing()),
            Err(_) => return sampled,
        }
        let written = files.finish(&|path, write| write(path))?;
        let paths = written.others.iter().chain(&written.images).map(|path| path.display().to_string());
        let paths: Vec<String> = paths.collect();
        let work = counts();
        let graphs = |counts: &crate::graph::counters::Counts| counts.graphs.values().sum::<usize>();
        report
            .set("batch", facts.batch)
            .set("memory", memory_json(&facts, self.engine.gpu.memory_bytes().1))
            .set("seconds", begun.elapsed().as_secs_f64())
            .set("graphs_built", graphs(&work) - graphs(&before))
            .set("plans_made", work.plans - before.plans)
            .set("outputs", json!(paths));
        if let Some(guidance) = guidance_json(rule, evaluations) {
            report.set("guidance", guidance);
        }
        emit(&json!({
            "event": "done", "id": request.id, "count": count, "files": paths, "notes": notes, "report": report,
        }))?;
        sampled
    }
}

/// The subcommand whose flags are the fields of requests.
fn sample_command() -> clap::Command {
    <sample::Args as clap::Args>::augment_args(clap::Command::new("request").no_binary_name(true))
}
