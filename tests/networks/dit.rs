//! `DiTTransformer2DModel` against diffusers in float64 (`tests/golden/dit`): graphs on the host, networks and
//! guidance on the device, and a whole pipeline.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::{distance, engines, numbers};
use crate::goldens::golden_folders;
use crate::tangent::worst;
use crate::{by, compilers, forced_compilers, half_compilers};
use downhill::checkpoint::{ConfigFile, Pipeline, Weights};
use downhill::denoise::diffusion::{NoiseTable, PredictionType};
use downhill::denoise::{Denoiser, Guidance, Level, Network, NetworkDenoiser};
use downhill::error::Error;
use downhill::formats::npy;
use downhill::graph::fuse::fuse;
use downhill::graph::op::Graph;
use downhill::graph::tangent::{tangent_name, tangents};
use downhill::graph::{Compiler, reference};
use downhill::latent::autoencoder::{Decoder, Planned, unscaled};
use downhill::latent::tiles::{Room, Tiling};
use downhill::nets::autoencoder_kl;
use downhill::nets::{Architecture, CallSize, ClassLabels, Inputs, open};
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::{Course, Settings};
use downhill::sample::walk::sample;
use downhill::tensor::Tensor;

/// max|a-b| / max|b| against float64 on the device.
const TOLERANCE: f32 = 5e-5;
/// The same with weights in float16.
const HALF_TOLERANCE: f32 = 1e-2;
/// The same on the host in float64: what remains are the inputs of a call, which are float32.
const HOST_TOLERANCE: f64 = 1e-6;
/// The same of a state along a path, and of images.
const PATH_TOLERANCE: f32 = 1e-4;
/// The scale of the guidance in the goldens.
const GUIDANCE: f64 = 4.0;

struct Golden {
    name: String,
    folder: PathBuf,
    net: Arc<dyn Architecture>,
    weights: Weights,
    x: Tensor,
    timesteps: Vec<f64>,
    labels: ClassLabels,
}

