//! The plan run on a device: memory allocated, weights uploaded and commands recorded once, then called any number of
//! times.

use std::ops::Range;
use std::time::Duration;

use super::WeightAccess;
use super::lower::Operand;
use super::op::{Graph, Op};
use super::options::CompileOptions;
use super::plan::Plan;
use super::weights::packed;
use crate::error::{Error, Result};
use crate::gpu::{Call, Readback, Recording, Region, Storage, replayed};
use crate::kernels::engine::call_words;
use crate::kernels::shader::MAX_OPERANDS;
use crate::kernels::{Dispatch, Engine};
use crate::tensor::{Precision, TEXEL, Tensor, pack_nchw, unpack_nchw};

/// A graph ready to be called.
pub struct Program<'e> {
    engine: &'e Engine,
    /// The plan that it runs.
    pub plan: Plan,
    slots: Vec<Storage>,
    _weights: Vec<Storage>,
    recording: Recording,
    /// The outputs, in their order.
    readback: Readback,
    /// The recorded calls of each step of the plan.
    call_ranges: Vec<Range<usize>>,
}

/// The time of one step of a plan.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// The module it belongs to.
    pub label: String,
    /// The shader.
    pub shader: String,
    /// By the wall clock, submission included.
    pub time: Duration,
    /// Floating-point operations counted for it.
    pub flops: u64,
}

impl<'e> Program<'e> {
    /// Makes a plan ready: pipelines, memory, weights, commands.
    ///
    /// # Errors
    /// Those of `fetch` for a weight; [`Error::OverLimit`], [`Error::OutOfMemory`] or [`Error::Device`] of the device.
    pub fn new(engine: &'e Engine, plan: Plan, fetch: &WeightAccess) -> Result<Self> {
        check_limits(engine, &plan)?;
        let shaders: Vec<_> = plan.steps.iter().map(|step| &step.dispatch.shader).collect();
        let pipelines = engine.pipelines(&shaders)?;
        let slots = allocate_slots(engine, &plan)?;
        let weights = upload_weights(engine, &plan, fetch)?;
        let mut calls = Vec::with_capacity(plan.steps.len());
        let mut call_ranges = Vec::with_capacity(plan.steps.len());
        for (step, pipeline) in plan.steps.iter().zip(&pipelines) {
            let mut bases = [0; MAX_OPERANDS];
            let mut operands = Vec::with_capacity(step.reads.len() + 1);
            for (base, read) in bases.iter_mut().zip(&step.reads) {
                let (storage, first) = match read {
                    Operand::Buffer(buffer, first) => (&slots[plan.slot_of[buffer.0]], *first),
                    Operand::Weight(id) => (&weights[plan.places[id.0].chunk], plan.places[id.0].first),
                };
                *base = first as u32;
                operands.push(storage);
            }
            bases[step.reads.len()] = step.write_first as u32;
            operands.push(&slots[plan.slot_of[step.write.0]]);
            let parts = split_grid(&step.dispatch, step.flops);
            call_ranges.push(calls.len()..calls.len() + parts.len());
            calls.extend(parts.iter().map(|(origin, grid)| Call {
                pipeline,
                words: call_words(bases, *origin, &step.dispatch.params),
                operands: operands.clone(),
                grid: *grid,
                flops: step.flops / parts.len() as u64,
                label: &step.label,
            }));
        }
        let recording = engine.gpu.record(&calls)?;
        let outputs = plan.outputs.iter().map(|port| {
            let storage = &slots[plan.slot_of[port.buffer.0]];
            Region { storage, first: 0, texels: port.shape.texels() }
        });
        let readback = engine.gpu.readback(&outputs.collect::<Vec<_>>())?;
        Ok(Self { engine, plan, slots, _weights: weights, recording, readback, call_ranges })
    }

