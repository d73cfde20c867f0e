//! `downhill sample`: which images come out.

use downhill::noise::{Generator, Noise};
use downhill::tensor::Tensor;

use crate::{Folder, command, distance, downhill, quietly};

/// The timesteps of the embedded model's `paper` schedule of 3 steps.
const TIMESTEPS: &str = "853,415,33,0";

/// The seeded start noise of `count` digits.
fn noise(generator: Generator, seed: u64, count: usize) -> Tensor {
    let mut noise = Noise::new(generator, seed, count, 28 * 28);
    Tensor::new([count, 1, 28, 28], noise.initial(&(0..count).collect::<Vec<_>>()))
}

#[test]
fn a_grid_is_the_same_file_for_any_batch() {
    let folder = Folder::new();
    let files: Vec<Vec<u8>> = ["1", "2", "5", "16"]
        .map(|batch| {
            quietly(&["sample", "-n", "5", "--steps", "3", "-b", batch, "-o", &folder.at("x.png")]);
            folder.bytes("x.png")
        })
        .into();
    assert!(files.iter().all(|file| *file == files[0]));
    let image = image::load_from_memory(&files[0]).expect("a PNG");
    assert_eq!((image.width(), image.height()), (3 * 28 + 2 * 2, 2 * 28 + 2));
    quietly(&["sample", "-n", "5", "--steps", "3", "-s", "1", "-o", &folder.at("x.png")]);
    assert_ne!(folder.bytes("x.png"), files[0], "another seed is another image");
}

#[test]
fn an_image_is_the_same_file_in_any_count_and_shard() {
    // Noise at every step, so that its order matters.
    let sample = ["sample", "--sampler", "ddpm", "--steps", "3"];
    let (whole, union) = (Folder::new(), Folder::new());
    quietly(&[&sample[..], &["-n", "5", "-b", "2", "-o", &whole.at("%03d.png")]].concat());
    assert_eq!(whole.names(), ["000.png", "001.png", "002.png", "003.png", "004.png"]);
    for shard in ["0/3", "1/3", "2/3"] {
        quietly(&[&sample[..], &["-n", "5", "--shard", shard, "-o", &union.at("%03d.png")]].concat());
    }
    let smaller = Folder::new();
    quietly(&[&sample[..], &["-n", "2", "-o", &smaller.at("%03d.png")]].concat());
    for (at, name) in whole.names().iter().enumerate() {
        assert_eq!(whole.bytes(name), union.bytes(name), "{name} of a shard");
        if at < 2 {
            assert_eq!(whole.bytes(name), smaller.bytes(name), "{name} of a smaller run");
        }
    }
    assert_ne!(whole.bytes("000.png"), whole.bytes("001.png"));
    downhill(&["sample", "-n", "2", "--shard", "2/3", "-o", &union.at("more-%d.png")])
        .expect("nothing to do: the shard is empty\n");
}

#[test]
fn torch_noise_is_the_same_in_any_batch_and_shard() {
    let folder = Folder::new();
    let sample = ["sample", "--sampler", "ddpm", "--steps", "2", "-n", "3", "--rng", "torch"];
    let images = folder.at("x-1.png");
    let save = |name: &str, more: &[&str]| {
        quietly(&[&sample[..], &["-o", &images, "--save-samples", &folder.at(name)], more].concat());
        folder.array(name)
    };
    let whole = save("whole.npy", &["-b", "2"]);
    assert_eq!(save("shard-1.npy", &["--shard", "1/2"]).data, whole.item(1));
}

#[test]
fn given_noise_at_explicit_timesteps_is_the_seeded_run() {
    let folder = Folder::new();
    let (image, seeded, given) = (folder.at("x.png"), folder.at("seeded.npy"), folder.at("given.npy"));
    quietly(&["sample", "-n", "3", "-s", "9", "--steps", "3", "-o", &image, "--save-samples", &seeded]);
    let seeded = folder.array("seeded.npy");
    assert_eq!(seeded.shape, [3, 1, 28, 28]);

    let noise = noise(Generator::Philox, 9, 3);
    let file = folder.write("noise.npy", &noise);
    let explicit = ["sample", "--timesteps", TIMESTEPS, "-o", &image, "--save-samples", &given];
    downhill(&[&explicit[..], &["--init-noise", &file, "-q"]].concat()).expect("");
    assert_eq!(folder.array("given.npy"), seeded, "to the bit");
    let warned = downhill(&[&explicit[..], &["--init-noise", &file, "-n", "2", "--seed", "4"]].concat());
    assert!(warned.stderr.starts_with("warning: `--seed` changes nothing here"), "{}", warned.stderr);
    assert_eq!(folder.array("given.npy"), seeded.slice(0..2), "the first of them");

    // The same start as x in the other scale, on the grid of the same sigmas.
    let table = downhill::denoise::diffusion::NoiseTable::default();
    let sigmas: Vec<f64> = TIMESTEPS.split(',').map(|t| table.sigma(t.parse().expect("a number"))).collect();
    let scale = (1.0 + sigmas[0] * sigmas[0]).sqrt();
    let x = noise.data.iter().map(|value| (f64::from(*value) * scale) as f32).collect::<Vec<_>>();
    let file = folder.write("x.npy", &Tensor::new(noise.shape, x));
    let list = sigmas.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let path = folder.at("path.npy");
    let run = ["sample", "--sigmas", &list, "--init", &file, "--save-path", &path, "-o", &image];
    quietly(&[&run[..], &["--save-samples", &given]].concat());
    assert!(distance(&folder.array("given.npy"), &seeded) < 1e-5);
    let path = folder.array("path.npy");
    assert_eq!(path.shape, [3, 3, 1, 28, 28]);
    let last = Tensor::new(seeded.shape.clone(), path.item(2).to_vec());
    let scale = (1.0 + sigmas[3] * sigmas[3]).sqrt() as f32;
    let x = Tensor::new(seeded.shape.clone(), seeded.data.iter().map(|z| z * scale).collect::<Vec<_>>());
    assert!(distance(&last, &x) < 1e-5, "the states of a grid of sigmas are x");
}

