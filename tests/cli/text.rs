//! `downhill sample` on pipelines from text to images, against diffusers in float64.

use downhill::formats::Image;
use downhill::formats::png::{read_metadata, write_png};
use downhill::tensor::Tensor;

use crate::{Folder, distance, downhill, quietly};

const CASES: [&str; 3] = ["sd1-like", "sd2-like", "odd-sizes"];
/// max|a-b| / max|b| of latents after five guided steps; the limit is 5e-3.
const TOLERANCE: f32 = 5e-4;

fn model(case: &str) -> String {
    format!("tests/golden/latent/{case}")
}

fn golden(case: &str, file: &str) -> Tensor {
    let path = format!("{}/{}/{file}", env!("CARGO_MANIFEST_DIR"), model(case));
    downhill::formats::npy::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// `golden.json` as flags.
fn asked(case: &str) -> Vec<String> {
    let path = format!("{}/{}/golden.json", env!("CARGO_MANIFEST_DIR"), model(case));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("golden.json")).expect("JSON");
    let text = |name: &str| json[name].as_str().expect(name).to_owned();
    let flags =
        ["sample".to_owned(), model(case), "-p".to_owned(), text("prompt"), "--negative".to_owned(), text("negative")];
    flags.into_iter().chain(["--cfg-scale".to_owned(), json["guidance"].to_string()]).collect()
}

/// Samples from the golden noise and answers the states after each step and the images.
fn sampled(case: &str, more: &[&str]) -> (Tensor, Tensor) {
    let folder = Folder::new();
    let noise = format!("{}/runs/init_noise.npy", model(case));
    let (grid, path, images) = (folder.at("x.png"), folder.at("path.npy"), folder.at("images.npy"));
    let flags = asked(case);
    let mut arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
    arguments.extend(["--init-noise", &noise, "-o", &grid, "--save-path", &path, "--save-images", &images]);
    arguments.extend(more);
    quietly(&arguments);
    (folder.array("path.npy"), folder.array("images.npy"))
}

#[test]
fn five_guided_steps_are_those_of_diffusers() {
    // The scheduler of the first folder is PNDM's; that of the others is DDIM's, where `ge` would be taken.
    for (case, more) in CASES.into_iter().zip([&[][..], &["--sampler", "ddim"], &["--sampler", "ddim"]]) {
        let (path, images) = sampled(case, &[&["--steps", "5"], more].concat());
        let (expected, expected_images) = (golden(case, "runs/path.npy"), golden(case, "runs/images.npy"));
        assert_eq!(images.shape, expected_images.shape, "{case}");
        let last = |path: &Tensor| path.slice(path.shape[0] - 1..path.shape[0]);
        let apart = distance(&last(&path), &last(&expected));
        assert!(apart < TOLERANCE, "{case}: latents {apart:.1e}");
        let apart = images.data.iter().zip(&expected_images.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < TOLERANCE, "{case}: images {apart:.1e}");
    }
}

#[test]
fn gradient_estimation_follows_the_papers_formula() {
    for case in ["sd1-like", "odd-sizes"] {
        let steps = ["--sampler", "ge", "--timesteps", "901,751,566,353,166,0"];
        for more in [&steps[..], &[&steps[..], &["-b", "1"]].concat()] {
            let apart = distance(&sampled(case, more).0, &golden(case, "runs/ge_path.npy"));
            assert!(apart < TOLERANCE, "{case}: {apart:.1e}");
        }
    }
}

#[test]
fn images_lead_to_images() {
    for case in ["sd2-like", "odd-sizes"] {
        let image = format!("{}/runs/from.png", model(case));
        let path = sampled(case, &["--sampler", "ddim", "--steps", "5", "--init-image", &image, "--strength", "0.6"]).0;
        let apart = distance(&path, &golden(case, "runs/from_image_path.npy"));
        assert!(apart < TOLERANCE, "{case}: {apart:.1e}");
    }
}

#[test]
fn an_image_of_another_size_is_scaled_with_a_note_and_its_settings_make_it_again() {
    let folder = Folder::new();
    let (image, output, again) = (folder.at("from.png"), folder.at("x.png"), folder.at("y.png"));
    let pixels = Image { height: 70, width: 66, channels: 3, pixels: vec![90; 70 * 66 * 3] };
    write_png(&image, &pixels, &[]).expect("written");
    let model = model("sd1-like");
    let call = ["sample", &model, "-p", "a cat", "--sampler", "ddim", "--init-image", &image, "--strength", "0.6"];
    let run = downhill(&[&call[..], &["--steps", "4", "-o", &output]].concat());
    assert!(run.stderr.contains("note: the image of 70 x 66 is scaled to 64 x 64\n"), "{}", run.stderr);
    let texts = read_metadata(&output).expect("a PNG");
    let text = |name: &str| texts.iter().find(|(keyword, _)| keyword == name).map(|(_, text)| text.clone());
    assert_eq!((text("steps").as_deref(), text("strength").as_deref()), (Some("4"), Some("0.6")));
    quietly(&[&call[..], &["--steps", &text("steps").expect("steps"), "-o", &again]].concat());
    assert_eq!(folder.bytes("x.png"), folder.bytes("y.png"));
}

