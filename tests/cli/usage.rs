//! What cannot be meant is refused before any device is looked for, with exit code 2 and a word on what would do.

use std::fmt::Write;

use crate::{Folder, command, downhill};

const CASES: &[&[&str]] = &[
    &["sample", "--sampler", "plms"],
    &["sample", "--stepz", "3"],
    &["sample", "--steps", "0"],
    &["sample", "--steps", "1001"],
    &["sample", "--steps", "-3"],
    &["sample", "--gamma", "inf"],
    &["sample", "--gamma", "-5"],
    &["sample", "-n", "-1"],
    &["sample", "--size", "-3x4"],
    &["sample", "--memory", "-1"],
    &["sample", "--shard", "-1/4"],
    &["sample", "--sampler", "dpm++2M"],
    &["bench", "--compare", "a.json", "--fail-if-slower", "-10%"],
    &["sample", "tests/bad/sound", "--init-image", "tests/golden/pictures/grey.png", "--steps", "1"],
    &["sample", "--sampler", "ddim", "--gamma", "2"],
    &["sample", "--eta", "0.5"],
    &["sample", "--mu", "1"],
    &["sample", "--sampler", "ddim", "--eta", "-0.1"],
    &["sample", "--sampler", "ddim", "--sigma-max", "40"],
    &["sample", "--sigma-max", "nan"],
    &["sample", "--timesteps", "999"],
    &["sample", "--timesteps", "500,999"],
    &["sample", "--timesteps", "999,five"],
    &["sample", "--timesteps", "-1,-2"],
    &["sample", "--timesteps", "999,0", "--sigmas", "9,1"],
    &["sample", "--timesteps", "999,0", "--steps", "2"],
    &["sample", "--timesteps", "999,0", "--schedule", "edm"],
    &["sample", "--sigmas", "9,-1"],
    &["sample", "--clip", "--no-clip"],
    &["sample", "-n", "0"],
    &["sample", "-b", "0"],
    &["sample", "-s", "-1"],
    &["sample", "--rng", "cuda"],
    &["sample", "--size", "28x"],
    &["sample", "--size", "30x28"],
    &["sample", "--shard", "2/2"],
    &["sample", "--shard", "1/2", "-n", "1"],
    &["sample", "--resume"],
    &["sample", "--resume", "-o", "out/%03d.png", "--save-samples", "z.npy"],
    &["sample", "-o", "x.gif"],
    &["sample", "-o", "%d-%d.png"],
    &["sample", "-o", "src"],
    &["sample", "-o", "Cargo.toml/x.png"],
    &["sample", "--save-samples", "z.npy", "--save-path", "z.npy"],
    &["sample", "-o", "a.npz", "--json", "src/../a.npz"],
    &["sample", "--init", "a.npy", "--init-noise", "b.npy"],
    &["sample", "--init", "a.npy", "--size", "28"],
    &["sample", "--init", "no-such.npy"],
    &["sample", "tests/bad/sound", "--init-noise", "tests/bad/sound.npy", "-n", "3"],
    &["sample", "tests/bad/sound", "--init-noise", "tests/bad/sound.npy", "--rng", "torch"],
    &["sample", "no-such-model"],
    &["sample", "pca:digits,q=3"],
    &["sample", "-v", "-q"],
    &["sample", "--json", "src"],
    &["denoise", "--input", "tests/bad/sound.npy", "--output", "e.npy"],
    &["denoise", "--input", "tests/bad/sound.npy", "--output", "e.npy", "--sigma", "1", "--timesteps", "1"],
    &["denoise", "--input", "tests/bad/sound.npy", "--output", "e.npy", "--sigma", "0"],
    &["denoise", "tests/bad/sound", "--input", "tests/bad/sound.npy", "--output", "e.npy", "--timesteps", "nan"],
    &["denoise", "tests/bad/sound", "--input", "tests/bad/sound.npy", "--output", "e.npy", "--timesteps", "t.npy"],
    &["denoise", "tests/bad/sound", "--input", "tests/bad/sound.npy", "--output", "src", "--timesteps", "1"],
    &["info", "no-such.png"],
    &["info", "tests/bad/sound.npy", "--plan"],
    &["info", "--size", "27"],
    &["devices", "--checked"],
    &["bench", "pooling"],
    &["bench", "--sizes", "8"],
    &["bench", "unet", "--sizes", "8"],
    &["bench", "matmul", "--sizes", "8x8"],
    &["bench", "conv", "--sizes", "8x0x8"],
    &["bench", "conv", "--sizes", ""],
    &["bench", "norm", "--sizes", "-1x8x8"],
    &["bench", "attention", "--sizes", "16x24x16"],
    &["bench", "copy", "--sizes", "nan"],
    &["bench", "-r", "0"],
    &["bench", "-o", "xml"],
    &["bench", "--compare", "no-such.json"],
    &["tune", "-b", "0"],
    &["tune", "--seconds", "-1"],
    &["tune", "--exact"],
    &["tune", "--checked"],
    &["devices", "--exact"],
    &["info", "tests/bad/sound.npy", "--exact"],
    &["completions", "tcsh"],
    &["completions", "bash", "--json", "x.json"],
    &["completions", "bash", "--adapter", "0"],
];

