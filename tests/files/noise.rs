//! Torch's generator against `torch.randn` (`tests/golden/randn`, made by `tools/make_goldens.py`).

use std::path::Path;

use downhill::formats::npy;
use downhill::noise::torch::Stream;

/// Torch computes logarithm and cosine with vector polynomials of its own; the last bits differ.
const TOLERANCE: f32 = 1e-6;

fn golden(name: &str) -> Vec<f32> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/randn").join(name);
    npy::read(file).unwrap().data
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= TOLERANCE, "{what}: value {index} is {a}, torch has {b}");
    }
}

#[test]
fn draws_are_those_of_torch() {
    for seed in [0, 1, (1u64 << 40) + 3] {
        for len in [5, 15, 16, 17, 100, 784] {
            let name = format!("randn_seed{seed}_n{len}.npy");
            assert_close(&Stream::new(seed).randn(len), &golden(&name), &name);
        }
    }
}

#[test]
fn draws_in_a_row_are_those_of_torch() {
    let mut stream = Stream::new(0);
    let drawn: Vec<f32> = [5, 17, 3, 16].into_iter().flat_map(|len| stream.randn(len)).collect();
    assert_close(&drawn, &golden("randn_seed0_draws_5_17_3_16.npy"), "four draws");
}

/// Every use of random numbers but the noise of sampled images has a purpose, so that no two uses share a stream.
#[test]
fn random_numbers_are_drawn_for_a_purpose() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut faults = Vec::new();
    while let Some(place) = open.pop() {
        if place.is_dir() {
            if place != root.join("noise") {
                open.extend(std::fs::read_dir(&place).expect("a folder").map(|entry| entry.expect("an entry").path()));
            }
        } else if place.extension().is_some_and(|name| name == "rs") {
            let text = std::fs::read_to_string(&place).expect("text");
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
            // The bare block function has no stream: who calls it chooses a counter beyond any image.
            let drawn = lines.filter(|(_, line)| line.contains("philox::") && !line.contains("philox::block"));
            faults.extend(drawn.map(|(at, line)| format!("{}:{}: {}", place.display(), at + 1, line.trim())));
        }
    }
    assert!(faults.is_empty(), "draw by `noise::Purpose`, or image noise by `noise::Noise`:\n{}", faults.join("\n"));
}
