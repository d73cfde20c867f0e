//! `tune`, and the algorithms that other commands use after it, or with `--exact`.

use std::path::{Path, PathBuf};

use downhill::tensor::Tensor;
use serde_json::Value;

use crate::{Folder, Run, adm_files, command, distance};

/// A cache folder of its own, and an image.
struct Place {
    folder: Folder,
    image: String,
}

impl Place {
    fn new() -> Self {
        let folder = Folder::new();
        let values = (0..28 * 28).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let image = folder.write("x.npy", &Tensor::new([1, 1, 28, 28], values));
        Self { folder, image }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let output = command(arguments).env("DOWNHILL_CACHE_DIR", self.folder.path("cache")).output();
        Run::of(output.expect("the program starts"))
    }

    #[track_caller]
    fn printed(&self, arguments: &[&str]) -> String {
        let run = self.run(&[arguments, &["-q"]].concat());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        run.stdout
    }

    fn kept(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.folder.path("cache/algorithms")).expect("a cache folder");
        let files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        file.clone()
    }

    /// A call's answer, and what its report says of algorithms.
    #[track_caller]
    fn denoise(&self, flags: &[&str]) -> (Tensor, Value) {
        let (answer, report) = (self.folder.at("eps.npy"), self.folder.at("run.json"));
        let call = ["denoise", "-i", &self.image, "-t", "300", "-o", &answer, "--json", &report, "--family", "lanes"];
        self.printed(&[&call, flags].concat());
        (self.folder.array("eps.npy"), self.folder.json("run.json")["algorithms"].clone())
    }
}

fn names(algorithms: &Value) -> Vec<&str> {
    algorithms["convolutions"].as_object().expect("counts").keys().map(String::as_str).collect()
}

