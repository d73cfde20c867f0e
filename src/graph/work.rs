//! The work of each step of a plan: what it computes, in words, and the operations and bytes that this takes at least.

use std::collections::BTreeMap;

use super::lower::{Operand, Step};
use super::op::{Graph, Op, Value};
use super::plan::Plan;
use crate::kernels::Dispatch;
use crate::kernels::choice::Algorithm;

/// An operation of the fused graph, which several dispatches may compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The operation and its extents: `convolution 3x3, 64 -> 64 at 14x14, by Winograd 4x4`.
    pub text: String,
    /// Floating-point operations of its products by the definition, as [`Graph::flops`] counts them.
    pub flops: u64,
}

/// The work of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepWork {
    /// The operation, and the part of it that the step computes where it takes several kernels.
    pub operation: String,
    /// The share of the operation's floating-point operations that this step computes; 0 if it multiplies no matrices.
    pub flops: u64,
    /// The least bytes that the step reads and writes. Steps of one operation and kernel that read or write the same
    /// buffer or weight have equal shares of it.
    pub bytes: u64,
}

/// The operations of a fused graph, one for each node.
pub(super) fn operations(graph: &Graph, algorithms: &[Algorithm]) -> Vec<Operation> {
    let of = |at: usize| {
        let (op, at) = (&graph.nodes[at].op, graph.at(Value(at)));
        let by = match op {
            Op::Conv2d(conv) => algorithms[conv.weight.0],
            _ => Algorithm::Direct,
        };
        let by = if by == Algorithm::Direct { String::new() } else { format!(", by {by}") };
        let text = op.operator().extents(&at).unwrap_or_else(|| {
            let shape = at.shape;
            format!("{}, {} at {}x{}", in_words(op.name()), shape.c, shape.h, shape.w)
        });
        Operation { text: text + &by, flops: 2 * op.operator().multiply_adds(&at) as u64 }
    };
    (0..graph.nodes.len()).map(of).collect()
}

/// `group norm` from `GroupNorm`.
fn in_words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// The part of an operation that a dispatch computes: the extents of a matrix product, else the name of the kernel.
fn part(dispatch: &Dispatch) -> String {
    let [rows, k, columns, images, heads] =
        ["rows", "k", "columns", "images", "heads"].map(|name| dispatch.parameter(name));
    let name = dispatch.shader.kernel.name.split('.').next().unwrap_or_default();
    match (name, rows, k, columns) {
        ("matmul", Some(rows), Some(k), Some(columns)) => {
            let count = images.unwrap_or(1) * heads.unwrap_or(1);
            let product = format!("{rows} x {k} x {columns}");
            if count == 1 { format!("product {product}") } else { format!("{count} products {product}") }
        }
        _ => name.replace('_', " "),
    }
}

impl Plan {
    /// Returns the work of each step.
    #[must_use]
    pub fn work(&self) -> Vec<StepWork> {
        // Of each node: the operations of its steps, as the kernels count them, and the kernels.
        let mut counted = vec![0u64; self.operations.len()];
        let mut kernels: Vec<Option<&str>> = vec![None; self.operations.len()];
        let mut several = vec![false; self.operations.len()];
        let mut users = BTreeMap::new();
        for step in &self.steps {
            let (node, kernel) = (step.node.0, step.dispatch.shader.kernel.name);
            counted[node] += step.flops;
            several[node] |= *kernels[node].get_or_insert(kernel) != kernel;
            for place in places(step) {
                *users.entry((node, kernel, place)).or_insert(0u64) += 1;
            }
        }
        let mut begun = vec![0u64; self.operations.len()];
        let mut of = |step: &Step| {
            let (node, kernel) = (step.node.0, step.dispatch.shader.kernel.name);
            let Operation { text, flops } = &self.operations[node];
            // The difference of rounded sums, so that the shares add up.
            let until = |counted_until: u64| {
                let share = u128::from(*flops) * u128::from(counted_until) / u128::from(counted[node].max(1));
                share as u64
            };
            let before = until(begun[node]);
            begun[node] += step.flops;
            let bytes = places(step).into_iter().map(|place| self.bytes(place) / users[&(node, kernel, place)]);
            let part = part(&step.dispatch);
            let is_part = several[node] || kernel.starts_with("matmul") && !text.starts_with("product");
            StepWork {
                operation: if is_part { format!("{text}: {part}") } else { text.clone() },
                flops: until(begun[node]) - before,
                bytes: bytes.sum(),
            }
        };
        self.steps.iter().map(&mut of).collect()
    }

