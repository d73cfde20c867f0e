//! The plan: dispatches on numbered slots. It is data: it knows no device, prints as text, and runs on a device
//! ([`super::run`]) or on the host by the CPU twins ([`super::host`]).

use std::collections::BTreeMap;

use super::choose::algorithms;
use super::counters::count_plan;
use super::fuse::fuse;
use super::lower::{Buffer, BufferId, Lowered, Operand, Step, lower};
use super::op::{Graph, Input, MapStorage, Node, Op, Value, Weight, WeightForm, WeightId};
use super::options::{CompileOptions, StorageLimits, Target};
use super::weights::{packed_texels, precision};
use super::work::{Operation, operations};
use crate::kernels::choice::Algorithm;
use crate::kernels::{Family, Memory};
use crate::tensor::{Precision, Shape, TEXEL};

/// The sharing of memory between buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aliasing {
    /// Buffers that never live at the same time may share a slot.
    #[default]
    ByLiveness,
    /// Every buffer has a separate slot: to find mistakes of [`Aliasing::ByLiveness`].
    None,
}

/// A weight's place among the packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The index of the storage.
    pub chunk: usize,
    /// The first texel in that storage.
    pub first: usize,
    /// The number of texels.
    pub texels: usize,
}

/// A storage of weights, or of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Texels it holds.
    pub texels: usize,
    /// The precision of its numbers.
    pub precision: Precision,
}

/// A value that the caller feeds or reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its buffer.
    pub buffer: BufferId,
    /// Its shape.
    pub shape: Shape,
}

/// Dispatches in order, and the memory they run on.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The kernels it was made for.
    pub family: Family,
    /// Every value and scratch array.
    pub buffers: Vec<Buffer>,
    /// The slot of each buffer.
    pub slot_of: Vec<usize>,
    /// The slots.
    pub slots: Vec<Chunk>,
    /// The weights that steps read.
    pub weights: Vec<Weight>,
    /// The algorithm that each weight is packed for.
    pub algorithms: Vec<Algorithm>,
    /// The place of each weight, then of each table.
    pub places: Vec<Place>,
    /// The precision of the kernels of convolutions and products.
    pub precision: Precision,
    /// The storages of weights.
    pub weight_chunks: Vec<Chunk>,
    /// Numbers that lowering made.
    pub tables: Vec<Vec<f32>>,
    /// The operations of the fused graph, which the steps compute.
    pub operations: Vec<Operation>,
    /// The dispatches.
    pub steps: Vec<Step>,
    /// The values that the caller feeds.
    pub inputs: Vec<Port>,
    /// The values that are read back.
    pub outputs: Vec<Port>,
    /// The most bytes that are alive at once: no plan of these steps can take less.
    pub lower_bound_bytes: u64,
}

