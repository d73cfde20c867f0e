//! The memory of multistep solvers, and the order of their steps.

use std::collections::VecDeque;

use super::super::walk::Position;
use crate::tensor::Tensor;

/// Estimates and their sigmas, the newest first.
#[derive(Clone, Debug)]
pub struct History {
    entries: VecDeque<(f64, Tensor)>,
    most: usize,
}

impl History {
    /// Returns an empty memory for the `most` newest.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { entries: VecDeque::with_capacity(most + 1), most }
    }

    /// Adds the newest estimate.
    pub fn push(&mut self, sigma: f64, estimate: Tensor) {
        self.entries.push_front((sigma, estimate));
        self.entries.truncate(self.most);
    }

    /// Returns the number of the newest that lie at different levels, as interpolation through them requires.
    #[must_use]
    pub fn distinct(&self) -> usize {
        let falls = |at: &usize| *at == 0 || self.entries[at - 1].0 < self.entries[*at].0;
        (0..self.entries.len()).take_while(falls).count()
    }

    /// Returns the newest `count` sigmas.
    #[must_use]
    pub fn sigmas(&self, count: usize) -> Vec<f64> {
        self.entries.iter().take(count).map(|(sigma, _)| *sigma).collect()
    }

    /// Returns the newest `count` estimates.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<&Tensor> {
        self.entries.iter().take(count).map(|(_, estimate)| estimate).collect()
    }

    /// Returns each weight with its estimate: `weights[i]` belongs to the one that is i steps old.
    #[must_use]
    pub fn weighted(&self, weights: &[f64]) -> Vec<(f64, &Tensor)> {
        weights.iter().copied().zip(self.entries.iter().map(|(_, estimate)| estimate)).collect()
    }
}

/// Below this many steps, diffusers lowers the order of the last ones (`lower_order_final`).
const FEW_STEPS: usize = 15;

/// Returns the order that DPM-Solver and DEIS take a step with: at most `order`, at most one per remembered estimate,
/// and low at the end of few steps, where an estimate of the wrong order does most harm. The steps are those of the
/// whole schedule, wherever in it the walk begins.
#[must_use]
pub fn multistep_order(
    order: usize,
    remembered: usize,
    lower_at_end: bool,
    euler_at_end: bool,
    position: Position,
) -> usize {
    let is_short = lower_at_end && position.whole() < FEW_STEPS;
    let cap = match position.left() {
        1 if euler_at_end || is_short || position.step().to.sigma == 0.0 => 1,
        2 if is_short => 2,
        _ => order,
    };
    order.min(cap).min(remembered)
}
