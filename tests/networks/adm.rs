//! The U-Nets of openai/guided-diffusion against the original code in float64 (`tests/golden/adm`): graphs on the host,
//! networks on the device, and sampling paths of models that were opened from a single file.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Map, Value, json};

use crate::common::{distance, engines};
use crate::goldens::golden_folders;
use crate::{adm_files, by, compilers, drawn, forced_compilers};
use downhill::checkpoint::{ConfigFile, Weights};
use downhill::denoise::{Condition, Guidance, Network};
use downhill::formats::npy;
use downhill::graph::fuse::fuse;
use downhill::graph::op::Graph;
use downhill::graph::{Compiler, reference};
use downhill::model::Model;
use downhill::nets::{Architecture, CallSize, ClassLabels, Inputs, architecture};
use downhill::sample::settings::{Course, Settings};
use downhill::sample::walk::sample;
use downhill::tensor::Tensor;

/// max|a-b| / max|b| against float64 on the device.
const TOLERANCE: f32 = 5e-5;
/// The same on the host in float64: what remains are the inputs of a call, which are float32.
const HOST_TOLERANCE: f64 = 1e-6;
/// The same of a state along a path.
const PATH_TOLERANCE: f32 = 1e-3;

struct Golden {
    name: String,
    folder: PathBuf,
    /// The arguments of `UNetModel` and of the diffusion process.
    about: Map<String, Value>,
    net: Arc<dyn Architecture>,
    weights: Weights,
    x: Tensor,
    timesteps: Vec<f64>,
    labels: Option<ClassLabels>,
}

