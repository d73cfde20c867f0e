//! Patches of images, and the places that share them.

use crate::denoise::closed_form::options::Boundary;

/// A place in an image: row and column.
pub type Place = (usize, usize);

/// Square patches of images (c, h, w).
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Pixels from the centre to the edge.
    pub reach: usize,
    /// (channels, height, width) of an image.
    pub image: [usize; 3],
    /// `true` if patches continue at the opposite edge; else they are zero outside the image.
    pub wraps: bool,
    /// A number for each channel that is subtracted from its pixels, so that products are small.
    pub offset: Vec<f32>,
}

impl Window {
    /// Pixels along a side of a patch.
    pub fn side(&self) -> usize {
        2 * self.reach + 1
    }

    /// Values of a patch.
    pub fn taps(&self) -> usize {
        self.side() * self.side() * self.image[0]
    }

    /// The tap of the centre's first channel.
    pub fn centre(&self) -> usize {
        (self.reach * self.side() + self.reach) * self.image[0]
    }

    /// Writes the patch around a place of an image: for each of its pixels the channels, relative to the offset.
    pub fn read(&self, image: &[f32], (row, column): Place, patch: &mut [f32]) {
        let [channels, height, width] = self.image;
        let mut taps = patch.iter_mut();
        for down in 0..self.side() {
            let y = self.at(row, down, height);
            for right in 0..self.side() {
                let x = self.at(column, right, width);
                for (channel, tap) in (0..channels).zip(&mut taps) {
                    *tap = match (y, x) {
                        (Some(y), Some(x)) => image[(channel * height + y) * width + x] - self.offset[channel],
                        _ => 0.0,
                    };
                }
            }
        }
    }

    /// The place of a tap along an axis, if it is inside.
    fn at(&self, centre: usize, tap: usize, side: usize) -> Option<usize> {
        let from_start = centre + tap;
        if self.wraps {
            return Some((from_start + side - self.reach % side) % side);
        }
        from_start.checked_sub(self.reach).filter(|at| *at < side)
    }
}

/// The places of images of this size in groups: those of a group are compared with the patches of all its places.
pub(super) fn groups(boundary: Boundary, reach: usize, height: usize, width: usize) -> Vec<Vec<Place>> {
    let (rows, columns) = (along(boundary, reach, height), along(boundary, reach, width));
    let group = |rows: &[usize], columns: &[usize]| -> Vec<Place> {
        rows.iter().flat_map(|row| columns.iter().map(|column| (*row, *column))).collect()
    };
    rows.iter().flat_map(|rows| columns.iter().map(|columns| group(rows, columns))).collect()
}

/// The groups along an axis.
fn along(boundary: Boundary, reach: usize, side: usize) -> Vec<Vec<usize>> {
    let cut = |at: usize| (reach.saturating_sub(at), (at + reach).saturating_sub(side - 1));
    let is_alike = |a: usize, b: usize| match boundary {
        Boundary::Circular => true,
        Boundary::Padded => cut(a) == cut(b),
        Boundary::Fixed => a == b,
    };
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for at in 0..side {
        match groups.iter_mut().find(|group| is_alike(group[0], at)) {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_grouped_by_what_the_edges_cut_off() {
        assert_eq!(along(Boundary::Circular, 1, 4), [vec![0, 1, 2, 3]]);
        assert_eq!(along(Boundary::Padded, 1, 5), [vec![0], vec![1, 2, 3], vec![4]]);
        assert_eq!(along(Boundary::Padded, 0, 3), [vec![0, 1, 2]]);
        // So long that both edges cut.
        assert_eq!(along(Boundary::Padded, 3, 4), [[0], [1], [2], [3]]);
        assert_eq!(along(Boundary::Fixed, 0, 3), [[0], [1], [2]]);
        assert_eq!(groups(Boundary::Padded, 1, 3, 4).len(), 9);
        assert_eq!(groups(Boundary::Padded, 1, 3, 4)[4], [(1, 1), (1, 2)]);
    }

    #[test]
    fn a_patch_is_the_pixels_around_a_place() {
        let image: Vec<f32> = (1..=12u8).map(f32::from).collect();
        let mut window = Window { reach: 1, image: [1, 3, 4], wraps: false, offset: vec![1.0] };
        let mut patch = [f32::NAN; 9];
        window.read(&image, (1, 1), &mut patch);
        assert_eq!(patch, [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 8.0, 9.0, 10.0]);
        window.read(&image, (0, 3), &mut patch);
        assert_eq!(patch, [0.0, 0.0, 0.0, 2.0, 3.0, 0.0, 6.0, 7.0, 0.0]);
        window.wraps = true;
        window.read(&image, (0, 3), &mut patch);
        assert_eq!(patch, [10.0, 11.0, 8.0, 2.0, 3.0, 0.0, 6.0, 7.0, 4.0]);
        let colours = Window { reach: 0, image: [3, 2, 2], wraps: false, offset: vec![0.0, 1.0, 2.0] };
        let mut pixel = [f32::NAN; 3];
        colours.read(&image, (1, 0), &mut pixel);
        assert_eq!((pixel, colours.centre(), colours.taps()), ([3.0, 6.0, 9.0], 0, 3));
    }
}
