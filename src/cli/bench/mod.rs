//! `downhill bench`: the speed of the kernels on an adapter, beside its measured roofs; `compare` sets two saved runs
//! side by side.

mod compare;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Subcommand, ValueEnum};

use super::args::{Dtype, Global};
use super::{device, interrupt, stream};
use crate::bench::Settings;
use crate::bench::breakdown::Grouping;
use crate::bench::case::{Case, Suite};
use crate::bench::compare::{Limit, SideBySide};
use crate::bench::report::{Findings, Row, Status};
use crate::bench::roofs::Extent;
use crate::bench::{lines, print};
use crate::cli::numbers::whole;
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::selftest;
use crate::model::describe::{adapter_json, family_text};
use crate::report::{Console, Progress, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;

const EXAMPLES: &str = "\
Examples:
  downhill bench                                      everything, as tables
  downhill bench --quick                              a few small cases of everything, in seconds
  downhill bench roofs                                the peak rates of the adapter alone
  downhill bench matmul --sizes 768,256x512x64
  downhill bench conv --sizes 128x32x32,8x256x16x16   CxHxW, NxCxHxW
  downhill bench lanczos --sizes 60000x784,8000x12288
  downhill bench unet --sizes cifar10-32:8,celeba-64   NAME, NAME:BATCH
  downhill bench unet --sizes digits:16,digits:16+vjp  a call, and one with a product of its transposed Jacobian
  downhill bench unet -r 9 -o json > base.json
  downhill bench unet -r 9 --compare base.json --fail-if-slower 10%
  downhill bench -o jsonl > run.jsonl                  a line per case, as it is measured
  downhill bench compare base.json run.jsonl           two saved runs side by side
  downhill bench unet --dtype f16
  downhill bench unet --sizes digits --kernels         the kernels of a call, by their shares

Each case is checked against the same computation on the CPU before it is timed. A wrong result is a row that says so, \
and the exit code is 6. A case that the adapter does not support is a row with the reason. The roofs, the highest \
rates of arithmetic and memory, are measured at the beginning of every run, which takes some 10 s (20 s on a GPU); \
with `--no-roofs` they are not, and no row has a ratio to them. Times are medians of the samples; the spread is the \
distance between the quartiles over the median. A sample is one submission of enough calls to last 0.05 s. The last \
line of the tables is the run in short, to paste.

A case is slower than `--fail-if-slower` allows if the ratio of its times, divided by one plus the spreads of both \
runs and by the greatest ratio of a roof, is above one plus that share; the exit code is then 1. Cases with fewer than \
three samples, and the roofs, are not judged. `downhill bench compare --help` has the rest of the rule.

Sizes: matmul MxKxN or one number; conv and norm CxHxW or NxCxHxW; attention TOKENSxCHANNELS or \
TOKENSxCHANNELSxHEAD_DIM; copy MiB, rounded up to whole rows where tensors are textures; lanczos \
NxP, samples by values: 32 eigenpairs to residuals of 1e-4, which the row shows as its error \
(`bench lanczos` goes up to 8000x12288, which takes minutes on a software adapter); unet digits, cifar10-32, \
celeba-64, dit-s-2 or sdxl (2.6 billion parameters: minutes, and 6 to 20 GiB), with `:BATCH` for several images and \
`+vjp` with a product of the transposed Jacobian.";

/// Measure the speed of the kernels on an adapter, relative to its peak rates
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// The work to measure
    #[arg(value_enum, default_value = "all")]
    work: Work,

    /// The format of the output
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value = "md")]
    format: Format,

    /// Sizes in place of the default ones, separated by commas; see below for the form
    #[arg(long, value_name = "SIZES", allow_hyphen_values = true)]
    sizes: Option<String>,

    /// Samples per case: 7, or 3 with `--quick`
    #[arg(short, long, value_name = "N", value_parser = whole::<usize>(1..=10_000))]
    repeats: Option<usize>,

    /// A few small cases and few samples
    #[arg(long, conflicts_with = "sizes")]
    quick: bool,

    /// Omit the roofs, and the ratios to them
    #[arg(long)]
    no_roofs: bool,

    /// Precision of the stored weights of `unet`; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Beside each network, the time of its kernels by the device's clock: what each computes, its share of the call,
    /// its rate and the ratio to the roof
    #[arg(long, value_enum, value_name = "ROWS", num_args = 0..=1, require_equals = true,
        default_missing_value = "kinds")]
    kernels: Option<Rows>,

    /// Compare every row with that of an earlier run, saved with `-o json` or `-o jsonl`
    #[arg(long, value_name = "FILE.json")]
    compare: Option<PathBuf>,

    /// With `--compare`, exit with 1 if a case is slower than before by more than this share, such as `10%`, beyond
    /// its noise
    #[arg(long, value_name = "SHARE", requires = "compare")]
    fail_if_slower: Option<Limit>,
}