#[test]
fn states_and_predictions_are_saved_at_every_step() {
    let folder = Folder::new();
    let (image, z, path, steps) = (folder.at("x.png"), folder.at("z.npy"), folder.at("path.npy"), folder.at("steps"));
    let report = folder.at("report.json");
    let run = ["sample", "-n", "3", "-b", "2", "--steps", "2", "-o", &image, "--save-samples", &z];
    let run = downhill(&[&run[..], &["--save-path", &path, "--save-steps", &steps, "--json", &report]].concat());
    run.expect(&format!("wrote {image}\nwrote {z}\nwrote {path}\nwrote {steps}\n"));
    let (z, path) = (folder.array("z.npy"), folder.array("path.npy"));
    assert_eq!(path.shape, [2, 3, 1, 28, 28]);
    assert_eq!(path.item(1), z.data, "the states of a schedule of timesteps are z");
    let grids = ["steps/step-001.png", "steps/step-002.png"].map(|name| folder.bytes(name));
    assert_ne!(grids[0], grids[1]);

    let report = folder.json("report.json");
    assert_eq!(report["seed"], 0);
    assert_eq!(report["schedule"]["levels"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["timings"]["steps"].as_array().map(Vec::len), Some(4), "two batches of two steps");
    assert_eq!(report["outputs"][0], image);
    assert!(report["adapter"]["driver"].is_string());
    let memory = &report["memory"];
    assert_eq!(memory["peak_bytes"], memory["planned_bytes"], "the plan knows what the device holds");
}

#[test]
fn timings_are_data() {
    let folder = Folder::new();
    let run = downhill(&["sample", "-n", "1", "--steps", "2", "-q", "--timings", "-o", &folder.at("x.png")]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let parts = ["model", "adapter", "pipelines", "self-test", "upload", "sampling", "  first step", "  steady step"];
    let mut lines = run.stdout.lines();
    for part in parts.into_iter().chain(["writing", "total"]) {
        let line = lines.next().expect(part);
        let seconds = line.strip_prefix(part).and_then(|rest| rest.split_whitespace().next());
        assert!(seconds.is_some_and(|seconds| seconds.parse::<f64>().is_ok()), "{part}: {line}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn the_first_start_compiles_what_the_next_one_does() {
    let folder = Folder::new();
    let parts = ["first run on this adapter", "known from an earlier run"].map(|known| {
        let mut program = command(&["sample", "-n", "2", "--steps", "1", "-q", "--timings", "-o", &folder.at("x.png")]);
        let output = program.env("DOWNHILL_CACHE_DIR", folder.path("cache")).output().expect("the program");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.contains(known), "{text}");
        std::fs::remove_file(folder.path("x.png")).expect("an image");
        let line = text.lines().find(|line| line.starts_with("pipelines")).expect("pipelines");
        line.split_once(" s  ").expect("a time").1.to_owned()
    });
    assert!(parts[0].ends_with(" compiled"));
    assert_eq!(parts[0], parts[1], "the self-test of the first run has no shaders besides the network's");
}

#[test]
fn what_diverges_leaves_no_file() {
    let folder = Folder::new();
    let (image, z) = (folder.at("x.png"), folder.at("z.npy"));
    let outputs = ["-n", "1", "-o", &image, "--save-samples", &z];
    let run = downhill(&[&["sample", "--gamma", "1e300", "--no-clip"][..], &outputs].concat());
    run.expect_error(7, "error: non-finite values in the state in step 2 of 10 (timestep ");
    run.expect_error(7, "\nhint: ").expect_error(7, "`--trace-nonfinite`");
    assert!(run.stderr.contains("extrapolates far: the theory gives 1.2 to 2.4"), "{}", run.stderr);
    assert!(folder.names().is_empty());
}

#[test]
fn the_operation_at_fault_is_named() {
    let folder = Folder::new();
    let start = folder.write("x.npy", &Tensor::new([1, 1, 28, 28], vec![f32::MAX; 28 * 28]));
    let run = ["sample", "--sigmas", "0.1,0.05", "--init", &start, "-o", &folder.at("x.png")];
    downhill(&run).expect_error(7, "non-finite values in the denoiser's output in step 1 of 1 (sigma 0.1000)");
    downhill(&[&run[..], &["--trace-nonfinite"]].concat()).expect_error(7, "non-finite values in `conv_in` (step ");
    assert_eq!(folder.names(), ["x.npy"]);
}

#[test]
fn both_families_and_checked_shaders_agree() {
    let folder = Folder::new();
    let image = folder.at("x.png");
    let save = |name: &str, more: &[&str]| {
        let run = ["sample", "-n", "2", "--steps", "2", "-o", &image, "--save-samples", &folder.at(name)];
        quietly(&[&run[..], more].concat());
        folder.array(name)
    };
    let usual = save("usual.npy", &[]);
    assert_eq!(save("checked.npy", &["--checked"]), usual);
    assert!(distance(&save("tile.npy", &["--family", "tile"]), &usual) < 1e-3);
}

#[test]
fn a_model_without_a_scheduler_is_said_to_be_sampled_by_defaults() {
    let folder = Folder::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/unet/one-level");
    let run = downhill(&["sample", model, "-n", "1", "--steps", "1", "-o", &folder.at("x.png")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("note: no `scheduler_config.json`"), "{}", run.stderr);
}

#[test]
fn samplers_are_listed_in_a_line_each() {
    let listed = downhill(&["sample", "--sampler", "list"]);
    insta::assert_snapshot!("samplers", listed.stdout);
}

/// A folder whose scheduler names a sampler is sampled with it; what is asked for goes first.
#[test]
fn the_scheduler_of_a_folder_names_the_sampler() {
    let golden = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let folder = Folder::new();
    let (report, image) = (folder.at("report.json"), folder.at("x.png"));
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        std::fs::copy(golden("unet/cifar-like").join(file), folder.at(file)).expect("a copy");
    }
    for (scheduler, asked, sampler, levels) in [
        ("heun", &[][..], "heun", 6),
        ("dpmpp-2m-karras", &[], "dpm++2m", 6),
        ("unipc", &["--sampler", "ge"], "ge", 6),
        ("ddim-leading", &[], "ge", 6),
    ] {
        std::fs::copy(
            golden("trajectory").join(scheduler).join("scheduler_config.json"),
            folder.at("scheduler_config.json"),
        )
        .expect("a copy");
        let run = ["sample", &folder.at(""), "-n", "1", "--steps", "5", "-o", &image, "--json", &report];
        quietly(&[&run[..], asked].concat());
        let report = folder.json("report.json");
        assert_eq!(report["method"]["sampler"], sampler, "{scheduler}");
        assert_eq!(report["schedule"]["levels"].as_array().expect("levels").len(), levels, "{scheduler}");
    }
}

/// `--save-images` holds what the PNG is rounded from.
#[test]
fn images_are_saved_as_numbers() {
    let folder = Folder::new();
    let (image, floats, samples) = (folder.at("x.png"), folder.at("floats.npy"), folder.at("z.npy"));
    let save = ["-o", &image, "--save-images", &floats, "--save-samples", &samples];
    quietly(&[&["sample", "-n", "3", "--steps", "2"], &save[..]].concat());
    let (floats, samples) = (folder.array("floats.npy"), folder.array("z.npy"));
    assert_eq!(floats.shape, [3, 1, 28, 28]);
    // The last state, at timestep 0, is the image but for a little scale.
    let expected: Vec<f32> = samples.data.iter().map(|z| (z / 2.0 + 0.5).clamp(0.0, 1.0)).collect();
    assert_eq!(floats.data, expected);
}

/// The software adapter has textures of float32 for the maps, the other family of kernels has buffers.
#[test]
fn maps_in_float16_are_recorded_where_they_have_an_effect() {
    let folder = Folder::new();
    let (output, report) = (folder.at("%d.png"), folder.at("run.json"));
    for (family, dtype, has_note) in [("lanes", "f16", true), ("tile", "f16-maps", false)] {
        let sample = ["sample", "tests/bad/sound", "-n", "1", "--steps", "1", "--dtype", "f16-maps"];
        let run = downhill(&[&sample[..], &["--family", family, "-o", &output, "--json", &report]].concat());
        if run.code == 2 && run.stderr.contains("--family") {
            // Not every adapter can run both.
            continue;
        }
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(run.stderr.contains("note: `--dtype f16-maps` stores weights only"), has_note, "{}", run.stderr);
        let texts = downhill::formats::png::read_metadata(folder.path("0.png")).expect("a PNG");
        assert!(texts.contains(&("dtype".to_owned(), dtype.to_owned())), "{texts:?}");
        assert_eq!(folder.json("run.json")["dtype"], dtype);
        let again = downhill(&[&sample[..], &["--family", family, "-o", &output, "--resume"]].concat());
        assert!(again.code == 0 && again.stderr.contains("1 of 1 images exist already"), "{}", again.stderr);
    }
}
