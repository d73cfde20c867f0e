//! Stable Diffusion XL in its real size, with random weights in float16, against `PyTorch` in float32. Takes minutes,
//! 7 GB of files and 11 GB of memory while they are made:
//!
//! ```text
//! python tools/make_goldens.py --stable-diffusion-xl target/stable-diffusion-xl
//! cargo nextest run --release --run-ignored only --no-capture --test networks stable_diffusion_xl
//! ```

use std::path::{Path, PathBuf};
use std::time::Instant;

use downhill::formats::npy;
use downhill::graph::{CompileOptions, Compiler};
use downhill::kernels::Engine;
use downhill::latent::passage::PromptStyle;
use downhill::model::{Kind, Model, Source, TextSource};
use downhill::nets::{Added, CallSize, Inputs};
use downhill::tensor::{Precision, Tensor};

/// max|a - b| / max|b|. The weights are of float16 in both; what is rounded here and not there are the transformed
/// kernels of Winograd's convolutions.
const TOLERANCE: f32 = 2e-3;
/// The most that the process may hold, device included: here they are the same memory.
const MEMORY: u64 = 16 << 30;

fn folder() -> PathBuf {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/stable-diffusion-xl");
    std::env::var_os("DOWNHILL_STABLE_DIFFUSION_XL").map_or(usual, PathBuf::from)
}

fn reference(name: &str) -> Tensor {
    npy::read(folder().join("reference").join(format!("{name}.npy"))).unwrap_or_else(|error| panic!("{error}"))
}

fn about() -> serde_json::Value {
    let bytes = std::fs::read(folder().join("reference/about.json")).expect("about.json");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn compiler(engine: &Engine) -> Compiler<'_> {
    Compiler::new(engine, CompileOptions { weights: Precision::Float16, ..CompileOptions::default() })
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

fn model() -> Model {
    Model::open(folder().to_str().expect("UTF-8")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
#[ignore = "needs the folder that tools/make_goldens.py --stable-diffusion-xl makes"]
fn every_stage_is_that_of_pytorch() {
    let (engine, about) = (Engine::open(&downhill::Options::default()).expect("a device"), about());
    let compiler = compiler(&engine);
    let model = model();
    let Kind::Latent(latent) = model.kind() else { panic!("not a pipeline") };
    let Source::Text(source) = &latent.source else { panic!("not of texts") };
    let texts = ["negative", "prompt"].map(|name| about[name].as_str().expect("a text").to_owned());
    let tokenizers: Vec<_> = source.parts.iter().map(|part| part.tokenizer.clone()).collect();
    let passages = TextSource::passages(&tokenizers, &texts, PromptStyle::default()).expect("tokens");
    let since = Instant::now();
    let encoded = source.encode(compiler, &passages, None, &mut |_| Ok(())).expect("embeddings").encoded;
    took("both encoders, two texts, with their upload", since, "text_encoder_2", &engine);
    agree("embeddings", &encoded.hidden, &reference("embeddings"));
    let pooled = encoded.pooled.expect("a projection");
    agree("pooled", &pooled, &reference("pooled"));

    for side in about["sides"].as_array().expect("sides").iter().map(|side| side.as_u64().expect("a side") as usize) {
        let call = CallSize::images(2, (side, side)).with_tokens(77);
        let network = latent.network.on(compiler, call).expect("a U-Net");
        let noise = reference(&format!("noise_{side}"));
        let timestep = about["timestep"].as_f64().expect("a timestep");
        // At the most noise, the input of the network in diffusers: noise * sqrt(1 + sigma^2) / sqrt(1 + sigma^2).
        let both = Tensor::new([2, 4, side, side], [noise.data.clone(), noise.data.clone()].concat());
        let pixels = 8.0 * side as f32;
        let numbers = Tensor::new([2, 6], [pixels, pixels, 0.0, 0.0, pixels, pixels].repeat(2));
        let added = Added { pooled: pooled.clone(), numbers };
        let timesteps = [timestep; 2];
        let inputs = Inputs::new(&both, &timesteps).with_context(Some(&encoded.hidden)).with_added(Some(&added));
        network.call(&inputs).expect("an output");
        let since = Instant::now();
        let halves = network.call(&inputs).expect("an output");
        took(&format!("U-Net, both halves, latents {side} x {side}"), since, &format!("unet_{side}"), &engine);
        agree("halves", &halves, &reference(&format!("halves_{side}")));
    }
}

/// One guided step of the whole pipeline, components in turn: latents of the first of ten steps, without an image.
#[test]
#[ignore = "needs the folder that tools/make_goldens.py --stable-diffusion-xl makes"]
fn a_guided_step_is_that_of_diffusers() {
    let (engine, about) = (Engine::open(&downhill::Options::default()).expect("a device"), about());
    let text = |name: &str| about[name].as_str().expect("a text").to_owned();
    let timestep = about["timestep"].as_f64().expect("a timestep");
    let steps = about["steps"].as_f64().expect("steps");
    for side in [8, 64] {
        let since = Instant::now();
        let sampling = model().sampling().prompt(text("prompt")).negative(text("negative")).count(1);
        let settings = downhill::sample::settings::Settings {
            sampler: Some("euler".parse().expect("a sampler")),
            timesteps: Some(vec![timestep, timestep - 1000.0 / steps]),
            ..Default::default()
        };
        let run =
            sampling.settings(settings).noise(reference(&format!("noise_{side}"))).memory(MEMORY).without_pixels();
        let batch = run.on(compiler(&engine)).expect("a run").next().expect("a batch").expect("latents");
        took(&format!("text to latents {side} x {side}, with every upload"), since, &format!("unet_{side}"), &engine);
        agree("latents", &batch.samples, &reference(&format!("latents_{side}")));
    }
}
