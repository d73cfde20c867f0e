//! Names, paths and folders of outputs: checked before the work, and looked at again after it.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::{Folder, Run, command, downhill, quietly};

/// The largest seed.
const LAST: &str = "18446744073709551615";

#[test]
fn seeds_that_would_begin_again_at_0_are_refused_before_the_work() {
    let folder = Folder::new();
    let runs: [&[&str]; 5] = [
        &["inspect", "compare", "--samplers", "ge", "--steps", "1", "-n", "64", "--seeds", "2"],
        &["inspect", "gamma", "--steps", "1", "-n", "64", "--seeds", "2"],
        &["linear", "energy", "--draws", "2"],
        &["linear", "angles", "--draws", "2"],
        &["linear", "transition", "--draws", "2"],
    ];
    for run in runs {
        let what = format!("there are no 2 seeds from a `--seed` of {LAST} on");
        let refused = downhill(&[run, &["-s", LAST, "-o", &folder.at("out")]].concat());
        refused.expect_error(2, &what).expect_error(2, "give a `--seed` of at most 18446744073709551614");
        assert!(!folder.path("out/report.json").exists(), "{run:?}");
    }
    quietly(&["linear", "transition", "-n", "20", "--draws", "1", "-s", LAST, "-o", &folder.at("one")]);
}

#[test]
fn a_name_that_is_too_long_is_refused_before_the_work() {
    let folder = Folder::new();
    let long = "a".repeat(300);
    for name in [format!("{long}.png"), format!("{long}.npz"), format!("{long}/%05d.png"), format!("new/{long}%d.png")]
    {
        let output = folder.at(&name);
        // With this adapter, the run could not begin.
        downhill(&["sample", "-n", "1", "--adapter", "none", "-o", &output]).expect_error(4, "name too long");
    }
    // The index of the last image is a digit longer than the file system allows.
    let name = format!("{}%d.png", "a".repeat(250));
    downhill(&["sample", "-n", "12", "--adapter", "none", "-o", &folder.at(&name)]).expect_error(4, "name too long");
    downhill(&["linear", "pca", "-k", "1", "-o", &folder.at(&long)]).expect_error(4, "name too long");
    assert!(folder.names().is_empty());
}

/// A run that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_folder_that_is_removed_during_a_run_ends_it_with_what_is_there() {
    let folder = Folder::new();
    let output = folder.at("digits/%05d.png");
    let mut run = command(&["sample", "-n", "200", "-b", "1", "--steps", "3", "-o", &output]);
    let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut running = Running(child);
    wait_for(&folder.path("digits/00001.png"));
    std::fs::remove_dir_all(folder.path("digits")).expect("removed");
    let ended = running.0.wait().expect("it ends");
    let mut stderr = String::new();
    std::io::Read::read_to_string(running.0.stderr.as_mut().expect("a pipe"), &mut stderr).expect("UTF-8");
    assert_eq!(ended.code(), Some(4), "{stderr}");
    assert!(stderr.contains("removed during the run; of the ") && stderr.contains(", 0 are there"), "{stderr}");
    assert!(!stderr.contains("wrote"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn an_output_behind_links_is_written_where_they_lead() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let sample = |name: &str| downhill(&["sample", "-q", "-n", "1", "--steps", "1", "-o", &folder.at(name)]);
    symlink("target.png", folder.path("link.png")).expect("a link");
    sample("link.png").expect("");
    assert!(folder.path("link.png").is_symlink() && folder.path("target.png").is_file());
    symlink("loop.png", folder.path("loop.png")).expect("a link");
    sample("loop.png").expect_error(4, "loop.png");
    assert!(folder.path("loop.png").is_symlink());
}

/// A library that is loaded before the C library, and lists the paths that are brought to the disk.
#[cfg(target_os = "linux")]
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int fsync(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    FILE *list = fopen(getenv("SYNCED"), "a");
    if (length > 0 && list) {
        path[length] = 0;
        fprintf(list, "%s\n", path);
    }
    if (list) fclose(list);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}
"#;

#[cfg(target_os = "linux")]
#[test]
fn a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after() {
    let folder = Folder::new();
    std::fs::write(folder.path("shim.c"), SHIM).expect("written");
    let (shim, list) = (folder.at("shim.so"), folder.at("synced"));
    let compiled =
        std::process::Command::new("cc").args(["-shared", "-fPIC", "-o", &shim, &folder.at("shim.c"), "-ldl"]).status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler");
        return;
    }
    let output = folder.at("out/x.png");
    let run = command(&["sample", "-q", "-n", "1", "--steps", "1", "-o", &output])
        .env("LD_PRELOAD", &shim)
        .env("SYNCED", &list)
        .output();
    Run::of(run.expect("the program starts")).expect("");
    let synced = String::from_utf8(folder.bytes("synced")).expect("paths");
    let synced: Vec<&str> = synced.lines().filter(|path| path.starts_with(&folder.at("out"))).collect();
    let [file, place] = synced[..] else { panic!("{synced:?}") };
    assert_eq!(Path::new(file).extension().and_then(std::ffi::OsStr::to_str), Some("part"), "{file}");
    assert_eq!(place, folder.at("out"));
}

#[test]
fn folders_in_place_of_files_are_named_with_the_way_out() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("00001.png")).expect("a folder");
    let run = downhill(&["sample", "-n", "2", "-o", &folder.at("%05d.png")]);
    run.expect_error(2, "00001.png` is a folder, not a file\nhint: remove or rename this folder, or name another file");
    std::fs::create_dir(folder.path("diffusion_pytorch_model.safetensors")).expect("a folder");
    std::fs::copy("tests/bad/sound/config.json", folder.path("config.json")).expect("copied");
    let run = downhill(&["sample", &folder.at(""), "-o", "x.png"]);
    run.expect_error(4, "no weights: `diffusion_pytorch_model.safetensors` is a folder, not a file");
    run.expect_error(4, "hint: replace the folder by the file of that name");
}

/// The least memory is that of a network, in units as elsewhere.
#[test]
fn a_budget_is_told_in_units() {
    let sample = ["sample", "tests/golden/latent/sd1-like", "-p", "x", "--memory", "1KiB", "-o", "x.png"];
    downhill(&sample).expect_error(5, "`unet` needs 7.44 MiB, over the device's memory budget of 1.00 KiB");
}
