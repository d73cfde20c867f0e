//! The tuner of tiles: each product of a network by every tile that the kernels have for it.
//!
//! A product is measured with the operands that it has in the network, in size and precision. No bit of a result
//! depends on a tile; one whose result has other bits than that of the rule is miscompiled by the driver, and is not
//! chosen.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use web_time::Instant;

use super::numbers;
use super::race::{Contender, race};
use crate::error::{Error, Result};
use crate::gpu::{Call, Recording, Region, Storage};
use crate::graph::Plan;
use crate::graph::lower::{Operand, Step};
use crate::graph::run::split_grid;
use crate::kernels::engine::call_words;
use crate::kernels::shader::MAX_OPERANDS;
use crate::kernels::tiling::{Product, ProductShape, TileSize};
use crate::kernels::{Dispatch, Engine, Family};
use crate::report::columns::aligned;
use crate::tensor::TEXEL;

/// A product with less than this share of the products of a plan is left to the rule.
const LEAST_SHARE: f64 = 0.005;
/// The share of the time of the rule's tile that another may take to be chosen: another tile is another shader to
/// compile.
const MARGIN: f64 = 0.95;

/// A product of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The product.
    pub product: Product,
    /// The tile of the rule.
    pub rule: TileSize,
    /// The number of times that a product of its shape occurs in the network.
    pub count: usize,
    /// One of these.
    step: Step,
    /// Texels of the arrays that it reads, then of the one that it writes.
    texels: Vec<usize>,
}

/// The times of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The properties of the product.
    pub shape: ProductShape,
    /// The number of times that it occurs in the network.
    pub count: usize,
    /// The tile of the rule.
    pub rule: TileSize,
    /// Seconds per call by each tile; `None` if the device does not have the memory
    /// for it, or its result is wrong.
    pub seconds: Vec<(TileSize, Option<f64>)>,
    /// The tile to use.
    pub chosen: TileSize,
}

/// The products of several plans that have a choice of tiles, are worth measuring, and are not in `known`: those of
/// the first plan first, and of each plan those with the most work.
#[must_use]
pub fn unknown_products_of<'p>(
    plans: impl IntoIterator<Item = &'p Plan>,
    known: &BTreeMap<ProductShape, TileSize>,
) -> Vec<Subject> {
    let mut all: Vec<Subject> = Vec::new();
    for subject in plans.into_iter().flat_map(|plan| unknown_products(plan, known)) {
        match all.iter_mut().find(|other| other.product.shape() == subject.product.shape()) {
            Some(same) => same.count += subject.count,
            None => all.push(subject),
        }
    }
    all
}

/// The products of a plan that have a choice of tiles, are worth measuring, and are not in `known`, those with the
/// most work first.
#[must_use]
pub fn unknown_products(plan: &Plan, known: &BTreeMap<ProductShape, TileSize>) -> Vec<Subject> {
    let mut found: BTreeMap<ProductShape, Subject> = BTreeMap::new();
    for step in &plan.steps {
        let Some(product) = &step.product else { continue };
        let Some(rule) = product.by_tiles(None).tile_size(plan.family) else { continue };
        let subject = || {
            let read = |read: &Operand| match read {
                Operand::Buffer(buffer, _) => plan.buffers[buffer.0].texels,
                Operand::Weight(id) => plan.places[id.0].texels,
            };
            let texels = step.reads.iter().map(read).chain([plan.buffers[step.write.0].texels]).collect();
            Subject { product: product.clone(), rule, count: 0, step: step.clone(), texels }
        };
        found.entry(product.shape()).or_insert_with(subject).count += 1;
    }
    let work = |subject: &Subject| subject.product.flops() * subject.count as u64;
    let least = LEAST_SHARE * plan.flops() as f64;
    let mut unknown: Vec<Subject> = found
        .into_values()
        .filter(|subject| !known.contains_key(&subject.product.shape()) && work(subject) as f64 >= least)
        .filter(|subject| candidates(&subject.product, plan.family).len() > 1)
        .collect();
    unknown.sort_by_key(|subject| Reverse(work(subject)));
    unknown
}

/// The tiles that are worth measuring: all up to the smallest that has more rows than the product. That of the rule is
/// among them.
fn candidates(product: &Product, family: Family) -> Vec<TileSize> {
    let mut sizes = product.tile_sizes(family);
    let rows = product.shape().rows;
    let rule = product.by_tiles(None).tile_size(family);
    let most = sizes.iter().map(|size| size.rows).filter(|tall| *tall >= rows).min().unwrap_or(usize::MAX);
    sizes.retain(|size| size.rows <= most || Some(*size) == rule);
    sizes
}

