//! `downhill download`: a model from the hub into the local cache (feature `download`).

use serde_json::json;

use super::args::Global;
use crate::checkpoint::{Event, fetch};
use crate::error::Result;
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

/// Runs `downhill download`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut bar: Option<Progress> = None;
    let mut total = 0;
    let folder = fetch(&args.id, args.variant.as_deref(), &mut |event| {
        match event {
            Event::Begin { file, bytes, there } => {
                bar = None;
                console.note(&format!("{file}, {}", binary_bytes(bytes)));
                let begun = Progress::bytes(file, bytes, console.verbosity);
                begun.advance(there);
                bar = Some(begun);
            }
            Event::Bytes(bytes) => {
                total += bytes;
                if let Some(bar) = &bar {
                    bar.advance(bytes);
                }
            }
            event => {
                bar = None;
                if let Some(text) = warning(event) {
                    console.warning(&text);
                }
            }
        }
        Ok(())
    })?;
    drop(bar);
    global.print(&format!("{}\n", folder.display()))?;
    let mut report = Report::new("download");
    report.set("model", args.id.clone()).set("folder", folder.display().to_string()).set("bytes", json!(total));
    global.write_report(&report)
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
