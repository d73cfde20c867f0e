//! `downhill download`: a model from the hub into the local cache (feature `download`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::json;

use super::args::Global;
use super::interrupt;
use crate::checkpoint::{Event, fetch};
use crate::error::{Error, Result};
use crate::report::columns::binary_bytes;
use crate::report::{Console, Progress, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::ReportFlags;

const EXAMPLES: &str = "\
Examples:
  downhill download google/ddpm-cifar10-32
  downhill download org/name@fp16 --variant fp16

Downloads configurations, vocabularies and safetensors weights, nothing else. Files go where `huggingface_hub` puts \
them: HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub. An interrupted download resumes where it stopped, and \
checksums are verified. HF_TOKEN is sent if it is set, HF_ENDPOINT selects another hub, and HF_HUB_OFFLINE disables \
downloads.";

/// Download a model from the hub into the local cache
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// `org/name[@revision]`
    id: String,

    /// Prefer this variant of the weights, such as `fp16`
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
}

/// The wait between two looks at the request to stop.
const TICK: Duration = Duration::from_millis(50);
/// The number of ticks that a download gets to notice the request. It may be waiting for the network.
const GRACE: u32 = 10;

/// Runs `downhill download`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let interrupt = interrupt::listen();
    let received = Arc::new(AtomicU64::new(0));
    let (send, result) = mpsc::channel();
    let (id, variant, total, stop) = (args.id.clone(), args.variant.clone(), received.clone(), interrupt.flag());
    // The network may be silent for longer than anyone waits for a program to stop, so a second thread listens to it.
    let worker = std::thread::spawn(move || {
        let mut shown = Shown { console, bar: None };
        let fetched = fetch(&id, variant.as_deref(), &mut |event| {
            shown.show(event);
            if let Event::Bytes(bytes) = event {
                total.fetch_add(bytes, Ordering::Relaxed);
            }
            if stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
        });
        // The bar goes before the result is told.
        drop(shown);
        // Nothing receives it if the program has stopped.
        let _ = send.send(fetched);
    });
    let mut left = GRACE;
    let fetched = loop {
        match result.recv_timeout(TICK) {
            Ok(fetched) => break fetched,
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => break Err(Error::Cancelled),
            },
            Err(RecvTimeoutError::Timeout) if interrupt.check().is_err() => match left.checked_sub(1) {
                Some(fewer) => left = fewer,
                None => break Err(Error::Cancelled),
            },
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    let received = received.load(Ordering::Relaxed);
    let mut report = Report::new("download");
    report.set("model", args.id.clone()).set("bytes", json!(received));
    match fetched {
        Ok(folder) => {
            global.print(&format!("{}\n", folder.display()))?;
            report.set("folder", folder.display().to_string());
            global.write_report(&report)
        }
        Err(Error::Cancelled) => {
            interrupt::say(console, &format!("{} received and kept", binary_bytes(received)), &[], &[]);
            report.set("interrupted", json!(true));
            global.write_report(&report)?;
            Err(Error::Cancelled)
        }
        Err(error) => Err(error),
    }
}

/// The progress of a download on the terminal.
struct Shown {
    console: Console,
    bar: Option<Progress>,
}

impl Shown {
    fn show(&mut self, event: Event) {
        match event {
            Event::Begin { file, bytes, there } => {
                self.bar = None;
                self.console.note(&format!("{file}, {}", binary_bytes(bytes)));
                let begun = Progress::bytes(file, bytes, self.console.verbosity);
                begun.advance(there);
                self.bar = Some(begun);
            }
            Event::Bytes(bytes) => {
                if let Some(bar) = &self.bar {
                    bar.advance(bytes);
                }
            }
            event => {
                self.bar = None;
                if let Some(text) = warning(event) {
                    self.console.warning(&text);
                }
            }
        }
    }
}

/// Returns the text for an event that is not progress.
fn warning(event: Event) -> Option<String> {
    match event {
        Event::Again { place, attempt, why } => Some(format!("{place}: {why}; attempt {attempt}")),
        Event::Waiting { file } => Some(format!("{file}: another process is fetching it; waiting")),
        Event::Damaged { file } => Some(format!("{file}: damaged in the cache; fetching it again")),
        Event::Unverified { file } => {
            Some(format!("{file}: the hub states no checksum, so only its length is verified"))
        }
        _ => None,
    }
}
