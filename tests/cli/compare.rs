//! Comparison of images and arrays: verdicts, exit codes, reports, pictures.

use std::io::Write;
use std::process::Stdio;

use downhill::formats::png::{read_metadata, write_png};
use downhill::formats::{Image, npz};
use downhill::tensor::Tensor;

use crate::{Folder, Run, command, downhill};

/// Writes a grey image of 2 x 3 pixels.
fn image(folder: &Folder, name: &str, pixels: [u8; 6], seed: &str) -> String {
    let image = Image { height: 2, width: 3, channels: 1, pixels: pixels.to_vec() };
    write_png(folder.path(name), &image, &[("seed".to_owned(), seed.to_owned())]).expect("written");
    folder.at(name)
}

/// Asserts the exit code, and returns the text without the names of the files.
#[track_caller]
fn compared(code: i32, a: &str, b: &str, flags: &[&str]) -> String {
    let run = downhill(&[&["compare", a, b], flags].concat());
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    run.stdout.replace(a, "A").replace(b, "B")
}

#[test]
fn images_are_compared_in_levels() {
    let folder = Folder::new();
    let a = image(&folder, "a.png", [0, 10, 20, 30, 40, 50], "1");
    let b = image(&folder, "b.png", [0, 10, 20, 33, 40, 51], "1");
    assert_eq!(compared(0, &a, &a, &[]), "A and A: equal\n  of  image 2 x 3, grey\n");
    insta::assert_snapshot!("images", compared(1, &a, &b, &[]));
    assert!(compared(0, &a, &b, &["--tolerance", "3"]).starts_with("A and B: within the tolerance\n"));
    compared(1, &a, &b, &["--tolerance", "2.9"]);
    compared(0, &a, &b, &["--min-psnr", "45"]);
    compared(1, &a, &b, &["--min-psnr", "46"]);
    compared(1, &a, &b, &["--tolerance", "3", "--min-psnr", "46"]);
    compared(0, &a, &b, &["--relative", "0.059"]);
    compared(1, &a, &b, &["--relative", "0.058"]);
}

#[test]
fn texts_of_pngs_are_noted_and_not_compared() {
    let folder = Folder::new();
    let a = image(&folder, "a.png", [0; 6], "1");
    let b = image(&folder, "b.png", [0; 6], "2");
    let run = downhill(&["compare", &a, &b]);
    assert_eq!((run.code, run.stderr.as_str()), (0, "the texts of the PNGs differ: seed\n"));
}

#[test]
fn a_picture_shows_both_and_their_difference() {
    let folder = Folder::new();
    let a = image(&folder, "a.png", [0, 10, 20, 30, 40, 50], "1");
    let b = image(&folder, "b.png", [0, 10, 20, 33, 40, 51], "1");
    let picture = folder.at("d.png");
    let run = downhill(&["compare", &a, &b, "--difference", &picture]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains(&format!("wrote {picture}: A, B and |A - B| times 85")), "{}", run.stderr);
    let texts = read_metadata(&picture).expect("a PNG");
    assert!(texts.contains(&("scale".to_owned(), "85".to_owned())), "{texts:?}");
    let streamed = command(&["compare", &a, &b, "--difference", "-", "-q"]).output().expect("the program starts");
    assert_eq!((streamed.status.code(), streamed.stdout), (Some(1), folder.bytes("d.png")));
    downhill(&["compare", &a, &b, "--difference", &b]).expect_error(2, "which is read by `B`");
    downhill(&["compare", &a, &b, "--difference", "x.jpg"]).expect_error(2, "is not the name of a PNG");
    downhill(&["compare", &a, &b, "--difference", "-", "--json", "-"]).expect_error(2, "both standard output");
}

