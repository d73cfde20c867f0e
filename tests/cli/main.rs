//! The program from outside: what it prints, what it writes, how it exits.

mod additions;
#[path = "../common/adm.rs"]
mod adm_files;
mod autoencoder;
mod bad;
mod bad_pipelines;
mod basis;
mod bench;
mod caches;
mod classifier;
mod closed_form;
mod compare;
mod denoise;
mod deploy;
mod dit;
#[cfg(feature = "download")]
mod download;
#[path = "../networks/drawn.rs"]
#[expect(dead_code, reason = "weights in memory are for networks without files")]
mod drawn;
mod economy;
mod encode_text;
mod escapes;
mod example;
mod faults;
mod features;
mod guidance;
mod help;
#[cfg(feature = "download")]
#[path = "../common/hub.rs"]
mod hub;
mod inpaint;
mod inputs;
mod inspect;
mod interrupts;
mod jacobian;
mod kept_inputs;
mod labels;
mod linear;
mod linear_baseline;
mod memory;
mod moments;
mod noise_forms;
mod outputs;
mod quality;
#[path = "../common/inception.rs"]
mod random_inception;
mod restore;
mod sample;
mod score_theory;
mod serve;
mod shards;
#[path = "../common/single_file.rs"]
mod single_file;
mod single_files;
mod streams;
mod targets;
mod terminal;
mod text;
mod text_models;
mod tools;
mod tune;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use downhill::tensor::Tensor;

/// How a run ended.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        let stderr = text(output.stderr);
        assert!(!stderr.contains("panicked"), "{stderr}");
        Self {
            code: output.status.code().expect("the program exits"),
            stdout: text(output.stdout),
            stderr: without_adapter(&stderr),
        }
    }

    /// Asserts that it went well and printed nothing but `talk` on standard error.
    #[track_caller]
    fn expect(&self, talk: &str) -> &Self {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (0, "", talk));
        self
    }

    /// Asserts how it failed, and that the message holds `what`.
    #[track_caller]
    fn expect_error(&self, code: i32, what: &str) -> &Self {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        assert!(self.stderr.contains(what), "{}", self.stderr);
        self
    }
}

/// Drops the one line that depends on the machine: that a software adapter computes.
fn without_adapter(stderr: &str) -> String {
    let lines = stderr.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("note: computing in software on \"")).collect()
}

/// The program with `arguments`, in the root of the crate, so that messages hold relative paths.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_downhill"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DOWNHILL_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-cache"))
        .env("HF_HOME", "no-hub-cache")
        .env("COLUMNS", "100")
        .env_remove("HF_HUB_CACHE")
        .env_remove("HUGGINGFACE_HUB_CACHE")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null());
    command
}

/// Sends a signal to a process, by the `kill` that every shell has.
#[cfg(unix)]
#[track_caller]
fn send(signal: &str, ids: &[u32]) {
    let ids = ids.iter().map(u32::to_string);
    let kill = Command::new("sh").args(["-c", "kill -s \"$0\" \"$@\"", signal]).args(ids).status();
    assert!(kill.expect("a shell").success(), "{signal}");
}

fn downhill(arguments: &[&str]) -> Run {
    Run::of(command(arguments).output().expect("the program starts"))
}

/// As [`downhill`], for a run that must go well and say nothing.
#[track_caller]
fn quietly(arguments: &[&str]) {
    downhill(&[arguments, &["-q"]].concat()).expect("");
}

/// A folder that is gone when the test is over.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path in it as an argument.
    fn at(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn array(&self, name: &str) -> Tensor {
        downhill::formats::npy::read(self.path(name)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&self.bytes(name)).expect("JSON")
    }

    fn write(&self, name: &str, tensor: &Tensor) -> String {
        downhill::formats::npy::write(self.path(name), tensor).expect("written");
        self.at(name)
    }

    /// The names of what is in it, sorted.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder is there");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

/// max |a - b| / max |b|
fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape, b.shape);
    let largest = b.data.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    a.data.iter().zip(&b.data).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}
