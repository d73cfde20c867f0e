//! Heun's second-order step: Karras et al. (2022), algorithm 1, without its added noise.

use super::super::samplers::{Calls, Moved, Place, Solving, combine};
use crate::{Result, tensor::Tensor};

pub(super) struct Walking;

impl Solving for Walking {
    /// x' = x + (sigma' - sigma)(eps + eps'') / 2 with eps'' from where Euler's step leads; at sigma' = 0 no
    /// network can be asked, and Euler's step stands.
    fn step(&mut self, place: Place, x: Tensor, calls: &mut Calls) -> Result<Moved> {
        let step = place.step();
        let here = calls.estimate(&x, step.from)?;
        let length = step.to.sigma - step.from.sigma;
        let mut ahead = combine(&[(1.0, &x), (length, &here.eps)]);
        if step.to.sigma > 0.0 {
            let there = calls.estimate(&ahead, step.to)?;
            ahead = combine(&[(1.0, &x), (length / 2.0, &here.eps), (length / 2.0, &there.eps)]);
        }
        Ok(Moved { eps: here.answer, x0: here.x0, x: ahead })
    }
}
