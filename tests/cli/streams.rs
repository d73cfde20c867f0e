//! `-` as an input and an output: the same bytes as files, and one stream for one thing.

use std::io::Write;
use std::process::{Output, Stdio};

use downhill::tensor::Tensor;

use crate::{Folder, Run, command, downhill, quietly};

/// A network of 8 x 8 pixels.
const MODEL: &str = "tests/bad/sound";

/// Six images of 1 x 4 x 4.
fn few() -> Tensor {
    Tensor::new(vec![6, 1, 4, 4], (0..96).map(|at| ((at * 37 % 101) as f32) / 50.0 - 1.0).collect())
}

/// The output of the program with `input` on standard input.
fn piped(arguments: &[&str], input: &[u8]) -> Output {
    let mut program = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut pipe = program.stdin.take().expect("a pipe");
    // A program that refuses its flags reads nothing.
    let _ = pipe.write_all(input);
    drop(pipe);
    program.wait_with_output().expect("it ends")
}

#[track_caller]
fn bytes(output: Output) -> Vec<u8> {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn images_on_standard_output_are_those_of_files() {
    let folder = Folder::new();
    let sample = ["sample", MODEL, "-n", "2", "--steps", "2", "-q"];
    for (name, format) in [("x.png", None), ("x.png", Some("png")), ("x.npz", Some("npz"))] {
        quietly(&[&sample[..6], &["-o", &folder.at(name)]].concat());
        let flags: Vec<&str> = format.iter().flat_map(|format| ["--format", *format]).collect();
        let streamed = command(&[&sample[..], &["-o", "-"], &flags].concat()).output().expect("the program starts");
        assert_eq!(bytes(streamed), folder.bytes(name), "{name} {format:?}");
    }
    quietly(&[&sample[..6], &["-o", &folder.at("x.png"), "--save-samples", &folder.at("x.npy")]].concat());
    let other = folder.at("y.png");
    let samples = [&sample[..], &["-o", &other, "--save-samples", "-"]].concat();
    assert_eq!(bytes(command(&samples).output().expect("the program starts")), folder.bytes("x.npy"));
    let what = "`--format` is for standard output";
    downhill(&[&sample[..], &["-o", "x.png", "--format", "png"]].concat()).expect_error(2, what);
    downhill(&["decode", "x", "-i", "x.npy", "-o", "x.png", "--format", "png"]).expect_error(2, what);
}

#[test]
fn starts_may_come_from_standard_input() {
    let folder = Folder::new();
    let sample = ["sample", MODEL, "--steps", "2", "-q", "-o"];
    quietly(&["sample", MODEL, "-n", "1", "--steps", "2", "-o", &folder.at("x.png")]);
    let picture = folder.bytes("x.png");
    let strength = ["--strength", "0.5", "--init-image"];
    let file = folder.at("x.png");
    let of_file = [&sample[..], &["-"], &strength, &[&file]].concat();
    let of_file = bytes(command(&of_file).output().expect("the program starts"));
    std::fs::write(folder.path("of-file.png"), &of_file).expect("written");
    let streamed = bytes(piped(&[&sample[..], &["-"], &strength, &["-"]].concat(), &picture));
    std::fs::write(folder.path("streamed.png"), &streamed).expect("written");
    // The texts of the images name the start.
    let same = downhill(&["compare", &folder.at("of-file.png"), &folder.at("streamed.png")]);
    assert_eq!((same.code, same.stderr.as_str()), (0, "the texts of the PNGs differ: start\n"), "{}", same.stdout);
    let texts = Run::of(piped(&["info", "-"], &streamed));
    assert!(texts.stdout.contains("stdin"), "{}", texts.stdout);
    let report = folder.at("run.json");
    bytes(piped(&[&sample[..], &["-", "--json", &report], &strength, &["-"]].concat(), &picture));
    assert_eq!(folder.json("run.json")["init_image"]["file"], "stdin");
    let refused = Run::of(piped(&["compare", "-", &file], b""));
    refused.expect_error(4, "stdin: is empty\nhint: the command before the pipe has written nothing");
    let refused = Run::of(piped(&[&sample[..], &["-"], &strength, &["-"]].concat(), b"text"));
    refused.expect_error(4, "stdin: ");
}

#[test]
fn arrays_go_through_pipes() {
    let folder = Folder::new();
    let few = folder.write("few.npy", &few());
    let array = folder.bytes("few.npy");
    let denoiser = format!("pca:{few},k=2");
    let denoise = ["denoise", &denoiser, "--sigma", "0.5", "-q"];
    quietly(&[&denoise[..4], &["-i", &few, "-o", &folder.at("eps.npy")]].concat());
    assert_eq!(bytes(piped(&[&denoise[..], &["-i", "-", "-o", "-"]].concat(), &array)), folder.bytes("eps.npy"));
    let about = Run::of(piped(&["info", "-"], &array));
    assert!(about.code == 0 && about.stdout.starts_with("shape"), "{}{}", about.stdout, about.stderr);
    let restore = ["restore", &denoiser, "--operator", "blur:1", "--data", &few, "--steps", "2", "-o", "-"];
    let restored = command(&[&restore[..], &["--format", "png"]].concat()).output().expect("the program starts");
    let talk = String::from_utf8(restored.stderr.clone()).expect("UTF-8");
    assert!(talk.contains("PSNR"), "words beside a stream are on standard error: {talk}");
    let picture = bytes(restored);
    assert!(picture.starts_with(b"\x89PNG") && picture.ends_with(b"IEND\xaeB`\x82"), "a picture and nothing else");
    let restored = command(&restore).output().expect("the program starts");
    assert!(bytes(restored).starts_with(b"\x93NUMPY"), "an array is the default");
}

#[test]
fn a_stream_is_for_one_thing() {
    for (arguments, what) in [
        (&["sample", "-o", "-", "--json", "-"][..], "`--output` and `--json` are both standard output"),
        (&["sample", "-o", "-", "--timings"], "`--timings` prints to standard output, and `--output` is"),
        (&["encode-text", "x", "-p", "a", "-o", "-", "--pooled", "-"], "`--output` and `--pooled` are both standard"),
        (&["encode-text", "x", "-p", "a", "-o", "-", "--tokens"], "`--tokens` prints to standard output"),
        (&["sample", "--init-image", "-", "--mask", "-"], "`--init-image` and `--mask` are both standard input"),
        (&["denoise", "x", "-i", "-", "-t", "-", "-o", "x.npy"], "`--input` and `--timesteps` are both standard input"),
        (&["restore", "--operator", "blur:2", "-i", "-", "--reference", "-"], "are both standard input"),
        (&["linear", "pca", "-o", "-"], "`--output` is a folder of files, which standard output cannot hold"),
        (&["inspect", "norms", "-o", "-"], "`--output` is a folder of files, which standard output cannot hold"),
        (&["sample", "--save-steps", "-"], "`--save-steps` is `-`, and a standard stream can only be a single file"),
        (&["sample", "-"], "`model` is `-`, and a standard stream can only be a single file"),
        (&["linear", "pca", "--data", "-", "-o", "x"], "`--data` is `-`, and a standard stream can only be"),
        (&["inspect", "frechet", "-"], "`samples` is `-`, and a standard stream can only be a single file"),
        (&["serve", "--json", "-"], "`--json` is standard output, and so are the events"),
    ] {
        downhill(arguments).expect_error(2, what);
    }
}

/// A reader that stops is no failure of the program.
#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_a_run_quietly() {
    let program = env!("CARGO_BIN_EXE_downhill");
    for run in ["sample tests/bad/sound -n 64 --steps 1 -q -o -", "--help", "sample --sampler list"] {
        let script = format!("{{ '{program}' {run}; echo $? >&2; }} | head -c 10 >/dev/null");
        let mut shell = std::process::Command::new("sh");
        let shell = shell.args(["-c", &script]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let ended = shell.stdin(Stdio::null()).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "0\n", "{run}");
    }
}