impl Golden {
    fn read(folder: PathBuf) -> Self {
        let about = ConfigFile::read(&folder.join("golden.json")).expect("golden.json").values;
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let mut config = about["model"].as_object().expect("arguments").clone();
        config.insert("_class_name".to_owned(), "AdmUNetModel".into());
        let config = ConfigFile { path: folder.join("golden.json"), values: config };
        let net = architecture::read(&config).unwrap_or_else(|error| panic!("{name}: {error}"));
        let numbers = |file: &str| npy::read_f64(folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
        let labels = folder.join("labels.npy").exists().then(|| ClassLabels::Numbers(numbers("labels.npy")));
        let x = npy::read(folder.join("x.npy")).expect("x.npy");
        let (timesteps, weights) = (numbers("t.npy"), drawn::weights(net.keys()));
        Self { name, folder, about, net, weights, x, timesteps, labels }
    }

    fn all() -> Vec<Self> {
        let all: Vec<_> = golden_folders("adm").into_iter().map(Self::read).collect();
        assert_eq!(all.len(), 3, "the goldens are missing");
        all
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs::new(&self.x, &self.timesteps).with_labels(self.labels.as_ref())
    }

    fn size(&self, batch: usize) -> CallSize {
        CallSize::images(batch, (self.x.shape[2], self.x.shape[3]))
    }

    fn call(&self, compiler: Compiler, batch: usize) -> Tensor {
        let network = Network::new(compiler, self.net.clone(), self.weights.clone(), self.size(batch));
        let output = network.and_then(|network| network.call(&self.inputs()));
        output.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn array(&self, file: &str) -> Tensor {
        npy::read(self.folder.join(file)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes the weights as a single file in the original layout, and what shapes do not tell beside it.
    fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("x.safetensors");
        let process = self.about["process"].as_object().expect("a process").clone();
        adm_files::write(&file, self.net.keys(), &adm_files::stated(&self.about["model"], process));
        file
    }
}

#[test]
fn graphs_in_float64_are_those_of_the_original() {
    for golden in Golden::all() {
        assert_eq!(golden.about["parameters"], json!(golden.net.parameters()), "{}", golden.name);
        let fetch = |key: &str, shape: &[usize]| golden.weights.fetch(key, shape);
        let graph = golden.net.graph(golden.size(golden.x.shape[0])).expect("graph");
        let feeds = golden.net.feeds(&golden.inputs(), &fetch).expect("feeds");
        let expected = npy::read_f64(golden.folder.join("out.npy")).expect("out.npy");
        for (form, rewrite) in [("built", Graph::clone as fn(&Graph) -> Graph), ("fused", fuse)] {
            let (_, sample) = reference::evaluate(&rewrite(&graph), &feeds, &fetch).expect("evaluation").remove(0);
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
fn networks_agree_with_the_original_in_both_families_by_every_algorithm() {
    for compiler in compilers().into_iter().chain(forced_compilers()) {
        for golden in Golden::all() {
            let (output, expected) = (golden.call(compiler, 2), golden.array("out.npy"));
            assert_eq!(output.shape, expected.shape, "{}", golden.name);
            let apart = distance(&output.data, &expected.data);
            println!("{apart:.1e} {}, {}", golden.name, by(compiler));
            assert!(apart < TOLERANCE, "{}, {}: {apart:e}", golden.name, by(compiler));
        }
    }
}

#[test]
fn single_files_are_recognised_and_their_configuration_guessed_from_shapes() {
    for golden in Golden::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = golden.write(folder.path());
        let model =
            Model::open(file.to_str().expect("a path")).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        let network = model.network().expect("a network");
        assert_eq!(network.net.details(), golden.net.details(), "{}", golden.name);
        let mut keys = network.net.keys();
        let mut expected = golden.net.keys();
        keys.sort();
        expected.sort();
        assert_eq!(keys, expected, "{}", golden.name);
        assert_eq!(network.net.sample_size(), Some((8, 8)));
        let notes: Vec<String> = network.weights.notes().collect();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("`diffusion_steps` 1000"), "{notes:?}");
        // A statement that contradicts shapes is refused by name.
        std::fs::write(folder.path().join("x.json"), r#"{"num_res_blocks": 7}"#).expect("settings");
        let error = Model::open(file.to_str().expect("a path")).map(drop).unwrap_err().to_string();
        assert!(error.contains("`num_res_blocks` is 7, but the shapes of the tensors say 1"), "{error}");
        std::fs::write(folder.path().join("x.json"), r#"{"numres": 7}"#).expect("settings");
        let error = Model::open(file.to_str().expect("a path")).map(drop).unwrap_err().to_string();
        assert!(error.contains("the setting `numres` is not known"), "{error}");
    }
}

/// The message names the file that has the number, which is not the one with the tensors, and the field in it.
#[test]
fn numbers_out_of_range_are_named_with_the_file_that_states_them() {
    let golden = Golden::all().into_iter().find(|golden| golden.name == "plain").expect("the golden");
    let folder = tempfile::tempdir().expect("a folder");
    let file = golden.write(folder.path());
    let open = |stated: &str| {
        std::fs::write(folder.path().join("x.json"), stated).expect("settings");
        Model::open(file.to_str().expect("a path")).map(drop)
    };
    let cases = [
        (r#"{"image_size": 0}"#, "x.json: `image_size` is 0, expected 1 to 65536"),
        (r#"{"image_size": 1099511627776}"#, "x.json: `image_size` is 1099511627776, expected 1 to 65536"),
        (r#"{"diffusion_steps": 0}"#, "x.json: `diffusion_steps` is 0, expected 1 to 100000"),
        (r#"{"num_heads": 0}"#, "x.json: `num_heads` is 0, expected -1, or 1 to 8192"),
        (r#"{"num_heads": 3}"#, "x.json: `num_heads` is 3, expected a divisor of the 32 channels of level 1"),
        (r#"{"num_head_channels": -7}"#, "x.json: `num_head_channels` is -7, expected -1, or 1 to 8192"),
        (r#"{"num_head_channels": 7}"#, "x.json: `num_head_channels` is 7, expected a divisor of the 32 channels"),
        (r#"{"timestep_respacing": "ddim25"}"#, "x.json: `timestep_respacing` is \"ddim25\", which is not supported"),
    ];
    for (stated, expected) in cases {
        let error = open(stated).expect_err(stated).to_string();
        assert!(error.contains(expected), "{stated}: {error}");
    }
    // All defaults of `model_and_diffusion_defaults`, and heads whose number does not count beside their channels.
    open(r#"{"image_size": 8, "timestep_respacing": "", "num_heads_upsample": -1, "use_kl": false}"#)
        .expect("defaults");
    open(r#"{"num_heads": 3, "num_head_channels": 16}"#).expect("heads by their channels");
}

#[test]
fn paths_agree_with_the_original() {
    let asked = [
        ("ddim", json!({ "sampler": "ddim", "schedule": "leading", "steps": 5 })),
        ("ddim_linspace", json!({ "sampler": "ddim", "steps": 5 })),
        ("ancestral", json!({ "sampler": "ddpm", "steps": 5 })),
    ];
    for golden in Golden::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = Model::open(golden.write(folder.path()).to_str().expect("a path")).expect("a model");
        let network = model.network().expect("a network");
        let (noise, draws) = (golden.array("noise.npy"), golden.array("draws.npy"));
        for (run, settings) in &asked {
            let settings: Settings = serde_json::from_value(settings.clone()).expect("settings");
            let Course { schedule, method, .. } =
                settings.resolve(&network.scheduler, &network.table).expect("a course");
            let timesteps: Vec<f64> = schedule.steps().iter().filter_map(|step| step.from.timestep).collect();
            assert_eq!(json!(timesteps), json!(floats(&golden.about["timesteps"][*run])), "{}", golden.name);
            let device = network.on(&engines()[0], golden.size(noise.shape[0])).expect("a network");
            let guidance = Guidance::none(Condition { labels: golden.labels.clone(), ..Condition::default() });
            let mut denoiser = network.denoiser(device, guidance).expect("a denoiser");
            let path = golden.array(&format!("{run}.npy"));
            let (step, furthest) = (AtomicUsize::new(0), Cell::new(0.0f32));
            sample(
                &mut denoiser,
                &schedule,
                &method,
                schedule.start_state(&noise),
                &mut |_| Ok(Tensor::new(noise.shape.clone(), draws.item(step.load(Relaxed)).to_vec())),
                &mut |progress| {
                    let scale = progress.step.to.alpha_bar().sqrt();
                    let z: Vec<f32> = progress.x.data.iter().map(|x| (f64::from(*x) * scale) as f32).collect();
                    furthest.set(furthest.get().max(distance(&z, path.item(progress.index))));
                    step.store(progress.index + 1, Relaxed);
                    Ok(())
                },
            )
            .unwrap_or_else(|error| panic!("{} {run}: {error}", golden.name));
            println!("{:.1e} {} {run}", furthest.get(), golden.name);
            assert!(furthest.get() < PATH_TOLERANCE, "{} {run}: {:e}", golden.name, furthest.get());
        }
    }
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}