#[test]
fn every_refusal_says_why() {
    let mut all = String::new();
    for arguments in CASES {
        // Nothing of this kind may reach a device: there is none.
        let output = command(arguments).env("WGPU_BACKEND", "none").output().expect("the program starts");
        let run = crate::Run::of(output);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}: {}", run.stderr);
        let _ = writeln!(all, "$ downhill {}\n{}", arguments.join(" "), run.stderr);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_machine_without_an_adapter_says_how_to_get_one() {
    for arguments in [&["sample"][..], &["devices"], &["selftest"]] {
        let output = command(arguments).env("WGPU_BACKEND", "none").output().expect("the program starts");
        let run = crate::Run::of(output);
        run.expect_error(3, "error: no usable adapter with `WGPU_BACKEND=none`\nhint: unset `WGPU_BACKEND`")
            .expect_error(3, "mesa-vulkan-drivers");
        let without_driver = command(arguments).env_remove("WGPU_BACKEND").env("VK_DRIVER_FILES", "no-driver").output();
        let run = crate::Run::of(without_driver.expect("the program starts"));
        if cfg!(target_os = "linux") {
            run.expect_error(3, "error: no usable adapter\nhint: install").expect_error(3, "mesa-vulkan-drivers");
        }
    }
}

#[test]
fn an_empty_backend_variable_is_none() {
    let empty = command(&["devices"]).env("WGPU_BACKEND", "").output().expect("the program starts");
    assert_eq!(crate::Run::of(empty).code, 0);
}

/// Drivers look for a display and complain where this folder is not one; standard error holds our own words alone.
#[test]
fn drivers_are_not_heard_without_a_runtime_folder() {
    for folder in [None, Some(""), Some("relative"), Some("/no-such-folder")] {
        let mut devices = command(&["devices"]);
        match folder {
            None => devices.env_remove("XDG_RUNTIME_DIR"),
            Some(folder) => devices.env("XDG_RUNTIME_DIR", folder),
        };
        let run = crate::Run::of(devices.output().expect("the program starts"));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{folder:?}");
    }
}

#[test]
fn an_adapter_that_is_not_there_is_named() {
    for arguments in [&["sample", "--adapter"][..], &["devices", "--adapter"], &["info", "--adapter"]] {
        let run = downhill(&[arguments, &["no such adapter"]].concat());
        run.expect_error(3, "error: no adapter whose name holds `no such adapter`\nhint: there is `");
    }
    let by_environment = command(&["sample"]).env("WGPU_ADAPTER_NAME", "none").output().expect("the program starts");
    crate::Run::of(by_environment).expect_error(3, "error: no adapter whose name holds `none`");
}

#[test]
fn the_flag_beats_the_environment() {
    let folder = Folder::new();
    let json = folder.at("report.json");
    let output = command(&["selftest", "--adapter", "0", "--json", &json]).env("WGPU_ADAPTER_NAME", "none").output();
    assert_eq!(crate::Run::of(output.expect("the program starts")).code, 0);
    assert_eq!(folder.json("report.json")["adapter"]["index"], 0);
}

#[test]
fn more_than_the_device_grants_names_the_tensor_and_the_limit() {
    let folder = Folder::new();
    let run = downhill(&["sample", "-n", "1", "--size", "8192", "-o", &folder.at("x.png")]);
    run.expect_error(5, "GiB, over the device's largest").expect_error(5, "hint: lower `--batch` or the image size");
    assert!(folder.names().is_empty());
}