/// The command lines that write a file, with OUT in its place, and the end of the name of that file.
fn writers(folder: &Folder) -> Vec<(Vec<String>, &'static str)> {
    let few = folder.write("few.npy", &few());
    let denoiser = format!("pca:{few},k=2");
    let golden = "tests/golden/latent/sd1-like";
    let latent = format!("{golden}/stages/latent.npy");
    let moments = folder.at("few.npz");
    quietly(&["moments", &few, "-o", &moments]);
    let picture = folder.at("picture.png");
    quietly(&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &picture]);
    let rows: &[(&[&str], &str)] = &[
        (&["sample", MODEL, "-n", "1", "--steps", "1", "-o", "OUT"], ".png"),
        (&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &picture, "--save-images", "OUT"], ".npy"),
        (&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &picture, "--save-path", "OUT"], ".npy"),
        (&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &picture, "--steps-sheet", "OUT"], ".png"),
        (&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &picture, "--steps-animation", "OUT"], ".png"),
        (&["denoise", &denoiser, "--sigma", "0.5", "-i", &few, "-o", "OUT"], ".npy"),
        (&["restore", &denoiser, "--operator", "blur:1", "--data", &few, "--steps", "1", "-o", "OUT"], ".npy"),
        (&["encode-text", golden, "-p", "a", "-o", "OUT"], ".npy"),
        (&["decode", golden, "-i", &latent, "-o", "OUT"], ".npy"),
        (&["moments", &few, "-o", "OUT"], ".npz"),
        (&["merge", &moments, "-o", "OUT"], ".npz"),
        (&["compare", &picture, &picture, "--difference", "OUT"], ".png"),
    ];
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    rows.iter().map(|(words, ending)| (owned(words), *ending)).collect()
}