impl Plan {
    /// Plans a graph: fuse, choose algorithms, lower, place. [`super::Compiler::plan`] plans for a device.
    #[must_use]
    pub fn new(graph: &Graph, target: &Target, options: &CompileOptions) -> Self {
        count_plan();
        let family = target.family;
        let graph = fuse(graph);
        let algorithms = algorithms(&graph, options, target);
        let tile_sizes = options.tile_sizes(target);
        let Lowered { mut buffers, mut steps, tables } =
            lower(&graph, family, &algorithms, tile_sizes, options.fold_always);
        if options.maps == Precision::Float16 && family.memory() == Memory::Buffer {
            halve_maps(&graph, &mut buffers);
        }
        for step in &mut steps {
            let read = step.reads.iter().map(|read| operand_precision(&graph, &buffers, read, options.weights));
            let all = read.chain([buffers[step.write.0].precision]).enumerate();
            step.dispatch.shader.halves =
                all.filter(|(_, precision)| *precision == Precision::Float16).map(|(at, _)| at).collect();
        }
        let outputs: Vec<Port> = graph
            .outputs
            .iter()
            .map(|(name, value)| Port { name: name.clone(), buffer: BufferId(value.0), shape: graph.shape(*value) })
            .collect();
        let lives = lifetimes(&graph, &buffers, &steps, &outputs);
        let (slot_of, slots) = match options.aliasing {
            Aliasing::ByLiveness => share_slots(&buffers, &lives),
            Aliasing::None => {
                let of = |buffer: &Buffer| Chunk { texels: buffer.texels, precision: buffer.precision };
                ((0..buffers.len()).collect(), buffers.iter().map(of).collect())
            }
        };
        let sizes = graph
            .weights
            .iter()
            .zip(&algorithms)
            .map(|(w, algorithm)| (packed_texels(w.form, *algorithm, family), precision(w.form, options.weights)));
        let tables_sizes = tables.iter().map(|table| (table.len() / TEXEL, Precision::Float32));
        let (places, weight_chunks) = place_weights(sizes.chain(tables_sizes), target.limits);
        let lower_bound_bytes = most_alive(&buffers, &lives, steps.len());
        let inputs = graph
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(at, node)| {
                let Op::Input(Input { name }) = &node.op else { return None };
                Some(Port { name: name.clone(), buffer: BufferId(at), shape: node.shape })
            })
            .collect();
        Self {
            family,
            operations: operations(&graph, &algorithms),
            buffers,
            slot_of,
            slots,
            weights: graph.weights,
            algorithms,
            places,
            precision: options.weights,
            weight_chunks,
            tables,
            steps,
            inputs,
            outputs,
            lower_bound_bytes,
        }
    }

    /// Bytes of all slots together.
    #[must_use]
    pub fn arena_bytes(&self) -> u64 {
        self.slots.iter().map(Chunk::bytes).sum()
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.weight_chunks.iter().map(Chunk::bytes).sum()
    }

    /// Bytes that the weights of other algorithms than the definition take in addition.
    #[must_use]
    pub fn transformed_bytes(&self) -> u64 {
        let more = self.weights.iter().zip(&self.algorithms).map(|(weight, algorithm)| {
            let texels = |algorithm| packed_texels(weight.form, algorithm, self.family) as u64;
            let precision = precision(weight.form, self.precision);
            texels(*algorithm).saturating_sub(texels(Algorithm::Direct)) * precision.texel_bytes()
        });
        more.sum()
    }

    /// Floating-point operations of one run, counting products only.
    #[must_use]
    pub fn flops(&self) -> u64 {
        self.steps.iter().map(|step| step.flops).sum()
    }

    /// The number of kernels of more than one tap that each algorithm computes.
    #[must_use]
    pub fn convolutions(&self) -> BTreeMap<Algorithm, usize> {
        let mut counts = BTreeMap::new();
        for (weight, algorithm) in self.weights.iter().zip(&self.algorithms) {
            if matches!(weight.form, WeightForm::Kernel { height, width, .. } if height * width > 1) {
                *counts.entry(*algorithm).or_insert(0) += 1;
            }
        }
        counts
    }
}

impl Chunk {
    /// Bytes it takes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.texels as u64 * self.precision.texel_bytes()
    }
}

impl Buffer {
    const fn bytes(&self) -> u64 {
        self.texels as u64 * self.precision.texel_bytes()
    }
}

/// Stores the maps between the layers in float16. Inputs, outputs, vectors and statistics keep their precision, and
/// so does every value of a graph of tangents, where values are few beside tangents.
fn halve_maps(graph: &Graph, buffers: &mut [Buffer]) {
    let storage = |node: &Node| node.op.operator().storage();
    if graph.nodes.iter().any(|node| storage(node) == MapStorage::FullGraph) {
        return;
    }
    for (at, (node, buffer)) in graph.nodes.iter().zip(buffers).enumerate() {
        let is_read_back = graph.outputs.iter().any(|(_, output)| *output == Value(at));
        if storage(node) == MapStorage::Half && !is_read_back && node.shape.pixels() > 1 {
            buffer.precision = Precision::Float16;
        }
    }
}

/// The precision of an operand, for kernels of the precision `kernels`.
fn operand_precision(graph: &Graph, buffers: &[Buffer], operand: &Operand, kernels: Precision) -> Precision {
    match operand {
        // Weights beyond those of the graph are tables.
        Operand::Weight(id) => graph.weights.get(id.0).map_or(Precision::Float32, |w| precision(w.form, kernels)),
        Operand::Buffer(buffer, _) => buffers[buffer.0].precision,
    }
}

/// Places weights one after the other, those of a precision together; a new storage begins at the device's limit.
fn place_weights(sizes: impl Iterator<Item = (usize, Precision)>, limits: StorageLimits) -> (Vec<Place>, Vec<Chunk>) {
    let mut chunks: Vec<Chunk> = Vec::new();
    let places = sizes
        .map(|(texels, precision)| {
            let most = limits.texels(precision);
            let fits = |chunk: &Chunk| chunk.texels + texels <= most || chunk.texels == 0;
            // Only the newest of a precision is not full yet.
            let open = chunks.iter().rposition(|chunk| chunk.precision == precision).filter(|at| fits(&chunks[*at]));
            let chunk = open.unwrap_or_else(|| {
                chunks.push(Chunk { texels: 0, precision });
                chunks.len() - 1
            });
            let first = chunks[chunk].texels;
            chunks[chunk].texels += texels;
            Place { chunk, first, texels }
        })
        .collect();
    (places, chunks)
}

