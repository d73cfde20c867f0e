//! SIGINT and SIGTERM: what is done is written, and the exit code names the signal.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{Folder, Run, command};

/// The longest time that a run takes to begin, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Starts a run with details, sends it a signal once it is `ready` by its standard error, and waits for its end. The
/// signal comes twice, as `timeout` sends it to a program and to its group.
fn interrupted(arguments: &[&str], signal: &str, ready: impl Fn(&str) -> bool) -> Run {
    let arguments = [arguments, &["-v"]].concat();
    let mut program = command(&arguments).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
    let lines = BufReader::new(program.stderr.take().expect("standard error")).lines();
    let told = Arc::new(Mutex::new(String::new()));
    let shared = told.clone();
    let reader = std::thread::spawn(move || {
        for line in lines {
            let mut told = shared.lock().expect("the text");
            told.push_str(&line.expect("a line"));
            told.push('\n');
        }
    });
    let begun = Instant::now();
    while !ready(&told.lock().expect("the text")) {
        let ended = program.try_wait().expect("the program");
        assert!(ended.is_none() && begun.elapsed() < PATIENCE, "{ended:?}: {}", told.lock().expect("the text"));
        std::thread::sleep(Duration::from_millis(5));
    }
    crate::send(signal, &[program.id(), program.id()]);
    let mut output = program.wait_with_output().expect("the program");
    reader.join().expect("the reader");
    output.stderr = told.lock().expect("the text").clone().into_bytes();
    Run::of(output)
}

/// The number of images that a run says it has done.
fn done(run: &Run) -> usize {
    let line = run.stderr.lines().find_map(|line| line.strip_prefix("warning: interrupted: ")).expect("a warning");
    line.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn single_images_and_arrays_hold_what_was_done() {
    let folder = Folder::new();
    let (pattern, samples, report) = (folder.at("%04d.png"), folder.at("z.npy"), folder.at("run.json"));
    let sample = ["sample", "-n", "5000", "-b", "1", "--steps", "2", "-o", &pattern];
    let run = interrupted(&[&sample[..], &["--save-samples", &samples, "--json", &report]].concat(), "INT", |told| {
        told.contains("\n1 of 5000")
    });
    assert_eq!(run.code, 130, "{}", run.stderr);
    let images = folder
        .names()
        .iter()
        .filter(|name| std::path::Path::new(name).extension().is_some_and(|ending| ending == "png"))
        .count();
    assert_eq!((images, folder.array("z.npy").shape[0]), (done(&run), done(&run)));
    assert!((1..5000).contains(&images), "{images}");
    let told = folder.json("run.json");
    assert_eq!((&told["interrupted"], told["outputs"].as_array().map(Vec::len)), (&true.into(), Some(images + 1)));
    assert!(run.stderr.contains("\nto begin again: downhill sample -n 5000"), "{}", run.stderr);
    assert!(folder.names().iter().all(|name| !name.starts_with('.')), "nothing is left half-written");
}

#[test]
fn a_run_of_single_images_names_the_command_that_resumes_it() {
    let folder = Folder::new();
    let sample = ["sample", "-n", "5000", "-b", "2", "--steps", "2", "-o", &folder.at("%04d.png")];
    let run = interrupted(&sample, "TERM", |told| told.contains("\n2 of 5000"));
    assert_eq!(run.code, 143, "{}", run.stderr);
    assert_eq!(folder.names().len(), done(&run));
    let again = run.stderr.lines().find_map(|line| line.strip_prefix("to continue: ")).expect("a command");
    assert!(again.ends_with(" -v --resume"), "{again}");
}

#[test]
fn a_benchmark_holds_the_cases_that_were_measured() {
    let sizes = vec!["0.1"; 1000].join(",");
    for format in ["json", "jsonl", "md"] {
        let bench = ["bench", "copy", "--sizes", &sizes, "--no-roofs", "-o", format];
        let run = interrupted(&bench, "INT", |told| told.contains("\n1 of 2000 cases are measured: copy 0.1 MiB"));
        assert_eq!(run.code, 130, "{}", run.stderr);
        assert!((1..2000).contains(&done(&run)), "{}", run.stderr);
        if format == "md" {
            assert!(run.stdout.contains("\n- stopped before its last case\n"), "{}", run.stdout);
        } else {
            let (folder, file) = (Folder::new(), "saved.json");
            std::fs::write(folder.path(file), &run.stdout).unwrap();
            let saved = downhill::bench::report::Findings::read(&folder.path(file)).expect("a saved run");
            assert!(saved.stopped && saved.rows.len() == done(&run), "{}", saved.rows.len());
        }
    }
}

#[test]
fn a_run_with_nothing_to_write_ends_at_once() {
    let folder = Folder::new();
    let energy = ["linear", "energy", "--steps", "5000", "--draws", "100", "-o", &folder.at("energy")];
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let run = interrupted(&energy, signal, |told| told.contains("\nadapter ") || told.starts_with("adapter "));
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(folder.names().is_empty());
    }
}

