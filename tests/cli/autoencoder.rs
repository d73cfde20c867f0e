//! `downhill decode` and `downhill encode`.

use downhill::formats::png::write_png;
use downhill::formats::{Image, npy};
use downhill::tensor::Tensor;

use crate::{Folder, distance, downhill, quietly};

const GOLDENS: [&str; 3] = ["sd1-like", "sd2-like", "odd-sizes"];

fn stage(golden: &str, name: &str) -> (String, Tensor) {
    let file = format!("tests/golden/latent/{golden}/stages/{name}.npy");
    let tensor = npy::read(&file).expect("a stage");
    (file, tensor)
}

#[test]
fn latents_become_the_images_of_diffusers() {
    let folder = Folder::new();
    let (x, report) = (folder.at("x.npy"), folder.at("report.json"));
    for golden in GOLDENS {
        let model = format!("tests/golden/latent/{golden}");
        let ((latent, _), (_, expected)) = (stage(golden, "latent"), stage(golden, "decoded"));
        let call = ["decode", &model, "--input", &latent, "--output", &x, "--json", &report];
        downhill(&call).expect(&format!("wrote {x}\n"));
        let whole = folder.array("x.npy");
        assert!(distance(&whole, &expected) < 5e-5, "{golden}");
        assert_eq!(folder.json("report.json")["strips"], 1);
        quietly(&[&call[..], &["--tile", "8"]].concat());
        assert!(folder.json("report.json")["strips"].as_u64() > Some(2));
        assert!(distance(&folder.array("x.npy"), &whole) < 1e-5, "{golden} in strips");
        quietly(&[&call[..], &["--dtype", "f16", "--tile", "never"]].concat());
        assert!(distance(&folder.array("x.npy"), &expected) < 1e-2, "{golden} in float16");
    }
    // The folder of the decoder alone is a model too.
    let (latent, _) = stage("sd1-like", "latent");
    quietly(&["decode", "tests/golden/latent/sd1-like/vae", "-i", &latent, "-o", &x]);
    assert!(distance(&folder.array("x.npy"), &stage("sd1-like", "decoded").1) < 5e-5);
}

#[test]
fn images_become_the_latents_of_diffusers() {
    let folder = Folder::new();
    let z = folder.at("z.npy");
    for golden in GOLDENS {
        let model = format!("tests/golden/latent/{golden}");
        let ((image, _), (_, mean), (_, logvar)) =
            (stage(golden, "image"), stage(golden, "mean"), stage(golden, "logvar"));
        let call = ["encode", &model, "--input", &image, "--output", &z];
        downhill(&call).expect(&format!("wrote {z}\n"));
        let found = folder.array("z.npy");
        assert!(distance(&found, &mean) < 5e-5, "{golden}");
        let draw = |seed: &str| {
            quietly(&[&call[..], &["--sample", "--seed", seed]].concat());
            folder.array("z.npy")
        };
        let drawn = draw("3");
        assert_eq!(drawn, draw("3"));
        assert_ne!(drawn, draw("4"));
        let noise = drawn.data.iter().zip(&mean.data).zip(&logvar.data);
        let noise: Vec<f32> = noise.map(|((z, mean), logvar)| (z - mean) / (0.5 * logvar).exp()).collect();
        let spread = (noise.iter().map(|value| value * value).sum::<f32>() / noise.len() as f32).sqrt();
        assert!((0.7..1.3).contains(&spread), "{golden}: {spread}");
    }
}

