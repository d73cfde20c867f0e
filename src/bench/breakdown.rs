//! The kernels of a network's call: the time of each dispatch by the device's clock, and of all dispatches of a kind
//! together.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Work;
use super::report::{Rate, Roofs};
use super::statistics::Timing;
use crate::graph::Plan;
use crate::graph::work::StepWork;

/// The kernels of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// The dispatches by operation, extents and kernel, those with the largest share first.
    pub kinds: Vec<Part>,
    /// The steps of the plan in the order of the call.
    pub steps: Vec<Part>,
}

/// The parts of a breakdown that a table lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// [`Breakdown::kinds`].
    Kinds,
    /// [`Breakdown::steps`].
    Steps,
}

/// Dispatches of a call that compute the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The module of the network; empty for a kind, which may belong to several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub module: String,
    /// The operation, with its extents and the algorithm.
    pub operation: String,
    /// The variant of the kernel.
    pub kernel: String,
    /// The number of dispatches.
    pub dispatches: usize,
    /// The time of all of them in a call.
    pub timing: Timing,
    /// The ratio of their median to the sum of all medians.
    pub share: f64,
    /// The rate that follows from their time: operations of the definition, or the least bytes of a kernel that does
    /// not multiply matrices.
    pub rate: Option<Rate>,
}

/// A part before its time is summarised.
struct Sum {
    module: String,
    operation: String,
    kernel: String,
    dispatches: usize,
    flops: u64,
    bytes: u64,
    /// Seconds in each call.
    seconds: Vec<f64>,
}

impl Breakdown {
    /// Summarises the times of the steps of `plan` in several calls, at least one. A step has as many dispatches as
    /// `dispatches` says.
    #[must_use]
    pub fn new(plan: &Plan, dispatches: &[usize], calls: &[Vec<Duration>], roofs: &Roofs) -> Self {
        let steps = plan.steps.iter().zip(plan.work()).zip(dispatches).enumerate();
        let steps = steps.map(|(at, ((step, StepWork { operation, flops, bytes }), dispatches))| Sum {
            module: step.label.clone(),
            operation,
            kernel: step.dispatch.shader.to_string(),
            dispatches: *dispatches,
            flops,
            bytes,
            seconds: calls.iter().map(|times| times[at].as_secs_f64()).collect(),
        });
        let steps: Vec<Sum> = steps.collect();
        let mut kinds = parts(sums_of_kinds(&steps), roofs);
        kinds.sort_by(|a, b| b.share.total_cmp(&a.share));
        Self { kinds, steps: parts(steps, roofs) }
    }

    /// The parts by a grouping.
    #[must_use]
    pub fn parts(&self, grouping: Grouping) -> &[Part] {
        match grouping {
            Grouping::Kinds => &self.kinds,
            Grouping::Steps => &self.steps,
        }
    }
}

/// The sums over the steps of the same operation and kernel.
fn sums_of_kinds(steps: &[Sum]) -> Vec<Sum> {
    let mut kinds: Vec<Sum> = Vec::new();
    let mut places = HashMap::new();
    for step in steps {
        let place = *places.entry((&step.operation, &step.kernel)).or_insert(kinds.len());
        if place == kinds.len() {
            kinds.push(Sum {
                module: String::new(),
                operation: step.operation.clone(),
                kernel: step.kernel.clone(),
                dispatches: 0,
                flops: 0,
                bytes: 0,
                seconds: vec![0.0; step.seconds.len()],
            });
        }
        let kind = &mut kinds[place];
        kind.dispatches += step.dispatches;
        kind.flops += step.flops;
        kind.bytes += step.bytes;
        kind.seconds.iter_mut().zip(&step.seconds).for_each(|(sum, seconds)| *sum += seconds);
    }
    kinds
}

/// The sums with their rates and their shares of the sum of all.
fn parts(sums: Vec<Sum>, roofs: &Roofs) -> Vec<Part> {
    let of = |sum: Sum| {
        let work = if sum.flops > 0 { Work::Flops(sum.flops) } else { Work::Bytes(sum.bytes) };
        let timing = Timing::new(sum.seconds, 1);
        let rate = Rate::of(work, &timing, roofs);
        let Sum { module, operation, kernel, dispatches, .. } = sum;
        Part { module, operation, kernel, dispatches, timing, share: 0.0, rate }
    };
    let mut parts: Vec<Part> = sums.into_iter().map(of).collect();
    let all: f64 = parts.iter().map(|part| part.timing.median).sum();
    for part in &mut parts {
        part.share = part.timing.median / all.max(f64::MIN_POSITIVE);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{CompileOptions, Target};
    use crate::kernels::Family;
    use crate::nets::builder::{Builder, Window};
    use crate::tensor::Shape;

    #[test]
    fn kinds_are_the_sums_of_their_steps() {
        let mut b = Builder::new("test");
        let mut x = b.input("x", Shape::new(1, 6, 6, 8));
        for name in ["a", "b", "c"] {
            x = b.conv(name, x, 8, Window { side: 3, stride: 1, pad_before: 1, pad_after: 1 });
        }
        x = b.upsample_nearest("up", x);
        b.graph.outputs.push(("y".to_owned(), x));
        let plan = Plan::new(&b.graph, &Target::without_device(Family::Tile), &CompileOptions::exact());
        let milliseconds = |times: [u64; 4]| times.map(Duration::from_millis).to_vec();
        let calls = [[5, 1, 2, 3], [1, 1, 2, 4], [9, 9, 9, 2]].map(milliseconds);
        let roofs = Roofs { arithmetic: Some(1.0), memory: Some(0.001), ..Roofs::default() };
        let Breakdown { kinds, steps } = Breakdown::new(&plan, &[1, 2, 1, 1], &calls, &roofs);
        assert_eq!(steps.iter().map(|part| part.module.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "up"]);
        let [convolutions, up] = kinds.as_slice() else { panic!("{kinds:?}") };
        assert_eq!((convolutions.dispatches, convolutions.module.as_str()), (4, ""));
        // Sums of 8, 4 and 27 ms.
        assert!((convolutions.timing.median - 0.008).abs() < 1e-9, "{convolutions:?}");
        assert!((convolutions.share - 8.0 / 11.0).abs() < 1e-9);
        let rate = convolutions.rate.as_ref().unwrap();
        assert_eq!((rate.work, rate.unit.as_str()), (3 * 2 * 36 * 9 * 8 * 8, "GFLOP/s"));
        assert_eq!(up.operation, "upsample nearest, 8 at 12x12");
        let rate = up.rate.as_ref().unwrap();
        assert_eq!((rate.work, rate.unit.as_str()), ((36 + 144) * 8 * 4, "GB/s"));
        assert!((rate.of_roof.unwrap() - rate.value / 0.001).abs() < 1e-9);
    }
}
