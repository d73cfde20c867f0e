//! Guidance by a classifier against the original code in float64 (`tests/golden/adm_guided`): `condition_score` under
//! DDIM and `condition_mean` under ancestral sampling, with the classifier from its own file.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::adm_files;
use crate::common::{distance, engines};
use downhill::checkpoint::{ClassifierFile, ConfigFile};
use downhill::denoise::{ClassifierGradient, Condition, Guidance};
use downhill::formats::npy;
use downhill::graph::Compiler;
use downhill::model::{Classifier, Model};
use downhill::nets::adm::AdmClassifier;
use downhill::nets::{CallSize, ClassLabels, LabelInput};
use downhill::sample::settings::{Course, Settings};
use downhill::sample::walk::sample;
use downhill::tensor::Tensor;

/// max|a-b| / max|b| of a state along a path.
const PATH_TOLERANCE: f32 = 1e-3;

fn array(folder: &str, file: &str) -> Tensor {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    npy::read(root.join(folder).join(file)).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn guided_paths_agree_with_the_original() {
    let asked = [
        ("ddim", json!({ "sampler": "ddim", "schedule": "leading", "steps": 5 })),
        ("ancestral", json!({ "sampler": "ddpm", "steps": 5 })),
    ];
    for name in ["imagenet", "plain"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adm_guided").join(name);
        let about = ConfigFile::read(&root.join("golden.json")).expect("golden.json").values;
        let classes: Vec<usize> = about["labels"]
            .as_array()
            .expect("labels")
            .iter()
            .map(|label| label.as_u64().expect("one") as usize)
            .collect();
        let folder = tempfile::tempdir().expect("a folder");
        let model = Model::open(adm_files::network(folder.path(), name).to_str().expect("a path")).expect("a model");
        let network = model.network().expect("a network");
        let own = format!("adm/{name}");
        let (noise, draws) = (array(&own, "noise.npy"), array(&own, "draws.npy"));
        let file = adm_files::classifier(folder.path(), about["classifier"].as_str().expect("a name"));
        let ClassifierFile { config, weights, note } = ClassifierFile::open(&file).expect("a classifier");
        assert_eq!(note, None);
        let net = std::sync::Arc::new(AdmClassifier::read(&config).expect("a classifier"));
        let compiler = Compiler::from(&engines()[0]);
        for (run, settings) in &asked {
            let settings: Settings = serde_json::from_value(settings.clone()).expect("settings");
            let Course { schedule, method, .. } =
                settings.resolve(&network.scheduler, &network.table).expect("a course");
            let timesteps: Vec<f64> = schedule.steps().iter().filter_map(|step| step.from.timestep).collect();
            let expected: Vec<f64> =
                about["timesteps"][*run].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            assert_eq!(timesteps, expected, "{name}");
            let size = CallSize::images(2, (8, 8));
            let device = network.on(compiler, size).expect("a network");
            let takes_labels = network.net.labels() != LabelInput::None;
            let labels =
                takes_labels.then(|| ClassLabels::Numbers(classes.iter().map(|class| *class as f64).collect()));
            let guidance = Guidance::none(Condition { labels, ..Condition::default() });
            let mut denoiser = network.denoiser(device, guidance).expect("a denoiser");
            // One image per call: the batch of the classifier is its own.
            let one = CallSize::images(1, (8, 8));
            let plan = compiler.plan(&net.gradient_graph(one).expect("a graph"));
            let scale = about["scale"].as_f64().expect("a scale");
            let files = (net.clone(), weights.clone());
            let mut gradient = ClassifierGradient::with_plan(compiler.engine, files, (one, plan), scale).expect("one");
            gradient.set_classes(classes.clone());
            denoiser.set_classifier(Some(gradient));
            let path = array(&format!("adm_guided/{name}"), &format!("{run}.npy"));
            let unguided = array(&own, &format!("{run}.npy"));
            let (step, furthest, states) = (AtomicUsize::new(0), Cell::new(0.0f32), RefCell::new(Vec::new()));
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
                    states.borrow_mut().push(distance(&z, unguided.item(progress.index)));
                    step.store(progress.index + 1, Relaxed);
                    Ok(())
                },
            )
            .unwrap_or_else(|error| panic!("{name} {run}: {error}"));
            println!("{:.1e} {name} {run}", furthest.get());
            assert!(furthest.get() < PATH_TOLERANCE, "{name} {run}: {:e}", furthest.get());
            assert!(states.borrow().iter().all(|apart| *apart > 0.1), "guidance makes a difference: {states:?}");
        }
    }
}

#[test]
fn files_that_are_no_classifier_and_statements_against_shapes_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, classes) in [("attention", 5), ("adaptive", 6)] {
        let file = adm_files::classifier(folder.path(), name);
        assert_eq!(Classifier::open(&file).expect("a classifier").classes(), classes);
        for (stated, what) in [
            (r#"{"classifier_depth": 9}"#, "do not make levels"),
            (r#"{"classifier_width": 64}"#, "`classifier_width` is 64, but the shapes of the tensors say 32"),
            (r#"{"classifier_pool": "spatial"}"#, "`classifier_pool` is \"spatial\""),
            (r#"{"width": 1}"#, "the setting `width` is not known"),
        ] {
            std::fs::write(file.with_extension("json"), stated).expect("settings");
            let error = Classifier::open(&file).map(drop).unwrap_err().to_string();
            assert!(error.contains(what), "{name}: {error}");
        }
    }
    let network = adm_files::network(folder.path(), "plain");
    let error = Classifier::open(&network).map(drop).unwrap_err().to_string();
    assert!(error.contains("not a classifier in the layout"), "{error}");
    assert!(Classifier::open(Path::new("nothing.pt")).is_err());
}
