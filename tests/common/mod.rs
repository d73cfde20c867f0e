//! Engines, numbers and a distance, shared by the tests that compute on a device.

use std::sync::LazyLock;

use downhill::kernels::{Engine, FamilyName};

/// Engines of both families on the adapter the tests run on.
pub fn engines() -> &'static [Engine] {
    static ENGINES: LazyLock<[Engine; 2]> = LazyLock::new(|| {
        [FamilyName::Lanes, FamilyName::Tile].map(|family| {
            Engine::open(&downhill::Options { family: Some(family), ..downhill::Options::default() })
                .unwrap_or_else(|error| panic!("{error}; run the tests with `sh scripts/with-adapter.sh cargo test`"))
        })
    });
    &*ENGINES
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
