//! A piece of work to measure: its form on a device, and the part that the host computes to check it.

use crate::error::Result;
use crate::gpu::{Call, Recording, Region, Storage};
use crate::graph::choose::distinct_layers;
use crate::graph::op::{Graph, WeightSource};
use crate::graph::run::split_grid;
use crate::graph::{CompileOptions, Compiler, Plan, Program, Target, host};
use crate::kernels::engine::call_words;
use crate::kernels::shader::MAX_OPERANDS;
use crate::kernels::{Dispatch, Engine, Family, Shader};
use crate::noise::Purpose;
use crate::tensor::{TEXEL, Tensor};

/// The number of floating-point operations that the host may spend on a check: about a second of a CPU twin.
pub const CHECK_FLOPS: u64 = 300_000_000;

/// The work of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Floating-point operations, compared with the arithmetic roof.
    Flops(u64),
    /// The least number of bytes to read and write, compared with the memory roof.
    Bytes(u64),
    /// Operations on integers, compared with no roof.
    IntegerOperations(u64),
    /// Neither: a latency.
    Nothing,
}

/// The expected values at some places of an output.
pub struct Expected {
    /// Indices into the output.
    pub places: Vec<usize>,
    /// The values of the CPU twin there.
    pub values: Vec<f32>,
    /// The name of this part of the output.
    pub part: String,
}

/// Work on a device.
pub trait Job {
    /// Runs the work `times` times, and waits.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    fn repeat(&self, times: usize) -> Result<()>;

    /// Reads the output of the last run.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    fn answer(&self) -> Result<Vec<f32>>;
}

/// Work on the host, before it has a device.
pub trait Problem {
    /// The work of a call.
    fn work(&self) -> Work;

    /// The distinct shaders of the work.
    fn shaders(&self, compiler: Compiler) -> Vec<Shader>;

    /// Prepares the work on a device.
    ///
    /// # Errors
    /// Those of the device: [`crate::Error::OverLimit`], [`crate::Error::OutOfMemory`], [`crate::Error::Device`].
    fn prepare<'e>(&self, compiler: Compiler<'e>) -> Result<Box<dyn Job + 'e>>;

    /// Computes a part of the output by the CPU twins, as large as [`CHECK_FLOPS`] allow.
    ///
    /// # Errors
    /// None for a correct problem.
    fn expected(&self, family: Family) -> Result<Expected>;
}

/// Selects `count` of `total` indices, evenly spread, the first and the last among them.
#[must_use]
pub fn spread(count: usize, total: usize) -> Vec<usize> {
    let count = count.clamp(1, total.max(1));
    (0..count).map(|at| if count == 1 { 0 } else { at * (total - 1) / (count - 1) }).collect()
}

/// Returns the number of items of `flops` each that the host may compute, at least one.
#[must_use]
pub fn affordable(flops: u64, total: usize) -> usize {
    ((CHECK_FLOPS / flops.max(1)) as usize).clamp(1, total.max(1))
}

/// Returns numbers that look like standard normals. A few different ones are repeated, since drawing millions takes a
/// while.
#[must_use]
pub fn numbers(seed: u64, len: usize) -> Vec<f32> {
    /// A prime, so that no two rows of a matrix are alike.
    const DIFFERENT: usize = 65_537;
    let pool = Purpose::Benchmarks.normals(seed, 0, 0, len.min(DIFFERENT));
    pool.iter().copied().cycle().take(len).collect()
}

/// A graph of one output without checkpoint weights, and a smaller one that computes a part of the same output.
pub struct GraphProblem {
    /// The graph of the work.
    pub graph: Graph,
    /// Its inputs, NCHW.
    pub inputs: Vec<(String, Tensor)>,
    /// The work of a call.
    pub work: Work,
    /// The part to check.
    pub part: GraphPart,
}

/// A graph whose output is a part of another's.
pub struct GraphPart {
    /// The graph of the part.
    pub graph: Graph,
    /// Its inputs, NCHW.
    pub inputs: Vec<(String, Tensor)>,
    /// The place of each of its output values in the output of the other graph.
    pub places: Vec<usize>,
    /// The name of the part.
    pub name: String,
}

fn by_name(inputs: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// All weights of these graphs are constants: there is no checkpoint.
fn no_checkpoint(key: &str, _: &[usize]) -> Result<Tensor> {
    Err(crate::Error::Device { what: format!("`{key}` has no checkpoint to come from"), hint: None })
}

impl Problem for GraphProblem {
    fn work(&self) -> Work {
        self.work
    }

    fn shaders(&self, compiler: Compiler) -> Vec<Shader> {
        plan_shaders(&alone(&self.graph, compiler).plan(&self.graph))
    }

    fn prepare<'e>(&self, compiler: Compiler<'e>) -> Result<Box<dyn Job + 'e>> {
        assert!(self.graph.weights.iter().all(|weight| matches!(weight.source, WeightSource::Constant(_))));
        let program = alone(&self.graph, compiler).program(&self.graph, &no_checkpoint)?;
        program.feed(&by_name(&self.inputs))?;
        Ok(Box::new(program))
    }

    fn expected(&self, family: Family) -> Result<Expected> {
        let GraphPart { graph, inputs, places, name } = &self.part;
        let plan = Plan::new(graph, &Target::without_device(family), &CompileOptions::exact().without_aliasing());
        let values = host::run(&plan, &no_checkpoint, &by_name(inputs), 0.0)?.remove(0).data;
        Ok(Expected { places: places.clone(), values, part: name.clone() })
    }
}

