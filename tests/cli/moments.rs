//! `moments` and `merge`: parts that several runs have measured, and the commands that take them.

use crate::{Folder, Run, command, distance, downhill, quietly};
use downhill::data::{Pixels, digits};
use downhill::formats::{Image, npy, npz};
use downhill::moments::{Blocks, Description, Moments};
use downhill::tensor::Tensor;

/// Runs `moments` on `data` in `of` parts, and returns their files.
fn parts(folder: &Folder, data: &[&str], of: usize) -> Vec<String> {
    let part = |index: usize| {
        let (file, shard) = (folder.at(&format!("part-{index}.npz")), format!("{index}/{of}"));
        quietly(&[&["moments"], data, &["--shard", &shard, "-o", &file]].concat());
        file
    };
    (0..of).map(part).collect()
}

/// A few of the digits as bytes in an `.npz`.
fn few_digits(folder: &Folder, count: usize) -> String {
    let all = digits(Pixels::Unit).unwrap().samples;
    let image = |at: usize| {
        let pixels = all.item(at).iter().map(|value| (value * 255.0).round() as u8).collect();
        Image { height: 28, width: 28, channels: 1, pixels }
    };
    let file = folder.at("digits.npz");
    npy::write_npz(&file, &(0..count).map(image).collect::<Vec<_>>()).unwrap();
    file
}