    fn bytes(&self, place: Place) -> u64 {
        match place {
            Place::Buffer(buffer) => {
                let buffer = &self.buffers[buffer];
                buffer.texels as u64 * buffer.precision.texel_bytes()
            }
            Place::Weight(weight) => {
                let place = &self.places[weight];
                place.texels as u64 * self.weight_chunks[place.chunk].precision.texel_bytes()
            }
        }
    }
}

/// Memory that a step reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Buffer(usize),
    Weight(usize),
}

/// The distinct places of a step. An operand that a kernel does not read is bound to one that it does.
fn places(step: &Step) -> Vec<Place> {
    let reads = step.reads.iter().map(|read| match read {
        Operand::Buffer(buffer, _) => Place::Buffer(buffer.0),
        Operand::Weight(weight) => Place::Weight(weight.0),
    });
    let mut places: Vec<Place> = reads.chain([Place::Buffer(step.write.0)]).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{CompileOptions, Target};
    use crate::kernels::Family;
    use crate::kernels::winograd::Tile;
    use crate::nets::blocks::Attention;
    use crate::nets::builder::{Builder, Window};
    use crate::tensor::Shape;

    /// A convolution with a choice of algorithms, one without, attention and a product.
    fn network() -> Graph {
        let mut b = Builder::new("test");
        let x = b.input("x", Shape::new(2, 14, 14, 30));
        let y = b.conv("in", x, 62, Window { side: 3, stride: 1, pad_before: 1, pad_after: 1 });
        let y = b.conv("down", y, 20, Window { side: 3, stride: 2, pad_before: 1, pad_after: 1 });
        let y = Attention { path: "attention", norm: None, head_dim: 10, rescale_output_factor: 1.0 }.build(&mut b, y);
        let y = b.conv("out", y, 7, Window { side: 1, stride: 1, pad_before: 0, pad_after: 0 });
        b.graph.outputs.push(("y".to_owned(), y));
        b.graph
    }

    #[test]
    fn the_operations_of_the_steps_are_those_of_the_graph() {
        let graph = network();
        for family in [Family::Lanes { width: 8 }, Family::Tile] {
            for algorithm in Algorithm::of_family(family) {
                let plan = Plan::new(&graph, &Target::without_device(family), &CompileOptions::forced(algorithm));
                let work = plan.work();
                assert_eq!(work.len(), plan.steps.len());
                assert_eq!(work.iter().map(|step| step.flops).sum::<u64>(), graph.flops(), "{family:?} {algorithm}");
                assert!(work.iter().all(|step| step.bytes > 0), "{work:?}");
            }
        }
    }

    #[test]
    fn a_step_says_what_it_computes() {
        let options = CompileOptions::forced(Algorithm::Winograd(Tile::Four));
        let work = |family| Plan::new(&network(), &Target::without_device(family), &options).work();
        let texts = |family| work(family).into_iter().map(|step| step.operation).collect::<Vec<_>>();
        let first = "convolution 3x3, 30 -> 62 at 14x14, by Winograd 4x4";
        let texts_of_lanes = texts(Family::Lanes { width: 8 });
        assert_eq!(texts_of_lanes[..2], [format!("{first}: winograd input"), format!("{first}: winograd products")]);
        assert_eq!(texts_of_lanes[2], "convolution 3x3, 62 -> 20 at 7x7, stride 2");
        assert_eq!(texts_of_lanes.last().unwrap(), "product 98 x 20 x 7");
        let attention = "attention, 2 heads of 10, 49 queries, 49 keys";
        let of_attention: Vec<_> = texts_of_lanes.iter().filter_map(|text| text.strip_prefix(attention)).collect();
        assert_eq!(of_attention, [": 4 products 49 x 12 x 49", ": softmax", ": 4 products 49 x 49 x 12"]);
        // Tiles of 4 x 4 outputs: 16 of each image, and 36 products of matrices, over channels padded to texels.
        assert_eq!(texts(Family::Tile)[1], format!("{first}: 36 products 32 x 32 x 62"));
    }

    #[test]
    fn the_bytes_of_a_step_are_its_operands_once() {
        let mut b = Builder::new("test");
        let x = b.input("x", Shape::new(2, 5, 3, 6));
        let y = b.upsample_nearest("up", x);
        b.graph.outputs.push(("y".to_owned(), y));
        let plan = Plan::new(&b.graph, &Target::without_device(Family::Tile), &CompileOptions::default());
        let (texels, times) = (2 * 5 * 3 * 2, 1 + 4);
        assert_eq!(plan.work()[0].bytes, (texels * times * 16) as u64);
        assert_eq!((plan.work()[0].flops, plan.work()[0].operation.as_str()), (0, "upsample nearest, 6 at 10x6"));
    }
}