/// The steps during which a buffer holds something that is still needed; both ends count.
#[derive(Clone, Copy, Debug)]
struct Life {
    first: usize,
    last: usize,
}

/// The most bytes that are alive at once during `steps` steps.
fn most_alive(buffers: &[Buffer], lives: &[Life], steps: usize) -> u64 {
    let (mut born, mut dead) = (vec![0; steps + 1], vec![0; steps + 1]);
    for (buffer, life) in buffers.iter().zip(lives).filter(|(_, life)| life.first <= life.last && life.first < steps) {
        born[life.first] += buffer.bytes();
        dead[(life.last + 1).min(steps)] += buffer.bytes();
    }
    let alive = born.iter().zip(&dead).scan(0, |alive, (born, dead)| {
        *alive = *alive + born - dead;
        Some(*alive)
    });
    alive.max().unwrap_or(0)
}

/// The buffers of a slot, which live one after the other: the end of each life by its beginning.
#[derive(Debug, Default)]
struct Tenants(BTreeMap<usize, usize>);

impl Tenants {
    /// Returns `true` if no tenant lives at the same time as `life`.
    fn leave_room(&self, life: Life) -> bool {
        // Of those that begin no later than `life` ends, the last one ends last.
        self.0.range(..=life.last).next_back().is_none_or(|(_, last)| *last < life.first)
    }
}

/// Inputs live from the start, outputs to the end, the others from the step that writes them to the last that reads
/// them.
fn lifetimes(graph: &Graph, buffers: &[Buffer], steps: &[Step], outputs: &[Port]) -> Vec<Life> {
    let mut lives = vec![Life { first: usize::MAX, last: 0 }; buffers.len()];
    for (at, node) in graph.nodes.iter().enumerate() {
        if matches!(node.op, Op::Input(_)) {
            lives[at].first = 0;
        }
    }
    for (at, step) in steps.iter().enumerate() {
        let life = &mut lives[step.write.0];
        life.first = life.first.min(at);
        life.last = life.last.max(at);
        for read in &step.reads {
            if let Operand::Buffer(buffer, _) = read {
                lives[buffer.0].last = lives[buffer.0].last.max(at);
            }
        }
    }
    for output in outputs {
        lives[output.buffer.0].last = steps.len();
    }
    lives
}

/// Gives each buffer a slot, largest buffers first, each in the smallest slot of its precision without a tenant that
/// lives at the same time.
fn share_slots(buffers: &[Buffer], lives: &[Life]) -> (Vec<usize>, Vec<Chunk>) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(buffers[at].texels), lives[at].first));
    let mut slot_of = vec![0; buffers.len()];
    let mut slots: Vec<(Chunk, Tenants)> = Vec::new();
    for at in order {
        let Buffer { texels, precision, .. } = buffers[at];
        let free = |(slot, tenants): &(Chunk, Tenants)| slot.precision == precision && tenants.leave_room(lives[at]);
        let best = slots.iter().enumerate().filter(|(_, slot)| free(slot)).min_by_key(|(_, (slot, _))| slot.texels);
        let slot = best.map_or(slots.len(), |(slot, _)| slot);
        if slot == slots.len() {
            slots.push((Chunk { texels, precision }, Tenants::default()));
        }
        slots[slot].1.0.insert(lives[at].first, lives[at].last);
        slot_of[at] = slot;
    }
    (slot_of, slots.into_iter().map(|(slot, _)| slot).collect())
}

