//! The best performance of the device, measured in the same run as the rows that it bounds.

use serde::{Deserialize, Serialize};

use super::case::{Copier, Operation};
use super::measure::{clock, measure, steady};
use super::problem::{KernelPart, KernelProblem, Problem, Work, numbers};
use super::report::{Roofs, Row};
use super::sizes::CopySize;
use super::statistics::Timing;
use crate::error::{Error, Result};
use crate::gpu::{Call, Kind};
use crate::kernels::engine::call_words;
use crate::kernels::probes::{Chain, Copy};
use crate::kernels::roof_probes::{DotChain, HalfChain, Reads, TileChain};
use crate::kernels::shader::MAX_OPERANDS;
use crate::kernels::{Dispatch, Engine, Family};
use crate::tensor::TEXEL;

/// The suite of the roofs.
pub const ROOF: &str = "roof";

/// The cases of the roofs by their names in the rows.
const FMA: &str = "chain of fma";
const MULTIPLY_ADD: &str = "chain of multiply and add";
const HALF: &str = "chain of fma in float16";
const DOT: &str = "chain of int8 dot products";
const MATRIX: &str = "chain on matrix units";
const COPIES: [(&str, Copier); 2] = [("copy by a kernel", Copier::Kernel), ("copy by the encoder", Copier::Encoder)];
const DISPATCH: &str = "dispatch of one workgroup";
const SUBMISSION: &str = "empty submission";
/// The rest of the name of a read, after its size.
const READ: &str = " read by a kernel";

/// The sizes of the arrays that are read, in KiB: from the caches to the memory.
const READ_KIBIBYTES: [usize; 7] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10];
/// The largest of them in a quick run.
const QUICK_KIBIBYTES: usize = 16 << 10;

/// Multiplier and addend of the chains: every sum ends near one.
const FACTORS: [f32; 4] = [0.9, 0.1, 0.0, 0.0];
/// The same in float16: every sum ends at one exactly, however it is rounded.
const HALF_FACTORS: [f32; 4] = [0.5, 0.5, 0.0, 0.0];
/// The factors of the tiles: integers, so that sums are exact.
const TILE_FACTORS: [f32; 4] = [1.0, 1.0, 0.0, 0.0];
/// Factor and addend of the dot products: every byte changes with every step.
const DOT_TERMS: (u32, i32) = (0x7f81_3b05, 0x1357_9bdf);
/// The seed of the data that are read.
const DATA: u64 = 3;

/// The number of texels of a chain's output that the twin computes.
const CHECKED_TEXELS: usize = 4;
/// The number of workgroups on matrix units: several for every processor of the largest GPU.
const TILE_WORKGROUPS: usize = 2048;

/// The duration, in seconds, that is sufficient for a chain.
const CHAIN_SECONDS: f64 = 0.02;
/// The largest number of rounds of a chain; loops of a kernel stay below 30,000.
const MOST_ROUNDS: usize = 16_384;
/// The largest number of rounds of tiles, whose sums stay below 2^24.
const MOST_TILE_ROUNDS: usize = 4096;

/// The rate at which arrays of one size are read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadRate {
    /// KiB of the array.
    pub kibibytes: usize,
    /// GB/s by the shortest sample.
    pub rate: f64,
}

/// The roofs to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// None: rows have no ratio to a roof.
    Nothing,
    /// All of them, on small arrays.
    Quick,
    /// All of them.
    Full,
}

impl Extent {
    /// The number of rows.
    #[must_use]
    pub fn rows(self) -> usize {
        const OTHERS: usize = 9;
        if self == Self::Nothing { 0 } else { OTHERS + self.reads().count() }
    }

    /// The sizes of the arrays that are read, in KiB.
    fn reads(self) -> impl Iterator<Item = usize> {
        let most = if self == Self::Quick { QUICK_KIBIBYTES } else { usize::MAX };
        READ_KIBIBYTES.into_iter().filter(move |kibibytes| *kibibytes <= most)
    }

