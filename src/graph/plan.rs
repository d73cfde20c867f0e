//! The plan: dispatches on numbered slots. It is data: it knows no device, prints as text, and runs on a device
//! ([`super::run`]) or on the host by the CPU twins ([`super::host`]).

use std::collections::BTreeMap;

use super::choose::algorithms;
use super::fuse::fuse;
use super::lower::{Buffer, BufferId, Lowered, Operand, Step, lower};
use super::op::{Graph, Op, Weight, WeightForm, WeightId};
use super::weights::packed_texels;
use crate::kernels::Family;
use crate::kernels::choice::{Algorithm, Choices};
use crate::tensor::{Shape, TEXEL};

/// How buffers share memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aliasing {
    /// Buffers that never live at the same time may share a slot.
    #[default]
    ByLiveness,
    /// Every buffer has a slot of its own: for finding mistakes of the other.
    None,
}

/// A weight's place among the packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which storage.
    pub chunk: usize,
    /// Its first texel there.
    pub first: usize,
    /// How many.
    pub texels: usize,
}

/// A value that the caller feeds or reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub buffer: BufferId,
    /// Its shape.
    pub shape: Shape,
}

/// What to run, in which order, on which memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The kernels it was made for.
    pub family: Family,
    /// Every value and scratch array.
    pub buffers: Vec<Buffer>,
    /// The slot of each buffer.
    pub slot_of: Vec<usize>,
    /// Texels of each slot.
    pub slots: Vec<usize>,
    /// What the steps read besides buffers.
    pub weights: Vec<Weight>,
    /// The algorithm that each weight is packed for.
    pub algorithms: Vec<Algorithm>,
    /// The place of each weight, then of each table.
    pub places: Vec<Place>,
    /// Texels of each storage of weights.
    pub weight_chunks: Vec<usize>,
    /// Numbers that lowering made.
    pub tables: Vec<Vec<f32>>,
    /// The dispatches.
    pub steps: Vec<Step>,
    /// What is fed.
    pub inputs: Vec<Port>,
    /// What is read back.
    pub outputs: Vec<Port>,
    /// Texels alive at the worst moment: no plan of these steps can do with less.
    pub lower_bound_texels: usize,
}

impl Plan {
    /// Plans a graph: fuse, choose algorithms, lower, place. `max_texels` is the largest storage of the device.
    #[must_use]
    pub fn new(graph: &Graph, family: Family, choices: &Choices, aliasing: Aliasing, max_texels: usize) -> Self {
        let graph = fuse(graph);
        let algorithms = algorithms(&graph, choices, family);
        let Lowered { buffers, steps, tables } = lower(&graph, family, &algorithms);
        let outputs: Vec<Port> = graph
            .outputs
            .iter()
            .map(|(name, value)| Port { name: name.clone(), buffer: BufferId(value.0), shape: graph.shape(*value) })
            .collect();
        let lives = lifetimes(&graph, &buffers, &steps, &outputs);
        let (slot_of, slots) = match aliasing {
            Aliasing::ByLiveness => share_slots(&buffers, &lives),
            Aliasing::None => ((0..buffers.len()).collect(), buffers.iter().map(|buffer| buffer.texels).collect()),
        };
        let sizes = graph
            .weights
            .iter()
            .zip(&algorithms)
            .map(|(weight, algorithm)| packed_texels(weight.form, *algorithm, family));
        let (places, weight_chunks) = place_weights(sizes.chain(tables.iter().map(|t| t.len() / TEXEL)), max_texels);
        let lower_bound_texels = (0..steps.len())
            .map(|at| buffers.iter().zip(&lives).filter(|(_, life)| life.contains(at)).map(|(b, _)| b.texels).sum())
            .max()
            .unwrap_or(0);
        let inputs = graph
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(at, node)| match &node.op {
                Op::Input { name } => Some(Port { name: name.clone(), buffer: BufferId(at), shape: node.shape }),
                _ => None,
            })
            .collect();
        Self {
            family,
            buffers,
            slot_of,
            slots,
            weights: graph.weights,
            algorithms,
            places,
            weight_chunks,
            tables,
            steps,
            inputs,
            outputs,
            lower_bound_texels,
        }
    }

    /// Bytes of all slots together.
    #[must_use]
    pub fn arena_bytes(&self) -> u64 {
        bytes(self.slots.iter().sum())
    }

    /// Bytes alive at the worst moment.
    #[must_use]
    pub fn lower_bound_bytes(&self) -> u64 {
        bytes(self.lower_bound_texels)
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        bytes(self.weight_chunks.iter().sum())
    }

    /// Floating-point operations of one run, counting products only.
    #[must_use]
    pub fn flops(&self) -> u64 {
        self.steps.iter().map(|step| step.flops).sum()
    }

    /// How many kernels of more than one tap are computed by which algorithm.
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

fn bytes(texels: usize) -> u64 {
    (texels * TEXEL * size_of::<f32>()) as u64
}

/// Places weights one after the other; a new storage begins where the device's limit asks for it.
fn place_weights(sizes: impl Iterator<Item = usize>, max_texels: usize) -> (Vec<Place>, Vec<usize>) {
    let mut chunks = vec![0];
    let places = sizes
        .map(|texels| {
            let last = chunks.len() - 1;
            if chunks[last] + texels > max_texels && chunks[last] > 0 {
                chunks.push(0);
            }
            let chunk = chunks.len() - 1;
            let first = chunks[chunk];
            chunks[chunk] += texels;
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

impl Life {
    fn contains(self, step: usize) -> bool {
        (self.first..=self.last).contains(&step)
    }

    fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Inputs live from the start, outputs to the end, the others from the step that writes them to the last that reads them.
fn lifetimes(graph: &Graph, buffers: &[Buffer], steps: &[Step], outputs: &[Port]) -> Vec<Life> {
    let mut lives = vec![Life { first: usize::MAX, last: 0 }; buffers.len()];
    for (at, node) in graph.nodes.iter().enumerate() {
        if matches!(node.op, Op::Input { .. }) {
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

/// Gives each buffer a slot, largest buffers first, each in the smallest slot where it meets nobody.
fn share_slots(buffers: &[Buffer], lives: &[Life]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(buffers[at].texels), lives[at].first));
    let mut slot_of = vec![0; buffers.len()];
    let mut slots: Vec<(usize, Vec<Life>)> = Vec::new();
    for at in order {
        let free = |(_, tenants): &(usize, Vec<Life>)| !tenants.iter().any(|tenant| tenant.meets(lives[at]));
        let best = slots.iter().enumerate().filter(|(_, slot)| free(slot)).min_by_key(|(_, (texels, _))| *texels);
        let slot = best.map_or(slots.len(), |(slot, _)| slot);
        if slot == slots.len() {
            slots.push((buffers[at].texels, Vec::new()));
        }
        slots[slot].1.push(lives[at]);
        slot_of[at] = slot;
    }
    (slot_of, slots.into_iter().map(|(texels, _)| texels).collect())
}

impl std::fmt::Display for Plan {
    /// One line a step: where it writes, what it runs, what it reads.
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
            self.lower_bound_bytes(),
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
