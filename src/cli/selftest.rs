//! `downhill selftest`: tests of the arithmetic and the limits of an adapter.

use serde_json::json;

use super::args::Global;
use super::device;
use crate::error::{Error, Result};
use crate::kernels::selftest::{self, Check, Finding};
use crate::model::describe::{adapter_json, family_text};
use crate::report::columns::Lines;
use crate::report::{Console, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::DeviceFlags;

const EXAMPLES: &str = "\
Examples:
  downhill selftest
  downhill selftest --adapter cpu

Every run on an adapter starts with these tests; their results are kept per adapter, driver and version of the \
program. This command always runs them again.";

/// Test whether an adapter computes correctly
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {}

/// Runs the tests again, keeps the findings, and prints them.
pub fn run(_: &Args, global: &Global, console: Console) -> Result<()> {
    let engine = device::open(global, console)?;
    let checks = selftest::run(&engine)?;
    selftest::keep(&engine, &checks);
    let adapter = &engine.gpu.adapter;
    let mut lines = Lines::default();
    lines.add("adapter", format!("{} ({} on {}, {})", adapter.name, adapter.kind, adapter.backend, adapter.driver));
    lines.add("kernels", family_text(engine.family));
    for check in &checks {
        lines.add(&check.name, finding_text(&check.finding));
    }
    global.print(&lines.to_string())?;
    let mut report = Report::new("selftest");
    report.set("adapter", adapter_json(adapter)).set("family", family_text(engine.family)).set("checks", json!(checks));
    global.write_report(&report)?;
    verdict(&checks)
}

fn finding_text(finding: &Finding) -> String {
    match finding {
        Finding::Trusted => "trusted".to_owned(),
        Finding::Limited(what) => format!("limited: {what}"),
        Finding::Failed(what) => format!("FAILED: {what}"),
    }
}

fn verdict(checks: &[Check]) -> Result<()> {
    let failed: Vec<_> =
        checks.iter().filter(|check| matches!(check.finding, Finding::Failed(_))).map(|c| c.name.as_str()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::Device {
        what: format!("it fails the self-test: {}", failed.join(", ")),
        hint: Some("update its driver, or choose another adapter with `--adapter`; see `downhill devices`".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_is_an_error_and_a_limit_is_not() {
        let check = |name: &str, finding| Check { name: name.to_owned(), finding };
        let mut checks = vec![check("loop", Finding::Limited("short".into())), check("sum", Finding::Trusted)];
        verdict(&checks).unwrap();
        checks.push(check("barrier", Finding::Failed("3 wrong".into())));
        let error = verdict(&checks).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Device);
        assert_eq!(error.to_string(), "the device failed: it fails the self-test: barrier");
    }
}
