//! `downhill devices`: every adapter of this machine.

use super::args::Global;
use super::quiet::without_driver_chatter;
use super::vectors;
use crate::error::Result;
use crate::gpu::{Adapters, Choice, Described};
use crate::model::describe::adapter_json;
use crate::report::columns::{aligned, binary_bytes};
use crate::report::{Console, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::AdapterFlags;

const EXAMPLES: &str = "\
Examples:
  downhill devices                  all adapters, the best first
  downhill devices --adapter cpu    the adapter selected by `--adapter cpu`
  WGPU_BACKEND=vulkan downhill devices";

/// List the adapters of this machine and their limits
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {}

/// Prints the table, and writes the report that is asked for.
pub fn run(_: &Args, global: &Global, _: Console) -> Result<()> {
    let adapters = without_driver_chatter(Adapters::find);
    let mut described = adapters.describe();
    vectors::settle(&described);
    // Without any adapter, the error says how to get one.
    let choice = if global.adapter.is_some() { global.choice()? } else { Choice::Best };
    let best = adapters.find_described(&choice)?;
    if global.adapter.is_some() {
        described = vec![best];
    }
    let mut report = Report::new("devices");
    report.set("adapters", described.iter().map(adapter_json).collect::<Vec<_>>());
    global.write_report(&report)?;
    global.print(&table(&described))
}

const HEADINGS: [&str; 10] =
    ["index", "name", "backend", "type", "driver", "binding", "texture", "workgroup", "subgroup", "matrix units"];

fn table(adapters: &[Described]) -> String {
    let rows = adapters.iter().map(|adapter| {
        [
            adapter.index.to_string(),
            adapter.name.clone(),
            adapter.backend.clone(),
            adapter.kind.to_string(),
            adapter.driver.clone(),
            binary_bytes(adapter.max_binding_bytes),
            format!("{0} x {0}", adapter.max_texture_side),
            binary_bytes(u64::from(adapter.workgroup_bytes)),
            adapter.subgroup.map_or("none".to_owned(), |(least, most)| {
                if least == most { least.to_string() } else { format!("{least} to {most}") }
            }),
            adapter.matrix.map_or("none".to_owned(), |side| format!("float16, {side} x {side}")),
        ]
    });
    aligned(&std::iter::once(HEADINGS.map(str::to_owned)).chain(rows).collect::<Vec<_>>())
}