impl Golden {
    fn read(folder: PathBuf) -> Self {
        let config = ConfigFile::read(&folder.join("config.json")).expect("a configuration");
        let weights = Weights::open(&folder.join("diffusion_pytorch_model.safetensors")).expect("weights");
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let net = open(&config, &weights).unwrap_or_else(|error| panic!("{name}: {error}"));
        let numbers = |file: &str| npy::read_f64(folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
        let (timesteps, labels) = (numbers("t.npy"), ClassLabels::Numbers(numbers("labels.npy")));
        let x = npy::read(folder.join("x.npy")).expect("x.npy");
        Self { name, folder, net, weights, x, timesteps, labels }
    }

    fn all() -> Vec<Self> {
        let single = |folder: &PathBuf| folder.join("config.json").exists();
        let all: Vec<_> = golden_folders("dit").into_iter().filter(single).map(Self::read).collect();
        assert!(all.len() >= 4, "the goldens are missing");
        all
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs::new(&self.x, &self.timesteps).with_labels(Some(&self.labels))
    }

    fn size(&self, batch: usize) -> CallSize {
        CallSize::images(batch, (self.x.shape[2], self.x.shape[3]))
    }

    fn call(&self, compiler: Compiler, batch: usize) -> Tensor {
        let network = Network::new(compiler, self.net.clone(), self.weights.clone(), self.size(batch));
        let output = network.and_then(|network| network.call(&self.inputs()));
        output.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn expected(&self, file: &str) -> Tensor {
        npy::read(self.folder.join(file)).unwrap_or_else(|error| panic!("{error}"))
    }
}

#[test]
fn graphs_in_float64_are_those_of_diffusers() {
    for golden in Golden::all() {
        let fetch = |key: &str, shape: &[usize]| golden.weights.fetch(key, shape);
        let graph = golden.net.graph(golden.size(golden.x.shape[0])).expect("graph");
        let feeds = golden.net.feeds(&golden.inputs(), &fetch).expect("feeds");
        let expected = npy::read_f64(golden.folder.join("eps.npy")).expect("eps.npy");
        for (form, rewrite) in [("built", Graph::clone as fn(&Graph) -> Graph), ("fused", fuse)] {
            let graph = rewrite(&graph);
            let (_, sample) = reference::evaluate(&graph, &feeds, &fetch).expect("evaluation").remove(0);
            let found = sample.to_nchw();
            let largest = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
            let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
            println!("{apart:.1e} {} {form}", golden.name);
            assert_eq!(found.len(), expected.len(), "{}", golden.name);
            assert!(apart < HOST_TOLERANCE, "{} {form}: {apart:e}", golden.name);
        }
    }
}

#[test]
fn networks_agree_with_diffusers_in_both_families_by_every_algorithm() {
    for compiler in compilers().into_iter().chain(forced_compilers()) {
        for golden in Golden::all() {
            let output = golden.call(compiler, 2);
            let expected = golden.expected("eps.npy");
            assert_eq!(output.shape, expected.shape, "{}", golden.name);
            let apart = distance(&output.data, &expected.data);
            println!("{apart:.1e} {}, {}", golden.name, by(compiler));
            assert!(apart < TOLERANCE, "{}, {}: {apart:e}", golden.name, by(compiler));
        }
    }
}

#[test]
fn networks_with_weights_in_float16_stay_near_diffusers() {
    for compiler in half_compilers() {
        for golden in Golden::all() {
            let apart = distance(&golden.call(compiler, 2).data, &golden.expected("eps.npy").data);
            assert!(apart < HALF_TOLERANCE, "{}, {}: {apart:e}", golden.name, by(compiler));
        }
    }
}

#[test]
fn keys_are_those_of_diffusers() {
    for Golden { name, net, weights, .. } in Golden::all() {
        let keys = net.keys();
        let ours: BTreeMap<_, _> = keys.iter().cloned().collect();
        assert_eq!(ours.len(), keys.len(), "{name}: a key is named twice");
        for key in weights.names() {
            assert_eq!(Some(ours[key].as_slice()), weights.shape(key), "{name}: {key}");
        }
        assert_eq!(weights.names().count(), keys.len(), "{name}");
        assert_eq!(net.parameters(), weights.parameters(), "{name}");
    }
}

#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    for golden in Golden::all() {
        for engine in engines() {
            assert_eq!(golden.call(engine.into(), 1), golden.call(engine.into(), 3), "{}", golden.name);
        }
    }
}

fn denoiser(golden: &Golden, images: usize, labels: Vec<f64>, scale: f64) -> Result<NetworkDenoiser<'static>, Error> {
    let guidance = Guidance::classes(golden.net.as_ref(), labels, scale)?;
    let size = guidance.call_size(images, golden.size(1).sides());
    let network = Network::new(&engines()[0], golden.net.clone(), golden.weights.clone(), size)?;
    NetworkDenoiser::new(network, NoiseTable::default(), PredictionType::Epsilon, guidance)
}

#[test]
fn guidance_by_the_null_class_is_that_of_the_pipeline() {
    for golden in Golden::all() {
        let ClassLabels::Numbers(labels) = golden.labels.clone() else { panic!("numbers") };
        let images = golden.x.shape[0];
        for batch in [1, images] {
            let network = denoiser(&golden, batch, labels.clone(), GUIDANCE).expect("a denoiser");
            let output = network.predict(&golden.x, &golden.timesteps).expect("a call");
            let expected = golden.expected("guided.npy");
            assert_eq!(output.shape, expected.shape, "{}", golden.name);
            let apart = distance(&output.data, &expected.data);
            println!("{apart:.1e} {}", golden.name);
            assert!(apart < TOLERANCE, "{}: {apart:e}", golden.name);
        }
        // Without guidance, the prediction comes before the learned variance.
        let network = denoiser(&golden, images, labels, 1.0).expect("a denoiser");
        let output = network.predict(&golden.x, &golden.timesteps).expect("a call");
        let expected = golden.expected("eps.npy");
        for image in 0..images {
            let predicted = &expected.item(image)[..output.stride()];
            assert!(distance(output.item(image), predicted) < TOLERANCE, "{}", golden.name);
        }
    }
}

