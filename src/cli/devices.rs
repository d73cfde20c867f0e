//! `downhill devices`: every adapter of this machine.

use super::args::Global;
use super::quiet::without_driver_chatter;
use super::vectors;
use crate::error::Result;
use crate::gpu::{Adapters, Choice, Described};
use crate::model::describe::adapter_json;
use crate::report::columns::{Lines, aligned, binary_bytes};
use crate::report::{Console, Report, stdout_width};

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
    let table = table(&described);
    let is_wider = |width: usize| table.lines().any(|line| line.chars().count() > width);
    global.print(&if stdout_width().is_some_and(is_wider) { records(&described) } else { table })
}

const HEADINGS: [&str; 10] =
    ["index", "name", "backend", "type", "driver", "binding", "texture", "workgroup", "subgroup", "matrix units"];

fn table(adapters: &[Described]) -> String {
    aligned(&std::iter::once(HEADINGS.map(str::to_owned)).chain(adapters.iter().map(cells)).collect::<Vec<_>>())
}

/// A block of lines for each adapter, for narrow terminals.
fn records(adapters: &[Described]) -> String {
    let block = |adapter: &Described| {
        let mut lines = Lines::default();
        HEADINGS.iter().zip(cells(adapter)).for_each(|(heading, cell)| lines.add(heading, cell));
        lines.to_string()
    };
    adapters.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// The facts about an adapter, under the headings.
fn cells(adapter: &Described) -> [String; HEADINGS.len()] {
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
}
