//! `inspect compare` and `inspect frechet` with InceptionV3 and CLIP.

use crate::random_inception::tensors;
use crate::{Folder, downhill};
use downhill::data::{Pixels, digits};
use downhill::formats::npz;
use downhill::quality::Statistics;
use downhill::tensor::Tensor;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A file of InceptionV3 with random weights.
fn inception(folder: &Folder) -> String {
    let tensors = tensors();
    let views = tensors.iter().map(|(name, tensor)| {
        let bytes: &[u8] = bytemuck::cast_slice(&tensor.data);
        (name.clone(), TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).expect("a tensor"))
    });
    let file = folder.at("inception.safetensors");
    std::fs::write(&file, safetensors::serialize(views, None).expect("a file")).expect("a file");
    file
}

/// Statistics of `count` features: a mean of 0.1 and the unit matrix.
fn statistics(folder: &Folder, name: &str, count: usize) -> String {
    let sigma: Vec<f64> = (0..count * count).map(|at| if at / count == at % count { 1.0 } else { 0.0 }).collect();
    let file = folder.at(name);
    let path = std::path::Path::new(&file);
    npz::write(path, &[("mu", &[count], &vec![0.1; count]), ("sigma", &[count, count], &sigma)]).expect("a file");
    file
}

/// Three digits, one in each channel.
fn coloured(folder: &Folder, count: usize) -> String {
    let all = digits(Pixels::Signed).unwrap().samples.slice(0..3 * count);
    folder.write("coloured.npy", &Tensor::new([count, 3, 28, 28], all.data))
}

