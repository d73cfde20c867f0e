//! Cases of normalisation, attention and copies.

use super::problem::{Expected, GraphPart, GraphProblem, Job, KernelPart, KernelProblem, Problem, Work};
use super::problem::{affordable, numbers, spread};
use super::sizes::{AttentionSize, MapSize};
use crate::error::Result;
use crate::gpu::{Region, Storage};
use crate::graph::Compiler;
use crate::graph::op::{Activation, Attention, Graph, GroupNorm, Input, Weight, WeightForm, WeightSource};
use crate::kernels::probes::Copy;
use crate::kernels::{Engine, Family, Shader};
use crate::tensor::{Shape, TEXEL, Tensor};

/// The seed of the data.
const DATA: u64 = 3;
/// The number of groups of a normalisation. It is smaller if these do not divide the channels.
const GROUPS: usize = 32;
/// The approximate number of operations that the twin of a normalisation spends per value.
const NORM_FLOPS: u64 = 20;

/// `GroupNorm` and `SiLU`. The work is the unavoidable traffic: the map read once and written once.
pub fn norm(size: MapSize) -> GraphProblem {
    let MapSize { images, channels, height, width } = size;
    let stride = channels * height * width;
    let x = Tensor::new([images, channels, height, width], numbers(DATA, images * stride));
    // Images are independent: a batch of some has the outputs of all.
    let picks = spread(affordable(NORM_FLOPS * stride as u64, images), images);
    let picked = picks.iter().flat_map(|image| x.item(*image).iter().copied()).collect();
    let part = GraphPart {
        graph: norm_graph(MapSize { images: picks.len(), ..size }),
        inputs: vec![("x".to_owned(), Tensor::new([picks.len(), channels, height, width], picked))],
        places: picks.iter().flat_map(|image| image * stride..(image + 1) * stride).collect(),
        name: format!("{} of {images} images", picks.len()),
    };
    let bytes = 2 * Shape::new(images, height, width, channels).bytes();
    GraphProblem { graph: norm_graph(size), inputs: vec![("x".to_owned(), x)], work: Work::Bytes(bytes), part }
}

fn norm_graph(size: MapSize) -> Graph {
    let MapSize { images, channels, height, width } = size;
    let shape = Shape::new(images, height, width, channels);
    let mut graph = Graph::default();
    let x = graph.push(Input { name: "x".into() }, shape, "x");
    let mut vector = |seed: u64| {
        let source = WeightSource::Constant(numbers(seed, channels));
        graph.weight(Weight { name: "weights".into(), source, form: WeightForm::Vector { len: channels, heads: None } })
    };
    let (weight, bias) = (vector(4), vector(5));
    let groups = (1..=GROUPS.min(channels)).rev().find(|groups| channels.is_multiple_of(*groups)).unwrap_or(1);
    let activation = Some(Activation::Silu);
    let norm = GroupNorm { x, weight, bias, groups, eps: 1e-5, modulation: None, activation };
    let y = graph.push(norm, shape, "y");
    graph.outputs.push(("y".into(), y));
    graph
}

/// Self-attention of one image: scores, softmax, values.
pub fn attention(size: AttentionSize) -> GraphProblem {
    let AttentionSize { tokens, channels, .. } = size;
    let qkv = Tensor::new([1, 3 * channels, 1, tokens], numbers(DATA, 3 * channels * tokens));
    let picks = spread(affordable(4 * (tokens * channels) as u64, tokens), tokens);
    let picked = (0..3 * channels).flat_map(|channel| picks.iter().map(move |token| channel * tokens + token));
    let queries = Tensor::new([1, 3 * channels, 1, picks.len()], picked.map(|at| qkv.data[at]).collect::<Vec<_>>());
    let inputs = vec![("keys".to_owned(), qkv)];
    let part = GraphPart {
        graph: attention_graph(size, Some(picks.len())),
        inputs: inputs.iter().cloned().chain([("queries".to_owned(), queries)]).collect(),
        places: (0..channels).flat_map(|channel| picks.iter().map(move |token| channel * tokens + token)).collect(),
        name: format!("{} of {tokens} queries", picks.len()),
    };
    let graph = attention_graph(size, None);
    GraphProblem { work: Work::Flops(graph.flops()), graph, inputs, part }
}