#[test]
fn pictures_go_both_ways() {
    let folder = Folder::new();
    let (png, z, x) = (folder.at("x.png"), folder.at("z.npy"), folder.at("x.npy"));
    let model = "tests/golden/latent/sd1-like";
    let (latent, _) = stage("sd1-like", "latent");
    downhill(&["decode", model, "-i", &latent, "-o", &png]).expect(&format!("wrote {png}\n"));
    quietly(&["encode", model, "-i", &png, "-o", &z]);
    assert_eq!(folder.array("z.npy").shape, [1, 4, 8, 8]);
    quietly(&["encode", model, "-i", &png, "--size", "32x48", "-o", &z]);
    assert_eq!(folder.array("z.npy").shape, [1, 4, 4, 6]);
    // A picture of any size is brought to one that fits, as `sample --init-image` does it.
    let odd = folder.at("odd.png");
    let pixels = Image { height: 28, width: 35, channels: 3, pixels: vec![90; 28 * 35 * 3] };
    write_png(&odd, &pixels, &[]).expect("written");
    let run = downhill(&["encode", model, "-i", &odd, "-o", &z]);
    run.expect(&format!("note: the image of 28 x 35 is scaled to 24 x 32\nwrote {z}\n"));
    assert_eq!(folder.array("z.npy").shape, [1, 4, 3, 4]);
    // A picture's bytes are what an array of them would be.
    let decoded = stage("sd1-like", "decoded").1;
    let bytes = decoded
        .data
        .iter()
        .map(|value| (((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even()) / 127.5 - 1.0);
    folder.write("x.npy", &Tensor::new(decoded.shape.clone(), bytes.collect()));
    let of_array = folder.at("a.npy");
    quietly(&["encode", model, "-i", &x, "-o", &of_array]);
    quietly(&["encode", model, "-i", &png, "-o", &z]);
    // One byte in a thousand may fall on the other side of a tie.
    assert!(distance(&folder.array("z.npy"), &folder.array("a.npy")) < 2e-2);
}

#[test]
fn several_latents_become_a_grid_or_an_array() {
    let folder = Folder::new();
    let (png, x) = (folder.at("x.png"), folder.at("x.npy"));
    let latent = stage("sd2-like", "latent").1;
    let three = Tensor::new([3, 4, 12, 12], latent.data.repeat(3));
    let input = folder.write("three.npy", &three);
    let model = "tests/golden/latent/sd2-like";
    quietly(&["decode", model, "-i", &input, "-o", &x, "-b", "2"]);
    let images = folder.array("x.npy");
    assert_eq!(images.shape, [3, 3, 24, 24]);
    assert!(images.item(0) == images.item(1) && images.item(1) == images.item(2), "the batch shows");
    quietly(&["decode", model, "-i", &input, "-o", &png]);
    assert!(folder.bytes("x.png").len() > 1000);
}

#[test]
fn what_does_not_fit_is_refused_before_a_device_is_opened() {
    let folder = Folder::new();
    let (z, model) = (folder.at("z.npy"), "tests/golden/latent/sd1-like");
    let nowhere = ["--adapter", "no such adapter"];
    let run = |call: &[&str]| downhill(&[call, &nowhere].concat());
    let three = folder.write("three.npy", &Tensor::zeros([1, 3, 8, 8]));
    run(&["decode", model, "-i", &three, "-o", &z]).expect_error(4, "expected [N, 4, H, W]");
    let odd = folder.write("odd.npy", &Tensor::zeros([1, 3, 12, 16]));
    run(&["encode", model, "-i", &odd, "-o", &z]).expect_error(
        2,
        "images of 12 x 16 do not fit this autoencoder\nhint: height and width must be multiples of 8",
    );
    let (latent, _) = stage("sd1-like", "latent");
    run(&["decode", model, "-i", &latent, "-o", &folder.at("x.jpg")])
        .expect_error(2, "name the output `.npy` or `.png`");
    run(&["decode", model, "-i", &latent, "-o", &z, "--tile", "0"])
        .expect_error(2, "a number of rows, `never` or `auto`");
    run(&["encode", model, "-i", &odd, "-o", &z, "--seed", "1"]).expect_error(2, "--sample");
    run(&["encode", model, "-i", &odd, "-o", &z, "--size", "16"]).expect_error(2, "`--size` is for pictures");
    run(&["encode", model, "-i", "none.png", "-o", &z]).expect_error(2, "`none.png` does not exist");
    let nan = folder.write("nan.npy", &Tensor::new([1, 4, 1, 1], vec![f32::NAN, 0.0, 0.0, 0.0]));
    run(&["decode", model, "-i", &nan, "-o", &z]).expect_error(7, "non-finite values");
    assert!(!folder.path("z.npy").exists());
    // Everything fits: only now a device is looked for.
    run(&["decode", model, "-i", &latent, "-o", &z]).expect_error(3, "no such adapter");
}