/// Measures `subjects` in their order, until `budget` is spent or `done`, which is called after each, breaks off.
///
/// # Errors
/// [`Error::Device`] when the device fails.
pub fn tune_tiles(
    engine: &Engine,
    subjects: &[Subject],
    budget: Duration,
    mut done: impl FnMut() -> ControlFlow<()>,
) -> Result<Vec<Measurement>> {
    let begin = Instant::now();
    let mut measurements = Vec::new();
    for subject in subjects.iter().take_while(|_| begin.elapsed() < budget) {
        measurements.push(measure(engine, subject)?);
        if done().is_break() {
            break;
        }
    }
    Ok(measurements)
}

/// The arrays of a product on a device.
struct Arrays {
    reads: Vec<Rc<Storage>>,
    write: Storage,
}

impl Arrays {
    /// Arrays of numbers, each once, and one of zeros to write.
    fn new(engine: &Engine, subject: &Subject) -> Result<Self> {
        let shader = &subject.step.dispatch.shader;
        let allocate = |at: usize, values: &[f32]| {
            let kind = engine.family.storage_kind(shader.precision(at));
            let storage = engine.gpu.allocate(kind, subject.texels[at], "operand")?;
            engine.gpu.upload(&storage, 0, values)?;
            Ok::<_, Error>(storage)
        };
        let same = |a: &Operand, b: &Operand| match (a, b) {
            (Operand::Buffer(a, _), Operand::Buffer(b, _)) => a == b,
            (Operand::Weight(a), Operand::Weight(b)) => a == b,
            _ => false,
        };
        let mut reads: Vec<Rc<Storage>> = Vec::new();
        for (at, read) in subject.step.reads.iter().enumerate() {
            let before = subject.step.reads[..at].iter().position(|other| same(other, read));
            let storage = match before {
                Some(before) => reads[before].clone(),
                None => Rc::new(allocate(at, &numbers(subject.texels[at] * TEXEL))?),
            };
            reads.push(storage);
        }
        let write = allocate(reads.len(), &vec![0.0; subject.texels[reads.len()] * TEXEL])?;
        Ok(Self { reads, write })
    }

    fn record(&self, engine: &Engine, subject: &Subject, dispatch: &Dispatch) -> Result<Recording> {
        let pipeline = engine.pipelines(&[&dispatch.shader])?.remove(0);
        let mut bases = [0; MAX_OPERANDS];
        for (base, read) in bases.iter_mut().zip(&subject.step.reads) {
            if let Operand::Buffer(_, first) = read {
                *base = *first as u32;
            }
        }
        bases[self.reads.len()] = subject.step.write_first as u32;
        let flops = subject.product.flops();
        let parts = split_grid(dispatch, flops);
        let calls: Vec<_> = parts
            .iter()
            .map(|(origin, grid)| Call {
                pipeline: &pipeline,
                words: call_words(bases, *origin, &dispatch.params),
                operands: self.reads.iter().map(Rc::as_ref).chain([&self.write]).collect(),
                grid: *grid,
                flops: flops / parts.len() as u64,
                label: dispatch.shader.kernel.name,
            })
            .collect();
        engine.gpu.record(&calls)
    }

    /// The bits that a recording writes.
    fn written(&self, engine: &Engine, recording: &Recording) -> Result<Vec<u32>> {
        engine.gpu.submit(recording)?;
        let region = Region { storage: &self.write, first: 0, texels: self.write.texels() };
        Ok(engine.gpu.download(&[region])?.remove(0).into_iter().map(f32::to_bits).collect())
    }
}

fn measure(engine: &Engine, subject: &Subject) -> Result<Measurement> {
    let sizes = candidates(&subject.product, engine.family);
    let mut contenders = contenders(engine, subject, &sizes)?;
    race(&mut contenders)?;
    let seconds_of = |size| contenders.iter().find(|one| one.is == size).map(|contender| contender.least);
    let seconds: Vec<_> = sizes.into_iter().map(|size| (size, seconds_of(size))).collect();
    let mut chosen = choose(subject.rule, &seconds);
    if chosen != subject.rule {
        // The least of many times is small by chance too: the winner has to win again.
        contenders.retain(|one| one.is == subject.rule || one.is == chosen);
        for one in &mut contenders {
            one.least = f64::INFINITY;
        }
        race(&mut contenders)?;
        chosen = choose(subject.rule, &contenders.iter().map(|one| (one.is, Some(one.least))).collect::<Vec<_>>());
    }
    let (shape, count, rule) = (subject.product.shape(), subject.count, subject.rule);
    Ok(Measurement { shape, count, rule, seconds, chosen })
}