    /// Runs the graph on NCHW inputs, given by name. Returns its outputs in their order, NCHW.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    ///
    /// # Panics
    /// When an input is missing or has another number of values: a bug of the caller, who builds the inputs.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        if let Some(values) = replayed() {
            return Ok(self.outputs(&values));
        }
        self.feed(inputs)?;
        Ok(self.outputs(&self.engine.gpu.submit_and_fetch(&self.recording, &self.readback)?))
    }

    /// As [`Program::run`], on texels as they lie on the device: NHWC, channels padded with zeros to whole texels.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    ///
    /// # Panics
    /// As [`Program::run`].
    pub fn run_texels(&self, inputs: &[(&str, &[f32])]) -> Result<Vec<Vec<f32>>> {
        for port in &self.plan.inputs {
            let found = inputs.iter().find(|(name, _)| *name == port.name);
            let (_, texels) = found.unwrap_or_else(|| panic!("input `{}` is not fed", port.name));
            assert_eq!(texels.len(), port.shape.texels() * TEXEL, "input `{}`", port.name);
            self.engine.gpu.upload(&self.slots[self.plan.slot_of[port.buffer.0]], 0, texels)?;
        }
        self.engine.gpu.submit_and_fetch(&self.recording, &self.readback)
    }

    /// Reads back the outputs of the last run in their order, NCHW.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn read(&self) -> Result<Vec<Tensor>> {
        Ok(self.outputs(&self.engine.gpu.fetch(&self.readback)?))
    }

    /// The outputs from their texels.
    fn outputs(&self, values: &[Vec<f32>]) -> Vec<Tensor> {
        let ports = self.plan.outputs.iter().zip(values);
        ports
            .map(|(port, values)| {
                let shape = port.shape;
                Tensor::new([shape.n, shape.c, shape.h, shape.w], unpack_nchw(values, shape))
            })
            .collect()
    }

    /// Runs the graph `times` times on the current values of its inputs, and waits: for measurement, where feeding
    /// and reading back do not count. Only a plan without [`super::Aliasing::ByLiveness`] keeps its inputs from one
    /// time to the next.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn repeat(&self, times: usize) -> Result<()> {
        self.engine.gpu.submit_repeated(&self.recording, times)?;
        self.engine.gpu.wait()
    }

    /// Runs once on the current values of the inputs and returns the time of each dispatch by the device's clock;
    /// `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn dispatch_times(&self) -> Result<Option<Vec<Duration>>> {
        self.engine.gpu.dispatch_times(&self.recording)
    }

    /// As [`Program::dispatch_times`], with the dispatches of each step of the plan together.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub fn step_times(&self) -> Result<Option<Vec<Duration>>> {
        let Some(times) = self.dispatch_times()? else { return Ok(None) };
        Ok(Some(self.call_ranges.iter().map(|range| times[range.clone()].iter().sum()).collect()))
    }

    /// The dispatches of each step of the plan.
    #[must_use]
    pub fn step_dispatches(&self) -> Vec<usize> {
        self.call_ranges.iter().map(ExactSizeIterator::len).collect()
    }

    /// Dispatches of a run; a long step takes several.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.recording.dispatches()
    }

    /// Uploads NCHW inputs, given by name.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    ///
    /// # Panics
    /// As [`Program::run`].
    pub fn feed(&self, inputs: &[(&str, &Tensor)]) -> Result<()> {
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

    /// Fills every slot with `value`: a run must give the same result.
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
        let named = self.plan.steps.iter().zip(&self.call_ranges).map(|(step, range)| StepTime {
            label: step.label.clone(),
            shader: step.dispatch.shader.to_string(),
            time: times[range.clone()].iter().sum(),
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
            self.engine.gpu.submit_range(&self.recording, self.call_ranges[at].clone())?;
            // A buffer that several steps write is complete after the last of them.
            if self.plan.steps[at + 1..].iter().any(|later| later.write == step.write) {
                continue;
            }
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

/// Floating-point operations of one dispatch: a fifth of a second on a device that does a tenth of a teraflop per
/// second. Windows resets a device after two seconds.
const DISPATCH_FLOPS: u64 = 20_000_000_000;
/// Workgroups of one dispatch along one dimension: the number that every device allows. A convolution of an image of
/// 1024 x 1024 has more.
const DISPATCH_WORKGROUPS: u32 = 65_535;

/// The parts (first workgroup, workgroups) of a dispatch's grid, cut along its longest dimension where its `flops` or
/// its workgroups are too many for one dispatch.
pub(crate) fn split_grid(dispatch: &Dispatch, flops: u64) -> Vec<([u32; 3], [u32; 3])> {
    let grid = dispatch.grid;
    let axis = (0..3).max_by_key(|axis| grid[*axis]).unwrap_or(0);
    let by_flops = flops.div_ceil(DISPATCH_FLOPS).clamp(1, u64::from(grid[axis].max(1))) as u32;
    let wanted = by_flops.max(grid[axis].div_ceil(DISPATCH_WORKGROUPS));
    if wanted == 1 || !dispatch.shader.kernel.splits() {
        return vec![([0; 3], grid)];
    }
    let share = grid[axis] / wanted;
    (0..grid[axis])
        .step_by(share as usize)
        .map(|first| {
            let (mut origin, mut part) = ([0; 3], grid);
            origin[axis] = first;
            part[axis] = share.min(grid[axis] - first);
            (origin, part)
        })
        .collect()
}

/// Refuses a plan with a value that no storage of the device can hold, before anything is allocated.
///
/// # Errors
/// [`Error::OverLimit`] naming it.
pub fn check_values(engine: &Engine, plan: &Plan) -> Result<()> {
    let mut buffers = plan.buffers.iter();
    buffers.try_for_each(|buffer| check_texels(engine, buffer.texels, buffer.precision, &buffer.label))
}

/// As [`check_values`], without a plan: refuses a graph with an input or the result of a convolution, which every plan
/// keeps, that no storage of the device can hold.
///
/// # Errors
/// [`Error::OverLimit`] naming it.
pub fn check_graph(engine: &Engine, graph: &Graph, options: &CompileOptions) -> Result<()> {
    graph.nodes.iter().try_for_each(|node| {
        let check = |precision| check_texels(engine, node.shape.texels(), precision, &node.label);
        if matches!(node.op, Op::Input(_)) {
            return check(Precision::Float32);
        }
        // A result may be halved or not, and is refused if it fits in neither form.
        let is_kept = matches!(node.op, Op::Conv2d(_));
        if is_kept && check(options.maps).is_err() { check(Precision::Float32) } else { Ok(()) }
    })
}

/// As [`check_values`], and the chunks that the weights are cut into for this device.
fn check_limits(engine: &Engine, plan: &Plan) -> Result<()> {
    check_values(engine, plan)?;
    let mut chunks = plan.weight_chunks.iter();
    chunks.try_for_each(|chunk| check_texels(engine, chunk.texels, chunk.precision, "weights"))
}

fn check_texels(engine: &Engine, texels: usize, precision: Precision, label: &str) -> Result<()> {
    let (limit, limit_name) = engine.gpu.max_texels(engine.family.storage_kind(precision));
    if texels <= limit {
        return Ok(());
    }
    Err(Error::OverLimit {
        tensor: label.to_owned(),
        bytes: texels as u64 * precision.texel_bytes(),
        limit_name,
        limit: limit as u64 * precision.texel_bytes(),
        hint: "lower `batch` or the image size, or choose another `adapter`".into(),
    })
}

fn allocate_slots(engine: &Engine, plan: &Plan) -> Result<Vec<Storage>> {
    plan.slots
        .iter()
        .enumerate()
        .map(|(at_slot, slot)| {
            // The largest tenant names the slot.
            let tenants = plan.buffers.iter().zip(&plan.slot_of).filter(|(_, at)| **at == at_slot);
            let label = tenants.max_by_key(|(buffer, _)| buffer.texels).map_or("", |(buffer, _)| buffer.label.as_str());
            engine.gpu.allocate(engine.family.storage_kind(slot.precision), slot.texels, label)
        })
        .collect()
}

fn upload_weights(engine: &Engine, plan: &Plan, fetch: &WeightAccess) -> Result<Vec<Storage>> {
    let storages = plan
        .weight_chunks
        .iter()
        .map(|chunk| engine.gpu.allocate(engine.family.storage_kind(chunk.precision), chunk.texels, "weights"))
        .collect::<Result<Vec<_>>>()?;
    for ((weight, algorithm), place) in plan.weights.iter().zip(&plan.algorithms).zip(&plan.places) {
        let values = packed(weight, *algorithm, plan.precision, plan.family, fetch)?;
        engine.gpu.upload(&storages[place.chunk], place.first, &values)?;
    }
    for (table, place) in plan.tables.iter().zip(&plan.places[plan.weights.len()..]) {
        engine.gpu.upload(&storages[place.chunk], place.first, table)?;
    }
    Ok(storages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Family;
    use crate::kernels::matmul::MatMul;

    #[test]
    fn a_long_step_is_cut_into_parts_that_cover_its_grid() {
        let product = MatMul::plain(3, 4096, 4096, 4096);
        for family in [Family::Tile, Family::Lanes { width: 8 }] {
            let dispatch = product.dispatch(family);
            let grid = dispatch.grid;
            let parts = split_grid(&dispatch, product.flops());
            assert!(parts.len() as u64 >= product.flops().div_ceil(DISPATCH_FLOPS));
            let axis = (0..3).max_by_key(|axis| grid[*axis]).unwrap();
            let mut next = 0;
            for (origin, part) in parts {
                assert_eq!(origin[axis], next);
                next += part[axis];
            }
            assert_eq!(next, grid[axis]);
            assert_eq!(split_grid(&dispatch, 1), [([0; 3], grid)]);
        }
    }

    #[test]
    fn no_part_has_more_workgroups_than_every_device_allows() {
        let product = MatMul::plain(1, 4, 4, 4);
        for workgroups in [65_535, 65_536, 65_537, 200_000] {
            let mut dispatch = product.dispatch(Family::Lanes { width: 8 });
            dispatch.grid = [workgroups, 2, 1];
            let parts = split_grid(&dispatch, 1);
            assert_eq!(parts.iter().map(|(_, part)| part[0]).sum::<u32>(), workgroups);
            assert!(parts.iter().all(|(_, part)| part[0] <= DISPATCH_WORKGROUPS && part[1] == 2), "{parts:?}");
            assert_eq!(parts.len() == 1, workgroups == 65_535);
        }
    }
}
