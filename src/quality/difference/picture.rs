//! A picture of the difference of two images.

use crate::data::picture::Levels;
use crate::formats::Image;
use crate::formats::images::{WHITE, grid};

/// Two images and their difference, side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct SideBySide {
    /// A, B and |A - B|, in a row.
    pub image: Image,
    /// The factor of |A - B| in the picture: its largest value is white. 1 where nothing differs.
    pub scale: f64,
}

/// Returns A, B and |A - B|, scaled to be seen, side by side: grey if both are, else RGB. A difference of opacity is
/// shown where it exceeds that of the colours. `None` for images of different sizes.
#[must_use]
pub fn side_by_side(a: &Levels, b: &Levels) -> Option<SideBySide> {
    if (a.height, a.width) != (b.height, b.width) {
        return None;
    }
    let channels = a.colors().max(b.colors());
    let (shown_a, shown_b) = (colors(a, channels), colors(b, channels));
    let opacities = opacity(a).zip(opacity(b));
    let distances: Vec<f64> = shown_a
        .chunks(channels)
        .zip(shown_b.chunks(channels))
        .zip(opacities)
        .flat_map(|((a, b), (one, other))| {
            let of_opacity = (one - other).abs();
            a.iter().zip(b).map(move |(a, b)| (a - b).abs().max(of_opacity))
        })
        .collect();
    let largest = distances.iter().copied().filter(|distance| distance.is_finite()).fold(0.0, f64::max);
    let scale = if largest > 0.0 { f64::from(u8::MAX) / largest } else { 1.0 };
    let image = |values: &[f64], scale: f64| {
        let pixels = values.iter().map(|value| (value * scale).round_ties_even() as u8).collect();
        Image { height: a.height, width: a.width, channels, pixels }
    };
    let images = [image(&shown_a, 1.0), image(&shown_b, 1.0), image(&distances, scale)];
    Some(SideBySide { image: grid(&images, images.len(), WHITE), scale })
}

/// The colours of an image in this many channels.
fn colors(image: &Levels, channels: usize) -> Vec<f64> {
    let repeated = if image.colors() == channels { 1 } else { channels };
    let pixels = image.values.chunks(image.channels).map(|pixel| &pixel[..image.colors()]);
    pixels.flat_map(|pixel| pixel.iter().flat_map(move |level| std::iter::repeat_n(*level, repeated))).collect()
}

/// The opacity of each pixel.
fn opacity(image: &Levels) -> impl Iterator<Item = f64> {
    let at = image.has_alpha().then(|| image.channels - 1);
    image.values.chunks(image.channels).map(move |pixel| at.map_or(f64::from(u8::MAX), |at| pixel[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(channels: usize, values: &[f64]) -> Levels {
        let width = values.len() / channels;
        Levels { height: 1, width, channels, values: values.to_vec(), is_rounded: false }
    }

    #[test]
    fn the_largest_difference_is_white() {
        let found = side_by_side(&levels(1, &[10.0, 20.0]), &levels(1, &[13.0, 21.0])).unwrap();
        assert_eq!(found.scale, 85.0);
        assert_eq!((found.image.width, found.image.channels), (10, 1));
        assert_eq!(found.image.pixels, [10, 20, 255, 255, 13, 21, 255, 255, 255, 85]);
        let same = side_by_side(&levels(1, &[10.0]), &levels(1, &[10.0])).unwrap();
        assert_eq!((same.scale, same.image.pixels.last()), (1.0, Some(&0)));
    }

    #[test]
    fn grey_meets_colour_and_opacity_counts() {
        let (grey, rgba) = (levels(1, &[7.0]), levels(4, &[7.0, 7.0, 12.0, 253.0]));
        let found = side_by_side(&grey, &rgba).unwrap();
        assert_eq!((found.image.channels, found.scale), (3, 51.0));
        assert_eq!(found.image.pixels[..3], [7, 7, 7]);
        assert_eq!(found.image.pixels[found.image.pixels.len() - 3..], [102, 102, 255]);
        assert!(side_by_side(&grey, &levels(1, &[1.0, 2.0])).is_none());
    }
}
