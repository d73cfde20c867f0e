//! `devices`, `info`, `selftest`, `completions`.

use std::process::Stdio;

use downhill::tensor::Tensor;

use crate::{Folder, Run, command, downhill};

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let Run { code, stdout, stderr } = downhill(arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout
}

#[test]
fn devices_are_a_table_and_a_report_of_the_same() {
    let folder = Folder::new();
    let table = printed(&["devices", "--json", &folder.at("devices.json")]);
    let report = folder.json("devices.json");
    let adapters = report["adapters"].as_array().expect("a list");
    assert!(table.starts_with("index  name "));
    assert_eq!(table.lines().count(), adapters.len() + 1);
    for (line, adapter) in table.lines().skip(1).zip(adapters) {
        for field in ["name", "backend", "type", "driver"] {
            assert!(line.contains(adapter[field].as_str().expect("text")), "{field}: {line}");
        }
    }
    let first = printed(&["devices", "--adapter", "0"]);
    assert_eq!(first.lines().count(), 2);
}

/// Has nothing to say where there is no lavapipe.
#[test]
fn the_width_of_vectors_is_the_users_to_choose() {
    let folder = Folder::new();
    let lanes = |width: &str| {
        let devices = command(&["devices"])
            .env("LP_NATIVE_VECTOR_WIDTH", width)
            .env("MESA_SHADER_CACHE_DIR", folder.at("shaders"))
            .output()
            .expect("runs");
        let table = String::from_utf8(devices.stdout).expect("text");
        table
            .lines()
            .filter(|line| line.contains("llvmpipe"))
            .map(|line| line.contains(&format!("{width} bits")))
            .collect()
    };
    for width in ["128", "256"] {
        let named: Vec<bool> = lanes(width);
        assert!(named.iter().all(|named| *named), "{width}");
    }
}

#[test]
fn a_model_is_described() {
    let text = printed(&["info", "tests/bad/sound", "--family", "tile"]);
    let (network, call) = text.split_once("one call ").expect("both parts");
    insta::assert_snapshot!("info_model", network);
    // What a call takes changes with the kernels.
    for line in [
        "1 x 8 x 8, tile kernels\n",
        " GFLOP in ",
        " direct convolutions; ",
        "  weights ",
        " in the file\n",
        "  values ",
        " x (weights + least values)\n",
    ] {
        assert!(call.contains(line), "{line}: {call}");
    }
    let plan = printed(&["info", "tests/bad/sound", "--family", "tile", "--batch", "3", "--size", "8x16", "--plan"]);
    assert!(plan.contains("3 x 8 x 16, tile kernels"), "{plan}");
    assert!(plan.contains(" -> sample 3x8x16x1\n"), "{plan}");
    assert_eq!(printed(&["info"]).lines().next(), Some("model         digits"));
}

#[test]
fn the_report_of_a_model_bounds_its_memory() {
    let folder = Folder::new();
    for family in [&[][..], &["--family", "tile"]] {
        printed(&[&["info", "--batch", "16", "--json", &folder.at("info.json")], family].concat());
        let report = folder.json("info.json");
        assert_eq!(report["model"]["name"], "digits");
        assert_eq!(report["config"]["sample_size"], 28);
        let memory = &report["call"]["memory"];
        let least = memory["weights_bytes"].as_f64().unwrap() + memory["arena_lower_bound_bytes"].as_f64().unwrap();
        let ratio = memory["planned_bytes"].as_f64().unwrap() / least;
        assert!((ratio - memory["peak_over_lower_bound"].as_f64().unwrap()).abs() < 1e-9);
        assert!((1.0..1.3).contains(&ratio), "{ratio}");
    }
}

#[test]
fn half_weights_halve_what_a_model_takes() {
    let folder = Folder::new();
    let weights = |dtype: &str| {
        let text =
            printed(&["info", "--family", "tile", "--exact", "--dtype", dtype, "--json", &folder.at("info.json")]);
        let laid_out = format!("B in {dtype} as laid out");
        assert!(text.lines().any(|line| line.starts_with("  weights ") && line.contains(&laid_out)), "{text}");
        let memory = folder.json("info.json")["call"]["memory"].clone();
        assert_eq!(memory["dtype"], dtype);
        memory["weights_bytes"].as_f64().expect("bytes")
    };
    let ratio = weights("f16") / weights("f32");
    assert!((0.5..0.51).contains(&ratio), "{ratio}");
    let arena = |dtype: &str| {
        printed(&["info", "--family", "tile", "--exact", "--dtype", dtype, "--json", &folder.at("info.json")]);
        folder.json("info.json")["call"]["memory"]["arena_bytes"].as_f64().expect("bytes")
    };
    let ratio = arena("f16-maps") / arena("f16");
    assert!((0.5..0.7).contains(&ratio), "{ratio}");
    downhill(&["info", "tests/bad/sound.npy", "--dtype", "f16"]).expect_error(2, "no meaning for an array");
}