#[test]
fn labels_that_do_not_fit_are_refused() {
    let golden = &Golden::all()[0];
    let error = denoiser(golden, 1, vec![99.0], 1.0)
        .and_then(|mut network| network.eps(&golden.x.slice(0..1), &[Level::at_sigma(1.0)]))
        .expect_err("a class too many");
    assert!(error.to_string().contains("class label 99 is not in this network's table"), "{error}");
    let guidance = Guidance::default();
    let size = guidance.call_size(1, golden.size(1).sides());
    let network = Network::new(&engines()[0], golden.net.clone(), golden.weights.clone(), size).expect("a network");
    let error = NetworkDenoiser::new(network, NoiseTable::default(), PredictionType::Epsilon, guidance)
        .map(|_| ())
        .expect_err("labels are needed");
    assert!(error.to_string().contains("needs class labels"), "{error}");
}

/// Follows a run of `tests/golden/dit/pipeline` and returns its last latents; every state is within the tolerance.
fn follow(run: &str, scale: f64, settings: serde_json::Value) -> Tensor {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dit/pipeline");
    let pipeline = Pipeline::open(folder.to_str().expect("a path")).expect("a pipeline");
    let component = pipeline.component("transformer").expect("a transformer");
    let net = open(&component.config, &component.weights).expect("a network");
    let file = pipeline.scheduler().expect("a scheduler").expect("a scheduler");
    let scheduler = SchedulerConfig::read(&file.values, &file.path).expect("a scheduler");
    let table = scheduler.noise_table(&file.path).expect("a table");
    let settings: Settings = serde_json::from_value(settings).expect("settings");
    let Course { schedule, method, .. } = settings.resolve(&scheduler, &table).expect("a schedule");

    let guidance = Guidance::classes(net.as_ref(), vec![207.0, 360.0], scale).expect("guidance");
    let network =
        Network::new(&engines()[0], net, component.weights, guidance.call_size(2, (8, 8))).expect("a network");
    let mut network = NetworkDenoiser::new(network, table, scheduler.prediction_type, guidance).expect("a denoiser");
    let noise = npy::read(folder.join("runs/init_noise.npy")).expect("noise");
    let path = npy::read(folder.join("runs").join(run)).expect("a path");
    let held = |x: &Tensor, level: Level| -> Vec<f32> {
        x.data.iter().map(|x| (f64::from(*x) * level.alpha_bar().sqrt()) as f32).collect()
    };
    let end = sample(
        &mut network,
        &schedule,
        &method,
        schedule.start_state(&noise),
        &mut |_| Ok(Tensor::zeros(noise.shape.clone())),
        &mut |progress| {
            let apart = distance(&held(progress.x, progress.step.to), path.item(progress.index));
            println!("{apart:.1e} {run}, step {}", progress.index);
            assert!(apart < PATH_TOLERANCE, "{run}, step {}: {apart:e}", progress.index);
            Ok(())
        },
    );
    Tensor::new(noise.shape.clone(), held(&end.expect("samples"), schedule.end()))
}

