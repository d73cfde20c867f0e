//! The start-up probe of shuffles.

use crate::check::check;
use crate::common::{engines, numbers};
use downhill::kernels::Family;
use downhill::kernels::probes::Shuffles;
use downhill::kernels::shuffles::Ratio;
use downhill::tensor::TEXEL;

#[test]
fn chains_of_shuffles_are_their_twins() {
    for engine in engines() {
        let Family::Lanes { width } = engine.family else { continue };
        let x: Vec<f32> = numbers(1, width as usize * TEXEL).iter().map(|value| value / 8.0).collect();
        for (rounds, shuffles) in [(1, true), (7, true), (1, false), (7, false)] {
            let dispatch = Shuffles { rounds, shuffles }.dispatch(width);
            check(engine, &dispatch, &[&x], width as usize, &format!("{rounds} rounds, shuffles: {shuffles}"));
        }
    }
}

#[test]
fn a_shuffle_of_eight_lanes_is_fast_on_every_driver() {
    for engine in engines() {
        let ratio = Ratio::measure(engine).unwrap();
        match engine.family {
            // Twice the samples of the probe: other programs may run.
            Family::Lanes { width: 8 } => {
                let again = Ratio::measure(engine).unwrap().unwrap();
                assert!(ratio.unwrap().is_fast() || again.is_fast(), "{ratio:?}, {again:?}");
            }
            Family::Lanes { .. } => assert!(ratio.is_some_and(|ratio| ratio.ratio > 0.0)),
            Family::Tile | Family::Matrix { .. } => assert_eq!(ratio, None),
        }
    }
}