    /// MiB of a copy.
    fn copied(self, kind: Kind) -> f64 {
        match (self, kind) {
            (Self::Quick, Kind::Software) => 16.0,
            (_, Kind::Software) => 64.0,
            _ => 256.0,
        }
    }
}

/// Measures the roofs of an extent, into `rows`. Calls `done` with each row.
///
/// # Errors
/// Those of `done`, after which nothing more is measured. `rows` then has the row as well.
pub fn measure_roofs(
    engine: &Engine,
    extent: Extent,
    repeats: usize,
    rows: &mut Vec<Row>,
    mut done: impl FnMut(&mut Row) -> Result<()>,
) -> Result<()> {
    if extent == Extent::Nothing {
        return Ok(());
    }
    let size = CopySize { mebibytes: extent.copied(engine.gpu.adapter.kind) };
    let mut add = |name: &str, measured: &dyn Fn(Row) -> Result<Row>| {
        let row = Row::new(ROOF, name);
        let mut row = measured(row.clone()).unwrap_or_else(|error| row.ended(&error));
        let goes_on = done(&mut row);
        rows.push(row);
        goes_on
    };
    add(FMA, &|row| chain(engine, row, true, repeats))?;
    add(MULTIPLY_ADD, &|row| chain(engine, row, false, repeats))?;
    let special = Special::open(engine);
    add(HALF, &|row| special.float16(row, repeats))?;
    add(DOT, &|row| dot_products(engine, row, repeats))?;
    add(MATRIX, &|row| special.tiles(row, repeats))?;
    for (name, copier) in COPIES {
        add(name, &|row| copy(engine, row, Operation::Copy(size, copier), repeats))?;
    }
    for kibibytes in extent.reads() {
        add(&read_name(kibibytes), &|row| read(engine, row, kibibytes, repeats))?;
    }
    add(DISPATCH, &|row| dispatch(engine, row, repeats))?;
    add(SUBMISSION, &|row| empty_submission(engine, row, repeats))
}

fn read_name(kibibytes: usize) -> String {
    size_text(kibibytes) + READ
}

/// A size as `64 KiB` or `16 MiB`.
#[must_use]
pub fn size_text(kibibytes: usize) -> String {
    if kibibytes.is_multiple_of(1 << 10) { format!("{} MiB", kibibytes >> 10) } else { format!("{kibibytes} KiB") }
}

/// The names of the roofs in a header, each with its cases.
pub const NAMED: [(&str, &[&str]); 5] = [
    ("float32", &[FMA, MULTIPLY_ADD]),
    ("float16", &[HALF]),
    ("int8 dot products", &[DOT]),
    ("matrix units (float16, sums in float32)", &[MATRIX]),
    ("copies", &[COPIES[0].0, COPIES[1].0]),
];

impl Roofs {
    /// Summarises the rows of roofs among `rows`.
    #[must_use]
    pub fn of_rows(rows: &[Row]) -> Self {
        let measured = |name: &str| rows.iter().find(|row| row.suite == ROOF && row.case == name);
        // A roof is what the device can do: the best sample counts, not the median.
        let rate = |name: &str| {
            let row = measured(name)?;
            let (rate, timing) = (row.rate.as_ref()?, row.timing.as_ref()?);
            Some(rate.work as f64 / timing.least? * 1e-9)
        };
        let best = |names: &[&str]| names.iter().filter_map(|name| rate(name)).reduce(f64::max);
        let median = |name: &str| Some(measured(name)?.timing.as_ref()?.median);
        let read = |kibibytes| Some(ReadRate { kibibytes, rate: rate(&read_name(kibibytes))? });
        let [float32, float16, int8, matrix, copies] = NAMED.map(|(_, names)| best(names));
        Self {
            arithmetic: float32,
            float16,
            int8,
            matrix,
            memory: copies,
            reads: READ_KIBIBYTES.into_iter().filter_map(read).collect(),
            dispatch_seconds: median(DISPATCH),
            submission_seconds: median(SUBMISSION),
        }
    }
}