#[test]
fn arrays_are_compared_as_numbers() {
    let folder = Folder::new();
    let a = folder.write("a.npy", &Tensor::new([2, 2], vec![1.0, f32::NAN, 3.0, 4.0]));
    let b = folder.write("b.npy", &Tensor::new([2, 2], vec![1.0, f32::NAN, 3.0, 4.5]));
    insta::assert_snapshot!("arrays", compared(1, &a, &b, &["--tolerance", "1"]));
    compared(0, &a, &b, &["--tolerance", "0.5", "--equal-nan"]);
    compared(1, &a, &a, &[]);
    compared(0, &a, &a, &["--equal-nan"]);
    let flat = folder.write("flat.npy", &Tensor::new([4], vec![1.0; 4]));
    assert!(compared(1, &a, &flat, &["--tolerance", "9"]).contains("shapes differ: (2, 2) and (4,)"));
    let archive = folder.path("x.npz");
    npz::write(&archive, &[("mu", &[1], &[1.0]), ("sigma", &[1], &[2.0])]).expect("written");
    npz::write(&folder.path("y.npz"), &[("mu", &[1], &[1.0])]).expect("written");
    let text = compared(1, archive.to_str().expect("UTF-8"), &folder.at("y.npz"), &[]);
    assert!(text.contains("A and B, `mu`: equal\n") && text.contains("only A has this array"), "{text}");
    let picture = image(&folder, "a.png", [0; 6], "1");
    assert!(compared(1, &picture, &a, &[]).contains("an image is not comparable to an array"));
    downhill(&["compare", &a, &b, "--difference", "d.png"]).expect_error(2, "is a picture of images");
}

#[test]
fn folders_are_compared_by_the_names_of_their_files() {
    let folder = Folder::new();
    for side in ["a", "b"] {
        std::fs::create_dir_all(folder.path(&format!("{side}/deep"))).expect("made");
        image(&folder, &format!("{side}/x.png"), [7; 6], side);
        folder.write(&format!("{side}/deep/y.npy"), &Tensor::new([1], vec![1.0]));
        std::fs::write(folder.path(&format!("{side}/report.json")), side).expect("written");
    }
    let (a, b) = (folder.at("a"), folder.at("b"));
    let run = downhill(&["compare", &a, &b, "--json", &folder.at("report.json")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.ends_with("2 pairs: 2 equal, 0 within the tolerance, 0 different\n"), "{}", run.stdout);
    assert!(run.stderr.contains("1 file in the folders, such as `report.json`"), "{}", run.stderr);
    assert!(run.stderr.contains("`x.png`: the texts of the PNGs differ: seed"), "{}", run.stderr);
    let report = folder.json("report.json");
    assert_eq!((&report["verdict"], report["pairs"].as_array().map(Vec::len)), (&"equal".into(), Some(2)));
    assert_eq!(report["pairs"][1]["differing_texts"], serde_json::json!(["seed"]));
    image(&folder, "b/new.png", [0; 6], "1");
    let text = compared(1, &a, &b, &["--tolerance", "255"]);
    assert!(
        text.contains("new.png: only B has this file\n") && text.ends_with("; 1 file on one side only\n"),
        "{text}"
    );
    downhill(&["compare", &a, &folder.at("b/x.png")]).expect_error(2, "is a folder and");
    downhill(&["compare", &a, &b, "--difference", "d.png"]).expect_error(2, "is a picture of two files");
    std::fs::create_dir(folder.path("empty")).expect("made");
    downhill(&["compare", &folder.at("empty"), &folder.at("empty")]).expect_error(4, "no images or arrays");
}

#[test]
fn one_side_may_be_standard_input() {
    let folder = Folder::new();
    let a = image(&folder, "a.png", [0, 10, 20, 30, 40, 50], "1");
    let piped = |bytes: &[u8]| {
        let mut program = command(&["compare", "-", &a, "--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        program.stdin.take().expect("a pipe").write_all(bytes).expect("written");
        Run::of(program.wait_with_output().expect("it ends"))
    };
    let same = piped(&folder.bytes("a.png"));
    assert_eq!(same.code, 0, "{}", same.stderr);
    let report: serde_json::Value = serde_json::from_str(&same.stdout).expect("JSON alone");
    assert_eq!((&report["a"], &report["pairs"][0]["a"]), (&"stdin".into(), &"stdin".into()));
    assert_eq!(report["pairs"][0]["difference"]["psnr"], serde_json::Value::Null);
    piped(b"text").expect_error(4, "stdin: ");
    downhill(&["compare", "-", "-"]).expect_error(2, "`A` and `B` are both standard input");
}

#[test]
fn files_that_cannot_be_read_are_not_a_difference() {
    let folder = Folder::new();
    let a = image(&folder, "a.png", [0; 6], "1");
    std::fs::write(folder.path("cut.png"), &folder.bytes("a.png")[..40]).expect("written");
    downhill(&["compare", &a, &folder.at("cut.png")]).expect_error(4, "cut.png");
    downhill(&["compare", &a, "no-such.png"]).expect_error(2, "`no-such.png` does not exist");
    downhill(&["compare", &a, &a, "--tolerance", "-1"]).expect_error(2, "a bound is at least 0");
    downhill(&["compare", &a]).expect_error(2, "<B>");
}
