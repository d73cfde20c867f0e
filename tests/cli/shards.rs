//! Studies that several runs share: the files of the last run are those of one run, bit for bit.

use std::collections::BTreeMap;

use downhill::tensor::Tensor;

use crate::{Folder, downhill, quietly};

/// Fourteen images of 6 x 6.
fn images() -> Tensor {
    let values = (0..504u16).map(|at| if at % 7 == 0 { -1.0 } else { (f32::from(at) * 2.3).sin() }).collect();
    Tensor::new([14, 6, 6], values)
}

/// The files of a study, without its report, whose times differ, and without kept parts.
fn files(folder: &Folder, name: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.path(name)).expect("a folder").map(|entry| entry.expect("an entry").path());
    let named = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).expect("a file");
        (name, bytes)
    };
    entries.filter(|path| path.is_file()).map(named).filter(|(name, _)| name != "report.json").collect()
}

/// Runs a study with a number of the runs that share it.
fn shard(study: &[&str], shard: &str, out: &str) -> crate::Run {
    let run = downhill(&[study, &["--shard", shard, "-o", out]].concat());
    assert_eq!(run.code, 0, "{study:?} {shard}: {}", run.stderr);
    run
}

/// Runs a study alone and as two runs, the first of them last, and compares every file.
fn expect_the_files_of_one_run(folder: &Folder, study: &[&str]) {
    expect_same(folder, study, &["-b", "2"], &["-b", "3"]);
}

/// As [`expect_the_files_of_one_run`], with more flags of the run alone, and of the others.
fn expect_same(folder: &Folder, study: &[&str], of_one: &[&str], of_two: &[&str]) {
    let (alone, shared) = (folder.at("alone"), folder.at("shared"));
    for old in [&alone, &shared] {
        let _ = std::fs::remove_dir_all(old);
    }
    quietly(&[study, of_one, &["-o", &alone]].concat());
    let study = [study, of_two].concat();
    let first = shard(&study, "1/2", &shared);
    assert!(first.stderr.contains("part 0 of 2 is missing in "), "{study:?}: {}", first.stderr);
    assert!(files(folder, "shared").is_empty() && !folder.path("shared/report.json").exists(), "{study:?}");
    shard(&study, "0/2", &shared);
    let (expected, found) = (files(folder, "alone"), files(folder, "shared"));
    assert!(!expected.is_empty());
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{study:?}");
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{study:?}: {name} differs");
    }
    assert!(folder.json("shared/report.json")["devices_of_parts"].as_array().is_some_and(|all| all.len() == 1));
}

/// The times at which the parts were written.
fn times_of_parts(folder: &Folder) -> BTreeMap<std::path::PathBuf, std::time::SystemTime> {
    let entries =
        std::fs::read_dir(folder.path("shared/parts")).expect("a folder").map(|entry| entry.expect("an entry"));
    entries.map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap())).collect()
}

#[test]
fn a_run_that_is_requeued_does_only_what_is_missing() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let (wiener, shared) = (format!("wiener:{data}"), folder.at("shared"));
    let study = ["inspect", "norms", &wiener, "-n", "7", "--steps", "3"];
    let first = shard(&study, "1/3", &shared);
    assert!(first.stderr.contains("parts 0 and 2 of 3 are missing in "), "{}", first.stderr);
    let kept = times_of_parts(&folder);
    shard(&study, "1/3", &shared);
    assert_eq!(kept, times_of_parts(&folder), "a part that is there is not measured again");
    shard(&study, "0/3", &shared);
    shard(&study, "2/3", &shared);
    let written = files(&folder, "shared");
    // Any run may come last, and does the same.
    std::fs::remove_file(folder.path("shared/norms.csv")).unwrap();
    shard(&study, "1/3", &shared);
    assert_eq!(written, files(&folder, "shared"));
    // Half a part is an error, and the way out is to remove it.
    let part = folder.path("shared/parts/trajectories-1-of-3.npz");
    let bytes = std::fs::read(&part).unwrap();
    std::fs::write(&part, &bytes[..100]).unwrap();
    let again = downhill(&[&study[..], &["--shard", "1/3", "-o", &shared]].concat());
    again.expect_error(4, "trajectories-1-of-3.npz").expect_error(4, "measures it again");
}

