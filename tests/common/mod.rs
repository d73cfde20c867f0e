//! What several test files share.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod autoencoder;
pub mod conditioned;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use downhill::gpu::Options;
use downhill::kernels::{Dispatch, Engine, FamilyName};
use downhill::tensor::{Precision, Shape, TEXEL, pack_nchw};

/// The folders in `tests/golden/KIND`, sorted.
pub fn golden_folders(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kind);
    let entries = std::fs::read_dir(root).expect("goldens");
    let mut folders: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    folders.sort();
    folders
}

/// Engines of both families on the adapter the tests run on; tests take what they need.
pub fn engines() -> &'static [Engine] {
    static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| open_engines(Precision::Float32));
    &ENGINES
}

/// As [`engines`], with the kernels of networks stored in float16.
pub fn half_engines() -> &'static [Engine] {
    static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| open_engines(Precision::Float16));
    &ENGINES
}

fn open_engines(weights: Precision) -> Vec<Engine> {
    let open = |family| match Engine::open(&Options::default(), Some(family)) {
        Ok(mut engine) => {
            engine.choices.weights = weights;
            engine
        }
        Err(error) => panic!("{error}; run the tests with `sh scripts/with-adapter.sh cargo test`"),
    };
    [FamilyName::Lanes, FamilyName::Tile].map(open).into()
}

/// Numbers between -1 and 1 that look random and are the same everywhere.
pub fn numbers(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mixed = (state ^ (state >> 15)).wrapping_mul(0x2c1b_3c6d);
            ((mixed >> 8) as f32 / (1 << 24) as f32) * 2.0 - 1.0
        })
        .collect()
}

/// max |a - b| / max |b|
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0f32, |most, v| most.max(v.abs())).max(f32::MIN_POSITIVE);
    let apart = a.iter().zip(b).map(|(a, b)| if a.is_nan() || b.is_nan() { f32::INFINITY } else { (a - b).abs() });
    apart.fold(0.0, f32::max) / largest
}

/// A map of this shape in the device layout.
pub fn map(seed: u32, shape: Shape) -> Vec<f32> {
    pack_nchw(&numbers(seed, shape.n * shape.c * shape.pixels()), shape)
}

/// What the CPU twin of a dispatch writes; a value it leaves out is NaN.
pub fn run_twin(dispatch: &Dispatch, reads: &[&[f32]], texels: usize) -> Vec<f32> {
    let mut host = vec![f32::NAN; texels * TEXEL];
    (dispatch.shader.kernel.twin)(&dispatch.params, reads, &mut host);
    host
}

/// What a dispatch writes on the device.
pub fn run_device(engine: &Engine, dispatch: &Dispatch, reads: &[&[f32]], texels: usize) -> Vec<f32> {
    engine.run_once(dispatch, reads, texels).unwrap_or_else(|error| panic!("{}: {error}", dispatch.shader))
}

/// Runs a dispatch on the device and through its twin, compares what they wrote, and answers what the twin wrote.
pub fn check(engine: &Engine, dispatch: &Dispatch, reads: &[&[f32]], texels: usize, what: &str) -> Vec<f32> {
    check_within(engine, dispatch, reads, texels, what, 1e-5)
}

/// As [`check`], with the distance that device and twin may be apart.
pub fn check_within(
    engine: &Engine,
    dispatch: &Dispatch,
    reads: &[&[f32]],
    texels: usize,
    what: &str,
    tolerance: f32,
) -> Vec<f32> {
    let device = run_device(engine, dispatch, reads, texels);
    let host = run_twin(dispatch, reads, texels);
    let apart = distance(&device, &host);
    assert!(apart <= tolerance, "{what}, {}: {apart:e} apart", dispatch.shader);
    host
}

/// Asserts that a tensor in the device layout is zero in the padding channels.
pub fn assert_padding_is_zero(values: &[f32], channels: usize, what: &str) {
    for (pixel, values) in values.chunks(channels.next_multiple_of(TEXEL)).enumerate() {
        assert!(values[channels..].iter().all(|v| *v == 0.0), "{what}: padding of pixel {pixel} is not zero");
    }
}

/// max |a - b| / max |b| against a definition in float64.
pub fn distance_to_definition(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0f64, |most, v| most.max(v.abs())).max(f64::MIN_POSITIVE);
    let apart = a.iter().zip(b).map(|(a, b)| if a.is_nan() { f64::INFINITY } else { (f64::from(*a) - b).abs() });
    apart.fold(0.0, f64::max) / largest
}
