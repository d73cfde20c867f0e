//! The plan run on a device: memory allocated, weights uploaded and commands recorded once, then called again and again.

use std::time::Duration;

use super::WeightAccess;
use super::lower::Operand;
use super::op::Graph;
use super::plan::{Aliasing, Plan};
use super::weights::packed;
use crate::error::{Error, Result};
use crate::gpu::{Call, Recording, Region, Storage};
use crate::kernels::Engine;
use crate::kernels::engine::call_words;
use crate::kernels::shader::BASE_WORDS;
use crate::tensor::{TEXEL, Tensor, pack_nchw, unpack_nchw};

/// A graph ready to be called.
pub struct Program<'e> {
    engine: &'e Engine,
    /// What it runs.
    pub plan: Plan,
    slots: Vec<Storage>,
    _weights: Vec<Storage>,
    recording: Recording,
}

/// What one step of a plan took.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// The module it belongs to.
    pub label: String,
    /// What ran.
    pub shader: String,
    /// By the wall clock, submission included.
    pub time: Duration,
    /// Floating-point operations counted for it.
    pub flops: u64,
}

impl<'e> Program<'e> {
    /// Plans `graph` for the engine and makes it ready: pipelines, memory, weights, commands.
    ///
    /// # Errors
    /// Whatever `fetch` says of a weight; [`Error::OverLimit`], [`Error::OutOfMemory`] or [`Error::Device`] of the device.
    pub fn new(engine: &'e Engine, graph: &Graph, fetch: &WeightAccess, aliasing: Aliasing) -> Result<Self> {
        let (max_texels, _) = engine.gpu.max_texels(engine.storage_kind());
        let plan = Plan::new(graph, engine.family, aliasing, max_texels);
        let shaders: Vec<_> = plan.steps.iter().map(|step| &step.dispatch.shader).collect();
        let pipelines = engine.pipelines(&shaders)?;
        let slots = allocate_slots(engine, &plan)?;
        let weights = upload_weights(engine, &plan, graph, fetch)?;
        let calls: Vec<_> = plan
            .steps
            .iter()
            .zip(&pipelines)
            .map(|(step, pipeline)| {
                let mut bases = [0; BASE_WORDS];
                let mut operands = Vec::with_capacity(step.reads.len() + 1);
                for (base, read) in bases.iter_mut().zip(&step.reads) {
                    let (storage, first) = match read {
                        Operand::Buffer(buffer, first) => (&slots[plan.slot_of[buffer.0]], *first),
                        Operand::Weight(id) => (&weights[plan.weights[id.0].chunk], plan.weights[id.0].first),
                    };
                    *base = first as u32;
                    operands.push(storage);
                }
                operands.push(&slots[plan.slot_of[step.write.0]]);
                Call {
                    pipeline,
                    words: call_words(&bases, &step.dispatch.params),
                    operands,
                    grid: step.dispatch.grid,
                    flops: step.flops,
                    label: &step.label,
                }
            })
            .collect();
        let recording = engine.gpu.record(&calls)?;
        Ok(Self { engine, plan, slots, _weights: weights, recording })
    }

    /// Runs the graph on NCHW inputs, given by name; answers its outputs in their order, NCHW.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    ///
    /// # Panics
    /// When an input is missing or has another number of values: a bug of the caller, who builds the inputs.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        self.feed(inputs)?;
        self.engine.gpu.submit(&self.recording)?;
        let regions: Vec<_> = self
            .plan
            .outputs
            .iter()
            .map(|port| self.region(self.plan.slot_of[port.buffer.0], port.shape.texels()))
            .collect();
        let values = self.engine.gpu.download(&regions)?;
        Ok(self
            .plan
            .outputs
            .iter()
            .zip(values)
            .map(|(port, values)| {
                let shape = port.shape;
                Tensor::new([shape.n, shape.c, shape.h, shape.w], unpack_nchw(&values, shape))
            })
            .collect())
    }

    fn feed(&self, inputs: &[(&str, &Tensor)]) -> Result<()> {
        for port in &self.plan.inputs {
            let found = inputs.iter().find(|(name, _)| *name == port.name);
            let (_, tensor) = found.unwrap_or_else(|| panic!("input `{}` is not fed", port.name));
            let values = pack_nchw(&tensor.data, port.shape);
            self.engine.gpu.upload(&self.slots[self.plan.slot_of[port.buffer.0]], 0, &values)?;
        }
        Ok(())
    }

    fn region(&self, slot: usize, texels: usize) -> Region<'_> {
        Region { storage: &self.slots[slot], first: 0, texels }
    }

    /// Fills every slot with `value`: a run must not notice.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn fill_slots(&self, value: f32) -> Result<()> {
        self.slots.iter().try_for_each(|slot| self.engine.gpu.upload(slot, 0, &vec![value; slot.texels() * TEXEL]))
    }

    /// Runs once, one dispatch at a time, and measures each.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn profile(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<StepTime>> {
        self.feed(inputs)?;
        let times = self.engine.gpu.profile(&self.recording)?;
        let named = self.plan.steps.iter().zip(times).map(|(step, time)| StepTime {
            label: step.label.clone(),
            shader: step.dispatch.shader.to_string(),
            time,
            flops: step.flops,
        });
        Ok(named.collect())
    }

    /// Runs once and names the first step that writes NaN or infinity.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the step; [`Error::Device`] when the device fails.
    pub fn trace_nonfinite(&self, inputs: &[(&str, &Tensor)]) -> Result<()> {
        self.feed(inputs)?;
        for (at, step) in self.plan.steps.iter().enumerate() {
            self.engine.gpu.submit_range(&self.recording, at..at + 1)?;
            let texels = self.plan.buffers[step.write.0].texels;
            let written = self.engine.gpu.download(&[self.region(self.plan.slot_of[step.write.0], texels)])?;
            if written[0].iter().any(|value| !value.is_finite()) {
                let place = format!("`{}` (step {at}, {})", step.label, step.dispatch.shader);
                let hint =
                    "this is the first step that writes a non-finite value; look at its weights and inputs".into();
                return Err(Error::NonFinite { place, hint });
            }
        }
        Ok(())
    }
}

fn allocate_slots(engine: &Engine, plan: &Plan) -> Result<Vec<Storage>> {
    plan.slots
        .iter()
        .enumerate()
        .map(|(slot, texels)| {
            // The largest tenant names the slot.
            let tenants = plan.buffers.iter().zip(&plan.slot_of).filter(|(_, at)| **at == slot);
            let label = tenants.max_by_key(|(buffer, _)| buffer.texels).map_or("", |(buffer, _)| buffer.label.as_str());
            engine.gpu.allocate(engine.storage_kind(), *texels, label)
        })
        .collect()
}

fn upload_weights(engine: &Engine, plan: &Plan, graph: &Graph, fetch: &WeightAccess) -> Result<Vec<Storage>> {
    let storages = plan
        .weight_chunks
        .iter()
        .map(|texels| engine.gpu.allocate(engine.storage_kind(), *texels, "weights"))
        .collect::<Result<Vec<_>>>()?;
    for (weight, place) in graph.weights.iter().zip(&plan.weights) {
        engine.gpu.upload(&storages[place.chunk], place.first, &packed(weight, plan.family, fetch)?)?;
    }
    for (table, place) in plan.tables.iter().zip(&plan.weights[graph.weights.len()..]) {
        engine.gpu.upload(&storages[place.chunk], place.first, table)?;
    }
    Ok(storages)
}