#[test]
fn an_array_is_described() {
    let folder = Folder::new();
    let file = folder.write("x.npy", &Tensor::new([1, 2, 2], vec![-1.0, 3.0, f32::NAN, 1.0]));
    let text = printed(&["info", &file]);
    let expected = "shape       [1, 2, 2]\n\
                    range       -1 to 3\n\
                    mean        1.000000, standard deviation 1.632993\n\
                    not finite  1 of 4\n";
    assert_eq!(text, expected);
}

#[test]
fn a_selftest_says_what_is_trusted_and_is_kept() {
    let folder = Folder::new();
    let output = command(&["selftest"]).env("DOWNHILL_CACHE_DIR", folder.path("cache")).output();
    let run = Run::of(output.expect("the program starts"));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let names: Vec<&str> = run.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names[..2], ["adapter", "kernels"]);
    for check in ["read-back", "matrix product", "workgroup barrier", "long loop"] {
        let line = run.stdout.lines().find(|line| line.starts_with(check)).expect(check);
        assert!(line.contains(" trusted") || line.contains(" limited: "), "{line}");
    }
    assert_eq!(std::fs::read_dir(folder.path("cache/selftest")).expect("a cache").count(), 1);
}

#[test]
fn a_cached_failure_is_not_believed_but_tested_again() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| {
        let output = command(arguments).env("DOWNHILL_CACHE_DIR", folder.path("cache")).output();
        Run::of(output.expect("the program starts"))
    };
    assert_eq!(run(&["selftest"]).code, 0);
    let entry = std::fs::read_dir(folder.path("cache/selftest")).unwrap().next().unwrap().unwrap().path();
    let image = folder.at("x.png");
    let sample = ["sample", "tests/bad/sound", "-n", "1", "--steps", "1", "-o", &image];
    // A run tests what its kernels need, and no more.
    std::fs::remove_file(&entry).unwrap();
    assert_eq!(run(&sample).code, 0);
    let passed = std::fs::read_to_string(&entry).unwrap();
    for kept in [r#"[{"name": "barrier", "finding": {"Failed": "3 values are wrong"}}]"#, "[]", "no JSON"] {
        std::fs::write(&entry, kept).unwrap();
        let run = run(&sample);
        assert_eq!(run.code, 0, "{kept}: {}", run.stderr);
        assert_eq!(std::fs::read_to_string(&entry).unwrap(), passed, "{kept}");
    }
}

#[test]
fn completions_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for word in ["sample", "denoise", "selftest", "save-samples"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_reader_who_leaves_early_is_no_error() {
    for arguments in [&["info", "--plan"][..], &["completions", "zsh"], &["devices"], &["--help"]] {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        drop(child.stdout.take());
        let run = Run::of(child.wait_with_output().expect("it ends"));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn matrix_units_are_refused_where_there_are_none() {
    let run = downhill(&["selftest", "--family", "matrix"]);
    if printed(&["devices"]).contains("float16, ") {
        assert_eq!(run.code, 0, "{}", run.stderr);
    } else {
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains("matrix units") && run.stderr.contains("hint: "), "{}", run.stderr);
    }
}

#[test]
fn a_batch_that_no_device_can_address_is_refused_before_it_is_planned() {
    downhill(&["info", "-b", "1000000"]).expect_error(5, "largest value that kernels address");
    let large = downhill(&["info", "-b", "131072"]);
    assert!(large.code == 0 && large.stdout.contains("131072 x 28 x 28"), "{}", large.stderr);
    let folder = Folder::new();
    let sample = ["sample", "-n", "1000000", "-b", "1000000", "-o", &folder.at("x.npz")];
    downhill(&sample).expect_error(5, "lower `--batch`");
}
