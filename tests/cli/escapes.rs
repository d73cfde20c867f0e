//! Text of others never steers a terminal: control characters in files are named, not printed.

use std::path::Path;

use downhill::formats::{Image, npy, png};
use serde_json::{Value, json};

use crate::{Folder, Run, command, downhill};

/// A title, a cleared screen, colours by C1, reversed text, and a line that looks like a hint.
const STEERING: &str = "\u{1b}]0;t\u{7}\u{1b}[2J\u{7f}\u{9b}31m\u{202e}red\nhint: run me";
/// The same in the bytes of ASCII.
const BYTES: &[u8] = b"\x1b[2J\x07";

/// Asserts that a run shows an escape character by name and prints none.
#[track_caller]
fn expect_harmless(run: &Run, about: &str) {
    let steers = |c: char| (c.is_control() && c != '\n') || ('\u{2028}'..='\u{202e}').contains(&c);
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains(steers), "{about}: {text:?}");
        assert!(!text.lines().any(|line| line == "hint: run me"), "{about}: {text}");
    }
    // Values of JSON are shown as JSON, and clap drops sequences that begin with an escape.
    let is_named = |text: &&String| ["\\u{1b}", "\\u001b", "\\u{9b}"].iter().any(|name| text.contains(name));
    assert!([&run.stdout, &run.stderr].iter().any(is_named), "{about} is not shown: {run:?}");
}

/// A copy of a folder, whose files may be changed.
struct Copy(Folder);

impl Copy {
    fn of(source: &str) -> Self {
        let folder = Folder::new();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(source), &folder.path("model"));
        Self(folder)
    }

    fn set(&self, file: &str, field: &str, value: &Value) -> &Self {
        let path = self.0.path(&format!("model/{file}"));
        let mut json: Value = serde_json::from_slice(&std::fs::read(&path).expect("the file")).expect("JSON");
        json[field] = value.clone();
        std::fs::write(path, json.to_string()).expect("written");
        self
    }

    fn write(&self, file: &str, bytes: &[u8]) -> &Self {
        std::fs::write(self.0.path(&format!("model/{file}")), bytes).expect("written");
        self
    }

    fn run(&self, subcommand: &[&str]) -> Run {
        let (model, out) = (self.0.at("model"), self.0.at("x.png"));
        let rest: &[&str] = match subcommand[0] {
            "sample" => &["-n", "1", "--steps", "2", "-o", &out, "--adapter", "no such adapter"],
            _ => &[],
        };
        downhill(&[subcommand, &[model.as_str()], rest].concat())
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the source") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::write(target, std::fs::read(entry.path()).expect("read")).expect("written");
        }
    }
}

