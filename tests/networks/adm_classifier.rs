//! The classifiers of openai/guided-diffusion and the gradients of their probabilities against torch's autograd in
//! float64 (`tests/golden/adm_classifier`).

use std::path::PathBuf;

use serde_json::json;

use crate::common::distance;
use crate::goldens::golden_folders;
use crate::{by, compilers, drawn, forced_compilers};
use downhill::checkpoint::{ConfigFile, Weights};
use downhill::formats::npy;
use downhill::graph::fuse::fuse;
use downhill::graph::op::Graph;
use downhill::graph::reference;
use downhill::nets::CallSize;
use downhill::nets::adm::{AdmClassifier, Config, GRADIENT, LOGITS, Pool};
use downhill::tensor::Tensor;

/// max|a-b| / max|b| against float64 on the device.
const TOLERANCE: f32 = 5e-5;
/// The same on the host in float64: what remains are the inputs of a call, which are float32.
const HOST_TOLERANCE: f64 = 1e-6;
/// The scale of the gradient.
const SCALE: f64 = 2.5;

struct Golden {
    name: String,
    folder: PathBuf,
    net: AdmClassifier,
    weights: Weights,
    feeds: Vec<(String, Tensor)>,
    graph: Graph,
}

impl Golden {
    fn read(folder: PathBuf) -> Self {
        let about = ConfigFile::read(&folder.join("golden.json")).expect("golden.json").values;
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let mut config = about["model"].as_object().expect("arguments").clone();
        let pool = if config.remove("pool") == Some(json!("attention")) { Pool::Attention(4) } else { Pool::Mean };
        let classes = config.remove("out_channels").and_then(|classes| classes.as_u64()).expect("classes") as usize;
        let config = Config::from_map(&config, &folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let net = AdmClassifier::new(config, pool, classes);
        let parameters: usize = net.keys().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(about["parameters"], json!(parameters), "{name}");
        let weights = drawn::weights(net.keys());
        let numbers = |file: &str| npy::read_f64(folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
        let labels: Vec<usize> = numbers("labels.npy").into_iter().map(|label| label as usize).collect();
        let x = npy::read(folder.join("x.npy")).expect("x.npy");
        let fetch = |key: &str, shape: &[usize]| weights.fetch(key, shape);
        let feeds = net.feeds(&x, &numbers("t.npy"), &labels, SCALE, &fetch).expect("feeds");
        let size = CallSize::images(x.shape[0], (x.shape[2], x.shape[3]));
        let graph = net.gradient_graph(size).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, folder, net, weights, feeds, graph }
    }

    fn all() -> Vec<Self> {
        let all: Vec<_> = golden_folders("adm_classifier").into_iter().map(Self::read).collect();
        assert_eq!(all.len(), 2, "the goldens are missing");
        all
    }

    /// The output of a name; the gradient is scaled.
    fn expected(&self, output: &str) -> Vec<f64> {
        let values = npy::read_f64(self.folder.join(format!("{output}.npy"))).unwrap_or_else(|error| panic!("{error}"));
        let scale = if output == GRADIENT { SCALE } else { 1.0 };
        values.into_iter().map(|value| value * scale).collect()
    }
}

#[test]
fn gradients_in_float64_are_those_of_autograd() {
    for golden in Golden::all() {
        let fetch = |key: &str, shape: &[usize]| golden.weights.fetch(key, shape);
        for (form, rewrite) in [("built", Graph::clone as fn(&Graph) -> Graph), ("fused", fuse)] {
            for (output, array) in reference::evaluate(&rewrite(&golden.graph), &golden.feeds, &fetch).expect("values")
            {
                let (found, expected) = (array.to_nchw(), golden.expected(&output));
                let largest = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
                let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
                println!("{apart:.1e} {} {output} {form}", golden.name);
                assert_eq!(found.len(), expected.len(), "{} {output}", golden.name);
                assert!(apart < HOST_TOLERANCE, "{} {output} {form}: {apart:e}", golden.name);
            }
        }
    }
}

#[test]
fn gradients_on_the_device_are_those_of_autograd_by_every_algorithm() {
    for compiler in compilers().into_iter().chain(forced_compilers()) {
        for golden in Golden::all() {
            let fetch = |key: &str, shape: &[usize]| golden.weights.fetch(key, shape);
            let program = compiler.program(&golden.graph, &fetch).expect("a program");
            let feeds: Vec<(&str, &Tensor)> = golden.feeds.iter().map(|(name, x)| (name.as_str(), x)).collect();
            let outputs = program.run(&feeds).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
            for (output, found) in [LOGITS, GRADIENT].into_iter().zip(outputs) {
                let expected: Vec<f32> = golden.expected(output).into_iter().map(|value| value as f32).collect();
                let apart = distance(&found.data, &expected);
                println!("{apart:.1e} {} {output}, {}", golden.name, by(compiler));
                assert!(apart < TOLERANCE, "{} {output}, {}: {apart:e}", golden.name, by(compiler));
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let golden = &Golden::all()[1];
    assert!(golden.net.gradient_graph(CallSize::images(1, (4, 4))).is_err(), "an attention over maps of one size");
    assert!(golden.net.gradient_graph(CallSize::images(0, (8, 8))).is_err());
    let fetch = |key: &str, shape: &[usize]| golden.weights.fetch(key, shape);
    let x = Tensor::zeros([1, 3, 8, 8]);
    let error = golden.net.feeds(&x, &[1.0], &[5], 1.0, &fetch).unwrap_err();
    assert!(error.to_string().contains("does not have a class 5"), "{error}");
    assert!(golden.net.feeds(&x, &[1.0], &[1, 2], 1.0, &fetch).is_err());
}
