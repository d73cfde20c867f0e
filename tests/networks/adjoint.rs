//! Adjoints of networks: products of vectors and the transposed Jacobian, in float64 on the host and on the device,
//! against torch's autograd in float64 (`tests/golden/adjoint`, made by `tools/make_goldens.py`), and against the
//! tangents by inner products.

use std::path::{Path, PathBuf};

use crate::common::{distance, engines, numbers};
use crate::goldens::conditioned;
use crate::tangent::worst;
use downhill::checkpoint::{ModelFiles, Weights};
use downhill::denoise::diffusion::{NoiseTable, PredictionType};
use downhill::denoise::jacobian::{Jacobian, JacobianSettings, NetworkJacobian, Place};
use downhill::denoise::vjp::{NetworkVjp, VjpSettings};
use downhill::denoise::{Condition, Guidance, Level};
use downhill::formats::npy;
use downhill::graph::adjoint::{adjoint_name, adjoints};
use downhill::graph::fuse::fuse;
use downhill::graph::op::{
    Activate, Add, Affine, Attention, AveragePool, Combine, Concat, Conv2d, Epilogue, Fir, Gate, Graph, GroupNorm,
    HeadSide, Heads, Input, LayerNorm, Modulate, Op, Softmax, Unpatchify, UpsampleNearest, Value, Weight, WeightForm,
    WeightId, WeightSource,
};
use downhill::graph::tangent::{tangent_name, tangents};
use downhill::graph::{CompileOptions, Compiler, host, reference};
use downhill::kernels::Activation;
use downhill::nets::{CallSize, ClassLabels, Inputs, LabelInput, open};
use downhill::tensor::{Shape, Tensor};

/// max|a-b| / max|b| of float64 on the host: what is left are inputs and factors rounded to float32.
const HOST_TOLERANCE: f64 = 1e-6;
/// The same on the device.
const DEVICE_TOLERANCE: f64 = 1e-4;

fn golden(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(part)
}

/// A golden network with its inputs, a covector of its output and the product of that and the Jacobian.
struct Case {
    name: String,
    weights: Weights,
    graph: Graph,
    feeds: Vec<(String, Tensor)>,
    covector: Tensor,
    product: Vec<f64>,
}

impl Case {
    fn open(name: &str) -> Self {
        let folder = golden("adjoint").join(name);
        let covector = npy::read(folder.join("covector.npy")).unwrap();
        let product = npy::read_f64(folder.join("product.npy")).unwrap();
        let (part, of) = name.split_once('-').unwrap();
        let (weights, graph, feeds) = match part {
            "unet" | "dit" => plain(&golden(part).join(of)),
            _ => {
                let golden = conditioned::goldens().into_iter().find(|golden| golden.name == of).unwrap();
                let (component, net) = golden.open();
                let weights = component.weights;
                let fetch = |key: &str, shape: &[usize]| weights.fetch(key, shape);
                let feeds = net.feeds(&golden.inputs(), &fetch).unwrap();
                let graph = net.graph(golden.size(golden.x.shape[0])).unwrap();
                (weights, graph, feeds)
            }
        };
        Self { name: name.to_owned(), weights, graph, feeds, covector, product }
    }

