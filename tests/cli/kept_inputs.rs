//! Files that a run reads, and those of earlier runs: no output replaces them unasked.

use std::fmt::Write;

use downhill::tensor::Tensor;

use crate::{Folder, downhill, quietly};

/// A network of 8 x 8 pixels.
const MODEL: &str = "tests/bad/sound";

#[test]
fn an_output_that_is_an_input_is_refused_and_the_input_stays() {
    let folder = Folder::new();
    let at = |name: &str| folder.at(name);
    quietly(&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &at("one.png")]);
    std::fs::copy(folder.path("one.png"), folder.path("00001.png")).expect("copied");
    std::fs::copy(folder.path("one.png"), folder.path("m.png")).expect("copied");
    folder.write("z.npy", &Tensor::new([1, 1, 8, 8], vec![0.5; 64]));
    std::fs::write(folder.path("a.json"), "{}").expect("written");
    std::fs::create_dir(folder.path("in")).expect("a folder");
    let [one, mask, z, base, other, pattern, x, single] =
        &["one.png", "m.png", "z.npy", "a.json", "in/../one.png", "%05d.png", "x.png", "00001.png"].map(at);
    let [data, wiener, operator] = &[format!("ideal:{z}"), format!("wiener:mean={z},cov={z}"), format!("mask:{mask}")];
    let cases: [(&[&str], &str, &str); 14] = [
        (&["sample", MODEL, "--init-image", one, "-o", one], "--output", "--init-image"),
        (&["sample", MODEL, "--init-image", one, "-o", other], "--output", "--init-image"),
        (&["sample", MODEL, "--init-image", single, "-o", pattern], "--output", "--init-image"),
        (&["sample", MODEL, "--init-image", one, "--mask", mask, "-o", mask], "--output", "--mask"),
        (&["sample", MODEL, "--init-image", one, "-o", x, "--json", one], "--json", "--init-image"),
        (&["sample", MODEL, "--init-noise", z, "-o", x, "--save-samples", z], "--save-samples", "--init-noise"),
        (&["sample", data, "-o", x, "--save-samples", z], "--save-samples", "model"),
        (&["sample", wiener, "-o", x, "--save-samples", z], "--save-samples", "model"),
        (&["restore", MODEL, "--operator", "blur:1", "-i", one, "-o", one], "--output", "--input"),
        (&["restore", MODEL, "--operator", operator, "-i", one, "-o", mask], "--output", "--operator"),
        (&["denoise", MODEL, "-i", z, "-t", "5", "-o", z], "--output", "--input"),
        (&["bench", "copy", "--compare", base, "--json", base], "--json", "--compare"),
        (&["compare", one, mask, "--difference", mask], "--difference", "B"),
        (&["merge", z, "-o", z], "--output", "files"),
    ];
    for (arguments, output, input) in cases {
        let file = arguments.last().expect("a file");
        let bytes = std::fs::read(file).ok();
        let run = downhill(arguments);
        run.expect_error(2, &format!("`{output}` would replace `")).expect_error(2, &format!("is read by `{input}`\n"));
        run.expect_error(2, &format!("hint: name another file by `{output}`"));
        assert_eq!(std::fs::read(file).ok(), bytes, "{arguments:?}");
    }
    // An image that the run does not make is not in its way.
    quietly(&["sample", MODEL, "--init-image", single, "--strength", "1", "-n", "1", "-o", pattern]);
}

#[test]
fn the_usual_output_is_one_that_may_be_an_input() {
    let folder = Folder::new();
    quietly(&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &folder.at("samples.png")]);
    let bytes = folder.bytes("samples.png");
    let model = std::path::absolute(MODEL).expect("a path");
    let mut command = crate::command(&["sample", model.to_str().expect("UTF-8"), "--init-image", "samples.png"]);
    let run = crate::Run::of(command.current_dir(folder.path("")).output().expect("the program starts"));
    run.expect_error(2, "`--output` would replace `samples.png`, which is read by `--init-image`");
    assert_eq!(folder.bytes("samples.png"), bytes);
}

#[test]
fn requests_keep_their_inputs() {
    let folder = Folder::new();
    let (one, z) = (folder.at("one.png"), folder.at("z.npy"));
    quietly(&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &one, "--save-samples", &z]);
    let bytes = folder.bytes("z.npy");
    let mut lines = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(lines, "{}", serde_json::json!({ "output": folder.at("x.png"), "init": z, "save_samples": z }));
    let requests = folder.at("requests.jsonl");
    std::fs::write(&requests, lines).expect("written");
    let mut command = crate::command(&["serve", MODEL]);
    command.stdin(std::fs::File::open(&requests).expect("the requests"));
    let output = command.output().expect("the program starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("would replace") && told.contains("is read by `init`"), "{told}");
    assert_eq!(folder.bytes("z.npy"), bytes);
}

#[test]
fn merge_blames_damage_on_archives_only() {
    let folder = Folder::new();
    let (picture, output) = (folder.at("samples.png"), folder.at("m.npz"));
    quietly(&["sample", MODEL, "-n", "1", "--steps", "1", "-o", &picture]);
    let run = downhill(&["merge", &picture, "-o", &output]);
    run.expect_error(4, "samples.png: a picture (PNG), not a file of moments");
    run.expect_error(4, "hint: `downhill moments` makes such files");
    std::fs::write(folder.path("damaged.npz"), b"PK\x03\x04and no more").expect("written");
    let run = downhill(&["merge", &folder.at("damaged.npz"), "-o", &output]);
    run.expect_error(4, "hint: remove the file; the run of that part measures it again");
}
