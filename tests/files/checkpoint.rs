//! `ModelFiles` folders of every layout, made in a temporary folder from one small set of tensors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use downhill::Result;
use downhill::checkpoint::{Dtype, ModelFiles, Weights};
use safetensors::tensor::TensorView;
use serde_json::json;

const PLAIN: &str = "diffusion_pytorch_model.safetensors";

/// A tensor of the test models: name, shape, float32 values.
type Named<'a> = (&'a str, Vec<usize>, Vec<f32>);

fn tensors() -> Vec<Named<'static>> {
    vec![
        ("conv_in.bias", vec![2], vec![0.5, -1.0]),
        ("conv_in.weight", vec![2, 1, 1, 1], vec![1.0, 2.0]),
        ("mid_block.attentions.0.query.weight", vec![2, 2, 1, 1], vec![1.0, 2.0, 3.0, 4.0]),
    ]
}

/// A safetensors file written by the format's own crate.
fn serialize(tensors: &[Named], dtype: Dtype) -> Vec<u8> {
    let encode = |value: &f32| match dtype {
        Dtype::F64 => f64::from(*value).to_le_bytes().to_vec(),
        Dtype::BF16 => half::bf16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::F16 => half::f16::from_f32(*value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| values.iter().flat_map(encode).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(dtype, shape.clone(), bytes).expect("the values fill the shape"))
    });
    safetensors::serialize(views, None).unwrap()
}

/// A folder of files, sub-folders included.
fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

fn config(class: &str) -> Vec<u8> {
    json!({"_class_name": class, "layers_per_block": 1}).to_string().into_bytes()
}

fn open(path: &Path) -> Result<ModelFiles> {
    ModelFiles::open_in(path.to_str(), &|_| None)
}

/// Every tensor comes back under today's names with its values.
fn assert_whole(weights: &Weights) {
    let mut used = Vec::new();
    for (name, shape, values) in tensors() {
        let name = name.replace("query", "to_q");
        assert_eq!(weights.fetch(&name, &shape).unwrap().data, values);
        used.push(name);
    }
    weights.check_complete(&used).unwrap();
    assert_eq!(weights.parameters(), 8);
}

#[test]
fn a_flat_folder_and_its_single_file_are_the_same_model() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64] {
        let root = folder(&[
            ("config.json", config("UNet2DModel")),
            ("scheduler_config.json", config("DDPMScheduler")),
            (PLAIN, serialize(&tensors(), dtype)),
        ]);
        for path in [root.path().to_path_buf(), root.path().join(PLAIN)] {
            let model = open(&path).unwrap();
            assert_whole(&model.weights);
            assert_eq!(model.weights.dtype("conv_in.bias"), Some(dtype));
            assert_eq!(model.name, path.to_str().unwrap());
            assert_eq!(model.config.path, root.path().join("config.json"));
            assert_eq!(model.scheduler.unwrap().class_name().unwrap(), "DDPMScheduler");
        }
    }
}

#[test]
fn sub_folders_are_components_and_a_missing_one_means_the_root() {
    let index = json!({"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"],
                       "scheduler": ["diffusers", "DDPMScheduler"]});
    let index = index.to_string().into_bytes();
    let weights = serialize(&tensors(), Dtype::F32);
    let layouts = [
        ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"),
        ("config.json", PLAIN, "scheduler_config.json"),
        ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler_config.json"),
        ("config.json", PLAIN, "scheduler/scheduler_config.json"),
    ];
    for (config_file, weights_file, scheduler_file) in layouts {
        let root = folder(&[
            ("model_index.json", index.clone()),
            (config_file, config("UNet2DModel")),
            (weights_file, weights.clone()),
            (scheduler_file, config("DDPMScheduler")),
        ]);
        let model = open(root.path()).unwrap();
        assert_whole(&model.weights);
        assert_eq!(model.config.path, root.path().join(config_file));
        assert_eq!(model.scheduler.unwrap().path, root.path().join(scheduler_file));
    }
}

#[test]
fn a_model_without_a_scheduler_has_none() {
    let root = folder(&[("config.json", config("UNet2DModel")), (PLAIN, serialize(&tensors(), Dtype::F32))]);
    assert!(open(root.path()).unwrap().scheduler.is_none());
}

/// The files of a sharded model whose index places the tensors as `place` says.
fn sharded(place: impl Fn(&str) -> &'static str) -> Vec<(&'static str, Vec<u8>)> {
    const SHARDS: [&str; 2] =
        ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"];
    let all = tensors();
    let map: BTreeMap<&str, &str> = all.iter().map(|(name, ..)| (*name, place(name))).collect();
    let index = json!({"metadata": {"total_size": 32}, "weight_map": map});
    vec![
        ("config.json", config("UNet2DModel")),
        ("diffusion_pytorch_model.safetensors.index.json", index.to_string().into_bytes()),
        (SHARDS[0], serialize(&all[..1], Dtype::F32)),
        (SHARDS[1], serialize(&all[1..], Dtype::F16)),
    ]
}

#[test]
fn shards_are_one_set_of_weights() {
    let root = folder(&sharded(|name| match name {
        "conv_in.bias" => "diffusion_pytorch_model-00001-of-00002.safetensors",
        _ => "diffusion_pytorch_model-00002-of-00002.safetensors",
    }));
    let weights = open(root.path()).unwrap().weights;
    assert_whole(&weights);
    assert_eq!(weights.bytes(), 2 * 4 + 6 * 2);
    assert!(weights.path().ends_with("diffusion_pytorch_model.safetensors.index.json"));
    let error = weights.fetch("conv_in.weight", &[3]).unwrap_err();
    assert!(error.to_string().contains("-00002-of-00002.safetensors: `conv_in.weight`"), "{error}");
}

