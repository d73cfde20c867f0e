//! The kernels of the roofs against their twins. Where float16 or matrix units are not offered, the twins are compared
//! with sums that are known.

use crate::check::{check, run_twin};
use crate::common::{engines, numbers};
use downhill::kernels::probes::{Chain, Copy};
use downhill::kernels::roof_probes::{DotChain, HalfChain, Reads, TileChain};
use downhill::kernels::{Engine, Family};
use downhill::tensor::TEXEL;

/// Engines with arithmetic in float16 on the adapters of the tests, where they have it.
fn engines_in_float16() -> Vec<Engine> {
    let with_float16 = engines().iter().filter(|engine| engine.gpu.adapter.f16);
    with_float16.map(|engine| engine.open_for_roofs().unwrap_or_else(|error| panic!("{error}"))).collect()
}

#[test]
fn chains_and_copies_are_their_twins() {
    for engine in engines() {
        for (texels, rounds) in [(1, 1), (63, 2), (130, 3)] {
            for (m, a) in [(0.9, 0.1), (-0.5, 3.0)] {
                for fused in [true, false] {
                    let dispatch = Chain { texels, rounds, fused }.dispatch(engine.family);
                    check(engine, &dispatch, &[&[m, a, 0.0, 0.0]], texels, "chain");
                }
            }
            let x = numbers(1, texels * TEXEL);
            assert_eq!(check(engine, &Copy { texels }.dispatch(engine.family), &[&x], texels, "copy"), x);
        }
    }
}

#[test]
fn chains_in_float16_are_their_twins() {
    // Every sum is exact in float16: integers below 2048, or a fixed point.
    for engine in engines_in_float16() {
        for (texels, rounds) in [(1, 1), (63, 2), (130, 5)] {
            for (m, a) in [(1.0, 1.0), (-1.0, 3.0), (0.5, 0.5), (1.0, 0.0)] {
                let dispatch = HalfChain { texels, rounds }.dispatch(engine.family);
                let twin = check(&engine, &dispatch, &[&[m, a, 0.0, 0.0]], texels, &format!("m = {m}, a = {a}"));
                let steps = (rounds * 16) as f32;
                let ends = |first: usize| {
                    (first..first + 8).map(|start| match (m, a) {
                        (0.5, _) => 1.0,
                        (1.0, a) => (start % 64) as f32 + a * steps,
                        _ => (start % 64) as f32,
                    })
                };
                let last = texels - 1;
                assert_eq!(twin[last * TEXEL..], [ends(last).sum::<f32>(), ends(last + 1).sum::<f32>()].repeat(2));
            }
        }
    }
}

#[test]
fn the_twin_rounds_to_float16() {
    let dispatch = HalfChain { texels: 1, rounds: 1 }.dispatch(Family::Tile);
    let [first, ..] = run_twin(&dispatch, &[&[1.0, 1.0 / 4096.0, 0.0, 0.0]], 1)[..] else { panic!("a texel") };
    // From one on, 1/4096 is half of the last place or less: only the chain that starts at zero grows.
    assert_eq!(first, 28.0 + 16.0 / 4096.0);
}

#[test]
fn dot_products_of_bytes_are_their_twins() {
    for engine in engines() {
        for (texels, rounds) in [(1, 1), (63, 2), (130, 7)] {
            for (factor, addend) in [(0x0102_ff80, 0x1357_9bdf), (0x8080_8080, -7), (0x7f7f_7f7f, i32::MAX)] {
                let dispatch = DotChain { texels, rounds, factor, addend }.dispatch(engine.family);
                let host = run_twin(&dispatch, &[], texels);
                let device = engine.run_once(&dispatch, &[], texels).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(device, host, "{factor:x} and {addend}");
            }
        }
    }
}

#[test]
fn a_dot_product_has_the_sum_that_it_should() {
    // The factor 1 in the lowest byte keeps the lowest byte of s, with its sign: from 40503 = 0x9e37 on it is 0x37.
    let dispatch = DotChain { texels: 1, rounds: 1, factor: 1, addend: 0 }.dispatch(Family::Tile);
    let twin = run_twin(&dispatch, &[], 1);
    let sum: i32 = (0..8u32).map(|chain| i32::from((chain * 40503) as u8 as i8)).sum();
    let words = [sum as u32 & 0xffff, sum as u32 >> 16].map(|half| half as f32);
    assert_eq!(twin, [words, words].concat());
}

#[test]
fn reads_of_an_array_are_their_twins() {
    for engine in engines() {
        for (texels, rounds, stride, source) in
            [(1, 1, 1, 1), (63, 3, 5, 16), (130, 2, 194, 256), (4100, 2, 4164, 8192)]
        {
            let x = numbers(2, source * TEXEL);
            let reads = Reads { texels, rounds, stride, source };
            let twin = check(engine, &reads.dispatch(engine.family), &[&x], texels, &format!("{reads:?}"));
            let last = texels - 1;
            let exact: f64 = (0..4 * rounds).map(|read| f64::from(x[(last + read * stride) % source * TEXEL])).sum();
            assert!((f64::from(twin[last * TEXEL]) - exact).abs() < 1e-5, "{reads:?}");
        }
    }
}

#[test]
fn chains_on_matrix_units_are_their_twins() {
    for side in [8, 16] {
        let chain = TileChain { workgroups: 2, rounds: 3, width: 32, side };
        let twin = run_twin(&chain.dispatch(), &[&[1.0, 2.0, 0.0, 0.0]], chain.texels());
        let side = side as usize;
        // The last element of the last chain, a column of b three rows further down.
        let product: usize = (0..side).map(|k| (1 + (side - 1 + k) % 3) * 2 * (1 + (k + 3 + 2 * (side - 1)) % 5)).sum();
        assert_eq!(twin.last(), Some(&((24 * product) as f32)));
        assert!(twin.iter().all(|value| value.is_finite()));
    }
    for engine in engines_in_float16() {
        let Family::Matrix { width, side } = engine.family else {
            println!("`{}` has no matrix units: only the twins are compared", engine.gpu.adapter.name);
            continue;
        };
        for (workgroups, rounds) in [(1, 1), (3, 5)] {
            let chain = TileChain { workgroups, rounds, width, side };
            check(&engine, &chain.dispatch(), &[&[1.0, 2.0, 0.0, 0.0]], chain.texels(), &format!("{chain:?}"));
        }
    }
}
