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

Configurations, vocabularies and the weights in safetensors, nothing else. Files go where `huggingface_hub` puts them:
HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub. An interrupted download continues where it stopped; checksums are \
compared. HF_TOKEN is sent where it is set, HF_ENDPOINT names another hub, HF_HUB_OFFLINE forbids all of it.";

/// Fetch a model from the hub into the local cache
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// `org/name[@revision]`
    id: String,

    /// Prefer the weights of this variant
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
}

/// Runs `downhill download`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut bar: Option<Progress> = None;
    let mut total = 0;
    let folder = fetch(&args.id, args.variant.as_deref(), &mut |event| match event {
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
    })?;
    drop(bar);
    global.print(&format!("{}\n", folder.display()))?;
    let mut report = Report::new("download");
    report.set("model", args.id.clone()).set("folder", folder.display().to_string()).set("bytes", json!(total));
    global.write_report(&report)
}