#[test]
fn a_table_of_two_samplers_and_two_numbers_of_calls() {
    let folder = Folder::new();
    let (file, data, out) = (inception(&folder), statistics(&folder, "data.npz", 2048), folder.at("table"));
    let arguments = |more: &[&'static str]| {
        let fixed = ["inspect", "compare", "--samplers", "ge,ddim", "--steps", "2,3", "-n", "2", "--no-ablation"];
        let named = ["--features", &file, "--data", &data, "-o", &out];
        [&fixed[..], &named, more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |more: &[&'static str]| {
        let arguments = arguments(more);
        downhill(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // One part of 64 images: the first shard makes it, and the second has nothing to make.
    let second = run(&["--shard", "1/2"]);
    assert_eq!(second.code, 0);
    assert!(second.stderr.contains("4 parts of other shards are missing"), "{}", second.stderr);
    assert!(!folder.path("table/compare.md").exists());
    let first = run(&["--shard", "0/2", "-q"]);
    assert_eq!((first.code, first.stderr.as_str()), (0, ""));
    let page = String::from_utf8(folder.bytes("table/compare.md")).unwrap();
    assert_eq!(page, first.stdout);
    assert!(page.contains("compared with the statistics in `"), "{page}");
    assert!(page.contains("| Frechet distance | 2 calls | 3 calls |\n|---|---|---|\n| ge |"), "{page}");
    assert!(!page.contains("sliced") && !page.contains("precision"), "{page}");
    let report = folder.json("table/report.json");
    assert_eq!(report["features"]["preparation"], "pytorch-fid");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert!(row["scores"][0]["frechet"].as_f64().unwrap() > 1.0, "{row}");
    }
}

#[test]
fn sets_of_coloured_images_are_compared_and_their_statistics_kept() {
    let folder = Folder::new();
    let (file, images) = (inception(&folder), coloured(&folder, 4));
    let (kept, report) = (folder.at("kept.npz"), folder.at("report.json"));
    let saved = downhill(&["inspect", "frechet", &images, "--features", &file, "--save-statistics", &kept]);
    assert_eq!((saved.code, saved.stdout.as_str()), (0, ""));
    assert!(saved.stderr.contains("the statistics of"), "{}", saved.stderr);
    let arguments = ["inspect", "frechet", &images, "--features", &file, "--against"];
    let statistics_of = Statistics::read(std::path::Path::new(&kept)).unwrap();
    assert_eq!(statistics_of.dimension(), 2048);
    let whole = downhill(&[&arguments[..], &[&images, "--json", &report]].concat());
    assert_eq!(whole.code, 0);
    assert!(whole.stdout.contains("kernel distance") && whole.stdout.contains("subsets of 4"), "{}", whole.stdout);
    assert!(whole.stderr.contains("more than 5 images"), "{}", whole.stderr);
    assert_eq!(folder.json("report.json")["features_of"]["network"], "InceptionV3");

    let digits = downhill(&["inspect", "frechet", &images]);
    digits.expect_error(2, "images of `");
    let few = statistics(&folder, "few.npz", 64);
    downhill(&[&arguments[..], &[&few]].concat()).expect_error(2, "64 features");
    downhill(&["inspect", "frechet", &images, "--features", &file]).expect_error(2, "nothing to compare");
    let other = downhill(&["inspect", "compare", "--features", &file, "--data", &few, "-o", &folder.at("other")]);
    other.expect_error(2, "64 features");
    assert!(!folder.path("other/samples").exists(), "refused before a cell is sampled");
}

#[test]
fn presets_are_checked_before_anything_is_sampled() {
    let folder = Folder::new();
    let compare = |more: &[&str]| {
        let out = folder.at("out");
        downhill(&[&["inspect", "compare", "-o", &out], more].concat())
    };
    compare(&["--preset", "edm"]).expect_error(2, "permenter-cifar10");
    compare(&["--preset", "permenter-cifar10"]).expect_error(2, "--features");
    let file = folder.at("missing.safetensors");
    let steps = ["--preset", "permenter-celeba", "--steps", "7", "--features", &file];
    compare(&steps).expect_error(2, "no settings for 7 calls");

    let captions = folder.at("captions.txt");
    std::fs::write(&captions, "a cat\n").unwrap();
    let coco = ["--preset", "permenter-coco", "--features", &file];
    compare(&coco).expect_error(2, "--captions FILE");
    compare(&[&coco[..], &["--captions", &captions]].concat()).expect_error(2, "has 1 captions, and 30000 images");
    let (file, pipeline) = (inception(&folder), "tests/golden/latent/sd1-like");
    let with = ["--features", &file, "--captions", &captions];
    compare(&with).expect_error(2, "has 1 captions, and 96 images");
    std::fs::write(&captions, "a cat\na dog\n").unwrap();
    compare(&[&with[..], &["-n", "2"]].concat()).expect_error(2, "does not follow texts");
    let labelled = ["-n", "2", pipeline, "--batch", "2"];
    compare(&[&with[..], &labelled].concat()).expect_error(2, "`--batch` has no meaning");
    compare(&[pipeline, "--features", &file]).expect_error(2, "give a line of text for each image");
}

#[test]
fn the_table_of_texts_is_made_from_captions() {
    let folder = Folder::new();
    let (file, data, out) = (inception(&folder), statistics(&folder, "data.npz", 2048), folder.at("coco"));
    let (captions, clip) = (folder.at("captions.txt"), format!("{}/tests/golden/clip", env!("CARGO_MANIFEST_DIR")));
    let texts = ["a photograph of a cat", "two dogs"];
    std::fs::write(&captions, texts.join("\n")).unwrap();
    let pipeline = "tests/golden/latent/sd1-like";
    let fixed = ["inspect", "compare", pipeline, "--preset", "permenter-coco", "--samplers", "ge,pndm", "-n", "2"];
    let named = ["--features", &file, "--data", &data, "--captions", &captions, "--clip-score", &clip, "-o", &out];
    let run = downhill(&[&fixed[..], &named].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    for said in ["sigma_max 8.35, gamma 2", "8.5 on this scale", "coco_experiment.py", "one generator of seed 0"] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    assert!(run.stdout.contains("| CLIP score | 10 calls | 11 calls |"), "{}", run.stdout);
    let report = folder.json("coco/report.json");
    assert_eq!(report["settings"]["captions"]["cfg_scale"], 7.5);
    let rows = report["rows"].as_array().expect("rows");
    let told: Vec<_> = rows.iter().map(|row| (row["label"].as_str(), row["made_calls"].as_u64())).collect();
    assert_eq!(told, [(Some("ge"), Some(10)), (Some("pndm"), Some(11))]);
    for row in rows {
        let score = row["scores"][0]["clip"].as_f64().expect("a score");
        assert!((0.0..=100.0).contains(&score), "{row}");
    }
    // Image 1 is that of `sample`, by the published timesteps.
    let (second, timesteps) = (folder.at("second-1.npz"), "901,830,751,663,566,461,353,252,166,100,0");
    let fixed = ["sample", pipeline, "-p", texts[1], "-n", "2", "--shard", "1/2", "--sampler", "ge", "--gamma", "2"];
    let sampled = downhill(&[&fixed[..], &["--timesteps", timesteps, "--no-clip", "-o", &second, "-q"]].concat());
    sampled.expect("");
    let kept = folder.path("coco/samples/ge-paper-from8.35-10-gamma2-s0/00000.npz");
    let images = |file: &std::path::Path| {
        downhill::data::Source::parse(file.to_str().unwrap()).unwrap().load(Pixels::Signed).unwrap().samples
    };
    let (kept, second) = (images(&kept), images(&folder.path("second-1.npz")));
    assert_eq!((kept.shape[0], second.shape[0]), (2, 1));
    assert_eq!(kept.item(1), second.item(0));
    assert_ne!(kept.item(0), second.item(0));
}

#[test]
fn the_shard_is_that_of_the_environment() {
    let folder = Folder::new();
    let variables = [
        "SLURM_ARRAY_TASK_ID",
        "PBS_ARRAY_INDEX",
        "JOB_COMPLETION_INDEX",
        "PARALLEL_SEQ",
        "OMPI_COMM_WORLD_RANK",
        "SLURM_PROCID",
    ];
    let run = |arguments: &[&str], set: &[(&str, &str)]| {
        let mut command = crate::command(arguments);
        for name in variables {
            command.env_remove(name);
        }
        crate::Run::of(command.envs(set.iter().copied()).output().expect("the program starts"))
    };
    let files = folder.at("%02d.png");
    let sample = ["sample", "-n", "3", "--steps", "1", "--shard", "auto", "-o", &files];
    run(&sample, &[]).expect_error(2, "SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_COUNT");
    run(&sample, &[("JOB_COMPLETION_INDEX", "0")]).expect_error(2, "DOWNHILL_SHARDS is not set");
    assert!(run(&sample, &[("JOB_COMPLETION_INDEX", "0")]).stderr.contains("Kubernetes does not say"));
    let array = [("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_COUNT", "2"), ("SLURM_ARRAY_TASK_MIN", "1")];
    let part = run(&sample, &array);
    let note = "shard 1/2, by SLURM_ARRAY_TASK_ID, SLURM_ARRAY_TASK_COUNT, SLURM_ARRAY_TASK_MIN\n";
    assert!(part.code == 0 && part.stderr.starts_with(note), "{}", part.stderr);
    let made = |number: usize| folder.path(&format!("{number:02}.png")).exists();
    assert_eq!([made(0), made(1), made(2)], [false, true, false]);

    let out = folder.at("table");
    let compare = ["inspect", "compare", "--samplers", "ge", "--steps", "1", "-n", "65", "--no-ablation", "-o", &out];
    let second =
        run(&[&compare[..], &["--shard", "auto"]].concat(), &[("PARALLEL_SEQ", "2"), ("DOWNHILL_SHARDS", "2")]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert!(second.stderr.contains("shard 1/2, by PARALLEL_SEQ, DOWNHILL_SHARDS"), "{}", second.stderr);
    let parts = std::fs::read_dir(folder.path("table/samples/ge-paper-1-s0")).unwrap();
    let mut names: Vec<_> = parts.map(|part| part.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["00064.npz", "times.json"]);
}

#[test]
fn the_images_of_all_prompts_are_shared() {
    let folder = Folder::new();
    let prompts = folder.at("prompts.txt");
    std::fs::write(&prompts, "a cat\na dog\na hen\n").unwrap();
    let (files, pipeline) = (folder.at("%02d.png"), "tests/golden/latent/sd1-like");
    let fixed = ["sample", pipeline, "--prompts", &prompts, "--steps", "1", "--sampler", "ddim", "-o", &files];
    crate::quietly(&[&fixed[..], &["--shard", "1/2"]].concat());
    let made: Vec<_> = (0..3).map(|prompt| folder.path(&format!("{prompt:03}-00.png")).exists()).collect();
    assert_eq!(made, [false, true, false]);
}

#[test]
fn images_are_scored_by_their_captions() {
    let folder = Folder::new();
    let clip = format!("{}/tests/golden/clip", env!("CARGO_MANIFEST_DIR"));
    let (images, captions) = (coloured(&folder, 2), folder.at("captions.txt"));
    std::fs::write(&captions, "a photograph of a seven\ntwo handwritten digits\n").unwrap();
    let arguments = ["inspect", "frechet", &images, "--clip", &clip, "--captions", &captions];
    let scored = downhill(&arguments);
    assert_eq!((scored.code, scored.stderr.as_str()), (0, ""));
    assert!(scored.stdout.starts_with("CLIP score  ") && scored.stdout.contains("of 2 images"), "{}", scored.stdout);
    std::fs::write(&captions, "one line\n").unwrap();
    downhill(&arguments).expect_error(2, "1 captions for the 2 images");
    downhill(&["inspect", "frechet", &images, "--clip", &clip]).expect_error(2, "--captions");
}

#[test]
fn variances_are_estimated_kept_and_taken() {
    let folder = Folder::new();
    let out = folder.at("variances");
    let run = downhill(&[
        "inspect",
        "variances",
        "wiener:digits",
        "--data",
        "digits",
        "-n",
        "40",
        "--levels",
        "4",
        "-o",
        &out,
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("4 levels of 40 images each"), "{}", run.stderr);
    let (file, samples) = (folder.at("variances/variances.json"), folder.at("samples.npy"));
    let kept = folder.json("variances/variances.json");
    assert_eq!((kept["sigmas"].as_array().unwrap().len(), kept["images"].as_u64()), (4, Some(40)));
    let sample = |sampler: &str, more: &[&str]| {
        let fixed = ["sample", "-n", "1", "--steps", "2", "--sampler", sampler, "--save-samples", &samples];
        let png = folder.at("x.png");
        downhill(&[&fixed[..], &["-o", &png, "-q"], more].concat())
    };
    sample("ddim", &[]).expect("");
    let without = folder.array("samples.npy");
    sample("ddim", &["--variances", &file]).expect("");
    assert_ne!(folder.array("samples.npy"), without);
    sample("ge", &["--variances", &file]).expect_error(2, "`--variances` have no meaning for the sampler `ge`");
    let other = folder.at("other.json");
    std::fs::write(&other, "{\"sigmas\": [1, 2], \"gammas\": [1, 1]}").unwrap();
    sample("ddim", &["--variances", &other]).expect_error(4, "not variances");
    let table = folder.at("table");
    let fixed = ["inspect", "compare", "--samplers", "ddim", "--steps", "2", "-n", "2", "--no-ablation", "-q"];
    let compared = downhill(&[&fixed[..], &["--variances", &file, "-o", &table]].concat());
    assert_eq!((compared.code, compared.stderr.as_str()), (0, ""));
    assert!(compared.stdout.contains("| analytic-ddim | "), "{}", compared.stdout);
}
