//! The best performance of the device, measured in the same run as the rows that it bounds.

use super::case::{Copier, Operation};
use super::measure::{clock, measure, steady};
use super::problem::{KernelPart, KernelProblem, Problem, Work};
use super::report::{Roofs, Row};
use super::sizes::CopySize;
use super::statistics::Timing;
use crate::error::Result;
use crate::gpu::{Call, Kind};
use crate::kernels::Engine;
use crate::kernels::engine::call_words;
use crate::kernels::probes::{Chain, Copy};
use crate::kernels::shader::MAX_OPERANDS;
use crate::tensor::TEXEL;

/// The suite of the roofs.
pub const ROOF: &str = "roof";

/// The number of roofs.
pub const COUNT: usize = 6;

/// Multiplier and addend of the chains: every sum ends near one.
const FACTORS: [f32; 4] = [0.9, 0.1, 0.0, 0.0];

/// The number of texels of a chain's output that the twin computes.
const CHECKED_TEXELS: usize = 4;

/// The duration, in seconds, that is sufficient for a chain.
const CHAIN_SECONDS: f64 = 0.02;
/// The largest number of rounds of a chain; loops of a kernel stay below 30,000.
const MOST_ROUNDS: usize = 16_384;

/// Measures every roof: one row per roof, and the summary.
#[must_use]
pub fn measure_roofs(engine: &Engine, repeats: usize, mut done: impl FnMut()) -> (Vec<Row>, Roofs) {
    let size = CopySize { mebibytes: if engine.gpu.adapter.kind == Kind::Software { 64.0 } else { 256.0 } };
    let mut rows = Vec::with_capacity(COUNT);
    let mut add = |name: &str, measured: &dyn Fn(Row) -> Result<Row>| {
        let row = Row::new(ROOF, name);
        rows.push(measured(row.clone()).unwrap_or_else(|error| row.ended(&error)));
        done();
    };
    add("chain of fma", &|row| chain(engine, row, true, repeats));
    add("chain of multiply and add", &|row| chain(engine, row, false, repeats));
    for (name, copier) in [("copy by a kernel", Copier::Kernel), ("copy by the encoder", Copier::Encoder)] {
        add(name, &|row| copy(engine, row, Operation::Copy(size, copier), repeats));
    }
    add("dispatch of one workgroup", &|row| dispatch(engine, row, repeats));
    add("empty submission", &|row| empty_submission(engine, row, repeats));
    // A roof is what the device can do: the best sample counts, not the median.
    let best = |rows: &[Row]| {
        let measured = rows.iter().filter_map(|row| row.rate.as_ref().zip(row.timing.as_ref()));
        measured.map(|(rate, timing)| rate.work as f64 / timing.least * 1e-9).reduce(f64::max)
    };
    let roofs = Roofs { arithmetic: best(&rows[..2]), memory: best(&rows[2..4]) };
    (rows, roofs)
}

fn chain_problem(engine: &Engine, rounds: usize, fused: bool) -> KernelProblem {
    // Enough invocations for every processor of the largest GPU; a software adapter has few.
    let texels = if engine.gpu.adapter.kind == Kind::Software { 1 << 14 } else { 1 << 21 };
    let chain = Chain { texels, rounds, fused };
    let part = KernelPart {
        dispatch: Chain { texels: CHECKED_TEXELS, ..chain }.dispatch(engine.family),
        first: None,
        places: (0..CHECKED_TEXELS * TEXEL).collect(),
        name: format!("{CHECKED_TEXELS} of {texels} texels"),
    };
    KernelProblem {
        dispatch: chain.dispatch(engine.family),
        data: vec![FACTORS.to_vec()],
        reads: vec![0],
        texels,
        work: Work::Flops(chain.flops()),
        part,
    }
}

/// Measures chains long enough to outlast their launch, and short enough for any device.
fn chain(engine: &Engine, row: Row, fused: bool, repeats: usize) -> Result<Row> {
    let mut rounds = 16;
    loop {
        let problem = chain_problem(engine, rounds, fused);
        let job = problem.prepare(engine.into())?;
        job.repeat(1)?;
        if rounds >= MOST_ROUNDS || clock(|| job.repeat(1))? >= CHAIN_SECONDS {
            return measure(engine.into(), row, &problem, &Roofs::default(), repeats);
        }
        rounds *= 4;
    }
}

fn copy(engine: &Engine, row: Row, copy: Operation, repeats: usize) -> Result<Row> {
    measure(engine.into(), row, copy.problem(engine)?.as_ref(), &Roofs::default(), repeats)
}

/// Measures the cost of a nearly empty dispatch among many others.
fn dispatch(engine: &Engine, row: Row, repeats: usize) -> Result<Row> {
    const MANY: usize = 256;
    let gpu = &engine.gpu;
    let storage = |name: &str| gpu.allocate(engine.storage_kind(), 1, name);
    let (x, y) = (storage("x")?, storage("y")?);
    gpu.upload(&x, 0, &FACTORS)?;
    let kernel = Copy { texels: 1 }.dispatch(engine.family);
    let pipelines = engine.pipelines(&[&kernel.shader])?;
    let call = || Call {
        pipeline: &pipelines[0],
        words: call_words([0; MAX_OPERANDS], [0; 3], &kernel.params),
        operands: vec![&x, &y],
        grid: kernel.grid,
        flops: 0,
        label: "dispatch",
    };
    let recording = gpu.record(&(0..MANY).map(|_| call()).collect::<Vec<_>>())?;
    let run = |times| {
        gpu.submit_repeated(&recording, times)?;
        gpu.wait()
    };
    run(1)?;
    let timing = steady(engine.gpu.adapter.kind, repeats, run)?;
    let per_dispatch = timing.samples.iter().map(|seconds| seconds / MANY as f64).collect();
    let timing = Timing::new(per_dispatch, timing.calls * MANY);
    Ok(row.timed(timing, Work::Nothing, &Roofs::default()))
}

/// Measures the round trip to the device.
fn empty_submission(engine: &Engine, row: Row, repeats: usize) -> Result<Row> {
    let nothing = engine.gpu.record(&[])?;
    let run = |times: usize| {
        (0..times).try_for_each(|_| {
            engine.gpu.submit_range(&nothing, 0..0)?;
            engine.gpu.wait()
        })
    };
    run(1)?;
    let timing = steady(engine.gpu.adapter.kind, repeats, run)?;
    Ok(row.timed(timing, Work::Nothing, &Roofs::default()))
}