/// Commands that measure nothing.
#[derive(Debug, Subcommand)]
enum Command {
    Compare(compare::Args),
}

/// The work to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    /// Matrix products, with packed weights and with data
    Matmul,
    /// 3x3 convolutions
    Conv,
    /// Group normalisations with an activation
    Norm,
    /// Self-attention
    Attention,
    /// Copies, by a kernel and by the encoder
    Copy,
    /// Network calls: the embedded network, and cifar10-32 and celeba-64 with generated weights
    Unet,
    /// Principal components of generated data, by the cheapest route and matrix-free on the device
    Lanczos,
    /// None: the roofs alone
    Roofs,
    /// All of these
    All,
}

/// The rows of the kernels of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rows {
    /// One row per operation, extents and kernel, the largest share first
    Kinds,
    /// One row per step, in the order of the call
    Each,
}

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables in Markdown
    Md,
    /// One line per case
    Csv,
    /// Everything, including samples: the input of `--compare` and of `compare`
    Json,
    /// The same as one line of JSON per case, written as it is measured
    Jsonl,
}

impl Rows {
    const fn grouping(self) -> Grouping {
        match self {
            Self::Kinds => Grouping::Kinds,
            Self::Each => Grouping::Steps,
        }
    }
}

impl Work {
    /// The suite of one kind of work.
    fn suite(self) -> Option<Suite> {
        Some(match self {
            Self::Matmul => Suite::Matmul,
            Self::Conv => Suite::Conv,
            Self::Norm => Suite::Norm,
            Self::Attention => Suite::Attention,
            Self::Copy => Suite::Copy,
            Self::Unet => Suite::Unet,
            Self::Lanczos => Suite::Lanczos,
            Self::Roofs | Self::All => return None,
        })
    }

    /// The cases of the work: of given sizes, or the few of a quick run.
    fn cases(self, sizes: Option<&str>, quick: bool) -> Result<Vec<Case>> {
        let Some(suite) = self.suite() else {
            return match (sizes, self) {
                (Some(_), _) => Err(Error::argument(
                    "`--sizes` needs the kind of work that it is for",
                    "name one of `matmul`, `conv`, `norm`, `attention`, `copy`, `unet`, `lanczos` before it",
                )),
                (None, Self::Roofs) => Ok(Vec::new()),
                (None, _) if quick => Ok(Suite::ALL.into_iter().flat_map(Case::quick).collect()),
                (None, _) => Ok(Suite::ALL.into_iter().flat_map(Case::among_all).collect()),
            };
        };
        match sizes {
            Some(sizes) => Case::of_sizes(suite, sizes),
            None if quick => Ok(Case::quick(suite)),
            None => Ok(Case::usual(suite)),
        }
    }
}

impl Args {
    /// The samples of a case.
    fn samples(&self) -> usize {
        self.repeats.unwrap_or(if self.quick { 3 } else { 7 })
    }

    /// The roofs to measure.
    fn roofs(&self) -> Extent {
        match (self.no_roofs, self.quick) {
            (true, _) => Extent::Nothing,
            (false, true) => Extent::Quick,
            (false, false) => Extent::Full,
        }
    }

    /// Refuses flags that contradict each other.
    fn check(&self) -> Result<()> {
        if self.dtype != Dtype::F32 && self.work != Work::Unet {
            let what = "`--dtype` applies to `unet` only";
            return Err(Error::argument(what, "`downhill bench unet --dtype f16`"));
        }
        if self.kernels.is_some() && !matches!(self.work, Work::Unet | Work::All) {
            let what = "`--kernels` applies to networks, which this work does not call";
            return Err(Error::argument(what, "`downhill bench unet --kernels`"));
        }
        if self.no_roofs && self.work == Work::Roofs {
            return Err(Error::argument("`roofs` without the roofs measures nothing", "omit `--no-roofs`"));
        }
        Ok(())
    }
}

/// The day in UTC, as `2026-11-22`.
fn today() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string().chars().take(10).collect()
}

