//! `UNet2DModel` graphs, evaluated in float64 on the host, against diffusers' float64 outputs
//! (`tools/make_goldens.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use downhill::checkpoint::ModelFiles;
use downhill::formats::npy;
use downhill::graph::fuse::fuse;
use downhill::graph::op::Graph;
use downhill::graph::reference;
use downhill::nets::{CallSize, ClassLabels, Inputs, LabelInput, open};

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
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "the goldens are missing");
    folders
}

fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
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

/// How far the graph of a golden is from diffusers, as it is built or as it is fused.
fn evaluate(folder: &Path, rewrite: fn(&Graph) -> Graph) -> f64 {
    let model = ModelFiles::open(folder.to_str()).unwrap();
    let network = open(&model.config, &model.weights).unwrap();
    let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
    let (x, timesteps) = (npy::read(folder.join("x.npy")).unwrap(), npy::read_f64(folder.join("t.npy")).unwrap());
    let labels_file = folder.join("labels.npy");
    let labels = match network.labels() {
        LabelInput::None => None,
        LabelInput::Rows(_) => Some(ClassLabels::Rows(npy::read(&labels_file).unwrap())),
        LabelInput::Numbers { .. } => Some(ClassLabels::Numbers(npy::read_f64(&labels_file).unwrap())),
    };
    let graph = rewrite(&network.graph(CallSize::images(x.shape[0], (x.shape[2], x.shape[3]))).unwrap());
    let feeds = network.feeds(&Inputs::new(&x, &timesteps).with_labels(labels.as_ref()), &fetch).unwrap();
    let outputs = reference::evaluate(&graph, &feeds, &fetch).unwrap();
    let [(output, sample)] = &outputs[..] else { panic!("{} outputs", outputs.len()) };
    assert_eq!(output, "sample");
    let expected = npy::read_f64(folder.join("eps.npy")).unwrap();
    relative_error(&sample.to_nchw(), &expected, x.shape[0])
}

#[test]
fn outputs_are_those_of_diffusers_in_float64() {
    let mut errors = Vec::new();
    for folder in golden_folders() {
        let tolerance = if EXACT.contains(&name(&folder)) { EXACT_TOLERANCE } else { TOLERANCE };
        for (form, rewrite) in [("built", Graph::clone as fn(&Graph) -> Graph), ("fused", fuse)] {
            let error = evaluate(&folder, rewrite);
            println!("{} {form}: {error:.1e}", name(&folder));
            if error.is_nan() || error > tolerance {
                errors.push(format!("{} {form}: {error:e}", name(&folder)));
            }
        }
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn keys_are_those_of_diffusers() {
    for folder in golden_folders() {
        let model = ModelFiles::open(folder.to_str()).unwrap();
        let network = open(&model.config, &model.weights).unwrap();
        let keys = network.keys();
        let count = keys.len();
        let ours: BTreeMap<_, _> = keys.into_iter().collect();
        assert_eq!(ours.len(), count, "{}: a key is named twice", name(&folder));
        // A 1x1 kernel may be stored as a matrix: only the extents beyond the trailing ones count.
        let extents = |shape: &[usize]| shape.iter().copied().filter(|extent| *extent != 1).collect::<Vec<_>>();
        for key in model.weights.names() {
            let stored = model.weights.shape(key).unwrap();
            assert_eq!(extents(&ours[key]), extents(stored), "{}: {key}", name(&folder));
        }
        assert_eq!(model.weights.names().count(), count, "{}", name(&folder));
        assert_eq!(network.parameters(), model.weights.parameters(), "{}", name(&folder));
    }
}