/// A safetensors file of this header.
fn safetensors(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn names_and_values_of_configurations() {
    for (field, value) in [
        (STEERING, json!(1)),
        ("_class_name", json!(STEERING)),
        ("act_fn", json!(STEERING)),
        ("down_block_types", json!([STEERING, "DownBlock2D"])),
        ("sample_size", json!(STEERING)),
        ("time_embedding_type", json!(STEERING)),
    ] {
        let run = Copy::of("tests/bad/sound").set("config.json", field, &value).run(&["sample"]);
        expect_harmless(&run, field);
    }
}

#[test]
fn names_and_values_of_schedulers() {
    for field in ["_class_name", "prediction_type", "beta_schedule", "beta_end"] {
        let copy = Copy::of("tests/bad/sound");
        copy.set("scheduler_config.json", field, &json!(STEERING));
        expect_harmless(&copy.run(&["sample"]), field);
    }
    let copy = Copy::of("tests/bad/sound");
    copy.set("scheduler_config.json", "_class_name", &json!(STEERING));
    expect_harmless(&copy.run(&["info"]), "the scheduler of a model that is described");
}

#[test]
fn names_of_tensors_and_shards() {
    const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
    let named = |about: Value| safetensors(&json!({ STEERING: about }), &[0; 4]);
    let sound = named(json!({ "dtype": "F32", "shape": [1], "data_offsets": [0, 4] }));
    let hole = named(json!({ "dtype": "F32", "shape": [1], "data_offsets": [2, 6] }));
    let dtype = named(json!({ "dtype": STEERING, "shape": [1], "data_offsets": [0, 4] }));
    for (what, bytes) in [("name", sound), ("layout", hole), ("dtype", dtype)] {
        let copy = Copy::of("tests/bad/sound");
        expect_harmless(&copy.write(WEIGHTS, &bytes).run(&["sample"]), what);
    }
    let copy = Copy::of("tests/bad/sound");
    std::fs::remove_file(copy.0.path(&format!("model/{WEIGHTS}"))).expect("removed");
    let index = json!({ "weight_map": { "conv_in.weight": STEERING, STEERING: "x" } });
    copy.write("diffusion_pytorch_model.safetensors.index.json", index.to_string().as_bytes());
    expect_harmless(&copy.run(&["sample"]), "shards");
}

#[test]
fn files_of_pipelines() {
    let copy = Copy::of("tests/golden/latent/sd1-like");
    copy.set("model_index.json", "_class_name", &json!(STEERING));
    expect_harmless(&copy.run(&["sample"]), "the class of a pipeline");

    let copy = Copy::of("tests/golden/latent/sd1-like");
    copy.write("tokenizer/merges.txt", "#version: 0.2\na \u{1b}[2J\u{9b} b c\n".as_bytes());
    expect_harmless(&copy.run(&["encode-text", "-p", "a", "--tokens"]), "a line of merges");

    let copy = Copy::of("tests/golden/latent/sd1-like");
    copy.write("tokenizer/merges.txt", "#version: 0.2\n\u{1b}[2J\u{9b} b\n".as_bytes());
    expect_harmless(&copy.run(&["encode-text", "-p", "a", "--tokens"]), "a merge of a token that is not there");

    let copy = Copy::of("tests/golden/latent/sd1-like");
    copy.set("tokenizer/vocab.json", STEERING, &json!("seven"));
    expect_harmless(&copy.run(&["encode-text", "-p", "a", "--tokens"]), "a token");

    let copy = Copy::of("tests/golden/latent/sd1-like");
    let long = format!("{}\u{1b}[2J", "a horse ".repeat(60));
    expect_harmless(&copy.run(&["encode-text", "-p", &long, "--tokens"]), "the rest of a prompt");
}

#[test]
fn the_metadata_of_an_image() {
    let folder = Folder::new();
    let image = Image { height: 1, width: 1, channels: 1, pixels: vec![3] };
    let pairs = [("prompt".to_owned(), STEERING.to_owned()), ("long".to_owned(), "a".repeat(70_000))];
    png::write_png(folder.path("x.png"), &image, &pairs).expect("written");
    let run = downhill(&["info", &folder.at("x.png")]);
    expect_harmless(&run, "metadata");
    assert_eq!((run.code, run.stdout.lines().count()), (0, 2), "one line per pair");
}

#[test]
fn arrays() {
    let folder = Folder::new();
    let image = Image { height: 1, width: 1, channels: 1, pixels: vec![3] };
    npy::write_npz(folder.path("x.npz"), &[image]).expect("written");
    let mut bytes = folder.bytes("x.npz");
    for at in 0..bytes.len() - BYTES.len() {
        if bytes[at..].starts_with(b"arr_0") {
            bytes[at..at + BYTES.len()].copy_from_slice(BYTES);
        }
    }
    std::fs::write(folder.path("x.npz"), bytes).expect("written");
    expect_harmless(
        &downhill(&["linear", "baseline", "--data", &folder.at("x.npz"), "-o", &folder.at("out")]),
        "the name of an array",
    );

    let header = format!("{:<117}\n", "{'descr': '\u{1b}[2J', 'fortran_order': False, 'shape': (3,), }");
    let bytes = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &[0; 12]].concat();
    std::fs::write(folder.path("x.npy"), bytes).expect("written");
    expect_harmless(&downhill(&["info", &folder.at("x.npy")]), "the type of an array");
}

#[test]
fn files_that_the_program_wrote_itself() {
    let folder = Folder::new();
    std::fs::write(folder.path("model.json"), json!({ "eta": STEERING, "nu": 2 }).to_string()).expect("written");
    let run = downhill(&["inspect", "schedule", "--error-model", &folder.at("model.json")]);
    expect_harmless(&run, "an error model");
    std::fs::write(folder.path("base.json"), json!({ "version": 1, STEERING: [] }).to_string()).expect("written");
    let run = downhill(&["bench", "unet", "--compare", &folder.at("base.json"), "--adapter", "no such adapter"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
}

#[test]
fn a_reference_of_the_hub_cache() {
    let folder = Folder::new();
    let repository = folder.path("models--org--name");
    std::fs::create_dir_all(repository.join("refs")).expect("a folder");
    std::fs::create_dir_all(repository.join("snapshots")).expect("a folder");
    std::fs::write(repository.join("refs/main"), STEERING).expect("written");
    let output = command(&["info", "org/name"]).env("HF_HUB_CACHE", folder.path("")).output().expect("the program");
    expect_harmless(&Run::of(output), "a reference");
}

#[test]
fn arguments() {
    let typed = STEERING.replace('\n', " ");
    expect_harmless(&downhill(&["sample", "--sampler", &typed]), "a value");
    expect_harmless(&downhill(&["sample", "--timesteps", &typed]), "a number");
    expect_harmless(&downhill(&["sample", &format!("--{typed}")]), "a flag");
    expect_harmless(&downhill(&[&typed]), "a subcommand");
}

#[cfg(unix)]
#[test]
fn names_of_files_and_folders() {
    let folder = Folder::new();
    let name = folder.at(STEERING);
    expect_harmless(&downhill(&["info", &format!("{name}.npy")]), "an array that is not there");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/sound"), Path::new(&name));
    expect_harmless(&downhill(&["info", &name]), "a model");
    let array = folder.at("z.npy");
    downhill::formats::npy::write(&array, &downhill::tensor::Tensor::zeros([1, 1, 8, 8])).expect("written");
    let run = downhill(&[
        "denoise",
        &name,
        "-i",
        &array,
        "-t",
        "5",
        "-o",
        &folder.at("e.npy"),
        "--adapter",
        "no such adapter",
    ]);
    assert_eq!(run.code, 3, "{}", run.stderr);
}
