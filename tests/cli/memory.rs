//! Files that ask for more memory than there is, or than their length allows, under a bound on the address space.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Write;
use std::process::Command;

use downhill::formats::npy;

use crate::{Folder, Run, command};

const MIB: u64 = 1 << 20;

/// The program with at most `most` bytes of address space.
fn within(most: u64, arguments: &[&str]) -> Run {
    let program = command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", &(most / 1024).to_string()]);
    shell.arg(program.get_program()).args(program.get_args()).stdin(std::process::Stdio::null());
    shell.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Run::of(shell.output().expect("a shell"))
}

/// The address space of the program itself, which an unoptimised build with its drivers needs.
const ITSELF: u64 = 300 * MIB;

fn array_header(descr: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [npy::MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat()
}

fn zipped(start: &[u8], zeros: u64) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(start).expect("written");
    for _ in 0..zeros / MIB {
        encoder.write_all(&vec![0; MIB as usize]).expect("written");
    }
    encoder.finish().expect("written")
}

/// A PNG of nothing but its header and the beginning of its data: 30000 x 20000 grey pixels.
fn huge_picture(path: &std::path::Path) {
    let mut encoder = png::Encoder::new(File::create(path).expect("a file"), 30_000, 20_000);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c]).expect("the beginning of the data");
}

#[test]
fn small_files_that_claim_gigabytes_are_refused_before_they_are_decoded() {
    let folder = Folder::new();
    let mut archive = zip::ZipWriter::new(File::create(folder.path("bomb.npz")).expect("a file"));
    archive.start_file("arr_0.npy", zip::write::SimpleFileOptions::default()).expect("written");
    archive.write_all(&array_header("|u1", "(1, 16384, 16384, 1)")).expect("written");
    for _ in 0..256 {
        archive.write_all(&vec![0; MIB as usize]).expect("written");
    }
    archive.finish().expect("written");
    let file = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path(name), bytes).expect("written");
    // 2^31 bytes of pixels, of which there are a few.
    file("claim.gz", zipped(&[0, 0, 8, 2, 0, 1, 0, 0, 0, 0, 0x80, 0], 64 * MIB));
    file("zeros.gz", zipped(&[], 256 * MIB));
    std::fs::create_dir(folder.path("pictures")).expect("made");
    for name in ["pictures/a.png", "pictures/b.png", "huge.png"] {
        huge_picture(&folder.path(name));
    }
    let (output, picture, data) = (folder.at("out"), folder.at("out.png"), |name: &str| folder.at(name));
    for (arguments, what) in [
        (&["linear", "pca", "--data", &data("bomb.npz"), "-o", &output][..], "bomb.npz: its "),
        (&["linear", "pca", "--data", &data("claim.gz"), "-o", &output], "claim.gz: its "),
        (&["linear", "pca", "--data", &data("zeros.gz"), "-o", &output], "zeros.gz: type 0x00 is not a type of IDX"),
        (&["linear", "pca", "--data", &data("pictures"), "-o", &output], "a.png: its "),
        (&["sample", "--init-image", &data("huge.png"), "--strength", "0.5", "-o", &picture], "huge.png: its "),
        (&["encode", "tests/golden/latent/sd1-like", "-i", &data("huge.png"), "-o", &output], "huge.png: its "),
    ] {
        let run = within(ITSELF + 256 * MIB, arguments);
        run.expect_error(4, what);
        assert!(run.stderr.contains("\nhint: "), "{}", run.stderr);
    }
    assert!(!folder.path("out").exists());
}

/// A file of `bytes` zeros after its header, which take no room on the disk.
fn sparse(folder: &Folder, name: &str, header: &[u8], bytes: u64) -> String {
    let mut file = File::create(folder.path(name)).expect("a file");
    file.write_all(header).expect("written");
    file.set_len(header.len() as u64 + bytes).expect("set");
    folder.at(name)
}

#[test]
fn sound_files_beyond_the_memory_are_refused_by_name() {
    let folder = Folder::new();
    let output = folder.at("out");
    let shape = "(1000, 1000000)";
    for (name, header, bytes) in [
        ("f4.npy", array_header("<f4", shape), 4_000_000_000),
        ("u1.npy", array_header("|u1", shape), 1_000_000_000),
        ("u1.idx", vec![0, 0, 8, 2, 0, 0, 0x03, 0xe8, 0, 0x0f, 0x42, 0x40], 1_000_000_000),
    ] {
        let file = sparse(&folder, name, &header, bytes);
        let most = ITSELF + 2000 * MIB;
        within(most, &["linear", "pca", "--data", &file, "-o", &output]).expect_error(5, name);
    }
    assert!(!folder.path("out").exists());
}

/// A header of `count` tensors without values.
fn header_of(count: usize) -> Vec<u8> {
    let tensors: Vec<String> =
        (0..count).map(|at| format!("\"{at}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}")).collect();
    let text = format!("{{{}}}", tensors.join(","));
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

#[test]
fn headers_and_configurations_take_a_few_times_their_length() {
    let folder = Folder::new();
    for file in ["config.json", "scheduler_config.json"] {
        std::fs::copy(format!("tests/bad/sound/{file}"), folder.path(file)).expect("copied");
    }
    let header = header_of(600_000);
    let most = ITSELF + 256 * MIB + 4 * header.len() as u64;
    std::fs::write(folder.path("diffusion_pytorch_model.safetensors"), header).expect("written");
    within(most, &["info", &folder.at("")]).expect_error(4, "diffusion_pytorch_model.safetensors: no tensor `");

    std::fs::remove_file(folder.path("diffusion_pytorch_model.safetensors")).expect("removed");
    std::fs::copy("tests/bad/sound/diffusion_pytorch_model.safetensors", folder.path("x.safetensors")).expect("copied");
    let numbers = format!("{{\"_class_name\":\"UNet2DModel\",\"a\":[{}0]}}", "0,".repeat(10_000_000));
    std::fs::write(folder.path("config.json"), numbers).expect("written");
    within(most, &["info", &folder.at("x.safetensors")]).expect_error(4, "config.json: the file has 20000");
}