impl std::fmt::Display for Plan {
    /// One line per step: the slot it writes, the shader, the operands it reads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = |operand: &Operand| match operand {
            Operand::Buffer(buffer, 0) => format!("s{}", self.slot_of[buffer.0]),
            Operand::Buffer(buffer, first) => format!("s{}+{first}", self.slot_of[buffer.0]),
            Operand::Weight(WeightId(id)) => format!("w{id}"),
        };
        writeln!(
            f,
            "{} steps, {} slots, {} bytes of slots (at least {}), {} bytes of weights",
            self.steps.len(),
            self.slots.len(),
            self.arena_bytes(),
            self.lower_bound_bytes,
            self.weight_bytes()
        )?;
        for port in &self.inputs {
            writeln!(f, "s{} <- {} {}", self.slot_of[port.buffer.0], port.name, port.shape)?;
        }
        for step in &self.steps {
            let reads: Vec<_> = step.reads.iter().map(place).collect();
            let [x, y, z] = step.dispatch.grid;
            let (slot, shader) = (self.slot_of[step.write.0], &step.dispatch.shader);
            let slot = match step.write_first {
                0 => format!("s{slot}"),
                first => format!("s{slot}+{first}"),
            };
            writeln!(f, "{slot} <- {shader} {x}x{y}x{z} ({}) {}", reads.join(" "), step.label)?;
        }
        for port in &self.outputs {
            writeln!(f, "s{} -> {} {}", self.slot_of[port.buffer.0], port.name, port.shape)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buffers with lives of up to `longest` steps, some of them never read.
    fn lives(count: u32, steps: u32, longest: u32) -> (Vec<Buffer>, Vec<Life>) {
        let mut state = 1u32;
        let mut draw = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) % below) as usize
        };
        let of = |at: u32| {
            let first = draw(steps);
            let life = if at.is_multiple_of(17) {
                Life { first: usize::MAX, last: 0 }
            } else {
                Life { first, last: first + draw(longest) }
            };
            let precision = if draw(3) == 0 { Precision::Float16 } else { Precision::Float32 };
            (Buffer { texels: 1 + draw(40), label: String::new(), precision }, life)
        };
        (0..count).map(of).unzip()
    }

    /// Slots and the least memory against their definitions, which look at every pair.
    #[test]
    fn slots_and_the_least_memory_are_those_of_their_definitions() {
        let steps = 90;
        let (buffers, lives) = lives(400, steps, 12);
        let meets = |a: Life, b: Life| a.first <= b.last && b.first <= a.last;
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|&at| (std::cmp::Reverse(buffers[at].texels), lives[at].first));
        let mut expected = vec![0; buffers.len()];
        let mut slots: Vec<(Chunk, Vec<Life>)> = Vec::new();
        for at in order {
            let Buffer { texels, precision, .. } = buffers[at];
            let free = |(slot, tenants): &(Chunk, Vec<Life>)| {
                slot.precision == precision && !tenants.iter().any(|tenant| meets(*tenant, lives[at]))
            };
            let best = slots.iter().enumerate().filter(|(_, slot)| free(slot)).min_by_key(|(_, slot)| slot.0.texels);
            let slot = best.map_or(slots.len(), |(slot, _)| slot);
            if slot == slots.len() {
                slots.push((Chunk { texels, precision }, Vec::new()));
            }
            slots[slot].1.push(lives[at]);
            expected[at] = slot;
        }
        let expected_slots: Vec<Chunk> = slots.into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(share_slots(&buffers, &lives), (expected, expected_slots));

        let alive = |step: usize| {
            let living = buffers.iter().zip(&lives).filter(|(_, life)| (life.first..=life.last).contains(&step));
            living.map(|(buffer, _)| buffer.bytes()).sum::<u64>()
        };
        let steps = steps as usize;
        assert_eq!(most_alive(&buffers, &lives, steps), (0..steps).map(alive).max().unwrap());
        assert_eq!(most_alive(&[], &[], 0), 0);
    }

    /// A large batch cuts a layer into many passes. Looking at all pairs of buffers would take hours.
    #[test]
    fn many_buffers_are_placed_without_looking_at_their_pairs() {
        let steps = 1_000_000;
        let (buffers, lives) = lives(1_000_000, steps, 3);
        let begun = web_time::Instant::now();
        let (slot_of, slots) = share_slots(&buffers, &lives);
        assert!(slots.len() < 200 && slot_of.len() == buffers.len(), "{} slots", slots.len());
        assert!(most_alive(&buffers, &lives, steps as usize) > 0);
        assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_storage_of_weights_has_one_precision_and_keeps_within_the_limit() {
        let (full, half) = (Precision::Float32, Precision::Float16);
        let sizes = [(3, half), (2, full), (4, half), (9, full), (1, half), (1, full)];
        let (places, chunks) = place_weights(sizes.into_iter(), StorageLimits { float32: 6, float16: 6 });
        let chunks: Vec<_> = chunks.iter().map(|chunk| (chunk.texels, chunk.precision)).collect();
        // A weight that is over the limit by itself is refused before anything is allocated.
        assert_eq!(chunks, [(3, half), (2, full), (5, half), (9, full), (1, full)]);
        let places: Vec<_> = places.iter().map(|place| (place.chunk, place.first, place.texels)).collect();
        assert_eq!(places, [(0, 0, 3), (1, 0, 2), (2, 0, 4), (3, 0, 9), (2, 4, 1), (4, 0, 1)]);
    }
}