impl Job for Program<'_> {
    fn repeat(&self, times: usize) -> Result<()> {
        Program::repeat(self, times)
    }

    fn answer(&self) -> Result<Vec<f32>> {
        Ok(self.read()?.remove(0).data)
    }
}

/// Returns the compiler for a single layer, with the algorithm that the layer has in a network: the bound on
/// transformed weights is relative to the weights of a network, and there is no network here.
fn alone<'e>(graph: &Graph, compiler: Compiler<'e>) -> Compiler<'e> {
    let mut layers = distinct_layers(graph).into_keys();
    let options = match (layers.next(), layers.next()) {
        (Some(layer), None) => compiler.options.with_forced(compiler.options.algorithm(layer, &compiler.target())),
        _ => compiler.options,
    };
    Compiler::new(compiler.engine, options.without_aliasing())
}

/// Returns the distinct shaders of a plan.
#[must_use]
pub fn plan_shaders(plan: &Plan) -> Vec<Shader> {
    let mut shaders: Vec<Shader> = Vec::new();
    for step in &plan.steps {
        if !shaders.contains(&step.dispatch.shader) {
            shaders.push(step.dispatch.shader.clone());
        }
    }
    shaders
}

/// One dispatch on arrays of whole texels.
pub struct KernelProblem {
    /// The dispatch to run.
    pub dispatch: Dispatch,
    /// The arrays it reads. The number of an operand selects one of them.
    pub data: Vec<Vec<f32>>,
    /// The array of each operand that is read.
    pub reads: Vec<usize>,
    /// The number of texels it writes.
    pub texels: usize,
    /// The work of a call.
    pub work: Work,
    /// The part to check.
    pub part: KernelPart,
}

/// A dispatch that writes a part of the output of another.
pub struct KernelPart {
    /// The dispatch that the twin runs.
    pub dispatch: Dispatch,
    /// The array it reads in place of the first array of the whole, if that differs.
    pub first: Option<Vec<f32>>,
    /// The place of each of its values in the output of the other.
    pub places: Vec<usize>,
    /// The name of the part.
    pub name: String,
}

struct KernelJob<'e> {
    engine: &'e Engine,
    _operands: Vec<Storage>,
    result: Storage,
    texels: usize,
    recording: Recording,
}

impl Problem for KernelProblem {
    fn work(&self) -> Work {
        self.work
    }

    fn shaders(&self, _: Compiler) -> Vec<Shader> {
        vec![self.dispatch.shader.clone()]
    }

    fn prepare<'e>(&self, compiler: Compiler<'e>) -> Result<Box<dyn Job + 'e>> {
        let engine = compiler.engine;
        let gpu = &engine.gpu;
        let allocate = |texels: usize, name: &str| gpu.allocate(engine.storage_kind(), texels, name);
        let mut operands = Vec::with_capacity(self.data.len());
        for values in &self.data {
            let storage = allocate(values.len() / TEXEL, "operand")?;
            gpu.upload(&storage, 0, values)?;
            operands.push(storage);
        }
        let result = allocate(self.texels, "result")?;
        let pipelines = engine.pipelines(&[&self.dispatch.shader])?;
        let flops = if let Work::Flops(flops) = self.work { flops } else { 0 };
        let parts = split_grid(&self.dispatch, flops);
        let calls: Vec<_> = parts
            .iter()
            .map(|(origin, grid)| Call {
                pipeline: &pipelines[0],
                words: call_words([0; MAX_OPERANDS], *origin, &self.dispatch.params),
                operands: self.reads.iter().map(|read| &operands[*read]).chain([&result]).collect(),
                grid: *grid,
                flops: flops / parts.len() as u64,
                label: self.dispatch.shader.kernel.name,
            })
            .collect();
        let recording = gpu.record(&calls)?;
        Ok(Box::new(KernelJob { engine, _operands: operands, result, texels: self.texels, recording }))
    }

    fn expected(&self, _: Family) -> Result<Expected> {
        let KernelPart { dispatch, first, places, name } = &self.part;
        let array = |read: usize| first.as_ref().filter(|_| read == 0).unwrap_or(&self.data[read]).as_slice();
        let reads: Vec<&[f32]> = self.reads.iter().map(|read| array(*read)).collect();
        let mut values = vec![f32::NAN; places.len()];
        (dispatch.shader.kernel.twin)(&dispatch.params, &reads, &mut values);
        Ok(Expected { places: places.clone(), values, part: name.clone() })
    }
}

impl Job for KernelJob<'_> {
    fn repeat(&self, times: usize) -> Result<()> {
        self.engine.gpu.submit_repeated(&self.recording, times)?;
        self.engine.gpu.wait()
    }

    fn answer(&self) -> Result<Vec<f32>> {
        Ok(self.engine.gpu.download(&[Region { storage: &self.result, first: 0, texels: self.texels }])?.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_both_ends_and_nothing_twice() {
        assert_eq!(spread(3, 9), [0, 4, 8]);
        assert_eq!(spread(1, 9), [0]);
        assert_eq!(spread(9, 3), [0, 1, 2]);
        assert_eq!(spread(0, 1), [0]);
        assert_eq!(affordable(CHECK_FLOPS / 3, 100), 3);
        assert_eq!(affordable(CHECK_FLOPS * 2, 100), 1);
        assert_eq!(affordable(0, 7), 7);
    }
}
