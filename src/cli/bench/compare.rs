//! `downhill bench compare`: two saved runs side by side.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::bench::compare::{Limit, SideBySide};
use crate::bench::report::Findings;
use crate::cli::exit;
use crate::cli::shared::Global;
use crate::cli::stream::{self, input_name};
use crate::error::{Error, Result};
use crate::report::Console;
use crate::report::printable::printable_json;

const RULE: &str = "\
Examples:
  downhill bench compare base.json now.json
  downhill bench compare base.json now.json --fail-if-slower 10%   for CI

The table has the ratio of the times of each case, the second over the first, and its range within the noise: the \
ratio divided and multiplied by one plus the spreads of both runs. A case is `slower` or `faster` if that range does \
not hold 1, and is beyond the ratios of the roofs. It is `unsure` where a roof has changed as much, or if one of the \
runs has fewer than three samples of it.

Spreads are the noise within a run. Between runs the machine itself changes: it has other work, or another clock. The \
roofs show it, since a change of the program hardly touches them. A case is slower than `--fail-if-slower` allows if \
its whole range, divided by the greatest ratio of a roof (or by 1), is above one plus that share. A case that the \
first run has measured and the second has tried without success fails too, and so does every comparison with a run \
that was stopped. Roofs are in the table, and are not judged.

A gate needs full runs on an idle machine, or several of them: `--quick` has small cases and few samples.

Exit codes: 0 no case is slower than allowed, 1 one is, or the runs are not complete, 2 usage, 4 a file is not a saved \
run.";

/// Set two saved runs side by side, without measuring
#[derive(Debug, clap::Args)]
#[command(after_long_help = RULE)]
pub struct Args {
    /// The first run: the output of `-o json` or `-o jsonl`, or the report of `--json`
    #[arg(value_name = "A.json")]
    first: PathBuf,

    /// The second run, whose times are divided by those of the first
    #[arg(value_name = "B.json")]
    second: PathBuf,

    /// The format of the output
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value = "md")]
    format: Format,

    /// Exit with 1 if a case is slower by more than this share, such as `10%`, beyond its noise and the change of the
    /// machine, or if a run was stopped
    #[arg(long, value_name = "SHARE")]
    fail_if_slower: Option<Limit>,
}

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table in Markdown
    Md,
    /// The timings and ratios as one JSON object
    Json,
}

/// Runs `downhill bench compare`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let [first, second] = [&args.first, &args.second].map(|file| stream::read(file, Findings::read));
    let both = SideBySide::new(&first?, &second?);
    if both.is_empty() {
        let what = format!("`{}` and `{}` have no case in common", input_name(&args.first), input_name(&args.second));
        let hint = match both.stopped[..] {
            [] => "compare runs of the same work and sizes".to_owned(),
            [run, ..] => format!("the {run} run was stopped early; measure again"),
        };
        return Err(Error::argument(what, hint));
    }
    for difference in &both.differences {
        console.note(&format!("note: different {difference}; the ratios do not compare the kernels alone"));
    }
    global.print(&match args.format {
        Format::Md => both.markdown(),
        Format::Json => {
            let text = serde_json::to_string_pretty(&both).unwrap_or_default();
            printable_json(&text).into_owned() + "\n"
        }
    })?;
    explain(&both, args.fail_if_slower, console);
    Ok(())
}

/// Says where the machine changed between the runs, and which of them was stopped; with a `limit`, judges the cases.
pub fn explain(both: &SideBySide, limit: Option<Limit>, console: Console) {
    if let Some(drift) = both.drift.as_ref().filter(|drift| drift.is_large()) {
        console.note(&format!("note: {drift}; the ratios are of the machine too, and no finer than that"));
    }
    match limit {
        Some(limit) => judge(both, limit, console),
        None => {
            for run in &both.stopped {
                console.note(&format!("note: the {run} run was stopped before its end"));
            }
        }
    }
}

/// Names the cases that are slower than `limit` beyond noise and drift, and those that the second run has lost, and
/// makes the program exit with 1 if there are any, or if a run was stopped.
fn judge(both: &SideBySide, limit: Limit, console: Console) {
    if !both.quick.is_empty() {
        console.note(
            "note: `--quick` is for a look: its small cases vary from run to run; judge full runs, or several of them",
        );
    }
    if both.drift.is_none() {
        console.warning("the runs have no roof in common, so a change of the machine between them is not seen");
    }
    let unsure = both.unsure().len();
    if unsure > 0 {
        console
            .warning(&format!("{unsure} cases have fewer than three samples in one of the runs, and are not judged"));
    }
    if !both.only_first.is_empty() {
        console.warning(&format!("not in the second run, and not judged: {}", both.only_first.join("; ")));
    }
    for run in &both.stopped {
        console.error(&format!("the {run} run was stopped before its end"), Some("measure again, to the end"));
    }
    for case in &both.lost {
        console.error(&format!("not measured in the second run: {case}"), None);
    }
    let slower = both.slower(limit);
    for pair in &slower {
        console.error(&format!("slower by more than {limit}: {}", pair.line()), None);
    }
    if !(slower.is_empty() && both.lost.is_empty() && both.stopped.is_empty()) {
        exit::with_difference();
    }
}