/// A device for the roofs that need more of it than any network: float16 and matrix units.
struct Special<'e> {
    usual: &'e Engine,
    opened: Result<Engine>,
}

impl<'e> Special<'e> {
    fn open(usual: &'e Engine) -> Self {
        Self { usual, opened: usual.open_for_roofs() }
    }

    /// The device, if the adapter has what is asked of it.
    fn engine(&self, has: bool, what: &str) -> Result<&Engine> {
        if !has {
            let adapter = &self.usual.gpu.adapter.name;
            return Err(Error::argument(format!("`{adapter}` has no {what}"), "choose another `adapter`"));
        }
        self.opened.as_ref().map_err(|error| Error::Device { what: error.to_string(), hint: error.hint() })
    }

    fn float16(&self, row: Row, repeats: usize) -> Result<Row> {
        let what = "arithmetic in float16 for shaders";
        let engine = match self.engine(self.usual.gpu.adapter.f16, what) {
            Err(Error::Argument { what, .. }) => return Ok(row.unsupported(what)),
            engine => engine?,
        };
        let texels = texels_of_chains(engine);
        let problem = |rounds| {
            let chain = HalfChain { texels, rounds };
            let part = HalfChain { texels: CHECKED_TEXELS, ..chain }.dispatch(engine.family);
            per_texel(
                chain.dispatch(engine.family),
                part,
                texels,
                vec![HALF_FACTORS.to_vec()],
                Work::Flops(chain.flops()),
            )
        };
        long_enough(engine, row, MOST_ROUNDS, repeats, &problem)
    }

    fn tiles(&self, row: Row, repeats: usize) -> Result<Row> {
        let what = "matrix units for tiles of float16 that wgpu reaches";
        let engine = match self.engine(self.usual.gpu.adapter.matrix.is_some(), what) {
            Err(Error::Argument { what, .. }) => return Ok(row.unsupported(what)),
            engine => engine?,
        };
        let Family::Matrix { width, side } = engine.family else {
            return Ok(row.unsupported("its subgroups have several sizes, or more than 64 invocations".to_owned()));
        };
        let problem = |rounds| {
            let chain = TileChain { workgroups: TILE_WORKGROUPS, rounds, width, side };
            let part = TileChain { workgroups: 1, ..chain };
            KernelProblem {
                dispatch: chain.dispatch(),
                data: vec![TILE_FACTORS.to_vec()],
                reads: vec![0],
                texels: chain.texels(),
                work: Work::Flops(chain.flops()),
                part: KernelPart {
                    dispatch: part.dispatch(),
                    first: None,
                    places: (0..part.texels() * TEXEL).collect(),
                    name: format!("1 of {TILE_WORKGROUPS} workgroups"),
                },
            }
        };
        long_enough(engine, row, MOST_TILE_ROUNDS, repeats, &problem)
    }
}

/// The number of invocations of a chain: enough for every processor of the largest GPU; a software adapter has few.
fn texels_of_chains(engine: &Engine) -> usize {
    if engine.gpu.adapter.kind == Kind::Software { 1 << 14 } else { 1 << 21 }
}

/// A problem of independent texels, the first of which are checked by `part`.
fn per_texel(dispatch: Dispatch, part: Dispatch, texels: usize, data: Vec<Vec<f32>>, work: Work) -> KernelProblem {
    let part = KernelPart {
        dispatch: part,
        first: None,
        places: (0..CHECKED_TEXELS * TEXEL).collect(),
        name: format!("{CHECKED_TEXELS} of {texels} texels"),
    };
    KernelProblem { dispatch, reads: (0..data.len()).collect(), data, texels, work, part }
}

