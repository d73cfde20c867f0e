//! Colours: a cycle of twelve, shades from dark to bright, and the map of values to colours.

use crate::report::plot::figure::Colour;

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

/// Okabe and Ito's colours, which the colour-blind tell apart too; the yellow one darkened for a white page. The last
/// four are darker than all of these.
const CYCLE: [Rgb; 12] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [230, 159, 0],
    [120, 94, 240],
    [150, 150, 40],
    [120, 50, 10],
    [10, 70, 60],
    [140, 0, 70],
    [40, 40, 110],
];
pub(super) const BLACK: Rgb = [20, 20, 20];
pub(super) const GREY: Rgb = [140, 140, 140];
pub(super) const WHITE: Rgb = [255, 255, 255];
/// Matplotlib's viridis (CC0) at nine places.
const VIRIDIS: [Rgb; 9] = [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37],
];
/// The brightest shade that a curve on white may have.
const BRIGHTEST: f64 = 0.88;
/// Shades of a colour map: neighbours of one colour are drawn at once.
const LEVELS: f64 = 128.0;

impl Colour {
    pub(super) fn rgb(self) -> Rgb {
        match self {
            Self::Cycle(index) => CYCLE[index % CYCLE.len()],
            Self::Shade(share) => mapped(share.clamp(0.0, 1.0) * BRIGHTEST),
            Self::Black => BLACK,
            Self::Grey => GREY,
        }
    }
}

/// The colour of a value between 0 and 1; grey for what is not finite.
pub(super) fn mapped(share: f64) -> Rgb {
    if !share.is_finite() {
        return [200, 200, 200];
    }
    let place = (share.clamp(0.0, 1.0) * LEVELS).round() / LEVELS * (VIRIDIS.len() - 1) as f64;
    let first = (place as usize).min(VIRIDIS.len() - 2);
    let part = place - first as f64;
    std::array::from_fn(|at| {
        let [low, high] = [VIRIDIS[first][at], VIRIDIS[first + 1][at]].map(f64::from);
        (low + part * (high - low)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_the_cycle_are_apart() {
        for (at, one) in CYCLE.iter().enumerate() {
            for other in CYCLE.iter().skip(at + 1).chain([&BLACK, &GREY, &WHITE]) {
                let apart: f64 = one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
                assert!(apart.sqrt() > 50.0, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn shades_grow_brighter() {
        let brightness =
            |colour: Colour| colour.rgb().map(f64::from).iter().zip([0.3, 0.6, 0.1]).map(|(c, w)| c * w).sum();
        let shades: Vec<f64> = (0..10).map(|index| brightness(Colour::shade_of(index, 10))).collect();
        assert!(shades.windows(2).all(|pair| pair[0] < pair[1]), "{shades:?}");
        assert_eq!(mapped(1.0), VIRIDIS[8]);
        assert_eq!(mapped(0.0), VIRIDIS[0]);
        assert_eq!(mapped(f64::NAN), [200; 3]);
    }
}