#[test]
fn an_index_that_lies_is_refused() {
    let root = folder(&sharded(|_| "diffusion_pytorch_model-00001-of-00002.safetensors"));
    let error = open(root.path()).unwrap_err();
    assert!(error.to_string().contains("places tensor `conv_in.weight` in"), "{error}");
    assert!(error.to_string().contains("index.json: "), "{error}");
    let root = folder(&sharded(|_| "../elsewhere.safetensors"));
    let error = open(root.path()).unwrap_err();
    assert!(error.to_string().contains("\"../elsewhere.safetensors\", which is not a file name"), "{error}");
    assert_eq!(error.kind(), downhill::ErrorKind::File);
}

#[test]
fn a_variant_stands_in_for_missing_plain_weights_only() {
    let variant = serialize(&tensors(), Dtype::F16);
    let mut files = vec![("config.json", config("UNet2DModel")), ("diffusion_pytorch_model.fp16.safetensors", variant)];
    assert_eq!(open(folder(&files).path()).unwrap().weights.dtype("conv_in.bias"), Some(Dtype::F16));
    files.push((PLAIN, serialize(&tensors(), Dtype::F32)));
    assert_eq!(open(folder(&files).path()).unwrap().weights.dtype("conv_in.bias"), Some(Dtype::F32));
}

#[test]
fn files_that_are_no_models_say_what_would_be() {
    let root = folder(&[
        ("model.ckpt", vec![0; 8]),
        ("notes.txt", b"notes".to_vec()),
        ("lonely/model.safetensors", serialize(&tensors(), Dtype::F32)),
        ("named/config.json", config("UNet2DModel")),
        ("named/other.safetensors", serialize(&tensors(), Dtype::F32)),
        ("empty/readme.txt", Vec::new()),
    ]);
    for (path, part) in [
        ("model.ckpt", "not a pickle: 0x00 at byte 0 is not an opcode"),
        ("notes.txt", "`.bin` file beside its `config.json`"),
        ("lonely/model.safetensors", "model.safetensors: the network's configuration is missing: no `config.json`"),
        ("named", "other.safetensors`, name that file"),
        ("empty", "config.json"),
    ] {
        let error = open(&root.path().join(path)).unwrap_err();
        let text = format!("{error} hint: {}", error.hint().unwrap_or_default());
        assert_eq!(error.kind(), downhill::ErrorKind::File, "{text}");
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn a_hub_id_is_opened_from_the_cache_and_an_existing_path_wins() {
    let snapshot = "hub/models--org--name/snapshots/c0ffee";
    let cache = folder(&[
        ("hub/models--org--name/refs/main", b"c0ffee".to_vec()),
        (&format!("{snapshot}/config.json"), config("UNet2DModel")),
        (&format!("{snapshot}/{PLAIN}"), serialize(&tensors(), Dtype::F32)),
    ]);
    let environment = |name: &str| (name == "HF_HOME").then(|| OsString::from(cache.path()));
    let model = ModelFiles::open_in(Some("org/name"), &environment).unwrap();
    assert_whole(&model.weights);
    assert_eq!(model.name, "org/name");
    assert_eq!(model.config.path, cache.path().join(snapshot).join("config.json"));
    let error = ModelFiles::open_in(Some("org/other"), &environment).unwrap_err();
    let place = cache.path().join("hub").join("models--org--other");
    let expected = format!("org/other: neither a folder here nor in the local hub cache (`{}`)", place.display());
    assert_eq!((error.to_string(), error.kind()), (expected, downhill::ErrorKind::File));
    // `weights/digits` has the shape of an id, and is a folder of this crate, where tests run.
    let model = ModelFiles::open_in(Some("weights/digits"), &environment).unwrap();
    assert_eq!(model.config.path, PathBuf::from("weights/digits/config.json"));
}

#[test]
fn ddim_names_reach_the_network_as_diffusers_names() {
    let root = folder(&[
        ("config.json", config("UNet2DModel")),
        (
            PLAIN,
            serialize(
                &[
                    ("temb.dense.0.weight", vec![2, 1], vec![1.0, 2.0]),
                    ("up.0.block.0.temb_proj.bias", vec![1], vec![3.0]),
                    ("up.2.attn.1.q.weight", vec![2, 2, 1, 1], vec![4.0, 5.0, 6.0, 7.0]),
                ],
                Dtype::F32,
            ),
        ),
    ]);
    let weights = open(root.path()).unwrap().weights;
    let query = "up_blocks.0.attentions.1.to_q.weight";
    let names = [query, "up_blocks.2.resnets.0.time_emb_proj.bias"];
    assert_eq!(weights.names().collect::<Vec<_>>(), [&["time_embedding.linear_1.weight"], &names[..]].concat());
    assert_eq!(weights.fetch(query, &[2, 2]).unwrap().data, [4.0, 5.0, 6.0, 7.0]);
    let error = weights.check_complete(&["time_embedding.linear_1.weight".into(), names[1].into()]).unwrap_err();
    assert!(error.to_string().contains(query) && error.to_string().contains("up.2.attn.1.q.weight"), "{error}");
}
