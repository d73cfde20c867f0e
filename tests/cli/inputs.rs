//! Files that the program reads: pictures stored turned, arrays in every dialect, JSON with a byte order mark, and what
//! is not a regular file.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use downhill::formats::{Image, npy};
use downhill::tensor::Tensor;

use crate::{Folder, Run, command, downhill, quietly};

/// Writes an array of bytes, which the library itself never does.
fn write_bytes(folder: &Folder, name: &str, shape: &str, values: &[u8]) -> String {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    let bytes = [npy::MAGIC, &[1, 0], &length, header.as_bytes(), values].concat();
    std::fs::write(folder.path(name), bytes).expect("written");
    folder.at(name)
}

/// The picture as a run that starts from it, without noise, leaves it.
fn as_read(folder: &Folder, picture: &str) -> Tensor {
    let (zeros, output) = (folder.write("zeros.npy", &Tensor::zeros([1, 1, 28, 28])), folder.at("read.npy"));
    let start = ["--init-image", picture, "--strength", "1", "--init-noise", &zeros];
    let run = ["sample", "--sampler", "euler", "--sigmas", "0.0300001,0.03", "--no-clip", "--save-samples", &output];
    quietly(&[&run[..], &start, &["-o", &folder.at("x.png")]].concat());
    folder.array("read.npy")
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape, b.shape);
    a.data.iter().zip(&b.data).fold(0.0, |most: f32, (a, b)| most.max((a - b).abs()))
}

#[test]
fn a_picture_to_start_from_is_turned_upright() {
    let folder = Folder::new();
    let upright = as_read(&folder, "tests/pictures/upright.png");
    for (picture, most) in
        [("orientation2.png", 1e-4), ("orientation3.png", 1e-4), ("orientation6.png", 1e-4), ("orientation6.jpg", 0.05)]
    {
        let difference = largest_difference(&as_read(&folder, &format!("tests/pictures/{picture}")), &upright);
        assert!(difference <= most, "{picture}: {difference}");
    }
}

#[test]
fn a_picture_to_encode_is_turned_upright_and_bytes_are_pixels() {
    let folder = Folder::new();
    let encoded = |input: &str| {
        quietly(&["encode", "tests/golden/latent/sd1-like", "--input", input, "--output", &folder.at("z.npy")]);
        folder.array("z.npy")
    };
    let resized = |input: &str| {
        let output = folder.at("z.npy");
        let arguments = ["--input", input, "--size", "32", "--output", &output];
        quietly(&[&["encode", "tests/golden/latent/sd1-like"][..], &arguments].concat());
        folder.array("z.npy")
    };
    assert_eq!(resized("tests/pictures/orientation6.png"), resized("tests/pictures/upright.png"));
    let pixels: Vec<u8> = (0..3 * 32 * 32u32).map(|at| (at * 7 % 256) as u8).collect();
    let numbers = pixels.iter().map(|byte| f32::from(*byte) / 127.5 - 1.0).collect();
    let bytes = write_bytes(&folder, "bytes.npy", "(1, 3, 32, 32)", &pixels);
    let floats = folder.write("floats.npy", &Tensor::new([1, 3, 32, 32], numbers));
    assert_eq!(encoded(&bytes), encoded(&floats));
}

#[test]
fn bytes_are_pixels_in_an_npy_as_in_an_npz() {
    let folder = Folder::new();
    let images: Vec<Image> = (0..6u8)
        .map(|image| Image {
            height: 28,
            width: 28,
            channels: 1,
            pixels: (0..784u32).map(|at| (at * (u32::from(image) + 3) % 256) as u8).collect(),
        })
        .collect();
    npy::write_npz(folder.path("images.npz"), &images).expect("written");
    let pixels: Vec<u8> = images.iter().flat_map(|image| image.pixels.clone()).collect();
    write_bytes(&folder, "images.npy", "(6, 1, 28, 28)", &pixels);
    let samples = |data: &str| {
        let model = format!("ideal:{}", folder.at(data));
        let (output, picture) = (folder.at("x.npy"), folder.at("x.png"));
        quietly(&["sample", &model, "-n", "2", "--steps", "4", "--save-samples", &output, "-o", &picture]);
        folder.array("x.npy")
    };
    let found = samples("images.npy");
    assert_eq!(found, samples("images.npz"));
    assert!(found.data.iter().all(|value| (-1.001..=1.001).contains(value)));
    let components = |data: &str| {
        quietly(&["linear", "pca", "--data", &folder.at(data), "-k", "2", "-o", &folder.at("pca")]);
        folder.array("pca/eigenvalues.npy")
    };
    assert_eq!(components("images.npy"), components("images.npz"));
}