fn frechet(folder: &Folder, samples: &str, against: &str) -> f64 {
    let report = folder.at("frechet.json");
    let run = downhill(&["inspect", "frechet", samples, "--against", against, "--json", &report, "-q"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    folder.json("frechet.json")["frechet"].as_f64().expect("a distance")
}

#[test]
fn shards_merge_to_the_bytes_of_one_run_in_any_order() {
    let folder = Folder::new();
    let data = "power-law:n=3000,p=5";
    let files = parts(&folder, &[data], 3);
    let (whole, merged, grouped) = (folder.at("whole.npz"), folder.at("all.npz"), folder.at("grouped.npz"));
    quietly(&["moments", data, "-o", &whole]);
    let run = downhill(&["merge", &files[2], &files[0], &files[1], "-o", &merged]);
    run.expect(&format!("wrote {merged}: all 3000 rows, from 3 files\n"));
    assert_eq!(folder.bytes("all.npz"), folder.bytes("whole.npz"));
    let two = folder.at("two.npz");
    quietly(&["merge", &files[2], &files[1], "--partial", "-o", &two]);
    quietly(&["merge", &two, &files[0], "-o", &grouped]);
    assert_eq!(folder.bytes("grouped.npz"), folder.bytes("whole.npz"));

    let info = downhill(&["info", &two]);
    assert!(info.stdout.contains("rows 1000 to 2999"), "{}", info.stdout);
    assert!(downhill(&["info", &merged]).stdout.contains("all of them"));

    // A folder of parts, beside an output of an earlier run.
    let of_folder = Folder::new();
    for (index, file) in files.iter().enumerate() {
        std::fs::copy(file, of_folder.path(&format!("{index}.npz"))).unwrap();
    }
    let all = of_folder.at("all.npz");
    for _ in 0..2 {
        quietly(&["merge", &of_folder.at(""), "-o", &all]);
    }
    assert_eq!(of_folder.bytes("all.npz"), folder.bytes("whole.npz"));
}

#[test]
fn parts_that_do_not_fit_are_refused_by_name() {
    let folder = Folder::new();
    let files = parts(&folder, &["power-law:n=3000,p=5"], 4);
    let out = folder.at("all.npz");
    let gap = downhill(&["merge", &files[0], &files[3], "-o", &out]);
    gap.expect_error(2, "rows 748 to 2247 of 3000 are missing");
    assert!(gap.stderr.contains("`downhill moments ... --shard` 1/4, 2/4 makes them"), "{}", gap.stderr);
    let twice = downhill(&["merge", &files[0], &files[0], "-o", &out]);
    twice.expect_error(2, "rows 0 to 747 are in `");
    let own = std::fs::read(&files[0]).unwrap();
    for shard in ["1/4", "2/4"] {
        let of_other = downhill(&["moments", "power-law:n=3000,p=5", "--shard", shard, "-o", &files[0]]);
        of_other.expect_error(2, "is a part of the same moments: it holds rows 0 to 747, and this run adds rows");
        of_other.expect_error(2, "name another file for each shard by `--output`, or remove this one");
    }
    assert_eq!(std::fs::read(&files[0]).unwrap(), own);
    let other = folder.at("other.npz");
    quietly(&["moments", "power-law:n=3000,p=5,seed=1", "--shard", "1/4", "-o", &other]);
    let mixed = downhill(&["merge", &files[0], &other, "-o", &out]);
    mixed.expect_error(2, "`data` is `power-law:n=3000,p=5,seed=1` in `");
    assert!(!folder.path("all.npz").exists());
    let merge = ["merge", &files[0], &files[1], "--partial", "-o", &files[0]];
    downhill(&merge).expect_error(2, "`--output` would replace");
    downhill(&["moments", "digits", "-o", &folder.at("x.npy")]).expect_error(2, "is named as another file");
    let whole = std::fs::read(&files[0]).unwrap();
    std::fs::write(&other, &whole[..whole.len() / 2]).unwrap();
    downhill(&["merge", &other, "-o", &out]).expect_error(4, "measures it again");
    downhill(&["moments", "-o", &out]).expect_error(2, "<DATA>");
    downhill(&["moments", "digits", "--model", "-o", &out]).expect_error(2, "--model");
    downhill(&["moments", "digits", "--steps", "3", "-o", &out]).expect_error(2, "--steps");
    downhill(&["moments", "--steps", "3", "-o", &out]).expect_error(2, "<DATA>");
    downhill(&["moments", "--model", "-o", &out]).expect_error(2, "the number of images is not given");

    for arguments in [
        vec!["inspect", "frechet", &files[0]],
        vec!["linear", "pca", "--data", &files[0], "-o", &out],
        vec!["sample", &format!("wiener:{}", files[0]), "-o", &out],
    ] {
        let run = downhill(&arguments);
        run.expect_error(4, "moments of a part: rows 748 to 2999 of 3000 are missing");
        assert!(run.stderr.contains("downhill merge"), "{}", run.stderr);
    }
    let ideal = downhill(&["sample", &format!("ideal:{}", files[0]), "-o", &out]);
    ideal.expect_error(2, "holds moments, not samples");
}

#[test]
fn a_run_goes_on_from_the_rows_of_its_file() {
    let folder = Folder::new();
    let (data, file, whole) = ("spiked:n=2500,p=4,spikes=2/1", folder.at("x.npz"), folder.at("whole.npz"));
    quietly(&["moments", data, "--shard", "1/2", "-o", &whole]);
    // The beginning of the shard, as an interrupted run leaves it.
    let moments = Moments::read(whole.as_ref()).unwrap();
    let shard = Blocks::of(2500).shard(1, 2);
    let mut begun = Moments::new(moments.description.clone(), shard.clone()).unwrap();
    begun.shards = Some(2);
    let samples = downhill::data::Source::parse(data).unwrap().load(Pixels::Unit).unwrap().samples;
    begun.add(&samples.data[begun.next_row() * 4..(begun.next_row() + 402) * 4]);
    begun.write(file.as_ref()).unwrap();
    let arguments = ["moments", data, "--shard", "1/2", "-o", &file, "--resume"];
    let run = downhill(&arguments);
    assert!(run.stderr.starts_with("rows 1248 to 1647 are there already\n"), "{}", run.stderr);
    assert_eq!(folder.bytes("x.npz"), folder.bytes("whole.npz"));
    let again = downhill(&arguments);
    assert!(again.stderr.starts_with("rows 1248 to 2499 are there already\n"), "{}", again.stderr);
    assert_eq!(folder.bytes("x.npz"), folder.bytes("whole.npz"));

    let other =
        downhill(&["moments", "spiked:n=2500,p=4,spikes=2/1,seed=1", "--shard", "1/2", "-o", &file, "--resume"]);
    other.expect_error(4, "`data` is `spiked:n=2500,p=4,spikes=2/1` in `");
    let shard = downhill(&["moments", data, "--shard", "0/2", "-o", &file, "--resume"]);
    shard.expect_error(4, "it holds rows 1248 to 2499, and this run adds rows 0 to 1247");
    assert_eq!(folder.bytes("x.npz"), folder.bytes("whole.npz"));
}

#[test]
fn images_generated_on_the_way_are_those_of_a_folder() {
    let folder = Folder::new();
    let images = folder.at("images/%05d.png");
    let settings = ["--steps", "2", "--sampler", "ge", "--seed", "3"];
    quietly(&[&["sample", "-n", "5", "-o", &images], &settings[..]].concat());
    let (kept, made) = (folder.at("kept.npz"), folder.at("made.npz"));
    let measure = ["moments", &folder.at("images"), "--features", "digits", "-o", &kept];
    quietly(&measure);
    // What is finished needs no device.
    let again = command(&[&measure[..], &["--resume"]].concat()).env("WGPU_BACKEND", "none").output().unwrap();
    assert_eq!(Run::of(again).code, 0);
    let other = downhill(&["moments", &few_digits(&folder, 9), "--features", "digits", "-o", &kept, "--resume"]);
    other.expect_error(4, "repeat the settings and the shard of the file, name another file by `--output`");
    let files = parts(&folder, &[&["--model", "-n", "5", "--features", "digits"], &settings[..]].concat(), 2);
    quietly(&["merge", &files[1], &files[0], "-o", &made]);
    let arrays = |file: &str| npz::read(file.as_ref(), &["means", "products", "mu", "sigma"]).unwrap();
    assert_eq!(arrays(&kept), arrays(&made));
    let settings = Moments::read(made.as_ref()).unwrap().description.settings;
    assert_eq!((settings["sampler"].as_str(), settings["steps"].as_str(), settings["seed"].as_str()), ("ge", "2", "3"));

    // Of pixels, and a distance that is the same of images and of moments.
    let (kept_pixels, made_pixels) = (folder.at("kept-pixels.npz"), folder.at("made-pixels.npz"));
    quietly(&["moments", &folder.at("images"), "-o", &kept_pixels]);
    quietly(&["moments", "--model", "-n", "5", "--steps", "2", "--sampler", "ge", "-s", "3", "-o", &made_pixels]);
    assert_eq!(arrays(&kept_pixels), arrays(&made_pixels));
    let against = few_digits(&folder, 70);
    let direct = frechet(&folder, &folder.at("images"), &against);
    assert_eq!(frechet(&folder, &made, &against).to_bits(), direct.to_bits());
    let of_against = folder.at("against.npz");
    quietly(&["moments", &against, "--features", "digits", "-o", &of_against]);
    assert_eq!(frechet(&folder, &made, &of_against).to_bits(), direct.to_bits());
    let pixels = downhill(&["inspect", "frechet", &kept_pixels, "--against", &against]);
    pixels
        .expect_error(2, "holds moments of pixels from 0 to 1, to be compared with those of the classifier of digits");
}

#[test]
fn closed_forms_and_components_of_moments_are_those_of_the_data() {
    let folder = Folder::new();
    let data = few_digits(&folder, 800);
    let files = parts(&folder, &[&data], 2);
    let merged = folder.at("merged.npz");
    quietly(&["merge", &files[1], &files[0], "-o", &merged]);
    for (name, options) in [("wiener", ""), ("sequential", ""), ("pca", ",k=5")] {
        let sampled = |data: &str, file: &str| -> Tensor {
            let model = format!("{name}:{data}{options}");
            let (image, samples) = (folder.at("x.png"), folder.at(file));
            quietly(&["sample", &model, "-n", "2", "--steps", "3", "-o", &image, "--save-samples", &samples]);
            folder.array(file)
        };
        assert!(distance(&sampled(&merged, "a.npy"), &sampled(&data, "b.npy")) < 1e-4, "{name}");
    }
    for centre in [&["--center"][..], &[]] {
        let values = |data: &str| {
            let out = folder.at("pca");
            let run = downhill(&[&["linear", "pca", "--data", data, "-k", "4", "-q", "-o", &out], centre].concat());
            assert_eq!(run.code, 0, "{}", run.stderr);
            let vectors = folder.array("pca/eigenvectors.npy");
            (folder.array("pca/eigenvalues.npy"), Tensor::new([4, 784], vectors.data.iter().map(|x| x.abs()).collect()))
        };
        let (of_moments, of_data) = (values(&merged), values(&data));
        assert!(distance(&of_moments.0, &of_data.0) < 1e-4, "{centre:?}");
        assert!(distance(&of_moments.1, &of_data.1) < 5e-3, "{centre:?}");
    }
    let refused = downhill(&["linear", "pca", "--data", &merged, "--samples", "5", "-o", &folder.at("pca")]);
    refused.expect_error(2, "`--samples` has no meaning for the moments in");
    let noisy = format!("pca:{merged},k=3,noise=fresh");
    downhill(&["sample", &noisy, "-o", &folder.at("x.png")]).expect_error(2, "need the samples");
    let features = Description::of_rows(2, &[784]).with("values", "features");
    let mut moments = Moments::whole(features).unwrap();
    moments.add(&vec![1.0; 2 * 784]);
    moments.write(folder.path("features.npz").as_ref()).unwrap();
    let model = format!("wiener:{}", folder.at("features.npz"));
    downhill(&["sample", &model, "-o", &folder.at("x.png")]).expect_error(2, "holds moments of features");
}

#[test]
fn data_may_lie_elsewhere_on_another_machine() {
    let (here, there) = (Folder::new(), Folder::new());
    let write = |folder: &Folder, last: f32| {
        let values = (0..40).map(|at| if at == 39 { last } else { at as f32 }).collect();
        folder.write("x.npy", &Tensor::new([20, 2], values))
    };
    let (a, b, out) = (here.at("a.npz"), there.at("b.npz"), here.at("all.npz"));
    quietly(&["moments", &write(&here, 1.0), "--shard", "0/2", "-o", &a]);
    quietly(&["moments", &write(&there, 1.0), "--shard", "1/2", "-o", &b]);
    quietly(&["merge", &a, &b, "-o", &out]);
    quietly(&["moments", &write(&there, 2.0), "--shard", "1/2", "-o", &b]);
    downhill(&["merge", &a, &b, "-o", &out]).expect_error(2, "`first and last sample` is `");
}