#[test]
fn a_pipeline_samples_and_decodes_as_in_diffusers() {
    let latents = follow("path.npy", GUIDANCE, serde_json::json!({ "sampler": "ddim", "steps": 5 }));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dit/pipeline");
    let component = Pipeline::open(folder.to_str().expect("a path")).and_then(|pipeline| pipeline.component("vae"));
    let component = component.expect("an autoencoder");
    let net = autoencoder_kl::open(&component.config, &component.weights).expect("an autoencoder");
    let (engine, size) = (&engines()[0], (latents.shape[2], latents.shape[3]));
    let compiler = Compiler::from(engine);
    let room = Room { target: compiler.target(), options: compiler.options, budget: None };
    let planned = Planned::new(&net, 1, size, Tiling::Never, &room).expect("a plan");
    let decoder = Decoder::new(engine, component, size, planned).expect("a decoder");
    let mut images = decoder.decode(&unscaled(&net, &latents)).expect("images");
    images.data.iter_mut().for_each(|value| *value = (*value / 2.0 + 0.5).clamp(0.0, 1.0));
    let expected = npy::read(folder.join("runs/images.npy")).expect("images");
    let apart = distance(&images.data, &expected.data);
    println!("{apart:.1e} images");
    assert_eq!(images.shape, expected.shape);
    assert!(apart < PATH_TOLERANCE, "{apart:e}");
}

#[test]
fn paths_without_guidance_and_of_gradient_estimation_are_those_of_the_references() {
    follow("unguided_path.npy", 1.0, serde_json::json!({ "sampler": "ddim", "steps": 5 }));
    let timesteps = [901, 751, 566, 353, 166, 0];
    follow("ge_path.npy", GUIDANCE, serde_json::json!({ "sampler": "ge", "gamma": 2.0, "timesteps": timesteps }));
}

/// The tangents of networks: in float64 against central differences, and on the device against float64.
#[test]
fn products_with_the_jacobian_are_central_differences() {
    const STEP: f32 = 1.0 / 1024.0;
    const REPEATS: usize = 2;
    // The gated units of the other golden have no rule.
    for golden in Golden::all().into_iter().filter(|golden| golden.name != "single-pixels") {
        let Golden { name, net, weights, x, .. } = &golden;
        let fetch = |key: &str, shape: &[usize]| weights.fetch(key, shape);
        let images = x.shape[0];
        let graph = net.graph(golden.size(images)).expect("graph");
        let mut shape = x.shape.clone();
        shape[0] *= REPEATS;
        let tangent = Tensor::new(shape, numbers(9, REPEATS * x.data.len()));
        let feeds = |x: &Tensor| {
            let inputs = Inputs::new(x, &golden.timesteps).with_labels(Some(&golden.labels));
            net.feeds(&inputs, &fetch).expect("feeds")
        };
        let value = |step: f32, which: usize| {
            let moved = (0..images).flat_map(|image| {
                let along = tangent.item(image * REPEATS + which);
                x.item(image).iter().zip(along).map(move |(x, v)| x + step * v).collect::<Vec<_>>()
            });
            let moved = Tensor::new(x.shape.clone(), moved.collect::<Vec<_>>());
            reference::evaluate(&graph, &feeds(&moved), &fetch).expect("evaluation").remove(0).1.to_nchw()
        };
        let made = tangents(&graph, "x", REPEATS).expect("tangents");
        let all = [feeds(x), vec![(tangent_name("x"), tangent.clone())]].concat();
        let product = reference::evaluate(&made, &all, &fetch).expect("evaluation").remove(1).1.to_nchw();
        let len = product.len() / tangent.shape[0];
        for which in 0..REPEATS {
            let (above, below) = (value(STEP, which), value(-STEP, which));
            let pairs = above.iter().zip(&below);
            let expected: Vec<f64> = pairs.map(|(above, below)| (above - below) / f64::from(2.0 * STEP)).collect();
            let of_image = |image: usize| product[(image * REPEATS + which) * len..][..len].to_vec();
            let found: Vec<f64> = (0..images).flat_map(of_image).collect();
            // The moved inputs are rounded to float32.
            assert!(worst(&found, &expected, images) < 2e-4, "{name}");
        }
        let inputs: Vec<_> = all.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        for engine in engines() {
            let program = Compiler::from(engine).program(&made, &fetch).expect("a program");
            let found = program.run(&inputs).expect("a run").remove(1);
            let found: Vec<f64> = found.data.iter().copied().map(f64::from).collect();
            assert!(worst(&found, &product, tangent.shape[0]) < 1e-4, "{name}: {:?}", engine.family);
        }
    }
}
