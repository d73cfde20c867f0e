//! Tangents of networks: products of the Jacobian and vectors, in float64 on the host and on the device, against
//! torch's forward-mode differentiation (`tests/golden/tangent`, made by `tools/make_goldens.py`) and against central
//! differences.

use std::path::{Path, PathBuf};

use crate::common::{distance, engines, numbers};
use downhill::checkpoint::ModelFiles;
use downhill::formats::npy;
use downhill::graph::op::{
    Activate, Add, Attention, Combine, Conv2d, Epilogue, Fir, Graph, HeadSide, Heads, Input, Modulate, Value, Weight,
    WeightForm, WeightId, WeightSource,
};
use downhill::graph::tangent::{tangent_name, tangents};
use downhill::graph::{CompileOptions, Compiler, host, reference};
use downhill::kernels::Activation;
use downhill::nets::{CallSize, ClassLabels, Inputs, LabelInput, open};
use downhill::tensor::{Shape, Tensor};

/// Tangents of an image in the goldens.
const REPEATS: usize = 2;
/// max|a-b| / max|b| of float64 on the host: what is left are inputs and factors rounded to float32.
const HOST_TOLERANCE: f64 = 5e-7;
/// The same on the device.
const DEVICE_TOLERANCE: f32 = 1e-4;

fn golden(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(part)
}

/// A golden network with its inputs.
struct Case {
    name: String,
    model: ModelFiles,
    graph: Graph,
    feeds: Vec<(String, Tensor)>,
    tangent: Tensor,
    product: Vec<f64>,
}

impl Case {
    fn open(name: &str) -> Self {
        let (folder, of_tangent) = (golden("unet").join(name), golden("tangent").join(name));
        let model = ModelFiles::open(folder.to_str()).unwrap();
        let net = open(&model.config, &model.weights).unwrap();
        let (x, timesteps) = (npy::read(folder.join("x.npy")).unwrap(), npy::read_f64(folder.join("t.npy")).unwrap());
        let labels = folder.join("labels.npy");
        let labels = labels.exists().then(|| (npy::read(&labels).unwrap(), npy::read_f64(&labels).unwrap()));
        let labels = labels.map(|(rows, numbers)| match net.labels() {
            LabelInput::Rows(_) => ClassLabels::Rows(rows),
            LabelInput::Numbers { .. } | LabelInput::None => ClassLabels::Numbers(numbers),
        });
        let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
        let feeds = net.feeds(&Inputs::new(&x, &timesteps).with_labels(labels.as_ref()), &fetch).unwrap();
        let graph = net.graph(CallSize::images(x.shape[0], (x.shape[2], x.shape[3]))).unwrap();
        let tangent = npy::read(of_tangent.join("tangent.npy")).unwrap();
        let product = npy::read_f64(of_tangent.join("product.npy")).unwrap();
        Self { name: name.to_owned(), model, graph, feeds, tangent, product }
    }