/// The tiles whose result has the bits of that of the rule; none for a product that the device does not have the memory
/// for.
fn contenders<'e>(engine: &'e Engine, subject: &Subject, sizes: &[TileSize]) -> Result<Vec<Contender<'e, TileSize>>> {
    let arrays = match Arrays::new(engine, subject) {
        Err(Error::OverLimit { .. } | Error::OutOfMemory { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let mut contenders = Vec::with_capacity(sizes.len());
    let mut wanted = None;
    // The rule's tile comes first, and says what the others have to write.
    let others = sizes.iter().copied().filter(|size| *size != subject.rule);
    for size in std::iter::once(subject.rule).chain(others) {
        let Some(mut dispatch) = subject.product.by_tiles(Some(size)).dispatch(engine.family) else { continue };
        dispatch.shader.halves.clone_from(&subject.step.dispatch.shader.halves);
        let recording = match arrays.record(engine, subject, &dispatch) {
            Err(Error::TooManyWorkgroups { .. }) => continue,
            other => other?,
        };
        let written = arrays.written(engine, &recording)?;
        if written != *wanted.get_or_insert_with(|| written.clone()) {
            continue;
        }
        contenders.push(Contender::new(size, move |times| {
            engine.gpu.submit_repeated(&recording, times)?;
            engine.gpu.wait()
        })?);
    }
    Ok(contenders)
}

/// The fastest tile, if it is faster than that of the rule by [`MARGIN`], else that of the rule.
fn choose(rule: TileSize, seconds: &[(TileSize, Option<f64>)]) -> TileSize {
    let mut timed = seconds.iter().filter_map(|(size, seconds)| Some((*size, (*seconds)?)));
    let of_rule = timed.clone().find(|(size, _)| *size == rule).map_or(f64::INFINITY, |(_, seconds)| seconds);
    let best = timed.by_ref().reduce(|best, next| if next.1 < best.1 { next } else { best });
    best.filter(|(_, seconds)| *seconds < MARGIN * of_rule).map_or(rule, |(size, _)| size)
}

/// Returns a table with a line for each product: its number of uses in the network, the tile of the rule and its
/// milliseconds, the chosen tile and its. It is empty without measurements.
#[must_use]
pub fn table(measured: &[Measurement]) -> String {
    if measured.is_empty() {
        return String::new();
    }
    let headings = ["product", "uses", "default tile", "ms", "chosen", "ms"].map(str::to_owned).to_vec();
    let rows = measured.iter().map(|one| {
        let milliseconds = |size| one.seconds_of(size).map_or("-".to_owned(), |s| format!("{:.3}", s * 1e3));
        let of = |size: TileSize| [size.to_string(), milliseconds(size)];
        let first = [one.shape.to_string(), one.count.to_string()];
        first.into_iter().chain(of(one.rule)).chain(of(one.chosen)).collect::<Vec<_>>()
    });
    aligned(&std::iter::once(headings).chain(rows).collect::<Vec<_>>())
}

impl Measurement {
    /// Seconds per call by tiles of a size, if these were measured.
    #[must_use]
    pub fn seconds_of(&self, size: TileSize) -> Option<f64> {
        self.seconds.iter().find(|(other, _)| *other == size).and_then(|(_, seconds)| *seconds)
    }

    /// Returns the measurement for a report.
    #[must_use]
    pub fn json(&self) -> Value {
        let seconds: serde_json::Map<_, _> =
            self.seconds.iter().map(|(size, seconds)| (size.to_string(), json!(seconds))).collect();
        json!({
            "product": self.shape,
            "uses": self.count,
            "seconds": seconds,
            "default": self.rule.to_string(),
            "chosen": self.chosen.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_rows(rows: usize) -> TileSize {
        TileSize { rows, columns: 32 }
    }

    #[test]
    fn another_tile_has_to_be_faster_by_the_margin() {
        let [few, some, many] = [4, 16, 64].map(of_rows);
        assert_eq!(choose(some, &[(few, Some(0.96)), (some, Some(1.0)), (many, Some(0.97))]), some);
        assert_eq!(choose(some, &[(few, Some(0.94)), (some, Some(1.0)), (many, Some(0.90))]), many);
        assert_eq!(choose(some, &[(few, None), (some, Some(1.0)), (many, Some(1.2))]), some);
        assert_eq!(choose(some, &[]), some);
    }

    #[test]
    fn tiles_far_larger_than_a_product_are_not_measured() {
        use crate::kernels::matmul::MatMul;
        let rows_of = |rows: usize, family: Family| {
            let product = MatMul::plain(1, rows, 64, 64).into();
            candidates(&product, family).into_iter().map(|size| size.rows).collect::<Vec<_>>()
        };
        let lanes = Family::Lanes { width: 8 };
        assert_eq!(rows_of(1, lanes), [4]);
        assert_eq!(rows_of(9, lanes)[..2], [4, 8]);
        assert_eq!(rows_of(1000, lanes).last(), Some(&64));
        assert_eq!(rows_of(1, Family::Tile), [16]);
        assert_eq!(rows_of(1000, Family::Tile), [16, 32, 64, 64, 128]);
    }
}