#[test]
fn runs_that_finish_together_write_the_same_files() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let (wiener, shared) = (format!("wiener:{data}"), folder.at("shared"));
    let study = ["inspect", "norms", &wiener, "-n", "8", "--steps", "3"];
    let start = |index: usize| {
        let shard = format!("{index}/4");
        crate::command(&[&study[..], &["--shard", &shard, "-o", &shared, "-q"]].concat()).spawn().expect("it starts")
    };
    let runs: Vec<_> = (0..4).map(start).collect();
    for mut run in runs {
        assert!(run.wait().expect("it ends").success());
    }
    quietly(&[&study[..], &["-o", &folder.at("alone")]].concat());
    assert_eq!(files(&folder, "alone"), files(&folder, "shared"));
}

#[test]
fn studies_along_trajectories() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let ideal = format!("ideal:{data}");
    let walk = ["-n", "7", "--steps", "4"];
    for study in [
        &["inspect", "norms", &ideal][..],
        &["inspect", "projection", &ideal],
        &["inspect", "constancy", &ideal, "--segments", "2"],
        &["inspect", "constancy", &format!("wiener:{data}")],
        &["inspect", "error-model", &ideal],
        &["inspect", "error-model", &format!("wiener:{data}")],
    ] {
        expect_the_files_of_one_run(&folder, &[study, &walk].concat());
    }
}

#[test]
fn studies_of_noised_images() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let wiener = format!("wiener:{data}");
    for study in ["error", "variances"] {
        expect_the_files_of_one_run(&folder, &["inspect", study, &wiener, "--data", &data, "-n", "8", "--levels", "3"]);
    }
    // The network, whose batches differ.
    expect_the_files_of_one_run(&folder, &["inspect", "error", "-n", "5", "--levels", "2"]);
}

#[test]
fn studies_beside_closed_forms() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let model = format!("local:{data},patch=3");
    let common = ["--data", &data, "--images", "5", "--levels", "3", "-n", "4", "--steps", "3"];
    for study in
        [&["inspect", "gaussian", &model, "--components", "2"][..], &["inspect", "local", &model, "--patches", "5,3"]]
    {
        expect_the_files_of_one_run(&folder, &[study, &common].concat());
    }
}

#[test]
fn studies_of_chains() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let common = ["--data", &data, "-k", "2", "--draws", "4"];
    for study in [
        &["linear", "energy", "--steps", "2,3"][..],
        &["linear", "angles", "--steps", "3"],
        &["linear", "assumptions", "--steps", "3"],
    ] {
        expect_same(&folder, &[study, &common].concat(), &[], &[]);
    }
    let few = ["linear", "transition", "-n", "20", "--gammas", "0.5,1", "--ratios", "0.5,2", "--draws", "3"];
    expect_same(&folder, &few, &[], &[]);
}

#[test]
fn eigenvectors_along_trajectories() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let wiener = format!("wiener:{data}");
    let common = ["-n", "4", "--steps", "3", "-k", "2"];
    for more in [&["--krylov"][..], &[], &["--no-controls"]] {
        expect_the_files_of_one_run(&folder, &[&["linear", "jacobian", &wiener], &common[..], more].concat());
    }
}

#[test]
fn dimensions_of_data() {
    let folder = Folder::new();
    let data =
        folder.write("k.npy", &Tensor::new([60, 5], (0..300u16).map(|at| (f32::from(at) * 2.3).sin()).collect()));
    let study =
        ["inspect", "dimension", "--data", &data, "--queries", "20", "--neighbourhoods", "5", "--neighbours", "4"];
    expect_same(&folder, &[&study[..], &["--drawn", "3"]].concat(), &[], &[]);
}