#[test]
fn what_is_measured_is_kept_used_and_not_measured_again() {
    let place = Place::new();
    let report = place.folder.at("tune.json");
    let tune = |more: &[&str]| place.run(&[&["tune", "--family", "lanes", "--json", &report], more].concat());
    let none = tune(&["--seconds", "0"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(none.stderr.contains("were not reached in the given time"), "{}", none.stderr);
    assert!(!place.folder.path("cache/algorithms").exists());

    let first = tune(&["--seconds", "600"]);
    assert_eq!((first.code, first.stderr), (0, format!("wrote {}\n", place.kept().display())));
    let found = place.folder.json("tune.json");
    let layers = found["layers"].as_array().expect("layers");
    let products = found["products"].as_array().expect("products");
    assert!(
        !products.is_empty() && products.iter().all(|one| one["seconds"][one["chosen"].as_str().unwrap()].is_f64())
    );
    assert_eq!((&found["left"], &found["left_products"]), (&0.into(), &0.into()));
    let (of_layers, of_products) = first.stdout.split_once("\n\n").expect("two tables");
    assert_eq!((of_layers.lines().count(), of_products.lines().count()), (layers.len() + 1, products.len() + 1));
    let headings =
        "layer               uses  direct ms  Winograd 1x2 ms  Winograd 2x2 ms  Winograd 1x4 ms  Winograd 4x4 ms";
    assert!(first.stdout.starts_with(headings), "{}", first.stdout);
    let headings: Vec<_> = of_products.lines().next().expect("a line").split("  ").filter(|s| !s.is_empty()).collect();
    let headings: Vec<_> = headings.into_iter().map(str::trim).collect();
    assert_eq!(headings, ["product", "uses", "default tile", "ms", "chosen", "ms"]);
    for (layer, line) in layers.iter().zip(of_layers.lines().skip(1)) {
        assert!(line.ends_with(layer["chosen"].as_str().expect("text")), "{line}");
        assert_eq!(layer["seconds"].as_object().expect("seconds").len(), 5);
    }
    let kept = std::fs::read(place.kept()).expect("kept");
    let second = tune(&[]);
    assert_eq!((second.code, second.stdout.as_str()), (0, ""));
    assert!(second.stderr.starts_with("nothing to do"), "{}", second.stderr);
    assert_eq!(std::fs::read(place.kept()).expect("kept"), kept);

    let (_, algorithms) = place.denoise(&[]);
    assert_eq!(
        (&algorithms["origin"], algorithms["measured_layers"].as_u64()),
        (&"cache".into(), Some(layers.len() as u64))
    );
    let line = format!("; {} of {} layers measured here\n", layers.len(), algorithms["layers"]);
    let info = place.printed(&["info", "--family", "lanes"]);
    assert!(info.contains(&line), "{info}");
    let tile = place.printed(&["info", "--family", "tile"]);
    assert!(tile.contains("not measured here"), "another family has another file: {tile}");
}

#[test]
fn pipelines_and_autoencoders_are_measured_for_a_precision_of_their_weights() {
    const PIPELINE: &str = "tests/golden/latent/sd1-like";
    let place = Place::new();
    let report = place.folder.at("tune.json");
    let tune = |arguments: &[&str]| {
        let run = place.run(&[&["tune", "--family", "lanes", "--json", &report], arguments].concat());
        (run.code, run.stderr)
    };
    let (code, said) = tune(&[PIPELINE, "--size", "32x32", "--dtype", "f16", "--seconds", "600"]);
    assert_eq!((code, said), (0, format!("wrote {}\n", place.kept().display())));
    let found = place.folder.json("tune.json");
    let layers = found["layers"].as_array().expect("layers").clone();
    let sides = || layers.iter().map(|one| one["layer"]["size"][0].as_u64().expect("a side"));
    let (of_network, of_images) = (layers[0]["layer"]["size"][0].as_u64().expect("a side"), sides().max().unwrap());
    assert!(of_images >= 2 * of_network, "layers of the network, then those of the decoder: {layers:?}");
    for layer in &layers {
        let seconds = layer["seconds"].as_object().expect("seconds");
        assert!(seconds.len() == 3 && seconds.values().all(|seconds| seconds.as_f64() > Some(0.0)), "{layer}");
    }
    assert_eq!(found["dtype"], "f16");
    let (_, said) = tune(&[PIPELINE, "--size", "32x32", "--dtype", "f16"]);
    assert!(said.starts_with("nothing to do"), "{said}");
    let (_, said) = tune(&[PIPELINE, "--seconds", "0"]);
    assert!(said.contains("were not reached"), "those of weights in float32: {said}");
    let kept: Value = serde_json::from_slice(&std::fs::read(place.kept()).expect("kept")).expect("JSON");
    let count = |field: &str| kept[field].as_array().map_or(0, Vec::len);
    assert_eq!((count("layers"), count("half_layers")), (0, layers.len()));
    let products = found["products"].as_array().expect("products").len();
    assert!(products > 0 && (count("tiles"), count("half_tiles")) == (0, products));

    let autoencoder = &format!("{PIPELINE}/vae");
    let (code, said) = tune(&[autoencoder]);
    assert!(code == 2 && said.contains("does not say how large its images are"), "{said}");
    let (code, said) = tune(&[autoencoder, "--size", "8x16", "--seconds", "600"]);
    assert_eq!((code, said), (0, format!("wrote {}\n", place.kept().display())));
    assert_eq!(place.folder.json("tune.json")["model"]["class"], "AutoencoderKL");
    let classifier = adm_files::classifier(&place.folder.path(""), "attention");
    let (code, said) = tune(&[&classifier.display().to_string(), "--seconds", "600"]);
    assert_eq!((code, said), (0, format!("wrote {}\n", place.kept().display())));
    assert_eq!(place.folder.json("tune.json")["model"]["name"], "classifier-attention.safetensors");
    let (code, said) = tune(&[PIPELINE, "--dtype", "f16-maps"]);
    assert!(code == 2 && said.contains("follows the choices"), "{said}");
    let (code, said) = tune(&["tests/golden/latent/sd1-like/scheduler"]);
    assert!(code != 0 && !said.contains("autoencoder"), "the error is that of the model: {said}");
}

#[test]
fn what_cannot_be_used_is_passed_over_in_silence() {
    let place = Place::new();
    assert_eq!(place.run(&["tune", "--family", "lanes", "--seconds", "1"]).code, 0);
    let file = place.kept();
    let sound = std::fs::read_to_string(&file).expect("kept");
    let (before, _) = place.denoise(&["--exact"]);
    for content in ["", "{}", &sound.replace("\"version\": \"", "\"version\": \"9"), &sound[..sound.len() - 9]] {
        std::fs::write(&file, content).expect("written");
        let (answer, algorithms) = place.denoise(&[]);
        assert_eq!(algorithms["origin"], "prior");
        assert!(distance(&answer, &before) < 1e-5);
        let run = place.run(&["info", "--family", "lanes", "-v"]);
        assert!(run.stderr.contains(&format!("{} is ignored: ", file.display())), "{}", run.stderr);
    }
    // The next measurement replaces it.
    assert_eq!(place.run(&["tune", "--family", "lanes", "--seconds", "1"]).code, 0);
    assert_eq!(place.denoise(&[]).1["origin"], "cache");
}

#[test]
fn exact_runs_compute_by_the_definition_alone_whatever_was_measured() {
    let place = Place::new();
    let (by_prior, algorithms) = place.denoise(&[]);
    assert_eq!(algorithms["origin"], "prior");
    assert!(names(&algorithms).len() > 1, "the prior means several algorithms here: {algorithms}");
    let (exact, algorithms) = place.denoise(&["--exact"]);
    assert_eq!((&algorithms["origin"], names(&algorithms)), (&"exact".into(), vec!["direct"]));
    assert!(exact != by_prior && distance(&exact, &by_prior) < 1e-5);

    let direct = by_library(Path::new(&place.image));
    assert_eq!(exact, direct, "the bits of the definition");
    assert_eq!(place.run(&["tune", "--family", "lanes", "--seconds", "1"]).code, 0);
    assert_eq!(place.denoise(&["--exact"]).0, exact);

    let bytes = |flags: &[&str]| {
        let report = place.folder.at("info.json");
        place.printed(&[&["info", "--family", "lanes", "--json", &report], flags].concat());
        let call = place.folder.json("info.json")["call"].clone();
        let weights = call["memory"]["weights_bytes"].as_u64().expect("bytes");
        (weights, call["transformed_bytes"].as_u64().expect("bytes"), call["algorithms"]["origin"].clone())
    };
    let ((all, more, _), (least, none, origin)) = (bytes(&[]), bytes(&["--exact"]));
    assert_eq!((all - more, none, origin), (least, 0, "exact".into()));
    assert!(more > 0);
}

/// The embedded network with every layer measured to be fastest by the definition.
fn by_library(image: &Path) -> Tensor {
    use downhill::checkpoint::ModelFiles;
    use downhill::denoise::Network;
    use downhill::graph::choose::distinct_layers;
    use downhill::kernels::choice::Algorithm;
    use downhill::kernels::tuned::Choices;
    use downhill::kernels::{Engine, FamilyName};
    use downhill::nets::{CallSize, Inputs, open};
    use downhill::tensor::Precision;

    let model = ModelFiles::open(None).expect("embedded model");
    let net = open(&model.config, &model.weights).expect("network");
    let size = CallSize::images(1, (28, 28));
    let layers = distinct_layers(&net.graph(size).expect("graph"));
    let mut engine =
        Engine::open(&downhill::Options { family: Some(FamilyName::Lanes), ..downhill::Options::default() })
            .expect("device");
    let direct = layers.into_keys().map(|layer| (layer, Algorithm::Direct)).collect();
    engine.measured = Choices::of(Precision::Float32, direct);
    let network = Network::new(&engine, net, model.weights, size);
    let x = downhill::formats::npy::read(image).expect("an image");
    network.expect("network").call(&Inputs::new(&x, &[300.0])).expect("an output")
}