/// Attention whose queries, keys and values lie side by side, or with `queries` separate ones.
fn attention_graph(size: AttentionSize, queries: Option<usize>) -> Graph {
    let AttentionSize { tokens, channels, head_dim } = size;
    let mut graph = Graph::default();
    let mut input =
        |name: &str, rows| graph.push(Input { name: name.into() }, Shape::new(1, 1, rows, 3 * channels), name);
    let keys = input("keys", tokens);
    let q = queries.map_or(keys, |rows| input("queries", rows));
    let attention = Attention {
        q: (q, 0),
        k: (keys, channels),
        v: (keys, 2 * channels),
        heads: channels / head_dim,
        head_dim,
        scale: (head_dim as f32).sqrt().recip(),
        causal: false,
    };
    let y = graph.push(attention, Shape::new(1, 1, queries.unwrap_or(tokens), channels), "y");
    graph.outputs.push(("y".into(), y));
    graph
}

/// A copy by a kernel, `texels` read and as many written.
pub fn kernel_copy(texels: usize, family: Family) -> KernelProblem {
    let dispatch = Copy { texels }.dispatch(family);
    let part = KernelPart {
        dispatch: dispatch.clone(),
        first: None,
        places: (0..texels * TEXEL).collect(),
        name: "all texels".to_owned(),
    };
    let work = copied(texels);
    KernelProblem { dispatch, data: vec![numbers(DATA, texels * TEXEL)], reads: vec![0], texels, work, part }
}

/// A copy by the command encoder, without a kernel.
pub struct EncoderCopy {
    /// The number of texels read, and of texels written.
    pub texels: usize,
}

fn copied(texels: usize) -> Work {
    Work::Bytes(2 * (texels * TEXEL * size_of::<f32>()) as u64)
}

struct CopyJob<'e> {
    engine: &'e Engine,
    from: Storage,
    to: Storage,
    texels: usize,
}

impl Problem for EncoderCopy {
    fn work(&self) -> Work {
        copied(self.texels)
    }

    fn shaders(&self, _: Compiler) -> Vec<Shader> {
        Vec::new()
    }

    fn prepare<'e>(&self, compiler: Compiler<'e>) -> Result<Box<dyn Job + 'e>> {
        let engine = compiler.engine;
        let storage = |name: &str| engine.gpu.allocate(engine.storage_kind(), self.texels, name);
        let (from, to) = (storage("copied from")?, storage("copied to")?);
        engine.gpu.upload(&from, 0, &numbers(DATA, self.texels * TEXEL))?;
        // A storage holds whole rows of a texture, and all of it is copied.
        let texels = from.texels();
        Ok(Box::new(CopyJob { engine, from, to, texels }))
    }

    fn expected(&self, _: Family) -> Result<Expected> {
        let values = numbers(DATA, self.texels * TEXEL);
        Ok(Expected { places: (0..values.len()).collect(), values, part: "all texels".to_owned() })
    }
}

impl Job for CopyJob<'_> {
    fn repeat(&self, times: usize) -> Result<()> {
        self.engine.gpu.copy(&self.from, &self.to, times)?;
        self.engine.gpu.wait()
    }

    fn answer(&self) -> Result<Vec<f32>> {
        Ok(self.engine.gpu.download(&[Region { storage: &self.to, first: 0, texels: self.texels }])?.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{CompileOptions, Plan, Target, host};

    #[test]
    fn a_part_is_a_part_of_the_whole() {
        for family in [Family::Tile, Family::Lanes { width: 8 }] {
            let norms = ["3x64x4x4", "1x6x3x5"].map(|size| norm(size.parse().unwrap()));
            let attentions = ["9x8", "6x16x4"].map(|size| attention(size.parse().unwrap()));
            for problem in norms.into_iter().chain(attentions) {
                let plan = Plan::new(
                    &problem.graph,
                    &Target::without_device(family),
                    &CompileOptions::exact().without_aliasing(),
                );
                let inputs: Vec<_> = problem.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
                let fetch = |_: &str, _: &[usize]| unreachable!("all weights are constants");
                let whole = host::run(&plan, &fetch, &inputs, 0.0).unwrap().remove(0).data;
                let part = problem.expected(family).unwrap();
                assert_eq!(part.places.len(), part.values.len(), "{}", part.part);
                for (place, value) in part.places.iter().zip(&part.values) {
                    assert!((whole[*place] - value).abs() < 1e-6, "{}: {} is not {value}", part.part, whole[*place]);
                }
            }
        }
    }

    #[test]
    fn large_work_is_checked_in_part() {
        assert_eq!(norm("9x512x64x64".parse().unwrap()).part.name, "7 of 9 images");
        assert_eq!(attention("4096x256".parse().unwrap()).part.name, "71 of 4096 queries");
    }
}
