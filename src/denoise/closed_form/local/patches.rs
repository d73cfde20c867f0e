//! The patches of a group of places in all samples, equal ones once, and their layout as keys of a kernel.

use rayon::prelude::*;

use super::window::{Place, Window};
use crate::data::Dataset;
use crate::kernels::Family;
use crate::kernels::patch_means::{NO_KEY, PatchMeans};
use crate::tensor::TEXEL;

/// A patch of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    /// The sample and the place, the first ones where it occurs: sample * places + place.
    at: usize,
    /// The number of times that it occurs.
    count: usize,
}

/// A group of places, and the different patches of the data there.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub places: Vec<Place>,
    pub patches: Vec<Patch>,
}

impl Group {
    /// Finds the different patches. Images have large parts that are of one colour, so that they are fewer than the
    /// places.
    pub fn new(data: &Dataset, window: &Window, places: Vec<Place>) -> Self {
        let count = places.len();
        let mut hashes: Vec<(u64, usize)> = (0..data.count() * count)
            .into_par_iter()
            .map_init(
                || vec![0.0; window.taps()],
                |patch, at| {
                    window.read(data.samples.item(at / count), places[at % count], patch);
                    (hash(patch), at)
                },
            )
            .collect();
        hashes.par_sort_unstable();
        let mut patches: Vec<Patch> = Vec::new();
        let (mut first, mut other) = (vec![0.0; window.taps()], vec![0.0; window.taps()]);
        for same in hashes.chunk_by(|a, b| a.0 == b.0) {
            let read = |at: usize, to: &mut [f32]| window.read(data.samples.item(at / count), places[at % count], to);
            let whole = patches.len();
            patches.push(Patch { at: same[0].1, count: 1 });
            if same.len() > 1 {
                read(same[0].1, &mut first);
            }
            for (_, at) in &same[1..] {
                read(*at, &mut other);
                // Different patches of the same hash stay apart.
                if first == other {
                    patches[whole].count += 1;
                } else {
                    patches.push(Patch { at: *at, count: 1 });
                }
            }
        }
        patches.sort_unstable_by_key(|patch| patch.at);
        Self { places, patches }
    }

    /// Blocks of keys of these patches, as `patch_means.lanes.wgsl` reads them.
    pub fn keys(&self, data: &Dataset, window: &Window, family: Family, patches: &[Patch]) -> Vec<f32> {
        let (block, taps) = (PatchMeans::block(family), window.taps());
        let texels = taps.div_ceil(TEXEL);
        let values = TEXEL * PatchMeans::block_texels(family, texels);
        let mut keys = vec![0.0; patches.len().div_ceil(block) * values];
        keys.par_chunks_exact_mut(values).zip(patches.par_chunks(block)).for_each(|(keys, patches)| {
            let (rows, last) = keys.split_at_mut(TEXEL * texels * block);
            let (halves, counts) = last.split_at_mut(block);
            counts.fill(NO_KEY);
            let mut patch = vec![0.0; taps];
            for (key, Patch { at, count }) in patches.iter().enumerate() {
                let place = self.places[at % self.places.len()];
                window.read(data.samples.item(at / self.places.len()), place, &mut patch);
                patch.iter().enumerate().for_each(|(tap, value)| rows[tap * block + key] = *value);
                halves[key] = (0.5 * square(&patch)) as f32;
                counts[key] = (*count as f64).log2() as f32;
            }
        });
        keys
    }

    /// The largest norm of a patch.
    pub fn longest(&self, data: &Dataset, window: &Window) -> f64 {
        let squares = self.patches.par_iter().map_init(
            || vec![0.0; window.taps()],
            |patch, Patch { at, .. }| {
                let place = self.places[at % self.places.len()];
                window.read(data.samples.item(at / self.places.len()), place, patch);
                square(patch)
            },
        );
        squares.reduce(|| 0.0, f64::max).sqrt()
    }
}

/// The square of a norm.
fn square(patch: &[f32]) -> f64 {
    patch.iter().map(|value| f64::from(*value).powi(2)).sum()
}

fn hash(patch: &[f32]) -> u64 {
    patch.iter().fold(0x243f_6a88_85a3_08d3, |hash: u64, value| {
        (hash.rotate_left(23) ^ u64::from(value.to_bits())).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    #[test]
    fn equal_patches_are_counted() {
        // Two samples of 2 x 3 pixels; single pixels as patches.
        let values = vec![5.0, 5.0, 1.0, 2.0, 5.0, 1.0, 2.0, 2.0, 2.0, 7.0, 5.0, 1.0];
        let mut data = Dataset::new("data", Tensor::new([2, 6], values)).unwrap();
        data.sample_shape = vec![2, 3];
        let window = Window { reach: 0, image: [1, 2, 3], wraps: false, offset: vec![0.0] };
        let places: Vec<Place> = (0..6).map(|at| (at / 3, at % 3)).collect();
        let group = Group::new(&data, &window, places);
        let found: Vec<(usize, usize)> = group.patches.iter().map(|patch| (patch.at, patch.count)).collect();
        assert_eq!(found, [(0, 4), (2, 3), (3, 4), (9, 1)]);
        assert_eq!(group.longest(&data, &window), 7.0);
        let keys = group.keys(&data, &window, Family::Lanes { width: 4 }, &group.patches);
        assert_eq!(keys.len(), 6 * 16);
        assert_eq!(keys[..5], [5.0, 1.0, 2.0, 7.0, 0.0]);
        assert_eq!(keys[64..68], [12.5, 0.5, 2.0, 24.5]);
        assert_eq!((keys[80], keys[83], keys[84]), (2.0, 0.0, NO_KEY));
    }
}