#[test]
fn a_grid_holds_the_images_that_were_done() {
    let folder = Folder::new();
    let sample = ["sample", "-n", "5000", "-b", "3", "--steps", "2", "-o", &folder.at("grid.png")];
    let run = interrupted(&sample, "INT", |told| told.contains("\n3 of 5000"));
    assert_eq!(run.code, 130, "{}", run.stderr);
    let metadata = downhill::formats::png::read_metadata(folder.path("grid.png")).expect("a whole image");
    let images = metadata.iter().find(|(keyword, _)| keyword == "images").map(|(_, text)| text.clone());
    assert_eq!(images, Some(format!("0 to {}", done(&run) - 1)));
}

#[test]
fn an_earlier_picture_stays_and_the_part_has_another_name() {
    let folder = Folder::new();
    std::fs::write(folder.path("keep.png"), "an earlier picture").expect("written");
    std::fs::write(folder.path("keep.npy"), "earlier samples").expect("written");
    let (grid, samples) = (folder.at("keep.png"), folder.at("keep.npy"));
    let sample = ["sample", "-n", "5000", "-b", "3", "--steps", "2", "-o", &grid, "--save-samples", &samples];
    let run = interrupted(&sample, "INT", |told| told.contains("\n3 of 5000"));
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert_eq!(folder.bytes("keep.png"), b"an earlier picture");
    assert_eq!(folder.bytes("keep.npy"), b"earlier samples");
    assert_eq!(folder.names(), ["keep.interrupted.npy", "keep.interrupted.png", "keep.npy", "keep.png"]);
    assert_eq!(folder.array("keep.interrupted.npy").shape[0], done(&run));
    let part = folder.at("keep.interrupted.png");
    let said = format!("{grid} is as it was before this run; {part} holds the part that is done");
    assert!(run.stderr.contains(&format!("wrote {part}\n")) && run.stderr.contains(&said), "{}", run.stderr);
}

#[test]
fn a_comparison_keeps_its_finished_parts_and_continues() {
    let folder = Folder::new();
    let out = folder.at("quality");
    let compare =
        ["inspect", "compare", "--samplers", "ddim", "--steps", "2", "--no-ablation", "-n", "20000", "-o", &out];
    let cells = || std::fs::read_dir(folder.path("quality/samples")).into_iter().flatten().flatten();
    let parts = || cells().filter(|cell| cell.path().join("00000.npz").exists()).count();
    let run = interrupted(&compare, "INT", |_| parts() > 0);
    assert_eq!((run.code, parts()), (130, 1), "{}", run.stderr);
    assert!(run.stderr.contains("\nto continue: downhill inspect compare"), "{}", run.stderr);
    assert!(!folder.path("quality/report.json").exists());
}
