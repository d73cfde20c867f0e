//! The plan run on the host by the CPU twins: slow, but the same data and the same arithmetic as on the device.

use super::WeightAccess;
use super::lower::{BufferId, Operand};
use super::plan::Plan;
use super::weights::{packed, round_to_float16};
use crate::error::Result;
use crate::tensor::{Precision, TEXEL, Tensor, pack_nchw, unpack_nchw};

/// Runs a plan by the twins; slots begin filled with `fill`. Inputs and outputs are NCHW, by name.
///
/// # Errors
/// Those of `fetch`.
pub fn run(plan: &Plan, fetch: &WeightAccess, inputs: &[(&str, &Tensor)], fill: f32) -> Result<Vec<Tensor>> {
    let mut slots: Vec<Vec<f32>> = plan.slots.iter().map(|slot| vec![fill; slot.texels * TEXEL]).collect();
    for port in &plan.inputs {
        if let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == port.name) {
            let values = pack_nchw(&tensor.data, port.shape);
            slots[plan.slot_of[port.buffer.0]][..values.len()].copy_from_slice(&values);
        }
    }
    for step in &plan.steps {
        let slot = plan.slot_of[step.write.0];
        let length = plan.buffers[step.write.0].texels * TEXEL;
        let mut written = std::mem::take(&mut slots[slot]);
        // Weights are packed for the step that reads them: those of large networks do not fit in memory at once.
        let weight = |read: &Operand| match read {
            Operand::Weight(id) => plan.weights.get(id.0).map(|weight| (weight, plan.algorithms[id.0])),
            Operand::Buffer(..) => None,
        };
        let weights: Vec<Option<Vec<f32>>> = (step.reads.iter().map(weight))
            .map(|found| found.map(|(weight, by)| packed(weight, by, plan.precision, plan.family, fetch)).transpose())
            .collect::<Result<_>>()?;
        let reads: Vec<&[f32]> = step
            .reads
            .iter()
            .zip(&weights)
            .map(|(read, weight)| match (read, weight) {
                (Operand::Buffer(BufferId(id), first), _) => &slots[plan.slot_of[*id]][first * TEXEL..],
                (Operand::Weight(_), Some(weight)) => weight.as_slice(),
                (Operand::Weight(id), None) => plan.tables[id.0 - plan.weights.len()].as_slice(),
            })
            .collect();
        (step.dispatch.shader.kernel.twin)(
            &step.dispatch.params,
            &reads,
            &mut written[step.write_first * TEXEL..length],
        );
        if plan.buffers[step.write.0].precision == Precision::Float16 {
            round_to_float16(&mut written[..length]);
        }
        slots[slot] = written;
    }
    Ok(plan
        .outputs
        .iter()
        .map(|port| {
            let values = &slots[plan.slot_of[port.buffer.0]][..port.shape.texels() * TEXEL];
            let shape = port.shape;
            Tensor::new([shape.n, shape.c, shape.h, shape.w], unpack_nchw(values, shape))
        })
        .collect())
}