    fn all() -> Vec<Self> {
        let mut names: Vec<_> = std::fs::read_dir(golden("adjoint"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert!(names.len() >= 30, "the goldens are missing");
        names.iter().map(|name| Self::open(name)).collect()
    }

    fn fetch(&self, key: &str, shape: &[usize]) -> downhill::Result<Tensor> {
        self.weights.fetch(key, shape)
    }

    /// All inputs, with the covector.
    fn inputs(&self) -> Vec<(String, Tensor)> {
        let name = adjoint_name(&self.graph.outputs[0].0);
        [self.feeds.as_slice(), &[(name, self.covector.clone())]].concat()
    }
}

/// A network without a context.
fn plain(folder: &Path) -> (Weights, Graph, Vec<(String, Tensor)>) {
    let model = ModelFiles::open(folder.to_str()).unwrap();
    let net = open(&model.config, &model.weights).unwrap();
    let (x, timesteps) = (npy::read(folder.join("x.npy")).unwrap(), npy::read_f64(folder.join("t.npy")).unwrap());
    let labels = folder.join("labels.npy");
    let labels = labels.exists().then(|| match net.labels() {
        LabelInput::Rows(_) => ClassLabels::Rows(npy::read(&labels).unwrap()),
        LabelInput::Numbers { .. } | LabelInput::None => ClassLabels::Numbers(npy::read_f64(&labels).unwrap()),
    });
    let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
    let feeds = net.feeds(&Inputs::new(&x, &timesteps).with_labels(labels.as_ref()), &fetch).unwrap();
    let graph = net.graph(CallSize::images(x.shape[0], (x.shape[2], x.shape[3]))).unwrap();
    (model.weights, graph, feeds)
}

fn by_name(inputs: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

#[test]
fn products_in_float64_are_those_of_autograd() {
    let mut errors = Vec::new();
    for case in Case::all() {
        // The rules hold for operators that have taken others in, too.
        let of_fused = adjoints(&fuse(&case.graph), "x").unwrap();
        let made = adjoints(&case.graph, "x").unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for (form, graph) in [("built", made.clone()), ("fused after", fuse(&made)), ("fused before", of_fused)] {
            let outputs = reference::evaluate(&graph, &case.inputs(), &|key, shape| case.fetch(key, shape)).unwrap();
            let [_, (name, product)] = &outputs[..] else { panic!("{} outputs", outputs.len()) };
            assert_eq!(*name, adjoint_name("x"));
            let error = worst(&product.to_nchw(), &case.product, case.covector.shape[0]);
            println!("{} {form}: {error:.1e}", case.name);
            if error.is_nan() || error > HOST_TOLERANCE {
                errors.push(format!("{} {form}: {error:e}", case.name));
            }
        }
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn products_on_the_device_are_those_of_autograd() {
    let mut errors = Vec::new();
    for case in Case::all() {
        let graph = adjoints(&case.graph, "x").unwrap();
        for engine in engines() {
            let fetch = |key: &str, shape: &[usize]| case.fetch(key, shape);
            let program = Compiler::from(engine).program(&graph, &fetch).unwrap();
            let outputs = program.run(&by_name(&case.inputs())).unwrap();
            let product: Vec<f64> = outputs[1].data.iter().copied().map(f64::from).collect();
            let error = worst(&product, &case.product, case.covector.shape[0]);
            println!("{} {:?}: {error:.1e}", case.name, engine.family);
            // Groups of nearly equal values: torch's own gradient in float32 is 1.6e-4 from that in float64.
            let is_ill = case.name == "conditioned-channels-without-head";
            let tolerance = if is_ill { 3e-4 } else { DEVICE_TOLERANCE };
            if error.is_nan() || error > tolerance {
                errors.push(format!("{} {:?}: {error:e}", case.name, engine.family));
            }
        }
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn adjoints_and_tangents_are_transposes_of_each_other() {
    for case in Case::all() {
        let fetch = |key: &str, shape: &[usize]| case.fetch(key, shape);
        let (_, x) = case.feeds.iter().find(|(name, _)| name == "x").unwrap();
        let along = Tensor::new(x.shape.clone(), numbers(31, x.data.len()));
        let feeds = [case.feeds.as_slice(), &[(tangent_name("x"), along.clone())]].concat();
        let made = tangents(&case.graph, "x", 1).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let moved = reference::evaluate(&made, &feeds, &fetch).unwrap().swap_remove(1).1.to_nchw();
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
        let (forward, reverse) = (dot(&moved, &case.covector.data), dot(&case.product, &along.data));
        let norm = |a: &[f32]| a.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>().sqrt();
        let scale = moved.iter().map(|a| a * a).sum::<f64>().sqrt() * norm(&case.covector.data);
        println!("{}: {forward:.6} and {reverse:.6}", case.name);
        assert!((forward - reverse).abs() < 1e-6 * scale, "{}: {forward} and {reverse}", case.name);
    }
}

#[test]
fn plans_of_adjoints_agree_bit_for_bit_however_they_are_run() {
    for name in ["unet-head-dim-remainder", "unet-skip-levels", "conditioned-layers-in-lists", "latent-odd-sizes"] {
        let case = Case::open(name);
        let fetch = |key: &str, shape: &[usize]| case.fetch(key, shape);
        let graph = adjoints(&case.graph, "x").unwrap();
        let all = case.inputs();
        let inputs = by_name(&all);
        for engine in engines() {
            let shared = Compiler::from(engine).program(&graph, &fetch).unwrap();
            let apart =
                Compiler::new(engine, CompileOptions::default().without_aliasing()).program(&graph, &fetch).unwrap();
            assert!(shared.plan.arena_bytes() < apart.plan.arena_bytes(), "sharing must save something");
            let first = shared.run(&inputs).unwrap();
            assert!(first.iter().all(Tensor::is_finite));
            assert_eq!(first, apart.run(&inputs).unwrap(), "{name}: slots are shared wrongly");
            for program in [&shared, &apart] {
                program.fill_slots(f32::NAN).unwrap();
                assert_eq!(first, program.run(&inputs).unwrap(), "{name}: something unwritten is read");
            }
            let twins = host::run(&shared.plan, &fetch, &inputs, 0.0).unwrap();
            assert_eq!(twins, host::run(&apart.plan, &fetch, &inputs, f32::NAN).unwrap(), "{name}");
            for (device, twin) in first.iter().zip(&twins) {
                let difference = distance(&device.data, &twin.data);
                assert!(difference < 5e-5, "{name}: device and twins are {difference:e} apart");
            }
        }
    }
}

#[test]
fn a_product_costs_less_than_three_calls() {
    let cases = Case::all();
    let model = ModelFiles::open(None).unwrap();
    let net = open(&model.config, &model.weights).unwrap();
    let embedded = net.graph(CallSize::images(1, (28, 28))).unwrap();
    let graphs = cases.iter().map(|case| (case.name.as_str(), &case.graph)).chain([("embedded", &embedded)]);
    for (name, graph) in graphs {
        let share = adjoints(graph, "x").unwrap().flops() as f64 / graph.flops() as f64;
        println!("{name}: {share:.2} calls");
        assert!(share < 3.0, "{name}: {share}");
    }
}

/// A graph of one input `x` with constant weights, for adjoints of single operators.
struct Small {
    graph: Graph,
    feeds: Vec<(String, Tensor)>,
}

impl Small {
    fn new() -> Self {
        Self { graph: Graph::default(), feeds: Vec::new() }
    }

    fn input(&mut self, name: &str, shape: Shape) -> Value {
        let seed = 11 + self.feeds.len() as u32;
        let numbers = numbers(seed, shape.rows() * shape.c);
        self.feeds.push((name.into(), Tensor::new([shape.n, shape.c, shape.h, shape.w], numbers)));
        self.graph.push(Input { name: name.into() }, shape, name)
    }

    fn constant(&mut self, form: WeightForm, seed: u32) -> WeightId {
        let source = WeightSource::Constant(numbers(seed, form.len()));
        self.graph.weight(Weight { name: "constant".into(), source, form })
    }

    fn vector(&mut self, len: usize, seed: u32) -> WeightId {
        self.constant(WeightForm::Vector { len, heads: None }, seed)
    }

    fn kernel(&mut self, out: usize, input: usize, (height, width): (usize, usize)) -> WeightId {
        self.constant(WeightForm::Kernel { out, input, height, width, heads: None }, 5)
    }

    fn push(&mut self, op: impl Into<Op>, shape: Shape) -> Value {
        self.graph.push(op, shape, "op")
    }

    /// Holds J' u of the last value against central differences of u' y along each coordinate of x, in float64 on the
    /// host, and then the device against the host.
    fn check(mut self, what: &str) {
        const STEP: f32 = 1.0 / 512.0;
        let y = Value(self.graph.nodes.len() - 1);
        self.graph.outputs.push(("y".into(), y));
        let fetch = |key: &str, _: &[usize]| panic!("`{key}` was asked for");
        let Shape { n, h, w, c } = self.graph.shape(y);
        let covector = Tensor::new([n, c, h, w], numbers(99, n * c * h * w));
        let of_x = self.feeds.iter().position(|(name, _)| name == "x").unwrap();
        let value = |at: usize, step: f32| {
            let mut feeds = self.feeds.clone();
            feeds[of_x].1.data[at] += step;
            let y = reference::evaluate(&self.graph, &feeds, &fetch).unwrap().remove(0).1.to_nchw();
            let moved = f64::from(feeds[of_x].1.data[at]);
            (y.iter().zip(&covector.data).map(|(y, u)| y * f64::from(*u)).sum::<f64>(), moved)
        };
        let expected: Vec<f64> = (0..self.feeds[of_x].1.data.len())
            .map(|at| {
                let ((above, to), (below, from)) = (value(at, STEP), value(at, -STEP));
                (above - below) / (to - from)
            })
            .collect();
        let made = adjoints(&self.graph, "x").unwrap_or_else(|error| panic!("{what}: {error}"));
        let all = [self.feeds.as_slice(), &[(adjoint_name("y"), covector.clone())]].concat();
        let exact = reference::evaluate(&made, &all, &fetch).unwrap().swap_remove(1).1.to_nchw();
        let error = worst(&exact, &expected, 1);
        assert!(error < 1e-4, "{what}: {error:e} from the differences");
        for engine in engines() {
            let found = Compiler::from(engine).program(&made, &fetch).unwrap().run(&by_name(&all)).unwrap();
            let found: Vec<f64> = found[1].data.iter().copied().map(f64::from).collect();
            let error = worst(&found, &exact, 1);
            assert!(error < 2e-5, "{what}: {error:e} on {:?}", engine.family);
        }
    }
}

#[test]
fn convolutions_of_every_stride_and_padding_have_adjoints() {
    for (kernel, stride, pad, (h, w), output) in [
        ((3, 3), 2, (1, 1), (6, 5), (3, 3)),
        ((3, 3), 2, (0, 0), (6, 6), (3, 3)),
        ((3, 3), 2, (0, 0), (7, 6), (3, 3)),
        ((3, 3), 1, (0, 0), (5, 4), (3, 2)),
        ((5, 5), 1, (2, 2), (5, 4), (5, 4)),
        ((2, 2), 2, (0, 0), (6, 4), (3, 2)),
        ((4, 3), 3, (1, 2), (9, 8), (3, 3)),
        ((1, 1), 2, (0, 0), (5, 5), (2, 2)),
        ((1, 1), 1, (0, 0), (3, 3), (3, 3)),
    ] {
        let mut small = Small::new();
        let x = small.input("x", Shape::new(2, h, w, 5));
        let weight = small.kernel(6, 5, kernel);
        let op = Conv2d { x, weight, stride, pad, epilogue: Epilogue::default() };
        small.push(op, Shape::new(2, output.0, output.1, 6));
        small.check(&format!("{kernel:?}, stride {stride}, padding {pad:?}, {h} x {w} to {output:?}"));
    }
}

#[test]
fn every_end_of_a_product_has_an_adjoint() {
    let shape = Shape::new(2, 3, 4, 6);
    for moves in ["map", "vector", "residual", "all"] {
        let mut small = Small::new();
        let x = small.input("x", shape);
        let other = small.input("other", shape);
        let vector = small.input("vector", Shape::vector(2, 6));
        let weight = small.kernel(6, 6, (3, 3));
        let bias = small.vector(6, 8);
        let mean = small.graph.push(
            downhill::graph::op::MixTokens { x, factors: vec![0.1; 12] },
            Shape::new(2, 1, 1, 6),
            "mean of x",
        );
        let of = |name: &str| moves == name || moves == "all";
        let epilogue = Epilogue {
            bias: Some(bias),
            per_image: Some((if of("vector") { mean } else { vector }, 0)),
            activation: Some(Activation::Silu),
            residual: Some(if of("residual") { x } else { other }),
            scale: 0.7,
        };
        let op = Conv2d { x: if of("map") { x } else { other }, weight, stride: 1, pad: (1, 1), epilogue };
        small.push(op, shape);
        small.check(moves);
    }
}

#[test]
fn changes_of_resolution_have_adjoints() {
    let shape = Shape::new(2, 5, 6, 3);
    for (h, w) in [(10, 12), (7, 9), (5, 6), (4, 3)] {
        let mut small = Small::new();
        let x = small.input("x", shape);
        small.push(UpsampleNearest { x }, Shape { h, w, ..shape });
        small.check(&format!("nearest neighbours to {h} x {w}"));
    }
    for shape in [shape, Shape::new(1, 4, 8, 5)] {
        let mut small = Small::new();
        let x = small.input("x", shape);
        small.push(AveragePool { x }, Shape { h: shape.h / 2, w: shape.w / 2, ..shape });
        small.check(&format!("means of {shape}"));
        for (doubles, pad) in [(true, 0), (false, 1), (false, 0)] {
            let mut small = Small::new();
            let x = small.input("x", shape);
            let op = Fir { x, doubles, pad };
            let output = op.output(shape);
            small.push(op, output);
            small.check(&format!("filter of {shape}, doubles {doubles}, padding {pad}"));
        }
    }
    let mut small = Small::new();
    let x = small.input("x", Shape::new(2, 2, 3, 20));
    small.push(Unpatchify { x, side: 2 }, Shape::new(2, 4, 6, 5));
    small.check("patches");
}

#[test]
fn joined_gated_and_modulated_maps_have_adjoints() {
    let shape = Shape::new(2, 2, 3, 5);
    let mut small = Small::new();
    let x = small.input("x", shape);
    let other = small.input("other", Shape { c: 4, ..shape });
    let active = small.push(Activate { x, activation: Activation::Mish }, shape);
    small.push(Concat { parts: vec![active, other, x] }, Shape { c: 14, ..shape });
    small.check("joined");

    let mut small = Small::new();
    let x = small.input("x", shape);
    let side = HeadSide::Out;
    let heads = Some(Heads { count: 2, dim: 6, side });
    let weight = small.constant(WeightForm::Kernel { out: 12, input: 5, height: 1, width: 1, heads }, 5);
    let both = small
        .push(Conv2d { x, weight, stride: 1, pad: (0, 0), epilogue: Epilogue::default() }, Shape { c: 16, ..shape });
    small.push(Gate { x: both, activation: Activation::Gelu }, Shape { c: 6, ..shape });
    small.check("gate");

    for (by_map, offset) in [(true, 1.0), (false, 1.0), (true, 0.0)] {
        let mut small = Small::new();
        let shape = Shape::new(2, 1, 6, 8);
        let x = small.input("x", shape);
        let vector = small.input("vector", Shape::vector(2, 16));
        let shift = if by_map { (x, 0) } else { (vector, 8) };
        small.push(Modulate { x, scale: (vector, 0), shift, offset }, shape);
        small.check(&format!("modulation, shift by a map {by_map}"));
    }
}

#[test]
fn sums_combinations_and_factors_have_adjoints() {
    let shape = Shape::new(2, 3, 2, 5);
    let mut small = Small::new();
    let x = small.input("x", shape);
    let other = small.input("other", shape);
    let coefficients = small.input("coefficients", Shape::vector(2, 3));
    let sum = small.push(Add { a: other, b: x, scale: 0.3 }, shape);
    small.push(Combine { coefficients, terms: vec![sum, other, x], clip: None, offset: 0.5 }, shape);
    small.check("combination");

    let mut small = Small::new();
    let x = small.input("x", Shape::vector(2, 5));
    let other = small.input("other", shape);
    small.push(Add { a: other, b: x, scale: 0.3 }, shape);
    small.check("a vector added to a map");

    for activation in [None, Some(Activation::Silu)] {
        let mut small = Small::new();
        let x = small.input("x", shape);
        let factors = small.input("factors", Shape::new(2, 1, 2, 5));
        small.push(Affine { x, factors, activation }, shape);
        small.check("factors");
    }
    let mut small = Small::new();
    let x = small.input("x", shape);
    small.push(Softmax { x }, shape);
    small.check("softmax");
}

#[test]
fn normalisations_have_adjoints() {
    let shape = Shape::new(2, 3, 4, 6);
    for (modulated, activation) in
        [(false, None), (true, None), (false, Some(Activation::Silu)), (true, Some(Activation::Mish))]
    {
        let mut small = Small::new();
        let x = small.input("x", shape);
        let vector = small.input("vector", Shape::vector(2, 12));
        let (weight, bias) = (small.vector(6, 7), small.vector(6, 8));
        let modulation = modulated.then_some((vector, 0));
        small.push(GroupNorm { x, weight, bias, groups: 3, eps: 1e-3, modulation, activation }, shape);
        small.check(&format!("groups, modulated {modulated}, {activation:?}"));
    }
    let mut small = Small::new();
    let x = small.input("x", shape);
    let (weight, bias) = (small.vector(6, 7), small.vector(6, 8));
    small.push(LayerNorm { x, weight, bias, eps: 1e-3 }, shape);
    small.check("layers");
}

#[test]
fn attention_has_an_adjoint_in_each_of_its_operands() {
    let (heads, head_dim) = (2, 3);
    for (which, causal) in [("q", false), ("kv", false), ("all apart", false), ("one map", false), ("one map", true)] {
        let mut small = Small::new();
        let (queries, keys) = (Shape::new(2, 1, 7, 8), Shape::new(2, 1, if which == "q" { 5 } else { 7 }, 8));
        let x = small.input("x", queries);
        let other = small.input("other", if which == "q" { keys } else { queries });
        let project = |small: &mut Small, x: Value, seed: u32, parts: usize| {
            let padding = Some(Heads { count: parts * heads, dim: head_dim, side: HeadSide::Out });
            let out = parts * heads * head_dim;
            let form = WeightForm::Kernel { out, input: 8, height: 1, width: 1, heads: padding };
            let weight = small.constant(form, seed);
            let shape = Shape { c: parts * 8, ..small.graph.shape(x) };
            small.push(Conv2d { x, weight, stride: 1, pad: (0, 0), epilogue: Epilogue::default() }, shape)
        };
        let (q, k, v) = match which {
            "q" => {
                let kv = project(&mut small, other, 3, 2);
                ((project(&mut small, x, 4, 1), 0), (kv, 0), (kv, 8))
            }
            "kv" => {
                let kv = project(&mut small, x, 3, 2);
                ((project(&mut small, other, 4, 1), 0), (kv, 0), (kv, 8))
            }
            "all apart" => {
                let [q, k, v] = [3, 4, 5].map(|seed| project(&mut small, x, seed, 1));
                ((q, 0), (k, 0), (v, 0))
            }
            _ => {
                let qkv = project(&mut small, x, 3, 3);
                ((qkv, 0), (qkv, 8), (qkv, 16))
            }
        };
        small.push(Attention { q, k, v, heads, head_dim, scale: 0.8, causal }, queries);
        small.check(&format!("{which}, causal {causal}"));
    }
}

#[test]
fn attention_of_many_tokens_is_pulled_back_a_part_of_the_queries_at_a_time() {
    let (tokens, heads, head_dim, images) = (700, 2, 4, 12);
    let graph = |images: usize| {
        let mut graph = Graph::default();
        let shape = Shape::new(images, 1, tokens, 3 * heads * head_dim);
        let x = graph.push(Input { name: "x".into() }, shape, "x");
        let [q, k, v] = [0, 1, 2].map(|part| (x, part * heads * head_dim));
        let y = Shape { c: heads * head_dim, ..shape };
        let y = graph.push(Attention { q, k, v, heads, head_dim, scale: 0.5, causal: false }, y, "y");
        graph.outputs.push(("y".into(), y));
        adjoints(&graph, "x").unwrap()
    };
    let x = Tensor::new([images, 24, 1, tokens], numbers(1, images * 24 * tokens));
    let covector = Tensor::new([images, 8, 1, tokens], numbers(2, images * 8 * tokens));
    let fetch = |key: &str, _: &[usize]| panic!("`{key}` was asked for");
    for engine in engines() {
        let run = |x: &Tensor, covector: &Tensor| {
            let program = Compiler::from(engine).program(&graph(x.shape[0]), &fetch).unwrap();
            let steps = program.plan.steps.iter().filter(|step| step.dispatch.shader.kernel.name == "softmax_tangent");
            let parts = steps.count();
            (program.run(&[("x", x), ("adjoint of y", covector)]).unwrap().remove(1), parts)
        };
        let (together, parts) = run(&x, &covector);
        assert!(parts > 1, "all scores at once");
        let (alone, parts) = run(&x.slice(3..4), &covector.slice(3..4));
        assert_eq!(parts, 1);
        // Sums over the queries are added part after part.
        let apart = distance(alone.item(0), together.item(3));
        assert!(alone.is_finite() && apart < 1e-5, "{apart:e} {:?}", engine.family);
    }
}

/// The embedded network, and its transposed Jacobian for `images` images per call.
fn embedded(engine: &'static downhill::kernels::Engine, images: usize, guidance: Guidance) -> NetworkVjp<'static> {
    let model = ModelFiles::open(None).unwrap();
    let net = open(&model.config, &model.weights).unwrap();
    let (table, prediction) = (NoiseTable::default(), PredictionType::Epsilon);
    let settings = VjpSettings { table, prediction, guidance, size: (28, 28), images };
    NetworkVjp::new(engine, net, model.weights, settings).unwrap()
}

#[test]
fn transposed_jacobians_of_a_denoiser_are_transposes_of_its_jacobian() {
    let count = 3;
    let levels: Vec<Level> = [0.05, 0.7, 6.0].map(Level::at_sigma).to_vec();
    let x: Vec<f32> = numbers(41, count * 784)
        .iter()
        .enumerate()
        .map(|(at, value)| value * (0.5 + 3.0 * levels[at / 784].sigma as f32))
        .collect();
    let x = Tensor::new([count, 1, 28, 28], x);
    let (left, right) = (numbers(42, count * 784), numbers(43, count * 784));
    let left = Tensor::new([count, 1, 28, 28], left);
    for engine in engines() {
        // A batch that is not full.
        let vjp = embedded(engine, 2, Guidance::default());
        let found = vjp.products(&x, &levels, &left).unwrap();
        let model = ModelFiles::open(None).unwrap();
        let net = open(&model.config, &model.weights).unwrap();
        let settings = JacobianSettings {
            table: NoiseTable::default(),
            prediction: PredictionType::Epsilon,
            condition: Condition::default(),
            size: (28, 28),
            block: 1,
        };
        let jacobian = NetworkJacobian::new(engine, net, model.weights, settings).unwrap();
        for (image, level) in levels.iter().enumerate() {
            let place = Place { x: x.slice(image..image + 1), level: *level };
            let along = Tensor::new([1, 784], right[image * 784..][..784].to_vec());
            let moved = jacobian.products(&place, &along).unwrap();
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let (forward, reverse) = (dot(&moved.data, left.item(image)), dot(found.item(image), &along.data));
            let scale = (dot(&moved.data, &moved.data) * dot(left.item(image), left.item(image))).sqrt();
            println!("{:?} at {level}: {forward:.6} and {reverse:.6}", engine.family);
            assert!((forward - reverse).abs() < 1e-4 * scale, "{level}: {forward} and {reverse}");
        }
        // An image has the same bits in any batch.
        let alone = embedded(engine, 1, Guidance::default());
        assert_eq!(alone.products(&x, &levels, &left).unwrap(), found, "{:?}", engine.family);
    }
}

#[test]
fn transposed_jacobians_that_do_not_exist_are_refused() {
    let vjp = embedded(&engines()[0], 1, Guidance::default());
    let x = Tensor::zeros([1, 1, 28, 28]);
    let refused = |levels: &[Level], vectors: &Tensor| vjp.products(&x, levels, vectors).unwrap_err().to_string();
    let level = [Level::at_sigma(1.0)];
    assert!(refused(&[Level::at_sigma(f64::INFINITY)], &x).contains("sigma of inf"));
    assert!(refused(&[Level::CLEAN], &x).contains("sigma of 0"));
    assert!(refused(&[], &x).contains("0 levels"));
    assert!(refused(&level, &Tensor::zeros([1, 1, 28, 27])).contains("[1, 1, 28, 27]"));
}

#[test]
fn what_has_no_rule_is_named() {
    let (_, graph, _) = plain(&golden("unet").join("cifar-like"));
    let error = adjoints(&graph, "y").unwrap_err();
    assert_eq!(error.to_string(), "the value does not depend on an input `y`");
    let error = adjoints(&graph, "timestep").unwrap_err();
    assert!(error.to_string().contains("depends on the input in a way that gradients"), "{error}");
    assert_eq!(error.kind(), downhill::ErrorKind::Argument);
    let mut two = graph.clone();
    two.outputs.push(("again".into(), two.outputs[0].1));
    assert!(adjoints(&two, "x").unwrap_err().to_string().contains("2 outputs"));
}
