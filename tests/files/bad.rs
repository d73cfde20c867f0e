//! The corpus of malformed models: each is refused with a message that names what is wrong, and with its exit code.

use std::path::{Path, PathBuf};

use downhill::checkpoint::ModelFiles;
use downhill::{Error, Result};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("bad")
}

fn open(folder: &str) -> Result<ModelFiles> {
    let path = corpus().join(folder);
    assert!(path.exists(), "{} is missing: run tools/make_bad_inputs.py", path.display());
    ModelFiles::open(path.to_str())
}

/// Loads the model as a network of the shape of `sound/` would: every tensor, then the check that none is left.
fn load(folder: &str) -> Result<()> {
    let sound = open("sound")?.weights;
    let weights = open(folder)?.weights;
    let keys: Vec<String> = sound.names().map(str::to_owned).collect();
    for key in &keys {
        weights.fetch(key, sound.shape(key).unwrap())?;
    }
    weights.check_complete(&keys)
}

/// Asserts exit code 4, that `file` in the folder is the one named, and that message and hint hold `parts`.
fn assert_refused(error: &Error, folder: &str, file: &str, parts: &[&str]) {
    let text = format!("{error} hint: {}", error.hint().unwrap_or_default());
    assert_eq!(error.kind(), downhill::ErrorKind::File, "{text}");
    let named = corpus().join(folder).join(file);
    assert!(text.starts_with(&format!("{}: ", named.display())), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

#[test]
fn the_control_is_sound() {
    load("sound").unwrap();
    let model = open("sound").unwrap();
    assert_eq!(model.weights.parameters(), 11_621);
    assert_eq!(model.config.usize_list("block_out_channels", &[]).unwrap(), [4, 8]);
}

#[test]
fn faults_of_the_file_are_found_when_it_is_opened() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("config-not-json", "config.json", &["not a JSON object", "EOF"]),
        ("config-without-class", "config.json", &["no field `_class_name`", "save_pretrained"]),
        ("empty-file", WEIGHTS, &["the file is empty"]),
        ("lfs-pointer", WEIGHTS, &["Git LFS pointer", "`git lfs pull`"]),
        ("header-longer-than-file", WEIGHTS, &["claims 1048576 bytes, but the file has only", "incomplete"]),
        ("header-over-limit", WEIGHTS, &["claims 4611686018427387904 bytes", "limit of 100000000"]),
        ("header-not-json", WEIGHTS, &["its header is not a JSON object"]),
        ("truncated-header", WEIGHTS, &["bytes, but the file has only 60 in all"]),
        ("truncated", WEIGHTS, &["tensor `conv_in.weight`: data_offsets [8, 80] reach beyond the 50 bytes"]),
        ("trailing-bytes", WEIGHTS, &["16 bytes follow the last tensor"]),
        ("offsets-beyond-file", WEIGHTS, &["tensor `conv_in.weight`: data_offsets [8, 1099511627776] reach beyond"]),
        (
            "offsets-overlap",
            WEIGHTS,
            &["tensor `conv_in.weight`: data_offsets [4, 76] overlap those of `conv_in.bias`"],
        ),
        ("offsets-leave-hole", WEIGHTS, &["tensor `conv_in.weight`: data_offsets [8, 80] leave a hole after byte 0"]),
        (
            "length-against-shape",
            WEIGHTS,
            &["tensor `conv_in.weight`: shape [4, 1, 5, 5] of F16 needs 200 bytes", "72"],
        ),
        (
            "empty-of-huge-extents",
            WEIGHTS,
            &["tensor `conv_in.bias`: shape [0, 4294967296, 4294967296] of F16 is impossible"],
        ),
        (
            "missing-shard",
            "diffusion_pytorch_model-00002-of-00002.safetensors",
            &["this shard is missing", "diffusion_pytorch_model.safetensors.index.json"],
        ),
        (
            "hostile-pickle",
            "diffusion_pytorch_model.bin",
            &["opcode GLOBAL at byte 2 asks for `posix.system`", "nothing in the file was executed"],
        ),
        ("damaged-pickle", "diffusion_pytorch_model.bin", &["not a readable zip archive", "download or save it again"]),
        ("no-weights", "", &["no weights", WEIGHTS]),
        ("pipeline-without-unet", "model_index.json", &["`DiTPipeline` has no component `unet`"]),
    ];
    for (folder, file, parts) in cases {
        let error = open(folder).expect_err(folder);
        // `join("")` ends in a separator, which the folder's own name in a message does not.
        let (folder, file) = if file.is_empty() { ("", *folder) } else { (*folder, *file) };
        assert_refused(&error, folder, file, parts);
    }
}

#[test]
fn faults_of_a_tensor_are_found_when_it_is_fetched() {
    let cases: &[(&str, &[&str])] = &[
        ("wrong-dtype", &["tensor `conv_in.weight` is of dtype I64", "supported: F16, BF16, F32, F64"]),
        ("wrong-shape", &["`conv_in.weight` has shape [4, 3, 3, 3], expected [4, 1, 3, 3]"]),
        ("missing-key", &["no tensor `mid_block.resnets.1.conv1.weight`", "the nearest key is `mid_block.resnets."]),
        (
            "unexpected-key",
            &[
                "tensor `mid_block.resnets.2.norm1.bias` has no place in this network",
                "the nearest key is `mid_block.resnets.0.norm1.bias`",
            ],
        ),
        ("nan-weights", &["tensor `conv_in.bias` holds NaN at element 1"]),
    ];
    for (folder, parts) in cases {
        assert_refused(&load(folder).expect_err(folder), folder, WEIGHTS, parts);
    }
}

#[test]
fn faults_of_a_field_are_found_when_it_is_read() {
    let config = open("config-other-class").unwrap().config;
    let error = config.expect_class(&["UNet2DModel"]).unwrap_err();
    let parts = ["`_class_name` is \"AutoencoderKL\", which is not supported", "supported: UNet2DModel"];
    assert_refused(&error, "config-other-class", "config.json", &parts);

    let config = open("config-wrong-type").unwrap().config;
    let error = config.usize("layers_per_block", 2).unwrap_err();
    assert_refused(&error, "config-wrong-type", "config.json", &["`layers_per_block` is \"two\""]);

    let config = open("config-unsupported-value").unwrap().config;
    let error = config.unsupported("act_fn", "silu");
    assert_refused(&error, "config-unsupported-value", "config.json", &["`act_fn` is \"step\"", "supported: silu"]);
}

/// What the list promises is there, and nothing is there that it does not promise.
#[test]
fn the_list_and_the_corpus_agree() {
    let readme = std::fs::read_to_string(corpus().join("README.md")).unwrap();
    let mut listed: Vec<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|name| name.trim_end_matches('/').to_owned())
        .collect();
    let mut present: Vec<String> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "README.md")
        .collect();
    listed.sort();
    present.sort();
    assert_eq!(listed, present);
}