#[test]
fn arrays_of_every_dialect_are_the_same_array() {
    let described = |file: &str| {
        let Run { code, stdout, stderr } = downhill(&["info", &format!("tests/arrays/{file}")]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{file}");
        stdout
    };
    let expected = described("expected.npy");
    assert!(expected.contains("[40, 6]") && expected.contains("-11.82652 to 9.241454"), "{expected}");
    for file in ["fortran.npy", "big_endian.npy", "py2_long.npy"] {
        assert_eq!(described(file), expected, "{file}");
        let values = |file: &str| npy::read(format!("tests/arrays/{file}")).expect("an array");
        assert_eq!(values(file), values("expected.npy"), "{file}");
    }
    let folder = Folder::new();
    quietly(&["linear", "pca", "--data", "tests/arrays/fortran_images.npz", "-k", "2", "-o", &folder.at("pca")]);
    assert_eq!(folder.array("pca/eigenvectors.npy").shape, [2, 192]);
}

#[test]
fn a_byte_order_mark_in_a_configuration_is_passed_over() {
    let folder = Folder::new();
    for file in ["config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"] {
        let mut bytes = std::fs::read(Path::new("tests/bad/sound").join(file)).expect("the control");
        if Path::new(file).extension().is_some_and(|ending| ending == "json") {
            bytes.splice(0..0, *b"\xef\xbb\xbf");
        }
        std::fs::write(folder.path(file), bytes).expect("written");
    }
    let run = |model: &str| downhill(&["info", model, "--family", "tile"]);
    let (marked, plain) = (run(&folder.at("")), run("tests/bad/sound"));
    assert_eq!(marked.code, 0, "{}", marked.stderr);
    assert_eq!(marked.stdout.lines().skip(1).collect::<Vec<_>>(), plain.stdout.lines().skip(1).collect::<Vec<_>>());

    let text = std::fs::read_to_string("tests/bad/sound/config.json").expect("the control");
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(folder.path("config.json"), utf16).expect("written");
    run(&folder.at("")).expect_error(4, "config.json: not a JSON object: the text is in UTF-16; save it as UTF-8");
}

/// Runs the program, and stops it where it waits.
#[cfg(unix)]
#[track_caller]
fn without_waiting(arguments: &[&str]) -> Run {
    let mut child =
        command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().expect("its state").is_none() {
        if Instant::now() > end {
            child.kill().expect("killed");
            panic!("{arguments:?} waits");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Run::of(child.wait_with_output().expect("its output"))
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_folders_are_refused_by_name() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let pipe = |name: &str| {
        let made = std::process::Command::new("mkfifo").arg(folder.path(name)).status().expect("mkfifo runs");
        assert!(made.success(), "{name}");
        folder.at(name)
    };
    let sound = |name: &str, files: &[&str]| {
        std::fs::create_dir(folder.path(name)).expect("made");
        for file in files {
            std::fs::copy(Path::new("tests/bad/sound").join(file), folder.path(name).join(file)).expect("copied");
        }
    };
    let weights = "diffusion_pytorch_model.safetensors";
    sound("no-config", &[weights]);
    sound("no-schedule", &[weights, "config.json"]);
    sound("no-weights", &["config.json"]);
    let hub = "hub/models--org--name/refs";
    std::fs::create_dir_all(folder.path(hub)).expect("made");
    for name in ["no-config/config.json", "no-schedule/scheduler_config.json", &format!("{hub}/main")] {
        pipe(name);
    }
    let (single, output) = (folder.at(&format!("no-config/{weights}")), folder.at("out"));
    let array = pipe("x.npy");
    pipe("x.png");
    std::fs::create_dir(folder.path("folder.npy")).expect("made");
    symlink("/dev/zero", folder.path("zero.npy")).expect("linked");
    symlink("/dev/zero", folder.path("zero.safetensors")).expect("linked");
    std::fs::copy("tests/bad/sound/config.json", folder.path("config.json")).expect("copied");
    let images = folder.path("images");
    std::fs::create_dir(&images).expect("made");
    symlink(folder.path("x.png"), images.join("a.png")).expect("linked");
    let model = "tests/golden/latent/sd1-like";

    let zero = folder.at("zero.npy");
    for (arguments, what) in [
        (&["info", &single][..], "no-config/config.json: a pipe, not a regular file"),
        (&["info", &folder.at("no-schedule")], "no-schedule/scheduler_config.json: a pipe, not a regular file"),
        (&["info", &folder.at("zero.safetensors")], "zero.safetensors: a device, not a regular file"),
        (&["info", &array], "x.npy: a pipe, not a regular file"),
        (&["info", &folder.at("x.png")], "x.png: a pipe, not a regular file"),
        (&["info", &zero], "zero.npy: a device, not a regular file"),
        (&["info", &folder.at("folder.npy")], "folder.npy: a folder, not a regular file"),
        (&["linear", "pca", "--data", &array, "-o", &output], "x.npy: a pipe, not a regular file"),
        (&["linear", "pca", "--data", &zero, "-o", &output], "zero.npy: a device, not a regular file"),
        (&["linear", "pca", "--data", &folder.at("images"), "-o", &output], "a.png: a pipe, not a regular file"),
        (&["encode", model, "-i", &array, "-o", &output], "x.npy: a pipe, not a regular file"),
        (&["encode", model, "-i", &folder.at("x.png"), "-o", &output], "x.png: a pipe, not a regular file"),
        (
            &["sample", "--init-image", &folder.at("x.png"), "--strength", "0.5", "-o", &folder.at("out.png")],
            "x.png: a pipe, not a regular file",
        ),
        (&["denoise", "tests/bad/sound", "-i", &array, "-t", "10", "-o", &output], "x.npy: a pipe, not a regular file"),
    ] {
        let run = without_waiting(arguments);
        run.expect_error(4, what);
        assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);
    }
    let child = command(&["info", "org/name"])
        .env("HF_HUB_CACHE", folder.path("hub"))
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let run = Run::of(child.wait_with_output().expect("it ends"));
    run.expect_error(4, "refs/main: a pipe, not a regular file");
    assert!(!folder.path("out").exists());
}

#[test]
fn long_foreign_texts_are_cut_in_messages() {
    let folder = Folder::new();
    let file = |name: &str, text: String| std::fs::write(folder.path(name), text).expect("written");
    for name in ["scheduler_config.json", "diffusion_pytorch_model.safetensors"] {
        std::fs::copy(Path::new("tests/bad/sound").join(name), folder.path(name)).expect("copied");
    }
    let long = "x".repeat(900_000);
    for text in [
        format!("{{\"_class_name\": \"{long}\"}}"),
        format!("{{\"_class_name\": \"UNet2DModel\", \"act_fn\": \"{long}\"}}"),
        format!("{{\"_class_name\": \"UNet2DModel\", \"layers_per_block\": \"{long}\"}}"),
        format!("{{\"_class_name\": \"UNet2DModel\", \"{long}\": 1}}"),
        format!("{{\"_class_name\": \"UNet2DModel\", \"block_out_channels\": [\"{long}\"]}}"),
        format!("\"{long}\""),
    ] {
        file("config.json", text);
        let run = downhill(&["info", &folder.at("")]);
        run.expect_error(4, "config.json: ");
        assert!(run.stderr.len() < 2_000, "{} bytes", run.stderr.len());
    }
    file("config.json", format!("{{\"a\": \"{long}\", \"b\": \"{long}\"}}"));
    downhill(&["info", &folder.at("")]).expect_error(4, "over the limit of 1048576 for its kind");
    std::fs::create_dir_all(folder.path("hub/models--org--name/refs")).expect("made");
    file("hub/models--org--name/refs/main", long);
    let run =
        Run::of(command(&["info", "org/name"]).env("HF_HUB_CACHE", folder.path("hub")).output().expect("it runs"));
    run.expect_error(4, "refs/main: ");
    assert!(run.stderr.len() < 2_000, "{} bytes", run.stderr.len());
}
