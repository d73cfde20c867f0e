//! `downhill bench`: the speed of the kernels on an adapter, beside its measured roofs.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;

use super::args::{Dtype, Global};
use super::device;
use crate::bench::Settings;
use crate::bench::breakdown::Grouping;
use crate::bench::case::{Case, Suite};
use crate::bench::print;
use crate::bench::report::{Findings, Status};
use crate::bench::roofs;
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
  downhill bench matmul --sizes 768,256x512x64
  downhill bench conv --sizes 128x32x32,8x256x16x16   CxHxW, NxCxHxW
  downhill bench lanczos --sizes 60000x784,8000x12288
  downhill bench unet --sizes cifar10-32:8,celeba-64   NAME, NAME:BATCH
  downhill bench unet --sizes digits:16,digits:16+vjp  a call, and one with a product of its transposed Jacobian
  downhill bench unet -r 9 -o json > base.json
  downhill bench unet -r 9 --compare base.json
  downhill bench unet --dtype f16
  downhill bench unet --sizes digits --kernels         the kernels of a call, by their shares

Each case is checked against the same computation on the CPU before it is timed. A wrong result is a row that says so, \
and the exit code is 6. A case that the adapter does not support is a row with the reason. The roofs, the highest \
rates of arithmetic and memory, are measured in the same run. Times are medians of the samples; the spread is the \
distance between the quartiles over the median. A sample is one submission of enough calls to last 0.05 s.

Sizes: matmul MxKxN or one number; conv and norm CxHxW or NxCxHxW; attention TOKENSxCHANNELS or \
TOKENSxCHANNELSxHEAD_DIM; copy MiB, rounded up to whole rows where tensors are textures; lanczos \
NxP, samples by values: 32 eigenpairs to residuals of 1e-4, which the row shows as its error \
(`bench lanczos` goes up to 8000x12288, which takes minutes on a software adapter); unet digits, cifar10-32, \
celeba-64, dit-s-2 or sdxl (2.6 billion parameters: minutes, and 6 to 20 GiB), with `:BATCH` for several images and \
`+vjp` with a product of the transposed Jacobian.";

/// Measure the speed of the kernels on an adapter, relative to its peak rates
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The work to measure
    #[arg(value_enum, default_value = "all")]
    work: Work,

    /// The format of the output
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT", default_value = "md")]
    format: Format,

    /// Sizes in place of the default ones, separated by commas; see below for the form
    #[arg(long, value_name = "SIZES", allow_hyphen_values = true)]
    sizes: Option<String>,

    /// Samples per case
    #[arg(short, long, value_name = "N", default_value = "7", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    repeats: usize,

    /// Precision of the stored weights of `unet`; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Beside each network, the time of its kernels by the device's clock: what each computes, its share of the call,
    /// its rate and the ratio to the roof
    #[arg(long, value_enum, value_name = "ROWS", num_args = 0..=1, require_equals = true,
        default_missing_value = "kinds")]
    kernels: Option<Rows>,

    /// Compare every row with that of an earlier run, saved with `-o json`
    #[arg(long, value_name = "FILE.json")]
    compare: Option<PathBuf>,
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
    /// Everything, including samples: the input of `--compare`
    Json,
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
    fn cases(self, sizes: Option<&str>) -> Result<Vec<Case>> {
        let suite = match self {
            Self::Matmul => Suite::Matmul,
            Self::Conv => Suite::Conv,
            Self::Norm => Suite::Norm,
            Self::Attention => Suite::Attention,
            Self::Copy => Suite::Copy,
            Self::Unet => Suite::Unet,
            Self::Lanczos => Suite::Lanczos,
            Self::All if sizes.is_some() => {
                return Err(Error::argument(
                    "`--sizes` needs the kind of work that it is for",
                    "name one of `matmul`, `conv`, `norm`, `attention`, `copy`, `unet`, `lanczos` before it",
                ));
            }
            Self::All => return Ok(Suite::ALL.into_iter().flat_map(Case::among_all).collect()),
        };
        sizes.map_or_else(|| Ok(Case::usual(suite)), |sizes| Case::of_sizes(suite, sizes))
    }
}

/// The day in UTC, as `2026-11-22`.
fn today() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string().chars().take(10).collect()
}

/// Runs `downhill bench`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let cases = args.work.cases(args.sizes.as_deref())?;
    if args.dtype != Dtype::F32 && args.work != Work::Unet {
        let what = "`--dtype` applies to `unet` only";
        return Err(Error::argument(what, "`downhill bench unet --dtype f16`"));
    }
    if args.kernels.is_some() && !matches!(args.work, Work::Unet | Work::All) {
        let what = "`--kernels` applies to networks, which this work does not call";
        return Err(Error::argument(what, "`downhill bench unet --kernels`"));
    }
    let base = args.compare.as_deref().map(Findings::read).transpose()?;
    let mut report = Report::new("bench");
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, args.dtype.options(global));
    if args.kernels.is_some() {
        needs_clock(engine.gpu.has_clock(), &engine.gpu.adapter.name)?;
    }
    selftest::ensure(&engine)?;
    let progress = Progress::new("bench", (cases.len() + roofs::COUNT) as u64, console.verbosity);
    let date = today();
    let settings = Settings { repeats: args.repeats, breaks_down: args.kernels.is_some(), date: &date };
    let mut findings = crate::bench::run(compiler, &cases, settings, || progress.advance(1));
    drop(progress);
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
    })?;
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("findings", serde_json::to_value(&findings).unwrap_or_default());
    global.write_report(&report)?;
    verdict(&findings, console)
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
    use crate::bench::report::Row;

    #[test]
    fn sizes_need_one_kind_of_work() {
        assert_eq!(Work::Copy.cases(Some("1,2")).unwrap().len(), 4);
        assert_eq!(Work::All.cases(None).unwrap().len(), Suite::ALL.into_iter().flat_map(Case::among_all).count());
        for work in [Work::All, Work::Unet] {
            assert_eq!(work.cases(Some("8")).unwrap_err().kind(), crate::ErrorKind::Argument);
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
        let mut findings: Findings = serde_json::from_value(serde_json::json!({
            "version": "", "wgpu": "", "date": "", "adapter": "", "driver": "", "family": "", "repeats": 1,
            "roofs": { "arithmetic": null, "memory": null }, "rows": [],
        }))
        .unwrap();
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