#[test]
fn little_memory_and_tiles_make_the_same_image() {
    let folder = Folder::new();
    let model = model("sd1-like");
    let sample = |name: &str, more: &[&str]| {
        let flags = ["sample", &model, "-p", "a cat", "--steps", "2", "-n", "2", "-o"];
        let (file, steps) = (folder.at(name), folder.at("steps"));
        quietly(&[&flags[..], &[&file, "--save-steps", &steps], more].concat());
        folder.bytes(name)
    };
    let usual = sample("a.png", &[]);
    assert_eq!(usual, sample("b.png", &["--memory", "14MiB"]), "components in turn");
    assert_eq!(usual, sample("c.png", &["-b", "1"]));
    assert_eq!(folder.names().len(), 4);
    assert!(folder.path("steps").join("step-002.png").is_file(), "previews are decoded");
    let run = downhill(&["sample", &model, "-p", "a cat", "--memory", "1MiB", "-o", &folder.at("d.png")]);
    run.expect_error(5, "memory budget of 1.00 MiB").expect_error(5, "raise `--memory`");
    assert!(!folder.path("d.png").exists());
}

#[test]
fn the_prompt_stands_in_the_image() {
    let folder = Folder::new();
    let image = folder.at("x.png");
    let prompt = "un café — 富士山";
    quietly(&[
        "sample",
        &model("sd2-like"),
        "-p",
        prompt,
        "--cfg-scale",
        "1",
        "--steps",
        "1",
        "-H",
        "16",
        "-o",
        &image,
    ]);
    let info = downhill(&["info", &image]).stdout;
    for line in [prompt, "guidance scale", "16x24", "seeded noise"] {
        assert!(info.contains(line), "{line}: {info}");
    }
    let size = image::open(&image).expect("a PNG");
    assert_eq!((size.width(), size.height()), (24, 16));
}

/// Each component has its own lines, before anything runs; a size and a type change what they take.
#[test]
fn a_pipeline_is_described_by_its_components() {
    let folder = Folder::new();
    let peaks = |more: &[&str]| {
        let run = downhill(&[&["info", &model("sd1-like"), "--json", &folder.at("info.json")], more].concat());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        for line in
            ["StableDiffusionPipeline", "128 x 128; sides are multiples of 8", "PNDMScheduler", "210,860 in F16"]
        {
            assert!(run.stdout.contains(line), "{line}: {}", run.stdout);
        }
        let components = &folder.json("info.json")["call"]["components"];
        ["text_encoder", "unet", "vae_decoder", "vae_encoder"].map(|name| {
            let memory = &components[name]["memory"];
            (memory["weights_bytes"].as_u64().expect(name), memory["planned_bytes"].as_u64().expect(name))
        })
    };
    let (usual, half, small) = (peaks(&[]), peaks(&["--dtype", "f16"]), peaks(&["--size", "64"]));
    for at in 0..4 {
        assert!(half[at].0 < usual[at].0, "weights of float16 take less: {usual:?}, {half:?}");
        assert!(small[at].1 < usual[at].1 || at == 0, "values of smaller images take less: {usual:?}, {small:?}");
    }
    downhill(&["info", &model("sd1-like"), "--size", "60"])
        .expect_error(2, "sides are multiples of 8, such as 64 x 64");
}

#[test]
fn what_cannot_be_is_said_before_anything_runs() {
    let folder = Folder::new();
    let (output, model) = (folder.at("x.png"), model("sd1-like"));
    let refused = |arguments: &[&str], code: i32, what: &str| {
        downhill(&[&["sample"], arguments, &["-o", &output]].concat()).expect_error(code, what);
        assert!(!folder.path("x.png").exists());
    };
    refused(&[&model], 2, "makes images from text");
    refused(&[&model, "--negative", "x"], 2, "--prompt");
    refused(&["-p", "a cat"], 2, "does not take texts");
    refused(&[&format!("{model}/unet"), "-p", "a cat"], 4, "a single network, without a component `text_encoder`");
    refused(&["pca:digits", "-p", "a cat"], 2, "does not take texts");
    refused(&[&model, "-p", "x", "-W", "63"], 2, "sides are multiples of 8, such as 128 x 64");
    refused(&[&model, "-p", "x", "--strength", "0.5"], 2, "--init-image");
    refused(&[&model, "-p", "x", "--init-image", "nowhere.png"], 2, "does not exist");
    refused(&[&model, "-p", "x", "--init-image", "Cargo.toml"], 4, "not a readable image");
    refused(&[&model, "-p", "x", "--cfg-scale", "NaN"], 2, "out of range");
    refused(&[&model, "-p", "x", "--memory", "much"], 2, "expected a size");
    let long = "astronaut ".repeat(80);
    let run = downhill(&["sample", &model, "-p", &long, "--steps", "1", "-o", &output]);
    assert!(run.code == 0 && run.stderr.contains("is cut off"), "{}", run.stderr);
}
