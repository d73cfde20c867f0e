//! `UNet2DModel` graphs, evaluated in float64, against diffusers' float64 outputs (`tools/make_goldens.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use downhill::nets::unet2d::{ClassEmbedding, ClassLabels, Config, UNet2d};
use downhill::tensor::Tensor;
use downhill::{Error, graph::reference};
use safetensors::{Dtype, SafeTensors};

/// Folders whose keys are those of other repositories: mapping them is tested with the checkpoints.
const FOREIGN_KEYS: [&str; 2] = ["deprecated-names", "ermongroup-names"];

/// Float32 roundings that remain: inputs that a call feeds, and factors such as 1 / sqrt(dim) that a graph holds.
const TOLERANCE: f64 = 1e-7;

/// Goldens without such factors: heads of 4 channels, scales that are powers of two.
const EXACT: [&str; 8] = [
    "class-identity",
    "class-table",
    "learned-time",
    "pipeline-layout",
    "resnet-sampling",
    "scale-shift",
    "sharded",
    "three-layers-wide",
];
const EXACT_TOLERANCE: f64 = 1e-11;

fn golden_folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/unet");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "the goldens are missing");
    folders
}

fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

fn model_folder(folder: &Path) -> PathBuf {
    if folder.join("unet").exists() { folder.join("unet") } else { folder.to_path_buf() }
}

fn load_config(folder: &Path) -> Config {
    let file = model_folder(folder).join("config.json");
    let map = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    Config::from_map(&map, &file).unwrap()
}

fn load_weights(folder: &Path) -> BTreeMap<String, Tensor> {
    let files = fs::read_dir(model_folder(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut weights = BTreeMap::new();
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "safetensors")) {
        let bytes = fs::read(file).unwrap();
        for (key, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            let data = match view.dtype() {
                Dtype::F32 => {
                    view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
                }
                Dtype::F16 => halves(view.data(), half::f16::from_bits).map(f32::from).collect(),
                Dtype::BF16 => halves(view.data(), half::bf16::from_bits).map(f32::from).collect(),
                other => panic!("{key} is {other:?}"),
            };
            weights.insert(key.to_owned(), Tensor::new(view.shape(), data));
        }
    }
    weights
}

fn halves<T>(bytes: &[u8], from_bits: fn(u16) -> T) -> impl Iterator<Item = T> {
    bytes.chunks_exact(2).map(move |pair| from_bits(u16::from_le_bytes([pair[0], pair[1]])))
}

fn load_npy(file: &Path) -> (Vec<usize>, Vec<f64>) {
    let bytes = fs::read(file).unwrap();
    let npy = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = npy.shape().iter().map(|extent| *extent as usize).collect();
    let npyz::DType::Plain(dtype) = npy.dtype() else { panic!("{} is structured", file.display()) };
    let data = match dtype.to_string().trim_matches('\'') {
        "<f4" => npy.into_vec::<f32>().unwrap().into_iter().map(f64::from).collect(),
        "<f8" => npy.into_vec::<f64>().unwrap(),
        "<i8" => npy.into_vec::<i64>().unwrap().into_iter().map(|value| value as f64).collect(),
        other => panic!("{} is {other}", file.display()),
    };
    (shape, data)
}

fn load_tensor(file: &Path) -> Tensor {
    let (shape, data) = load_npy(file);
    Tensor::new(shape, data.into_iter().map(|value| value as f32).collect())
}

fn access(weights: &BTreeMap<String, Tensor>) -> impl Fn(&str, &[usize]) -> downhill::Result<Tensor> {
    move |key, shape| match weights.get(key) {
        Some(tensor) if matches!((&tensor.shape[..], shape), ([a, b], [c, d, 1, 1]) if (a, b) == (c, d)) => {
            Ok(tensor.clone())
        }
        Some(tensor) => {
            assert_eq!(tensor.shape, shape, "{key}");
            Ok(tensor.clone())
        }
        None => Err(Error::MissingKey { file: "weights".into(), key: key.to_owned(), nearest: None }),
    }
}

/// The largest over the images of max|a - b| / max|b|.
fn relative_error(found: &[f64], expected: &[f64], images: usize) -> f64 {
    assert_eq!(found.len(), expected.len());
    let image_error = |(a, b): (&[f64], &[f64])| {
        let error = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        error / b.iter().map(|b| b.abs()).fold(0.0, f64::max)
    };
    let len = expected.len() / images;
    found.chunks(len).zip(expected.chunks(len)).map(image_error).fold(0.0, f64::max)
}

fn evaluate(folder: &Path) -> f64 {
    let (network, weights) = (UNet2d::new(load_config(folder)), load_weights(folder));
    let (x, timesteps) = (load_tensor(&folder.join("x.npy")), load_npy(&folder.join("t.npy")).1);
    let labels_file = folder.join("labels.npy");
    let (rows, numbers);
    let labels = match network.config().class_embedding {
        None => None,
        Some(ClassEmbedding::Identity) => {
            rows = load_tensor(&labels_file);
            Some(ClassLabels::Rows(&rows))
        }
        Some(_) => {
            numbers = load_npy(&labels_file).1;
            Some(ClassLabels::Numbers(&numbers))
        }
    };
    let graph = network.graph(x.shape[0], x.shape[2], x.shape[3]).unwrap();
    let feeds = network.feeds(&x, &timesteps, labels, &access(&weights)).unwrap();
    let outputs = reference::evaluate(&graph, &feeds, &access(&weights)).unwrap();
    let [(output, sample)] = &outputs[..] else { panic!("{} outputs", outputs.len()) };
    assert_eq!(output, "sample");
    let (shape, expected) = load_npy(&folder.join("eps.npy"));
    assert_eq!([sample.shape.n, sample.shape.c, sample.shape.h, sample.shape.w], shape[..]);
    relative_error(&sample.to_nchw(), &expected, x.shape[0])
}

#[test]
fn outputs_are_those_of_diffusers_in_float64() {
    let mut errors = Vec::new();
    for folder in golden_folders() {
        let name = name(&folder);
        if FOREIGN_KEYS.contains(&name) {
            continue;
        }
        let tolerance = if EXACT.contains(&name) { EXACT_TOLERANCE } else { TOLERANCE };
        let error = evaluate(&folder);
        println!("{name}: {error:.1e}");
        if error.is_nan() || error > tolerance {
            errors.push(format!("{name}: {error:e}"));
        }
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn keys_are_those_of_diffusers() {
    for folder in golden_folders() {
        if FOREIGN_KEYS.contains(&name(&folder)) {
            continue;
        }
        let network = UNet2d::new(load_config(&folder));
        let keys = network.keys();
        let count = keys.len();
        let ours: BTreeMap<_, _> = keys.into_iter().collect();
        assert_eq!(ours.len(), count, "{}: a key is named twice", name(&folder));
        let weights = load_weights(&folder);
        let theirs: BTreeMap<_, _> = weights.iter().map(|(key, tensor)| (key.clone(), tensor.shape.clone())).collect();
        assert_eq!(ours, theirs, "{}", name(&folder));
        let numbers: usize = weights.values().map(|tensor| tensor.data.len()).sum();
        assert_eq!(network.parameters(), numbers as u64);
    }
}