/// Runs `downhill bench`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    if let Some(Command::Compare(args)) = &args.command {
        return compare::run(args, global, console);
    }
    let cases = args.work.cases(args.sizes.as_deref(), args.quick)?;
    args.check()?;
    let base = args.compare.as_deref().map(|file| stream::read(file, Findings::read)).transpose()?;
    let mut report = Report::new("bench");
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, args.dtype.on(&engine, console).options(global));
    if args.kernels.is_some() {
        needs_clock(engine.gpu.has_clock(), &engine.gpu.adapter.name)?;
    }
    selftest::ensure(&engine)?;
    let roofs = args.roofs();
    let all = cases.len() + roofs.rows();
    let progress = Progress::new("bench", all as u64, console.verbosity);
    let date = today();
    let (repeats, quick) = (args.samples(), args.quick);
    let settings = Settings { repeats, breaks_down: args.kernels.is_some(), date: &date, roofs, quick };
    let mut findings = crate::bench::begin(compiler, settings);
    let interrupt = interrupt::listen();
    let as_lines = args.format == Format::Jsonl;
    if as_lines {
        global.print(&lines::first(&findings))?;
    }
    let done = |row: &mut Row| {
        progress.advance(1);
        let measured = format!("{} of {all} cases are measured: {} {}", progress.position(), row.suite, row.case);
        progress.suspend(|| console.detail(&measured));
        if let Some(base) = &base {
            row.compare(base);
        }
        if as_lines {
            global.print(&lines::row(row))?;
        }
        interrupt.check()
    };
    let measured = crate::bench::run(compiler, &cases, settings, &mut findings, done);
    drop(progress);
    match &measured {
        Err(Error::Cancelled) => {
            interrupt::say_again(console, &format!("{} of {all} cases are measured", findings.rows.len()));
        }
        Err(_) => return measured,
        Ok(()) => {}
    }
    if let Some(base) = &base {
        for difference in findings.differences(base) {
            console.warning(&format!("different {difference}; the ratios do not compare the kernels alone"));
        }
        findings.compare(base);
    }
    let grouping = args.kernels.map_or(Grouping::Kinds, Rows::grouping);
    global.print(&match args.format {
        Format::Md => print::markdown(&findings, grouping),
        Format::Csv => print::csv(&findings, grouping),
        Format::Json => print::json(&findings),
        Format::Jsonl if findings.stopped => String::new(),
        Format::Jsonl => lines::last(&findings),
    })?;
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("findings", serde_json::to_value(&findings).unwrap_or_default());
    global.write_report(&report)?;
    measured?;
    verdict(&findings, console)?;
    if let Some(base) = &base {
        compare::explain(&SideBySide::new(base, &findings), args.fail_if_slower, console);
    }
    Ok(())
}

/// Refuses the times of kernels on an adapter without a clock.
fn needs_clock(has_clock: bool, adapter: &str) -> Result<()> {
    if has_clock {
        return Ok(());
    }
    let what = format!("`--kernels` needs the clock of a device, which the adapter `{adapter}` does not have");
    Err(Error::argument(what, "omit `--kernels`, or choose another adapter with `--adapter`"))
}

/// Returns an error if a case failed, after a warning for each.
fn verdict(findings: &Findings, console: Console) -> Result<()> {
    let failed = findings.failures().count();
    if failed == 0 {
        return Ok(());
    }
    for row in findings.failures() {
        console.warning(&format!("{} {}: {}", row.suite, row.case, row.reason.as_deref().unwrap_or_default()));
    }
    let ran = findings.rows.iter().filter(|row| row.status != Status::Unsupported).count();
    Err(Error::Device {
        what: format!("{failed} of {ran} cases failed"),
        hint: Some("see `downhill selftest`; choose another adapter with `--adapter`".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_one_kind_of_work() {
        assert_eq!(Work::Copy.cases(Some("1,2"), false).unwrap().len(), 4);
        let all = Work::All.cases(None, false).unwrap().len();
        assert_eq!(all, Suite::ALL.into_iter().flat_map(Case::among_all).count());
        assert!(Work::All.cases(None, true).unwrap().len() < all);
        assert!(Work::Roofs.cases(None, true).unwrap().is_empty());
        for work in [Work::All, Work::Roofs, Work::Unet] {
            assert_eq!(work.cases(Some("8"), false).unwrap_err().kind(), crate::ErrorKind::Argument);
        }
    }

    #[test]
    fn kernels_are_refused_without_a_clock() {
        needs_clock(true, "a").unwrap();
        let refused = needs_clock(false, "some adapter").unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("`some adapter`") && text.contains("clock"), "{text}");
        assert_eq!(refused.kind(), crate::ErrorKind::Argument);
    }

    #[test]
    fn a_failed_case_is_an_error_and_an_unsupported_one_is_not() {
        let mut findings = Findings::default();
        let console = Console::new(crate::report::Verbosity::Quiet);
        let over = Error::OutOfMemory { tensor: "x".into(), bytes: 1, hint: String::new() };
        findings.rows.push(Row::new("conv", "a").ended(&over));
        verdict(&findings, console).unwrap();
        let wrong = Error::Device { what: "wrong".into(), hint: None };
        findings.rows.push(Row::new("conv", "b").ended(&wrong));
        let error = verdict(&findings, console).unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("1 of 1 cases failed")), (crate::ErrorKind::Device, true));
    }
}
