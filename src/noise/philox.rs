//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), a
//! counter-based generator: block i of a stream is a function of i, without state.
//!
//! The key is the seed. The counter holds image, step and block, so streams never overlap. Normals are computed in f64
//! with the `libm` crate, which gives the same bits on every platform, and rounded to float32 once.

use std::convert::Infallible;
use std::f64::consts::TAU;

use rand::TryRng;

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// The Weyl increments of the key: golden ratio and sqrt(3) - 1.
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The Philox4x32-10 block function.
#[must_use]
pub fn block(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let (high0, low0) = multiply(MULTIPLIERS[0], counter[0]);
        let (high1, low1) = multiply(MULTIPLIERS[1], counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

/// Returns the high and the low word of a product.
fn multiply(a: u32, b: u32) -> (u32, u32) {
    let product = u64::from(a) * u64::from(b);
    ((product >> 32) as u32, product as u32)
}

/// The words of one (seed, image, step): a `rand` generator, for draws other than normals.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    image: u64,
    step: u32,
    next_block: u32,
    words: [u32; 4],
    /// The number of `words` already returned.
    used: usize,
}

impl Stream {
    /// Creates the stream of `image` at `step` under `seed`. It repeats after 2^34 words.
    #[must_use]
    pub fn new(seed: u64, image: u64, step: u32) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], image, step, next_block: 0, words: [0; 4], used: 4 }
    }

    /// Computes the next four words.
    fn next_words(&mut self) -> [u32; 4] {
        let counter = [self.next_block, self.step, self.image as u32, (self.image >> 32) as u32];
        self.next_block = self.next_block.wrapping_add(1);
        block(counter, self.key)
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if self.used == self.words.len() {
            self.words = self.next_words();
            self.used = 0;
        }
        self.used += 1;
        Ok(self.words[self.used - 1])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.try_next_u32()?);
        Ok(low | u64::from(self.try_next_u32()?) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(size_of::<u32>()) {
            chunk.copy_from_slice(&self.try_next_u32()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// Returns `len` standard normals of `image` at `step` under `seed`, in float32.
///
/// Value j depends on (seed, image, step, j) alone: a shorter draw is a prefix of a longer one.
#[must_use]
pub fn normals(seed: u64, image: u64, step: u32, len: usize) -> Vec<f32> {
    let mut stream = Stream::new(seed, image, step);
    let mut values = Vec::with_capacity(len.next_multiple_of(4));
    while values.len() < len {
        let [a, b, c, d] = stream.next_words();
        values.extend(box_muller(a, b));
        values.extend(box_muller(c, d));
    }
    values.truncate(len);
    values
}

/// Returns standard normals as a matrix (rows, len), row-major: row i is [`normals`] of image `first` + i at `step`.
/// Uses all cores.
#[must_use]
pub fn normal_rows(seed: u64, step: u32, first: u64, rows: usize, len: usize) -> Vec<f32> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(rows).max(1);
    let share = rows.div_ceil(threads).max(1);
    let mut values = vec![0.0; rows * len];
    let fill = |part: usize, values: &mut [f32]| {
        for (row, values) in values.chunks_exact_mut(len).enumerate() {
            values.copy_from_slice(&normals(seed, first + (part * share + row) as u64, step, len));
        }
    };
    if threads == 1 {
        // Browsers have one thread, and refuse to start another.
        fill(0, &mut values);
        return values;
    }
    std::thread::scope(|scope| {
        for (part, values) in values.chunks_mut(share * len.max(1)).enumerate() {
            scope.spawn(move || fill(part, values));
        }
    });
    values
}

/// Converts two words to two independent standard normals. The largest radius is sqrt(-2 ln 2^-32) = 6.66.
fn box_muller(radius_word: u32, angle_word: u32) -> [f32; 2] {
    let radius = libm::sqrt(-2.0 * libm::log(unit(radius_word)));
    let (sine, cosine) = libm::sincos(TAU * unit(angle_word));
    [(radius * cosine) as f32, (radius * sine) as f32]
}

/// Converts a word to a uniform number in (0, 1], exact in f64.
fn unit(word: u32) -> f64 {
    (f64::from(word) + 1.0) * (1.0 / 4_294_967_296.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt};

    /// `kat_vectors` of Random123 1.14, philox4x32 with 10 rounds.
    #[test]
    fn the_block_function_gives_the_published_values() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(block(counter, key), expected);
        }
    }

    #[test]
    fn normals_have_the_moments_of_a_standard_normal() {
        let values = normals(3, 5, 0, 200_000);
        let moment = |power: i32| values.iter().map(|v| f64::from(*v).powi(power)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.02, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.04, "skewness {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.1, "kurtosis {}", moment(4));
        let neighbours = values.windows(2).map(|pair| f64::from(pair[0] * pair[1])).sum::<f64>() / values.len() as f64;
        assert!(neighbours.abs() < 0.01, "correlation {neighbours}");
    }

    /// Pinned bits: a change here changes every image of every seed.
    #[test]
    fn normals_never_change() {
        let bits: Vec<u32> = normals(0, 0, 0, 5).iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0x3f7d_bb33, 0xbf6c_b6b0, 0xbf1e_1b9f, 0xbef6_d1b2, 0xbe1d_5357], "{bits:#x?}");
        let far = normals(u64::MAX, 1 << 40, 999, 1)[0].to_bits();
        assert_eq!(far, 0xbd0d_9687, "{far:#x}");
    }

    #[test]
    fn a_shorter_draw_is_the_beginning_of_a_longer_one() {
        let long = normals(8, 1, 2, 23);
        for len in 0..23 {
            assert_eq!(normals(8, 1, 2, len), long[..len]);
        }
    }

    #[test]
    fn rows_are_images_however_many_cores_make_them() {
        let rows = normal_rows(8, 3, 2, 7, 5);
        assert_eq!(rows.len(), 35);
        for (image, row) in rows.chunks_exact(5).enumerate() {
            assert_eq!(row, normals(8, 2 + image as u64, 3, 5));
        }
        assert!(normal_rows(8, 3, 0, 0, 5).is_empty() && normal_rows(8, 3, 0, 4, 0).is_empty());
    }

    #[test]
    fn every_part_of_the_key_counts() {
        let base = normals(1, 1, 1, 4);
        let others = [(2, 1, 1), (1 + (1 << 32), 1, 1), (1, 2, 1), (1, 1 + (1 << 32), 1), (1, 1, 2)];
        for (seed, image, step) in others {
            assert_ne!(normals(seed, image, step, 4), base, "{seed} {image} {step}");
        }
    }

    #[test]
    fn extreme_words_give_finite_normals() {
        for words in [(0, 0), (u32::MAX, u32::MAX), (0, u32::MAX), (u32::MAX, 0)] {
            assert!(box_muller(words.0, words.1).iter().all(|v| v.is_finite()));
        }
        assert!(box_muller(0, u32::MAX)[0] > 6.6, "the smallest uniform lies farthest out");
    }

    #[test]
    fn the_stream_serves_rand() {
        let mut stream = Stream::new(4, 0, 0);
        let first = block([0; 4], [4, 0]);
        assert_eq!(stream.next_u32(), first[0]);
        assert_eq!(stream.next_u64(), u64::from(first[1]) | u64::from(first[2]) << 32);
        let mut bytes = [0; 6];
        stream.fill_bytes(&mut bytes);
        assert_eq!(bytes[..4], first[3].to_le_bytes());
        let draws: Vec<u32> = (0..1000).map(|_| stream.random_range(0..10)).collect();
        assert!((0..10).all(|digit| draws.contains(&digit)));
    }
}