/// `-` in place of an output has the bytes of the file and nothing else, whatever there is to say.
#[test]
fn every_output_is_the_same_on_standard_output() {
    let folder = Folder::new();
    for (words, ending) in writers(&folder) {
        let file = folder.at(&format!("out{ending}"));
        let with = |place: &str| -> Vec<String> {
            words.iter().map(|word| if word == "OUT" { place.to_owned() } else { word.clone() }).collect()
        };
        let (to_file, to_stream) = (with(&file), with("-"));
        let words: Vec<&str> = to_file.iter().map(String::as_str).collect();
        bytes(command(&words).output().expect("the program starts"));
        let words: Vec<&str> = to_stream.iter().map(String::as_str).collect();
        let streamed = bytes(command(&words).output().expect("the program starts"));
        assert!(streamed == folder.bytes(&format!("out{ending}")), "{words:?}");
        // A full disk is an error, and so is a report in the same place.
        #[cfg(target_os = "linux")]
        {
            let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
            let output = command(&words).stdout(full).output().expect("the program starts");
            Run::of(output).expect_error(4, "error: stdout: ");
        }
        downhill(&[&words[..], &["--json", "-"]].concat()).expect_error(2, "`--json` are both standard output");
    }
    assert!(!std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("-").exists(), "a file called `-`");
}

/// A full disk is no reason to say nothing.
#[cfg(target_os = "linux")]
#[test]
fn text_that_does_not_fit_on_a_disk_is_an_error() {
    for arguments in
        [&["--help"][..], &["sample", "-h"], &["--version"], &["devices"], &["sample", "--sampler", "list"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let output = command(arguments).stdout(full).output().expect("the program starts");
        Run::of(output).expect_error(4, "error: stdout: ");
    }
}

/// `--json -` is one JSON object in place of what a subcommand prints.
#[test]
fn every_report_is_alone_on_standard_output() {
    let folder = Folder::new();
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (words, ending) in writers(&folder) {
        let file = folder.at(&format!("out{ending}"));
        lines.push(words.iter().map(|word| if word == "OUT" { file.clone() } else { word.clone() }).collect());
    }
    let (picture, out) = (folder.at("picture.png"), folder.at("study"));
    let (few, latent) = (folder.at("few.npy"), "tests/golden/latent/sd1-like");
    for words in [
        &["sample", MODEL, "-n", "1", "--steps", "1", "-o", &picture, "--timings"][..],
        &["encode-text", latent, "-p", "a", "--tokens"],
        &["linear", "pca", "--data", &few, "-k", "2", "-o", &out],
        &["inspect", "schedule", "--error-model", "0.05,2"],
        &["devices"],
        &["info", MODEL],
        &["info", &picture],
        &["info", &few],
        &["selftest"],
        &["bench", "copy", "--sizes", "0.01", "-r", "1", "--no-roofs"],
        &["bench", "copy", "--sizes", "0.01", "-r", "1", "--no-roofs", "-o", "jsonl"],
        &["tune", MODEL, "--seconds", "1"],
    ] {
        lines.push(words.iter().map(|word| (*word).to_owned()).collect());
    }
    for line in lines {
        let words: Vec<&str> = line.iter().map(String::as_str).chain(["--json", "-"]).collect();
        let mut program = command(&words);
        if line[0] == "tune" {
            // Its choices are kept, and would be those of other tests.
            program.env("DOWNHILL_CACHE_DIR", folder.at("cache"));
        }
        let printed = bytes(program.output().expect("the program starts"));
        let report: serde_json::Value = serde_json::from_slice(&printed).unwrap_or_else(|error| {
            panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&printed));
        });
        assert!(
            report["command"].as_str().is_some_and(|name| line.starts_with(&[name.to_owned()]) || name.contains(' ')),
            "{report}"
        );
    }
}

#[test]
fn moments_go_through_pipes() {
    let folder = Folder::new();
    let few = folder.write("few.npy", &few());
    let part =
        |shard: &str, to: &str| command(&["moments", &few, "--shard", shard, "-o", to]).output().expect("it starts");
    quietly(&["moments", &few, "-o", &folder.at("whole.npz")]);
    let first = bytes(part("0/1", "-"));
    assert_eq!(first, folder.bytes("whole.npz"));
    let merged = bytes(piped(&["merge", "-", "-o", "-"], &first));
    assert_eq!(merged, folder.bytes("whole.npz"));
    downhill(&["moments", &few, "-o", "-", "--resume"]).expect_error(2, "standard output holds none");
    downhill(&["merge", "-", "-", "-o", "-"]).expect_error(2, "names standard input twice");
    Run::of(piped(&["merge", "-", "-o", "-"], &first[..50])).expect_error(4, "stdin: ");
}