#[test]
fn studies_of_one_run_say_why() {
    let out = ["--shard", "0/2", "-o", "unused"];
    for (study, why) in [
        (&["inspect", "basis"][..], "whole matrices"),
        (&["linear", "product"], "follows from the one before"),
        (&["linear", "environments"], "compared with all others"),
        (&["linear", "baseline"], "closed forms"),
        (&["linear", "schedule"], "optimum"),
        (&["linear", "train"], "iteration"),
    ] {
        downhill(&[study, &out].concat()).expect_error(2, why);
    }
    downhill(&["inspect", "frechet", "x.npz", "--shard", "0/2"]).expect_error(2, "one distance");
    downhill(&["inspect", "schedule", "--shard", "0/2"]).expect_error(2, "calls no denoiser");
}

#[test]
fn a_folder_of_other_parts_is_refused_by_the_field() {
    let folder = Folder::new();
    let data = folder.write("k.npy", &images());
    let (wiener, out) = (format!("wiener:{data}"), folder.at("out"));
    let run = |more: &[&str]| {
        let fixed = ["inspect", "norms", &wiener, "-n", "4", "-o", &out];
        downhill(&[&fixed[..], more].concat())
    };
    assert_eq!(run(&["--steps", "3", "--shard", "0/2"]).code, 0);
    run(&["--steps", "3", "--shard", "0/3"]).expect_error(2, "`shards` is 2, and this run has 3");
    run(&["--steps", "4", "--shard", "1/2"]).expect_error(2, "`trajectories.steps` is 3, and this run has 4");
    run(&["--steps", "3", "--seed", "1", "--shard", "1/2"]).expect_error(2, "`--seed` is 0, and this run has 1");
    // A run without shards has nothing to do with parts.
    quiet_and_whole(&run(&["--steps", "4", "-q"]));
}

fn quiet_and_whole(run: &crate::Run) {
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn processes_on_a_machine_spread_over_its_adapters() {
    let folder = Folder::new();
    let out = folder.at("x.png");
    let run = |variables: &[(&str, &str)]| {
        let mut command = crate::command(&["sample", "--steps", "1", "--adapter", "auto", "-o", &out]);
        let run = command.envs(variables.iter().copied()).output().expect("the program starts");
        crate::Run::of(run)
    };
    // One adapter is that of every process.
    let run_of_seven = run(&[("SLURM_LOCALID", "7")]);
    assert_eq!(run_of_seven.code, 0, "{}", run_of_seven.stderr);
    assert!(run_of_seven.stderr.contains("for the process number 7 by SLURM_LOCALID"), "{}", run_of_seven.stderr);
    let alone = run(&[]);
    assert!(alone.code == 0 && !alone.stderr.contains("for the process"), "{}", alone.stderr);
    run(&[("MPI_LOCALRANKID", "x")]).expect_error(2, "MPI_LOCALRANKID is `x`");
}

#[test]
fn the_images_of_gamma_are_made_by_several_runs() {
    let folder = Folder::new();
    let (alone, shared) = (folder.at("alone"), folder.at("shared"));
    let study = ["inspect", "gamma", "--steps", "2", "--gammas", "1,2", "-n", "9", "-b", "8"];
    assert_eq!(downhill(&[&study[..], &["-o", &alone]].concat()).code, 0);
    let first = downhill(&[&study[..], &["--shard", "1/2", "-o", &shared]].concat());
    assert!(first.stderr.contains("2 parts of other shards are missing"), "{}", first.stderr);
    assert!(!folder.path("shared/report.json").exists());
    assert_eq!(downhill(&[&study[..], &["--shard", "0/2", "-o", &shared]].concat()).code, 0);
    assert_eq!(files(&folder, "alone"), files(&folder, "shared"));
}
