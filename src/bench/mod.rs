//! Benchmarks: each case is verified before it is timed, and compared with the roofs measured in the same run.
//!
//! [`case::Case`] names the work, [`problem::Problem`] defines it on the host, [`measure`] checks it against the CPU
//! twins and times it, and [`report::Findings`] holds the results.
//!
//! Kernels are measured as networks run them: a case is a graph, planned and lowered like any other, wherever there is
//! an operation for it. A sample is one submission of as many calls as take a twentieth of a second.

pub mod breakdown;
pub mod case;
pub mod compare;
pub mod lanczos;
pub mod lines;
pub mod machine;
mod maps;
pub mod measure;
pub mod print;
pub mod problem;
mod products;
pub mod report;
pub mod roofs;
pub mod sizes;
pub mod statistics;
pub mod summary;
pub mod unet;

use crate::error::Result;
use crate::gpu::WGPU_VERSION;
use crate::graph::Compiler;
use crate::kernels::Family;
use case::Case;
use machine::Machine;
use report::{Findings, Roofs, Row};
use roofs::Extent;

/// The settings of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings<'a> {
    /// The number of samples per case.
    pub repeats: usize,
    /// `true` for the times of the kernels of a network's call, which need the device's clock.
    pub breaks_down: bool,
    /// The day, for the findings.
    pub date: &'a str,
    /// The roofs to measure.
    pub roofs: Extent,
    /// `true` if the cases are the few of a quick run.
    pub quick: bool,
}

/// Returns a run before it has rows: the adapter, the machine, versions and settings.
#[must_use]
pub fn begin(compiler: Compiler, settings: Settings) -> Findings {
    let engine = compiler.engine;
    let adapter = &engine.gpu.adapter;
    Findings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wgpu: WGPU_VERSION.to_owned(),
        date: settings.date.to_owned(),
        adapter: format!("{} ({} on {})", adapter.name, adapter.kind, adapter.backend),
        driver: adapter.driver.clone(),
        family: match engine.family {
            Family::Tile => "tile".to_owned(),
            Family::Lanes { width } => format!("lanes, {width} wide"),
            Family::Matrix { width, side } => format!("matrix, tiles of {side} x {side}, subgroups of {width}"),
        },
        algorithms: compiler.options.origin(&compiler.target()),
        dtype: compiler.options.weights.to_string(),
        repeats: settings.repeats,
        quick: settings.quick,
        stopped: false,
        source: None,
        machine: Machine::here(),
        roofs: Roofs::default(),
        rows: Vec::new(),
    }
}

/// Measures the roofs, then `cases`, into `findings`, which [`begin`] has returned for the same compiler and settings.
/// Calls `done` with each row.
///
/// # Errors
/// Those of `done`, after which nothing more is measured: `findings` then has the rows until there, and is
/// [`Findings::stopped`].
pub fn run(
    compiler: Compiler,
    cases: &[Case],
    settings: Settings,
    findings: &mut Findings,
    mut done: impl FnMut(&mut Row) -> Result<()>,
) -> Result<()> {
    let measured = measure_all(compiler, cases, settings, findings, &mut done);
    findings.stopped = measured.is_err();
    findings.machine.read_again();
    measured
}

fn measure_all(
    compiler: Compiler,
    cases: &[Case],
    settings: Settings,
    findings: &mut Findings,
    done: &mut impl FnMut(&mut Row) -> Result<()>,
) -> Result<()> {
    let roofs = roofs::measure_roofs(compiler.engine, settings.roofs, settings.repeats, &mut findings.rows, &mut *done);
    findings.roofs = Roofs::of_rows(&findings.rows);
    roofs?;
    for case in cases {
        let row = Row::new(case.suite().name(), case);
        let measured = one(compiler, row.clone(), case, &findings.roofs, settings);
        let mut row = measured.unwrap_or_else(|error| row.ended(&error));
        let goes_on = done(&mut row);
        findings.rows.push(row);
        goes_on?;
    }
    Ok(())
}

fn one(compiler: Compiler, row: Row, case: &Case, roofs: &Roofs, settings: Settings) -> Result<Row> {
    let repeats = settings.repeats;
    match case {
        Case::Spectrum(eigenpairs) => lanczos::measure_eigenpairs(compiler.engine, row, *eigenpairs, roofs, repeats),
        Case::Call(net) => unet::measure_call(compiler, row, *net, roofs, settings),
        Case::Kernels(operation) => {
            measure::measure(compiler, row, operation.problem(compiler.engine)?.as_ref(), roofs, repeats)
        }
    }
}
