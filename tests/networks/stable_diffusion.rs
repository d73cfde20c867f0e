//! Stable Diffusion 1.5 in its real size, with random weights in float16, against `PyTorch` in float32. Takes minutes
//! and 2 GB of files:
//!
//! ```text
//! python tools/make_goldens.py --stable-diffusion target/stable-diffusion
//! cargo nextest run --release --run-ignored only --no-capture --test networks stable_diffusion
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use downhill::checkpoint::Pipeline;
use downhill::denoise::Network;
use downhill::formats::npy;
use downhill::graph::{CompileOptions, Compiler};
use downhill::kernels::Engine;
use downhill::latent::autoencoder::{Decoder, Planned};
use downhill::latent::text::TextEncoder;
use downhill::latent::tiles::{Room, Tiling};
use downhill::latent::tokenizer::Tokenizer;
use downhill::nets::{CallSize, Inputs, autoencoder_kl, open};
use downhill::tensor::{Precision, Tensor};

/// max|a - b| / max|b|. The weights are of float16 in both; what is rounded here and not there are the transformed
/// kernels of Winograd's convolutions (4.2e-4 in the U-Net, 8.7e-4 in the decoder; of the decoder in float32 4e-6).
const TOLERANCE: f32 = 2e-3;
/// What the whole may take on the device and on the host together; here they are the same memory.
const MEMORY: u64 = 12 << 30;

fn folder() -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/stable-diffusion");
    std::env::var_os("DOWNHILL_STABLE_DIFFUSION").map_or(usual, PathBuf::from)
}

fn reference(name: &str) -> Tensor {
    npy::read(folder().join("reference").join(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn about() -> serde_json::Value {
    let bytes = std::fs::read(folder().join("reference/about.json")).expect("about.json");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn engine() -> Engine {
    Engine::open(&downhill::Options::default()).expect("a device")
}

fn pipeline() -> Pipeline {
    Pipeline::open(folder().to_str().expect("UTF-8")).expect("a pipeline")
}

#[track_caller]
fn agree(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape, expected.shape, "{what}");
    let largest = expected.data.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let apart = found.data.iter().zip(&expected.data).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest;
    println!("{what}: {apart:.1e} from PyTorch");
    assert!(apart < TOLERANCE, "{what}: {apart:.1e}");
}

/// Says what something took, beside `PyTorch`'s seconds when the reference was made, and checks the memory.
fn took(what: &str, since: Instant, theirs: &str, engine: &Engine) {
    let (seconds, peak) = (since.elapsed().as_secs_f64(), engine.gpu.memory_bytes().1);
    let theirs = about()["seconds"][theirs].as_f64().unwrap_or(f64::NAN);
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let host = resident_peak().map_or(String::new(), |bytes| format!(", process at most {:.2} GiB", gib(bytes)));
    println!("{what}: {seconds:.1} s (PyTorch {theirs:.1} s), device at most {:.2} GiB{host}", gib(peak));
    assert!(resident_peak().unwrap_or(peak) < MEMORY);
}

/// The most memory that this process ever held, where the system tells.
fn resident_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[test]
#[ignore = "needs the folder that tools/make_goldens.py --stable-diffusion makes"]
fn every_stage_is_that_of_pytorch() {
    let (engine, about) = (engine(), about());
    let half = CompileOptions { weights: Precision::Float16, ..CompileOptions::default() };
    let compiler = Compiler::new(&engine, half);
    let text = |name: &str| about[name].as_str().expect("a prompt").to_owned();
    let tokenizer = Tokenizer::open(&pipeline().folder("tokenizer").expect("a tokenizer")).expect("a tokenizer");
    let ids = ["negative", "prompt"].map(|name| tokenizer.encode(&text(name)).expect("tokens").ids);

    let component = pipeline().component("text_encoder").expect("a text encoder");
    let encoder = TextEncoder::new(compiler, component, 2).expect("a text encoder");
    let since = Instant::now();
    let context = encoder.encode(&ids).expect("embeddings");
    took("two texts", since, "text", &engine);
    agree("embeddings", &context, &reference("embeddings.npy"));
    drop(encoder);

    let component = pipeline().component("unet").expect("a U-Net");
    let net = open(&component.config, &component.weights).expect("a U-Net");
    let network =
        Network::new(compiler, net, component.weights, CallSize::images(2, (64, 64)).with_tokens(77)).expect("a U-Net");
    let noise = reference("noise.npy");
    let both = Tensor::new([2, 4, 64, 64], [noise.data.clone(), noise.data.clone()].concat());
    let timestep = about["timestep"].as_f64().expect("a timestep");
    let call = || network.call(&Inputs::new(&both, &[timestep; 2]).with_context(Some(&context))).expect("an output");
    call();
    let since = Instant::now();
    let halves = call();
    took("U-Net, both halves of an image", since, "unet", &engine);
    agree("halves", &halves, &reference("halves.npy"));
    drop(network);

    let component = pipeline().component("vae").expect("an autoencoder");
    let room = Room { target: compiler.target(), options: half, budget: None };
    let net = autoencoder_kl::open(&component.config, &component.weights).expect("an autoencoder");
    let planned = Planned::new(&net, 1, (64, 64), Tiling::Auto, &room).expect("a plan");
    let decoder = Decoder::new(&engine, component, (64, 64), planned).expect("a decoder");
    let since = Instant::now();
    let image = decoder.decode(&noise).expect("an image");
    took("decoder, 512 x 512", since, "decode", &engine);
    let crop = about["crop"].as_array().expect("a crop").iter().map(|at| at.as_u64().expect("a pixel") as usize);
    let [first, last] = crop.collect::<Vec<_>>()[..] else { panic!("two pixels") };
    let rows = (0..3).flat_map(|channel| (first..last).map(move |row| (channel * 512 + row) * 512));
    let data = rows.flat_map(|row| image.data[row + first..row + last].to_vec()).collect();
    agree("decoded", &Tensor::new([1, 3, last - first, last - first], data), &reference("decoded.npy"));
}
