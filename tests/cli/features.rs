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
    compare(&["--preset", "permenter-coco"]).expect_error(2, "docs/fid.md");
    compare(&["--preset", "edm"]).expect_error(2, "permenter-cifar10");
    compare(&["--preset", "permenter-cifar10"]).expect_error(2, "--features");
    let file = folder.at("missing.safetensors");
    let steps = ["--preset", "permenter-celeba", "--steps", "7", "--features", &file];
    compare(&steps).expect_error(2, "no settings for 7 calls");
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
