//! Tangents of networks: products of the Jacobian and vectors, in float64 on the host and on the device, against torch's
//! forward-mode differentiation (`tests/golden/tangent`, made by `tools/make_goldens.py`) and against central differences.

mod common;

use std::path::{Path, PathBuf};

use common::{distance, engines, numbers};
use downhill::checkpoint::Model;
use downhill::denoise::network::open_net;
use downhill::graph::op::{Epilogue, Graph, Op, Value, Weight, WeightForm, WeightId, WeightSource};
use downhill::graph::tangent::{tangent_name, tangents};
use downhill::graph::{Aliasing, Program, host, reference};
use downhill::kernels::Activation;
use downhill::nets::unet2d::{ClassEmbedding, ClassLabels};
use downhill::report::npy;
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
    model: Model,
    graph: Graph,
    feeds: Vec<(String, Tensor)>,
    tangent: Tensor,
    product: Vec<f64>,
}

impl Case {
    fn open(name: &str) -> Self {
        let (folder, of_tangent) = (golden("unet").join(name), golden("tangent").join(name));
        let model = Model::open(folder.to_str()).unwrap();
        let net = open_net(&model).unwrap();
        let (x, timesteps) = (npy::read(folder.join("x.npy")).unwrap(), npy::read_f64(folder.join("t.npy")).unwrap());
        let labels = folder.join("labels.npy");
        let labels = labels.exists().then(|| (npy::read(&labels).unwrap(), npy::read_f64(&labels).unwrap()));
        let labels = labels.as_ref().map(|(rows, numbers)| match net.config().class_embedding {
            Some(ClassEmbedding::Identity) => ClassLabels::Rows(rows),
            _ => ClassLabels::Numbers(numbers),
        });
        let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
        let feeds = net.feeds(&x, &timesteps, labels, &fetch).unwrap();
        let graph = net.graph(x.shape[0], x.shape[2], x.shape[3]).unwrap();
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
fn worst(found: &[f64], expected: &[f64], images: usize) -> f64 {
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
            let program = Program::new(engine, &graph, &fetch, Aliasing::ByLiveness).unwrap();
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
            let shared = Program::new(engine, &graph, &fetch, Aliasing::ByLiveness).unwrap();
            let apart = Program::new(engine, &graph, &fetch, Aliasing::None).unwrap();
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