    fn all() -> Vec<Self> {
        let mut names: Vec<_> = std::fs::read_dir(golden("tangent"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert!(names.len() >= 14, "the goldens are missing");
        names.iter().map(|name| Self::open(name)).collect()
    }

    fn fetch(&self, key: &str, shape: &[usize]) -> downhill::Result<Tensor> {
        self.model.weights.fetch(key, shape)
    }

    /// The inputs of the graph of tangents.
    fn inputs<'a>(&'a self, tangent: &'a (String, Tensor)) -> Vec<(&'a str, &'a Tensor)> {
        self.feeds.iter().chain([tangent]).map(|(name, tensor)| (name.as_str(), tensor)).collect()
    }
}

/// The largest over the images of max|a - b| / max|b|.
pub fn worst(found: &[f64], expected: &[f64], images: usize) -> f64 {
    assert_eq!(found.len(), expected.len());
    let len = expected.len() / images;
    let apart = |(a, b): (&[f64], &[f64])| {
        let error = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        error / b.iter().map(|b| b.abs()).fold(0.0, f64::max)
    };
    found.chunks(len).zip(expected.chunks(len)).map(apart).fold(0.0, f64::max)
}

#[test]
fn products_in_float64_are_those_of_torch() {
    for case in Case::all() {
        let graph = tangents(&case.graph, "x", REPEATS).unwrap();
        let feeds = [case.feeds.as_slice(), &[(tangent_name("x"), case.tangent.clone())]].concat();
        let outputs = reference::evaluate(&graph, &feeds, &|key, shape| case.fetch(key, shape)).unwrap();
        let [(_, value), (name, product)] = &outputs[..] else { panic!("{} outputs", outputs.len()) };
        assert_eq!(*name, tangent_name("sample"));
        let images = case.tangent.shape[0];
        let error = worst(&product.to_nchw(), &case.product, images);
        println!("{}: {error:.1e}", case.name);
        assert!(error < HOST_TOLERANCE, "{}: {error:e}", case.name);
        // The values are computed beside their tangents as they are alone.
        let eps = npy::read_f64(golden("unet").join(&case.name).join("eps.npy")).unwrap();
        assert!(worst(&value.to_nchw(), &eps, images / REPEATS) < 1e-7, "{}", case.name);
    }
}

#[test]
fn products_on_the_device_are_those_of_torch() {
    for case in Case::all() {
        let graph = tangents(&case.graph, "x", REPEATS).unwrap();
        let tangent = (tangent_name("x"), case.tangent.clone());
        for engine in engines() {
            let fetch = |key: &str, shape: &[usize]| case.fetch(key, shape);
            let program = Compiler::from(engine).program(&graph, &fetch).unwrap();
            let outputs = program.run(&case.inputs(&tangent)).unwrap();
            let product: Vec<f64> = outputs[1].data.iter().copied().map(f64::from).collect();
            let error = worst(&product, &case.product, case.tangent.shape[0]);
            println!("{} {:?}: {error:.1e}", case.name, engine.family);
            assert!(error < f64::from(DEVICE_TOLERANCE), "{}: {error:e}", case.name);
        }
    }
}

#[test]
fn plans_of_tangents_agree_bit_for_bit_however_they_are_run() {
    for name in ["scale-shift", "head-dim-remainder", "resnet-blocks", "class-timestep"] {
        let case = Case::open(name);
        let fetch = |key: &str, shape: &[usize]| case.fetch(key, shape);
        let graph = tangents(&case.graph, "x", REPEATS).unwrap();
        let tangent = (tangent_name("x"), case.tangent.clone());
        let inputs = case.inputs(&tangent);
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

/// The embedded network at a timestep, and an image that looks like noise.
fn embedded(images: usize) -> (ModelFiles, Graph, Vec<(String, Tensor)>) {
    let model = ModelFiles::open(None).unwrap();
    let net = open(&model.config, &model.weights).unwrap();
    let graph = net.graph(CallSize::images(images, (28, 28))).unwrap();
    let x = Tensor::new([images, 1, 28, 28], numbers(5, images * 784));
    let timesteps: Vec<f64> = (0..images).map(|image| 250.0 + 100.0 * image as f64).collect();
    let feeds = net.feeds(&Inputs::new(&x, &timesteps), &|key, shape| model.weights.fetch(key, shape)).unwrap();
    (model, graph, feeds)
}

#[test]
fn products_are_central_differences() {
    const STEP: f32 = 2e-3;
    let (model, graph, feeds) = embedded(2);
    let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
    let directions = Tensor::new([2 * REPEATS, 1, 28, 28], numbers(6, 2 * REPEATS * 784));
    let tangent = (tangent_name("x"), directions.clone());
    let with_tangents = tangents(&graph, "x", REPEATS).unwrap();
    let value = |step: f32, which: usize| {
        let mut feeds = feeds.clone();
        let (_, x) = feeds.iter_mut().find(|(name, _)| name == "x").unwrap();
        for image in 0..2 {
            let along = directions.item(image * REPEATS + which);
            x.data[image * 784..][..784].iter_mut().zip(along).for_each(|(x, v)| *x += step * v);
        }
        reference::evaluate(&graph, &feeds, &fetch).unwrap().remove(0).1.to_nchw()
    };
    for engine in engines() {
        let program = Compiler::from(engine).program(&with_tangents, &fetch).unwrap();
        let inputs: Vec<_> = feeds.iter().chain([&tangent]).map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let product = program.run(&inputs).unwrap().remove(1);
        for which in 0..REPEATS {
            let (above, below) = (value(STEP, which), value(-STEP, which));
            for image in 0..2 {
                let range = image * 784..(image + 1) * 784;
                let difference: Vec<f64> = above[range.clone()]
                    .iter()
                    .zip(&below[range])
                    .map(|(above, below)| (above - below) / f64::from(2.0 * STEP))
                    .collect();
                let found: Vec<f64> = product.item(image * REPEATS + which).iter().copied().map(f64::from).collect();
                let error = worst(&found, &difference, 1);
                println!("{:?} image {image}, direction {which}: {error:.1e}", engine.family);
                assert!(error < 1e-3, "{error:e}");
            }
        }
    }
}

#[test]
fn a_tangent_has_the_same_bits_in_any_block() {
    let case = Case::open("head-dim-remainder");
    let fetch = |key: &str, shape: &[usize]| case.fetch(key, shape);
    let images = case.tangent.shape[0] / REPEATS;
    for engine in engines() {
        let run = |repeats: usize, tangent: Tensor| {
            let graph = tangents(&case.graph, "x", repeats).unwrap();
            let program = Compiler::from(engine).program(&graph, &fetch).unwrap();
            program.run(&case.inputs(&(tangent_name("x"), tangent))).unwrap().remove(1)
        };
        let block = run(REPEATS, case.tangent.clone());
        let mut shape = case.tangent.shape.clone();
        shape[0] = images;
        for which in 0..REPEATS {
            let some = (0..images).flat_map(|image| case.tangent.item(image * REPEATS + which).to_vec()).collect();
            let alone = run(1, Tensor::new(shape.clone(), some));
            for image in 0..images {
                assert_eq!(alone.item(image), block.item(image * REPEATS + which), "{:?}", engine.family);
            }
        }
    }
}

/// Central differences of a graph's output along a tangent of its input `x`, in float64 on the host.
fn difference(graph: &Graph, feeds: &[(String, Tensor)], tangent: &Tensor) -> Vec<f64> {
    const STEP: f32 = 1.0 / 1024.0;
    let value = |step: f32| {
        let mut feeds = feeds.to_vec();
        let (_, x) = feeds.iter_mut().find(|(name, _)| name == "x").unwrap();
        x.data.iter_mut().zip(&tangent.data).for_each(|(x, v)| *x += step * v);
        reference::evaluate(graph, &feeds, &|key, _| panic!("`{key}` was asked for")).unwrap().remove(0).1.to_nchw()
    };
    let ends = value(STEP).into_iter().zip(value(-STEP));
    ends.map(|(above, below)| (above - below) / f64::from(2.0 * STEP)).collect()
}

/// Holds the tangents of a graph with input `x` and constant weights against differences, on the host and on the
/// device.
fn check_graph(mut graph: Graph, feeds: &[(&str, Tensor)], what: &str) {
    graph.outputs.push(("y".into(), Value(graph.nodes.len() - 1)));
    let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    let x = &feeds.iter().find(|(name, _)| name == "x").unwrap().1;
    let tangent =
        Tensor::new(x.shape.clone(), numbers(77, x.data.len()).iter().map(|v| (v * 64.0).round() / 64.0).collect());
    let expected = difference(&graph, &feeds, &tangent);
    let made = tangents(&graph, "x", 1).unwrap();
    let all = [feeds.as_slice(), &[(tangent_name("x"), tangent)]].concat();
    let fetch = |key: &str, _: &[usize]| panic!("`{key}` was asked for");
    let outputs = reference::evaluate(&made, &all, &fetch).unwrap();
    let error = worst(&outputs[1].1.to_nchw(), &expected, 1);
    assert!(error < 1e-5, "{what}: {error:e} on the host");
    let inputs: Vec<_> = all.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for engine in engines() {
        let found = Compiler::from(engine).program(&made, &fetch).unwrap().run(&inputs).unwrap();
        let found: Vec<f64> = found[1].data.iter().copied().map(f64::from).collect();
        let error = worst(&found, &expected, 1);
        assert!(error < 2e-5, "{what}: {error:e} on {:?}", engine.family);
    }
}

fn constant(graph: &mut Graph, form: WeightForm, seed: u32, len: usize) -> WeightId {
    let source = WeightSource::Constant(numbers(seed, len));
    graph.weight(Weight { name: "constant".into(), source, form })
}

fn input(graph: &mut Graph, name: &str, shape: Shape) -> Value {
    graph.push(Input { name: name.into() }, shape, name)
}

#[test]
fn an_epilogue_is_differentiated_as_a_whole() {
    let shape = Shape::new(2, 3, 5, 6);
    let feeds = [
        ("x", Tensor::new([2, 6, 3, 5], numbers(1, 180))),
        ("vector", Tensor::new([2, 6, 1, 1], numbers(2, 12))),
        ("other", Tensor::new([2, 6, 3, 5], numbers(3, 180))),
    ];
    for (moves, activation, scale) in
        [(true, true, 0.7), (true, true, 1.0), (false, true, 0.7), (true, false, 0.7), (false, false, 1.0)]
    {
        let mut graph = Graph::default();
        let x = input(&mut graph, "x", shape);
        let vector = input(&mut graph, "vector", Shape::vector(2, 6));
        let other = input(&mut graph, "other", shape);
        let form = WeightForm::Kernel { out: 6, input: 6, height: 3, width: 3, heads: None };
        let weight = constant(&mut graph, form, 4, 6 * 6 * 9);
        let bias = constant(&mut graph, WeightForm::Vector { len: 6, heads: None }, 5, 6);
        // The product moves with x, or only what is added to it does.
        let (read, residual) = if moves { (x, other) } else { (other, x) };
        let epilogue = Epilogue {
            bias: Some(bias),
            per_image: Some((vector, 0)),
            activation: activation.then_some(Activation::Silu),
            residual: Some(residual),
            scale,
        };
        graph.push(Conv2d { x: read, weight, stride: 1, pad: (1, 1), epilogue }, shape, "y");
        check_graph(graph, &feeds, &format!("product {moves}, activation {activation}, scale {scale}"));
    }
}

#[test]
fn sums_and_combinations_are_differentiated() {
    let shape = Shape::new(2, 3, 2, 5);
    let feeds = [
        ("x", Tensor::new([2, 5, 3, 2], numbers(1, 60))),
        ("other", Tensor::new([2, 5, 3, 2], numbers(2, 60))),
        ("coefficients", Tensor::new([2, 2, 1, 1], numbers(3, 4))),
    ];
    for first in [true, false] {
        let mut graph = Graph::default();
        let x = input(&mut graph, "x", shape);
        let other = input(&mut graph, "other", shape);
        let (a, b) = if first { (x, other) } else { (other, x) };
        let sum = graph.push(Add { a, b, scale: 0.3 }, shape, "sum");
        let active = graph.push(Activate { x: sum, activation: Activation::Mish }, shape, "active");
        let coefficients = input(&mut graph, "coefficients", Shape::vector(2, 2));
        let op = Combine { coefficients, terms: vec![active, x], clip: None, offset: 0.5 };
        graph.push(op, shape, "y");
        check_graph(graph, &feeds, &format!("x first {first}"));
    }
}

#[test]
fn filters_are_differentiated() {
    for (doubles, pad) in [(true, 0), (false, 1), (false, 0)] {
        let mut graph = Graph::default();
        let x = input(&mut graph, "x", Shape::new(2, 5, 6, 3));
        let active = graph.push(Activate { x, activation: Activation::Silu }, Shape::new(2, 5, 6, 3), "active");
        let fir = Fir { x: active, doubles, pad };
        let shape = fir.output(graph.shape(active));
        graph.push(fir, shape, "y");
        check_graph(graph, &[("x", Tensor::new([2, 3, 5, 6], numbers(1, 180)))], &format!("{doubles}, {pad}"));
    }
}

#[test]
fn attention_is_differentiated_in_each_of_its_operands() {
    let (heads, head_dim) = (2, 3);
    // Queries and keys of other lengths; each head is padded to a texel.
    let (queries, keys) = (Shape::new(2, 1, 7, 8), Shape::new(2, 1, 5, 8));
    for which in ["q", "k", "v", "q, k and v"] {
        let mut graph = Graph::default();
        let project = |graph: &mut Graph, x: Value, seed: u32, parts: usize| {
            let side = HeadSide::Out;
            let padding = Some(Heads { count: parts * heads, dim: head_dim, side });
            let out = parts * heads * head_dim;
            let form = WeightForm::Kernel { out, input: 8, height: 1, width: 1, heads: padding };
            let weight = constant(graph, form, seed, out * 8);
            let conv = Conv2d { x, weight, stride: 1, pad: (0, 0), epilogue: Epilogue::default() };
            let shape = Shape { c: parts * 8, ..graph.shape(x) };
            graph.push(conv, shape, "projection")
        };
        let (q, kv, v) = if which == "q, k and v" {
            let x = input(&mut graph, "x", queries);
            let both = project(&mut graph, x, 3, 2);
            (project(&mut graph, x, 4, 1), both, both)
        } else {
            let x = input(&mut graph, "x", if which == "q" { queries } else { keys });
            let moving = project(&mut graph, x, 3, if which == "q" { 1 } else { 2 });
            let (other_q, other) = (input(&mut graph, "other q", queries), input(&mut graph, "other", keys));
            let (other_q, other) = (project(&mut graph, other_q, 4, 1), project(&mut graph, other, 5, 2));
            match which {
                "q" => (moving, other, other),
                "k" => (other_q, moving, other),
                _ => (other_q, other, moving),
            }
        };
        let op = Attention { q: (q, 0), k: (kv, 0), v: (v, 8), heads, head_dim, scale: 0.8, causal: false };
        graph.push(op, queries, "y");
        let tokens = if which == "k" || which == "v" { 5 } else { 7 };
        let feeds = [
            ("x", Tensor::new([2, 8, 1, tokens], numbers(1, 16 * tokens))),
            ("other q", Tensor::new([2, 8, 1, 7], numbers(2, 112))),
            ("other", Tensor::new([2, 8, 1, 5], numbers(3, 80))),
        ];
        check_graph(graph, &feeds, which);
    }
}

#[test]
fn attention_of_many_tokens_is_differentiated_a_part_of_the_queries_at_a_time() {
    let (tokens, heads, head_dim, repeats) = (700, 2, 4, 12);
    let shape = Shape::new(1, 1, tokens, 3 * heads * head_dim);
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", shape);
    let [q, k, v] = [0, 1, 2].map(|part| (x, part * heads * head_dim));
    let y = Shape { c: heads * head_dim, ..shape };
    let y = graph.push(Attention { q, k, v, heads, head_dim, scale: 0.5, causal: false }, y, "y");
    graph.outputs.push(("y".into(), y));
    let value = Tensor::new([1, shape.c, 1, tokens], numbers(1, shape.c * tokens));
    let tangent = Tensor::new([repeats, shape.c, 1, tokens], numbers(2, repeats * shape.c * tokens));
    let fetch = |key: &str, _: &[usize]| panic!("`{key}` was asked for");
    for engine in engines() {
        let run = |repeats: usize, tangent: &Tensor| {
            let made = tangents(&graph, "x", repeats).unwrap();
            let program = Compiler::from(engine).program(&made, &fetch).unwrap();
            let steps = program.plan.steps.iter().filter(|step| step.dispatch.shader.kernel.name == "softmax_tangent");
            let parts = steps.count();
            (program.run(&[("x", &value), ("tangent of x", tangent)]).unwrap().remove(1), parts)
        };
        let (together, parts) = run(repeats, &tangent);
        assert!(parts > 1, "all scores at once");
        let (alone, parts) = run(1, &tangent.slice(3..4));
        assert_eq!(parts, 1);
        assert!(alone.is_finite());
        assert_eq!(alone.item(0), together.item(3), "{:?}", engine.family);
    }
}

#[test]
fn modulations_are_differentiated_in_the_map_and_the_shift() {
    for (pixels, moves, by_map) in
        [(6, "x", false), (6, "x", true), (6, "shift", true), (6, "both", true), (1, "x", false), (1, "both", true)]
    {
        let (images, repeats) = (2, 3);
        let shape = Shape::new(images, 1, pixels, 8);
        let mut graph = Graph::default();
        let x = input(&mut graph, "x", shape);
        let other = input(&mut graph, "other", shape);
        let vector = input(&mut graph, "vector", Shape::vector(images, 16));
        let (map, shift) = match moves {
            "x" => (x, other),
            "shift" => (other, x),
            _ => (x, x),
        };
        let shift = if by_map { (shift, 0) } else { (vector, 8) };
        let y = graph.push(Modulate { x: map, scale: (vector, 0), shift, offset: 1.0 }, shape, "y");
        graph.outputs.push(("y".into(), y));
        let feeds = [("x", 1), ("other", 2)].map(|(name, seed)| {
            (name.to_owned(), Tensor::new([images, 8, 1, pixels], numbers(seed, images * 8 * pixels)))
        });
        let vector = Tensor::new([images, 16, 1, 1], numbers(3, images * 16));
        let tangent = Tensor::new([images * repeats, 8, 1, pixels], numbers(4, images * repeats * 8 * pixels));
        let all = [&feeds[..], &[("vector".into(), vector.clone()), (tangent_name("x"), tangent.clone())]].concat();
        // The tangent of x is multiplied by 1 + scale, that of the shift by 1.
        let expected: Vec<f64> = (0..tangent.data.len())
            .map(|at| {
                let (image, channel) = (at / (repeats * 8 * pixels), at / pixels % 8);
                let scale = 1.0 + f64::from(vector.data[image * 16 + channel]);
                let factor = f64::from(u8::from(moves != "x")) + if moves == "shift" { 0.0 } else { scale };
                factor * f64::from(tangent.data[at])
            })
            .collect();
        let made = tangents(&graph, "x", repeats).unwrap();
        let fetch = |key: &str, _: &[usize]| panic!("`{key}` was asked for");
        let outputs = reference::evaluate(&made, &all, &fetch).unwrap();
        assert!(worst(&outputs[1].1.to_nchw(), &expected, 1) < 1e-12, "{pixels} pixels, {moves}, map {by_map}");
        let inputs: Vec<_> = all.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        for engine in engines() {
            let found = Compiler::from(engine).program(&made, &fetch).unwrap().run(&inputs).unwrap().remove(1);
            let found: Vec<f64> = found.data.iter().copied().map(f64::from).collect();
            assert!(worst(&found, &expected, 1) < 1e-6, "{pixels} pixels, {moves}, map {by_map}");
        }
    }
}

#[test]
fn what_has_no_rule_is_named() {
    let (_, graph, _) = embedded(1);
    let error = tangents(&graph, "y", 1).unwrap_err();
    assert_eq!(error.to_string(), "the network has no input `y`");
    let error = tangents(&graph, "timestep", 1).unwrap_err();
    assert!(error.to_string().starts_with("`time_proj` depends on the input"), "{error}");
    assert_eq!(error.kind(), downhill::ErrorKind::Argument);
    let mut apart = Graph::default();
    input(&mut apart, "x", Shape::vector(1, 4));
    let other = input(&mut apart, "other", Shape::vector(1, 4));
    apart.outputs.push(("y".into(), other));
    let error = tangents(&apart, "x", 1).unwrap_err();
    assert_eq!(error.to_string(), "output `y` does not depend on input `x`");
    let mut text = Graph::default();
    let x = input(&mut text, "x", Shape::new(1, 1, 3, 12));
    let (q, k, v) = ((x, 0), (x, 4), (x, 8));
    let causal = Attention { q, k, v, heads: 1, head_dim: 4, scale: 0.5, causal: true };
    let y = text.push(causal, Shape::new(1, 1, 3, 4), "attention");
    text.outputs.push(("y".into(), y));
    let error = tangents(&text, "x", 1).unwrap_err();
    assert!(error.to_string().starts_with("`attention` depends on the input"), "{error}");
}
