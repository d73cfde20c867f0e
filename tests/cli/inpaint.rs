//! `downhill sample --mask`: pixel networks, closed forms, Stable Diffusion with four and with nine channels.

use downhill::tensor::Tensor;

use crate::{Folder, distance, downhill, quietly};

/// max|a-b| / max|b| of latents, and the largest difference of pixels, against diffusers in float64.
const LATENTS: f32 = 1e-3;
const PIXELS: f32 = 5e-3;

const FOUR: (&str, &str) = ("tests/golden/latent/sd2-like", "tests/golden/inpaint/four-channels");
const NINE: (&str, &str) = ("tests/golden/inpaint/nine-channels", "tests/golden/inpaint/nine-channels/runs");

fn golden(file: &str) -> Tensor {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    downhill::formats::npy::read(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// The flags of a run that diffusers made, but for the strength.
fn flags((model, runs): (&str, &str)) -> Vec<String> {
    let path = format!("{}/{runs}/golden.json", env!("CARGO_MANIFEST_DIR"));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("golden.json")).expect("JSON");
    let text = |name: &str| json[name].as_str().expect(name).to_owned();
    let file = |name: &str| format!("{runs}/{name}");
    [
        "sample".to_owned(),
        model.to_owned(),
        "-p".to_owned(),
        text("prompt"),
        "--negative".to_owned(),
        text("negative"),
        "--cfg-scale".to_owned(),
        json["guidance"].to_string(),
        "--steps".to_owned(),
        json["steps"].to_string(),
        "--sampler".to_owned(),
        "ddim".to_owned(),
        "--init-noise".to_owned(),
        file("init_noise.npy"),
        "--init-image".to_owned(),
        file("image.png"),
        "--mask".to_owned(),
        file("mask.png"),
    ]
    .to_vec()
}

/// The states after each step and the images of a run.
fn sampled(of: (&str, &str), more: &[&str]) -> (Tensor, Tensor) {
    let folder = Folder::new();
    let (grid, path, images) = (folder.at("x.png"), folder.at("path.npy"), folder.at("images.npy"));
    let flags = flags(of);
    let mut arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
    arguments.extend(["-o", &grid, "--save-path", &path, "--save-images", &images]);
    arguments.extend(more);
    quietly(&arguments);
    (folder.array("path.npy"), folder.array("images.npy"))
}

fn apart(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape, b.shape);
    a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn stable_diffusion_fills_in_as_diffusers_does() {
    for of in [FOUR, NINE] {
        for (run, more) in [("whole", &[][..]), ("half", &["--strength", "0.6"])] {
            let (path, images) = sampled(of, &[&["--no-paste"], more].concat());
            let far = distance(&path, &golden(&format!("{}/{run}_path.npy", of.1)));
            let pixels = apart(&images, &golden(&format!("{}/{run}_images.npy", of.1)));
            println!("{far:.1e} {pixels:.1e} {} {run}", of.1);
            assert!(far < LATENTS, "{} {run}: latents {far:e}", of.1);
            assert!(pixels < PIXELS, "{} {run}: pixels {pixels:e}", of.1);
        }
    }
}

/// By default, the known pixels are those of the image, to the last bit; the others are the decoder's.
#[test]
fn known_pixels_are_pasted() {
    for of in [FOUR, NINE] {
        let (pasted, decoded) = (sampled(of, &["-n", "1"]).1, sampled(of, &["-n", "1", "--no-paste"]).1);
        let image = image::open(format!("{}/{}/image.png", env!("CARGO_MANIFEST_DIR"), of.1)).unwrap().into_rgb8();
        let mask = image::open(format!("{}/{}/mask.png", env!("CARGO_MANIFEST_DIR"), of.1)).unwrap().into_luma8();
        let area = (image.width() * image.height()) as usize;
        for (at, (pixel, mask)) in image.pixels().zip(mask.pixels()).enumerate() {
            for channel in 0..3 {
                let found = pasted.data[channel * area + at];
                if mask.0[0] >= 128 {
                    assert_eq!(found, decoded.data[channel * area + at]);
                } else {
                    assert_eq!((found * 255.0).round() as u8, pixel.0[channel]);
                    assert!((found * 255.0 - f32::from(pixel.0[channel])).abs() < 1e-4);
                }
            }
        }
        assert_ne!(pasted, decoded);
        // The transparency of the image is the same mask.
        let clear = format!("{}/clear.png", of.1);
        assert_eq!(sampled(of, &["-n", "1", "--no-paste", "-b", "1"]).1, decoded);
        let flags: Vec<String> = flags(of);
        let mut arguments: Vec<&str> = flags[..flags.len() - 4].iter().map(String::as_str).collect();
        let folder = Folder::new();
        let (grid, images) = (folder.at("x.png"), folder.at("images.npy"));
        arguments.extend(["--init-image", &clear, "--mask", "alpha", "-n", "1", "-o", &grid, "--save-images", &images]);
        quietly(&arguments);
        let by_alpha = folder.array("images.npy");
        for (at, mask) in mask.pixels().enumerate() {
            // Known pixels are over white where they are a little transparent.
            if mask.0[0] == 0 {
                assert_eq!(by_alpha.data[at], pasted.data[at], "{at}");
            }
        }
    }
}

#[test]
fn a_network_of_inpainting_needs_a_mask() {
    let run = downhill(&["sample", NINE.0, "-p", "x"]);
    run.expect_error(2, "fills in parts of an image").expect_error(2, "`--init-image`, and by `--mask`");
    let flags = flags(NINE);
    let mut arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
    arguments.extend(["--inpaint", "project"]);
    downhill(&arguments).expect_error(2, "`--inpaint` has no meaning for a network of inpainting");
    let info = downhill(&["info", NINE.0]).stdout;
    assert!(info.contains("parts of an image: the network takes latents, a mask"), "{info}");
}

/// The mask of one request is not that of the next.
#[test]
fn a_server_fills_in_by_the_mask_of_each_request() {
    let folder = Folder::new();
    let file = |name: &str| format!("{}/{name}", NINE.1);
    let inverted = folder.at("inverted.png");
    let mask = image::open(format!("{}/{}", env!("CARGO_MANIFEST_DIR"), file("mask.png"))).unwrap().into_luma8();
    image::GrayImage::from_fn(24, 24, |x, y| image::Luma([255 - mask.get_pixel(x, y).0[0]])).save(&inverted).unwrap();
    let masks = [file("mask.png"), inverted, file("mask.png")];
    let mut requests = String::new();
    for (at, mask) in masks.iter().enumerate() {
        let request = serde_json::json!({
            "prompt": "a cat", "init_image": file("image.png"), "mask": mask, "no_paste": true, "steps": 2,
            "save_images": folder.at(&format!("served-{at}.npy")),
        });
        requests.push_str(&request.to_string());
        requests.push('\n');
    }
    let lines = folder.path("requests.jsonl");
    std::fs::write(&lines, requests).unwrap();
    let input = std::fs::File::open(&lines).unwrap();
    let output = crate::command(&["serve", NINE.0]).stdin(input).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for (at, mask) in masks.iter().enumerate() {
        let (alone, out) = (folder.at("alone.npy"), folder.at("x.png"));
        let image = file("image.png");
        let picture = ["--init-image", &image, "--mask", mask, "--no-paste", "--steps", "2"];
        let files = ["--save-images", &alone, "-o", &out];
        quietly(&[&["sample", NINE.0, "-p", "a cat"], &picture[..], &files].concat());
        assert_eq!(folder.array(&format!("served-{at}.npy")), folder.array("alone.npy"), "{at}");
    }
    assert_ne!(folder.array("served-0.npy"), folder.array("served-1.npy"));
}

/// Writes an image of 28 x 28 and a mask of its lower half, by name.
fn digit(folder: &Folder) -> (String, String) {
    let (image, mask) = (folder.path("digit.png"), folder.path("mask.png"));
    image::GrayImage::from_fn(28, 28, |x, y| image::Luma([(x * 9) as u8 ^ (y * 5) as u8])).save(image).unwrap();
    let lower = |_: u32, y: u32| image::Luma([if y >= 14 { 255 } else { 0 }]);
    image::GrayImage::from_fn(28, 28, lower).save(mask).unwrap();
    (folder.at("digit.png"), folder.at("mask.png"))
}

#[test]
fn networks_and_closed_forms_keep_the_known_pixels() {
    let folder = Folder::new();
    let (image, mask) = digit(&folder);
    let original = image::open(&image).unwrap().into_luma8();
    let models: [&[&str]; 3] = [&[], &["pca:digits,k=8"], &["ideal:digits"]];
    let ways: [&[&str]; 2] = [&[], &["--inpaint", "repaint", "--resample", "2", "--jump", "2"]];
    for model in models {
        for way in ways {
            let out = folder.at("out/%d.png");
            let base = ["--init-image", &image, "--mask", &mask, "--steps", "4", "-n", "2", "-o", &out];
            quietly(&[&["sample"], model, &base, way].concat());
            for name in ["out/0.png", "out/1.png"] {
                let found = image::open(folder.path(name)).unwrap().into_luma8();
                let same = |y: u32| (0..28).all(|x| found.get_pixel(x, y) == original.get_pixel(x, y));
                assert!((0..14).all(same), "{model:?} {way:?}");
                assert!(!(14..28).all(same), "{model:?} {way:?}");
            }
            let first = folder.bytes("out/1.png");
            let part = ["--init-image", &image, "--mask", &mask, "--steps", "4", "-n", "2", "--shard", "1/2", "-o"];
            let single = folder.at("single/%d.png");
            quietly(&[&["sample"], model, &part, &[&single], way].concat());
            assert_eq!(folder.bytes("single/1.png"), first, "a shard: {model:?} {way:?}");
        }
    }
}

#[test]
fn mask_and_settings_are_recorded() {
    let folder = Folder::new();
    let (image, mask) = digit(&folder);
    let (out, report, steps) = (folder.at("x.png"), folder.at("run.json"), folder.at("steps"));
    let way = ["--inpaint", "repaint", "--resample", "3", "--steps", "4", "-n", "1"];
    let files = ["-o", &out, "--json", &report, "--save-steps", &steps];
    let run = downhill(&[&["sample", "--init-image", &image, "--mask", &mask][..], &way, &files].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("`repaint` takes 10 steps for the 4 of the schedule"), "{}", run.stderr);
    let count = std::fs::read_dir(folder.path("steps")).unwrap().count();
    assert_eq!(count, 10, "a prediction for each step");
    let digest = |file: &str| folder.json("run.json")[file]["sha256"].as_str().map(str::to_owned).expect("a digest");
    let info = downhill(&["info", &out]).stdout;
    for line in ["mask.png", "filling in digit.png", "repaint", &digest("mask"), &digest("init_image")] {
        assert!(info.contains(line), "{line}: {info}");
    }
    let json = folder.json("run.json");
    assert_eq!(json["mask"]["resampling"], serde_json::json!({ "times": 3, "jump": 1 }));
    assert_eq!(json["mask"]["painted_pixels"], 14 * 28);
}

#[test]
fn masks_that_make_no_sense_are_refused() {
    let folder = Folder::new();
    let (image, mask) = digit(&folder);
    let other = folder.at("other.png");
    image::GrayImage::new(14, 28).save(&other).unwrap();
    let white = folder.at("white.png");
    image::GrayImage::from_pixel(28, 28, image::Luma([255])).save(&white).unwrap();
    let black = folder.at("black.png");
    image::GrayImage::new(28, 28).save(&black).unwrap();
    let refused = |arguments: &[&str], code: i32, what: &str| {
        let out = folder.at("none.png");
        downhill(&[&["sample"], arguments, &["-o", &out]].concat()).expect_error(code, what);
    };
    let with = |mask: &str, code: i32, what: &str| refused(&["--init-image", &image, "--mask", mask], code, what);
    refused(&["--mask", &mask], 2, "`--init-image`");
    refused(&["--mask", "alpha"], 2, "`--init-image`");
    with(&other, 2, "14 x 28 pixels");
    with(&white, 2, "all white: nothing of the image would be kept");
    with(&black, 2, "all black: nothing would be painted");
    with("alpha", 4, "does not have transparency");
    with("nowhere.png", 2, "does not exist");
    let base = ["--init-image", &image, "--mask", &mask];
    let also = |more: &[&str], what: &str| refused(&[&base, more].concat(), 2, what);
    also(&["--resample", "3"], "`--resample` is a setting of `repaint`");
    also(&["--inpaint", "repaint", "--jump", "10"], "`--jump` of 10 levels in a schedule of 10 steps");
    also(&["--inpaint", "repaint", "--sampler", "pndm", "--steps", "10"], "the sampler `pndm` cannot go up again");
    also(&["--inpaint", "repaint", "--sampler", "lms"], "the sampler `lms` cannot go up again");
    also(&["--no-paste"], "`--no-paste` has no meaning for a model without latents");
    refused(&["ideal:digits", "--init-image", &image], 2, "`--mask`");
    let states = folder.write("x.npy", &Tensor::zeros([1, 1, 28, 28]));
    let sigmas = ["--sigmas", "5,1,0.1", "--init", &states];
    refused(&[&["--init-image", &image][..], &sigmas].concat(), 2, "`--init-image` and `--init` are both given");
    let out = folder.at("x.png");
    quietly(&[&["sample"], &base[..], &sigmas, &["-o", &out]].concat());
}
