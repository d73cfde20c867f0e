//! `downhill sample` on SDXL, SD-Turbo and a latent consistency model in small, against diffusers in float64
//! (`tools/goldens/text_models.py`).

use downhill::tensor::Tensor;

use crate::{Folder, distance, downhill, quietly};

const CASES: [&str; 3] = ["sdxl-like", "sd-turbo-like", "lcm-like"];
/// max|a - b| / max|b| of latents after a run, and max|a - b| of images in 0..1. Measured up to 1e-5.
const TOLERANCE: f32 = 1e-4;

fn model(case: &str) -> String {
    format!("tests/golden/latent/{case}")
}

fn golden(case: &str, file: &str) -> Tensor {
    let path = format!("{}/{}/{file}", env!("CARGO_MANIFEST_DIR"), model(case));
    downhill::formats::npy::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

fn about(case: &str) -> serde_json::Value {
    let path = format!("{}/{}/golden.json", env!("CARGO_MANIFEST_DIR"), model(case));
    serde_json::from_slice(&std::fs::read(path).expect("golden.json")).expect("JSON")
}

/// The flags of a run in `golden.json`. Without seeded noise, it starts at that of the golden.
fn flags(case: &str, run: &str) -> Vec<String> {
    let about = about(case);
    let given = about["runs"][run].as_array().unwrap_or_else(|| panic!("no run {run}")).iter();
    let mut flags: Vec<String> = given.map(|flag| flag.as_str().expect("a flag").to_owned()).collect();
    flags
        .iter_mut()
        .filter(|flag| *flag == "from.png")
        .for_each(|file| *file = format!("{}/runs/from.png", model(case)));
    if !flags.contains(&"--rng".to_owned()) {
        flags.extend(["--init-noise".to_owned(), format!("{}/runs/init_noise.npy", model(case))]);
    }
    let prompt = about["prompt"].as_str().expect("a prompt").to_owned();
    [vec!["sample".to_owned(), model(case), "-p".to_owned(), prompt, "-n".to_owned(), "1".to_owned()], flags].concat()
}

/// The states after each step and the image of a run.
fn sampled(case: &str, run: &str, more: &[&str]) -> (Tensor, Tensor) {
    let folder = Folder::new();
    let (grid, path, images) = (folder.at("x.png"), folder.at("path.npy"), folder.at("images.npy"));
    let flags = flags(case, run);
    let mut arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
    arguments.extend(["-o", &grid, "--save-path", &path, "--save-images", &images]);
    arguments.extend(more);
    quietly(&arguments);
    (folder.array("path.npy"), folder.array("images.npy"))
}

#[test]
fn every_run_is_that_of_diffusers() {
    for case in CASES {
        for run in about(case)["runs"].as_object().expect("runs").keys() {
            let (path, images) = sampled(case, run, &[]);
            let (expected, expected_images) =
                (golden(case, &format!("runs/{run}_path.npy")), golden(case, &format!("runs/{run}_images.npy")));
            assert_eq!(path.shape, expected.shape, "{case}, {run}");
            let apart = distance(&path, &expected);
            println!("{case}, {run}: latents {apart:.1e}");
            assert!(apart < TOLERANCE, "{case}, {run}: latents {apart:.1e}");
            assert_eq!(images.shape, expected_images.shape, "{case}, {run}");
            let apart = images.data.iter().zip(&expected_images.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < TOLERANCE, "{case}, {run}: images {apart:.1e}");
        }
    }
}

#[test]
fn little_memory_and_batches_make_the_same_image() {
    for (case, run) in [("sdxl-like", "guided"), ("lcm-like", "lcm")] {
        let whole = sampled(case, run, &[]);
        for more in [&["--memory", "40MiB"][..], &["-b", "1"]] {
            assert_eq!(sampled(case, run, more), whole, "{case} {more:?}");
        }
    }
}

#[test]
fn texts_are_encoded_by_both_encoders() {
    let folder = Folder::new();
    let (model, about) = (model("sdxl-like"), about("sdxl-like"));
    let (e, pooled) = (folder.at("e.npy"), folder.at("pooled.npy"));
    let texts = ["negative", "prompt"].map(|name| about[name].as_str().expect("a text").to_owned());
    let mut arguments = vec!["encode-text", &model, "--output", &e, "--pooled", &pooled];
    for text in &texts {
        arguments.extend(["-p", text]);
    }
    quietly(&arguments);
    for (found, file) in [("e.npy", "stages/embeddings.npy"), ("pooled.npy", "stages/text_pooled.npy")] {
        let (found, expected) = (folder.array(found), golden("sdxl-like", file));
        assert_eq!(found.shape, expected.shape, "{file}");
        let apart = distance(&found, &expected);
        println!("{file}: {apart:.1e}");
        assert!(apart < 5e-6, "{file}: {apart:.1e}");
    }
    // The first tokenizer pads with the end of a text, the second with `!`, whose id is 0.
    let printed = downhill(&["encode-text", &model, "-p", "a cat", "--tokens"]).stdout;
    let lines: Vec<Vec<u32>> =
        printed.lines().map(|line| line.split(' ').map(|id| id.parse().expect("an id")).collect()).collect();
    assert_eq!((lines.len(), lines[0].len(), lines[1].len()), (2, 77, 77));
    assert!(lines[0][76] > 0 && lines[1][76] == 0, "{lines:?}");
}

#[test]
fn raw_calls_take_what_is_added_and_the_scale() {
    let folder = Folder::new();
    let stage = |case: &str, name: &str| format!("{}/stages/{name}.npy", model(case));
    for (case, more) in [
        (
            "sdxl-like",
            vec![
                "--pooled".to_owned(),
                stage("sdxl-like", "pooled"),
                "--time-ids".to_owned(),
                stage("sdxl-like", "time_ids"),
            ],
        ),
        ("lcm-like", vec!["--cfg-scale".to_owned(), "8.5".to_owned()]),
    ] {
        let (x, t, context, eps) = (stage(case, "x"), stage(case, "t"), stage(case, "context"), folder.at("eps.npy"));
        let unet = format!("{}/unet", model(case));
        let mut arguments = vec!["denoise", &unet, "-i", &x, "-t", &t, "--context", &context, "-o", &eps];
        arguments.extend(more.iter().map(String::as_str));
        quietly(&arguments);
        let apart = distance(&folder.array("eps.npy"), &golden(case, "stages/eps.npy"));
        assert!(apart < 5e-5, "{case}: {apart:.1e}");
    }
}

#[test]
fn settings_without_meaning_are_refused_by_flag() {
    let (xl, plain) = (model("sdxl-like"), model("lcm-like"));
    for (arguments, what) in [
        (vec!["sample", &plain, "-p", "a", "--original-size", "64"], "`--original-size` has no meaning"),
        (vec!["sample", &plain, "-p", "a", "--crop", "1,1"], "`--crop` has no meaning"),
        (vec!["sample", &xl, "-p", "a", "--clip-skip", "2"], "a `--clip-skip` of 2 blocks leaves none"),
        (vec!["sample", &xl, "-p", "a", "--crop", "1x1"], "expected TOP,LEFT"),
        (vec!["encode-text", &plain, "-p", "a", "--pooled", "/tmp/never.npy"], "`--pooled` has no meaning"),
    ] {
        downhill(&arguments).expect_error(2, what);
    }
}

#[test]
fn scales_below_one_and_texts_that_are_not_read_are_said() {
    let folder = Folder::new();
    let at = folder.at("x.png");
    for (case, scale, what) in [
        ("sd-turbo-like", "0", "is below 1: the text is followed without guidance"),
        ("sd-turbo-like", "1", "`--negative` is not read: there is no guidance"),
        ("lcm-like", "8.5", "`--negative` is not read: the network takes `--cfg-scale` 8.5"),
    ] {
        let arguments =
            ["sample", &model(case), "-p", "a", "--negative", "b", "--cfg-scale", scale, "--steps", "1", "-o", &at];
        let run = downhill(&arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stderr.contains(what), "{}", run.stderr);
    }
}

#[test]
fn the_refiner_is_refused_by_name() {
    let folder = Folder::new();
    let root = folder.at("refiner");
    for part in ["unet", "vae", "scheduler", "tokenizer_2", "text_encoder_2"] {
        let (from, to) = (format!("{}/{part}", model("sdxl-like")), format!("{root}/{part}"));
        std::fs::create_dir_all(&to).expect("a folder");
        for file in std::fs::read_dir(from).expect("a folder") {
            let file = file.expect("a file").path();
            std::fs::copy(&file, format!("{to}/{}", file.file_name().expect("a name").to_string_lossy()))
                .expect("copied");
        }
    }
    let index = |fields: &str| {
        let index = format!(
            "{{\"_class_name\": \"StableDiffusionXLImg2ImgPipeline\", \
             \"unet\": [\"diffusers\", \"UNet2DConditionModel\"], \
             \"vae\": [\"diffusers\", \"AutoencoderKL\"], \"text_encoder\": [null, null], \
             \"text_encoder_2\": [\"transformers\", \"CLIPTextModelWithProjection\"], \
             \"scheduler\": [\"diffusers\", \"EulerDiscreteScheduler\"]{fields}}}"
        );
        std::fs::write(format!("{root}/model_index.json"), index).expect("written");
        downhill(&["sample", &root, "-p", "a"])
    };
    for fields in [", \"requires_aesthetics_score\": true", ""] {
        index(fields).expect_error(4, "refiner");
    }
}

#[test]
fn fields_that_are_passed_over_are_said_on_request() {
    let folder = Folder::new();
    let root = folder.at("model");
    std::fs::create_dir_all(&root).expect("a folder");
    for name in ["config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"] {
        std::fs::copy(format!("tests/golden/unet/cifar-like/{name}"), format!("{root}/{name}")).ok();
    }
    let path = format!("{root}/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
    (config["_mark"], config["decay"]) = (1.into(), 0.999.into());
    std::fs::write(&path, config.to_string()).expect("written");
    let at = folder.at("x.png");
    for (more, is_said) in [(&["-v"][..], true), (&[], false)] {
        let arguments = [&["sample", &root, "-n", "1", "--steps", "1", "-o", &at], more].concat();
        let run = downhill(&arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(run.stderr.contains("`_mark`, `decay` are passed over"), is_said, "{}", run.stderr);
    }
}