/// Measures work of rounds, long enough to outlast its launch and short enough for any device.
fn long_enough(
    engine: &Engine,
    row: Row,
    most_rounds: usize,
    repeats: usize,
    problem: &dyn Fn(usize) -> KernelProblem,
) -> Result<Row> {
    let mut rounds = 16;
    loop {
        let problem = problem(rounds);
        let job = problem.prepare(engine.into())?;
        job.repeat(1)?;
        if rounds >= most_rounds || clock(|| job.repeat(1))? >= CHAIN_SECONDS {
            return measure(engine.into(), row, &problem, &Roofs::default(), repeats);
        }
        rounds *= 4;
    }
}

/// Measures chains of multiply-adds in float32.
fn chain(engine: &Engine, row: Row, fused: bool, repeats: usize) -> Result<Row> {
    let texels = texels_of_chains(engine);
    let problem = |rounds| {
        let chain = Chain { texels, rounds, fused };
        let part = Chain { texels: CHECKED_TEXELS, ..chain }.dispatch(engine.family);
        per_texel(chain.dispatch(engine.family), part, texels, vec![FACTORS.to_vec()], Work::Flops(chain.flops()))
    };
    long_enough(engine, row, MOST_ROUNDS, repeats, &problem)
}

/// Measures chains of dot products of bytes.
fn dot_products(engine: &Engine, row: Row, repeats: usize) -> Result<Row> {
    let texels = texels_of_chains(engine);
    let (factor, addend) = DOT_TERMS;
    let problem = |rounds| {
        let chain = DotChain { texels, rounds, factor, addend };
        let part = DotChain { texels: CHECKED_TEXELS, ..chain }.dispatch(engine.family);
        let work = Work::IntegerOperations(chain.operations());
        per_texel(chain.dispatch(engine.family), part, texels, Vec::new(), work)
    };
    long_enough(engine, row, MOST_ROUNDS, repeats, &problem)
}

/// Measures reads of an array of some size.
fn read(engine: &Engine, row: Row, kibibytes: usize, repeats: usize) -> Result<Row> {
    /// Reads of a round of an invocation.
    const READS: usize = 4;
    let source = kibibytes * 1024 / (TEXEL * size_of::<f32>());
    let (most, limit_name) = engine.gpu.max_texels(engine.storage_kind());
    if source > most {
        let bytes = |texels: usize| (texels * TEXEL * size_of::<f32>()) as u64;
        return Err(Error::OverLimit {
            tensor: read_name(kibibytes),
            bytes: bytes(source),
            limit_name,
            limit: bytes(most),
            hint: String::new(),
        });
    }
    let texels = if engine.gpu.adapter.kind == Kind::Software { 1 << 12 } else { 1 << 18 };
    let data = numbers(DATA, source * TEXEL);
    // Successive reads of all invocations go through the array, and come to other lines when they begin again.
    let stride = texels + 64;
    let problem = |rounds| {
        let reads = Reads { texels, rounds, stride, source };
        let part = Reads { texels: CHECKED_TEXELS, ..reads }.dispatch(engine.family);
        per_texel(reads.dispatch(engine.family), part, texels, vec![data.clone()], Work::Bytes(reads.bytes()))
    };
    // Once through the array at least.
    let mut rounds = (source / (texels * READS)).clamp(4, MOST_ROUNDS);
    loop {
        let problem = problem(rounds);
        let job = problem.prepare(engine.into())?;
        job.repeat(1)?;
        let once = clock(|| job.repeat(1))?;
        drop(job);
        if rounds >= MOST_ROUNDS || once >= CHAIN_SECONDS / 2.0 {
            return measure(engine.into(), row, &problem, &Roofs::default(), repeats);
        }
        let longer = (CHAIN_SECONDS / once.max(f64::MIN_POSITIVE)).ceil().clamp(2.0, 64.0) as usize;
        rounds = (rounds * longer).min(MOST_ROUNDS);
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
