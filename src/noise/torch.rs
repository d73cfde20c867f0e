//! `PyTorch`'s CPU generator: the normals of `torch.randn(..., generator=torch.Generator("cpu").manual_seed(seed))`.
//!
//! It follows `PyTorch`'s sources (`CPUGeneratorImpl.cpp`, `MT19937RNGEngine.h`, `native/cpu/DistributionTemplates.h`):
//! a Mersenne twister. Draws of 16 or more values are made in blocks of 16 by Box-Muller in float32, from 24-bit
//! uniforms. If their number is not a multiple of 16, the last 16 are drawn again from fresh words. Draws of fewer than
//! 16 are made one value at a time in double precision from 53-bit uniforms, and the second value of each pair is kept
//! for later. Values agree with `PyTorch`'s to a few float32 ulps, since its vectorised logarithms and cosines
//! differ between processors.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

const STATE_WORDS: usize = 624;
const SHIFT: usize = 397;
const BLOCK: usize = 16;

/// The Mersenne twister mt19937 (Matsumoto and Nishimura, 1998), seeded by one 32-bit word.
#[derive(Clone)]
struct Engine {
    /// On the heap, to keep [`super::Noise`] small.
    state: Vec<u32>,
    next: usize,
}

impl Engine {
    fn new(seed: u32) -> Self {
        let mut state = vec![seed; STATE_WORDS];
        for i in 1..STATE_WORDS {
            let previous = state[i - 1];
            state[i] = (previous ^ (previous >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: STATE_WORDS }
    }

    fn word(&mut self) -> u32 {
        if self.next == STATE_WORDS {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for i in 0..STATE_WORDS {
            let mixed = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE_WORDS] & 0x7fff_ffff);
            let matrix = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % STATE_WORDS] ^ (mixed >> 1) ^ matrix;
        }
        self.next = 0;
    }

    /// Skips `count` words, whole states at a time.
    fn skip(&mut self, mut count: usize) {
        while count > 0 {
            if self.next == STATE_WORDS {
                self.twist();
            }
            let passed = count.min(STATE_WORDS - self.next);
            self.next += passed;
            count -= passed;
        }
    }

    /// Draws a uniform number in [0, 1) of 24 bits.
    fn uniform(&mut self) -> f32 {
        (self.word() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// Draws a uniform number in [0, 1) of 53 bits from two words, the higher first.
    fn uniform_double(&mut self) -> f64 {
        let high = u64::from(self.word());
        let bits = (high << 32 | u64::from(self.word())) & ((1 << 53) - 1);
        bits as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

/// Returns the words of the twister after a seed of one word, for generators that others make of it.
pub(crate) fn words(seed: u32) -> impl FnMut() -> u32 {
    let mut engine = Engine::new(seed);
    move || engine.word()
}

/// A generator like `torch.Generator("cpu")`: successive draws continue the stream.
#[derive(Clone)]
pub struct Stream {
    engine: Engine,
    /// The second value of the last pair drawn one at a time.
    kept: Option<f64>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Stream {
    /// Creates the stream after `manual_seed(seed)`. The twister uses only the low 32 bits, as in `PyTorch`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { engine: Engine::new(seed as u32), kept: None }
    }

    /// Draws `torch.randn(len)` in float32.
    pub fn randn(&mut self, len: usize) -> Vec<f32> {
        self.images(1, len, &[0])
    }

    /// Draws `torch.randn((total, len))` and returns its rows `images`, in the given order.
    ///
    /// # Panics
    /// Panics if an index is not below `total`.
    pub fn images(&mut self, total: usize, len: usize, images: &[usize]) -> Vec<f32> {
        assert!(images.iter().all(|image| *image < total), "images {images:?} of a draw of {total}");
        let mut wanted: BTreeMap<usize, Vec<f32>> = images.iter().map(|image| (*image, vec![0.0; len])).collect();
        let all = total * len;
        if all < BLOCK {
            let values: Vec<f32> = (0..all).map(|_| self.single()).collect();
            copy_block(&mut wanted, len, 0, &values);
        } else {
            for start in (0..=all - BLOCK).step_by(BLOCK) {
                self.block_at(start, len, &mut wanted);
            }
            if !all.is_multiple_of(BLOCK) {
                // PyTorch draws a word for each of the last values before it draws the last block again.
                self.engine.skip(all % BLOCK);
                self.block_at(all - BLOCK, len, &mut wanted);
            }
        }
        images.iter().flat_map(|image| wanted[image].iter().copied()).collect()
    }

    /// Skips a draw of `len` values.
    pub fn skip(&mut self, len: usize) {
        if len < BLOCK {
            for _ in 0..len {
                self.single();
            }
        } else {
            self.engine.skip(if len.is_multiple_of(BLOCK) { len } else { len + BLOCK });
        }
    }

    /// Draws the block at `start`, of a draw with rows of `len` values, for the rows wanted.
    fn block_at(&mut self, start: usize, len: usize, wanted: &mut BTreeMap<usize, Vec<f32>>) {
        if wanted.range(start / len..=(start + BLOCK - 1) / len).next().is_some() {
            copy_block(wanted, len, start, &self.block());
        } else {
            self.engine.skip(BLOCK);
        }
    }

    /// Draws sixteen values: uniforms i and i + 8 give values i and i + 8. Rounds to float32 where `PyTorch` does.
    fn block(&mut self) -> [f32; BLOCK] {
        let uniforms: [f32; BLOCK] = std::array::from_fn(|_| self.engine.uniform());
        let mut values = [0.0; BLOCK];
        for i in 0..BLOCK / 2 {
            let radius = (-2.0 * libm::log(f64::from(1.0 - uniforms[i])) as f32).sqrt();
            let angle = TAU as f32 * uniforms[i + BLOCK / 2];
            let (sine, cosine) = libm::sincos(f64::from(angle));
            values[i] = radius * cosine as f32;
            values[i + BLOCK / 2] = radius * sine as f32;
        }
        values
    }

    /// Draws one value in double precision.
    fn single(&mut self) -> f32 {
        if let Some(value) = self.kept.take() {
            return value as f32;
        }
        let (angle, uniform) = (TAU * self.engine.uniform_double(), self.engine.uniform_double());
        let radius = (-2.0 * libm::log1p(-uniform)).sqrt();
        let (sine, cosine) = libm::sincos(angle);
        self.kept = Some(radius * sine);
        (radius * cosine) as f32
    }
}

/// Copies `values`, which begin at `start` of a (total, len) draw, to the wanted rows that they overlap.
fn copy_block(wanted: &mut BTreeMap<usize, Vec<f32>>, len: usize, start: usize, values: &[f32]) {
    for (offset, value) in values.iter().enumerate() {
        let at = start + offset;
        if let Some(row) = wanted.get_mut(&(at / len)) {
            row[at % len] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mt19937 seeded with 5489 gives 4123659995 as its 10000th word (C++ standard, [rand.predef]).
    #[test]
    fn the_engine_is_mt19937() {
        let mut engine = Engine::new(5489);
        engine.skip(9_999);
        assert_eq!(engine.word(), 4_123_659_995);
    }

    /// `torch.randn(17)` after `manual_seed(2**40 + 3)` in torch 2.15: the twister takes the seed's low word, and the
    /// last 16 values are drawn again.
    #[test]
    fn a_draw_is_that_of_torch() {
        let expected = [
            -0.076_644_294,
            0.931_124_45,
            -0.514_462,
            -1.651_665_4,
            1.046_022_8,
            0.522_187,
            -0.166_809_16,
            0.053_033_4,
            0.404_607_15,
            2.256_557_2,
            1.869_260_1,
            -1.195_234_3,
            0.997_922_4,
            0.459_180_44,
            2.436_397,
            -0.146_808_18,
            0.485_114f32,
        ];
        let draw = Stream::new((1 << 40) + 3).randn(expected.len());
        assert_eq!(draw, Stream::new(3).randn(expected.len()));
        for (value, expected) in draw.iter().zip(expected) {
            assert!((value - expected).abs() <= 5e-7, "{value} is not {expected}");
        }
    }

    /// Printed by torch 2.15 for one generator seeded with 0: draws of 5, 17 and 3 values. The first leaves the second
    /// value of its last pair behind, the draw of 17 ignores it, and the draw of 3 begins with it.
    #[test]
    fn draws_go_on_in_the_stream() {
        let mut stream = Stream::new(0);
        let draws = [stream.randn(5), stream.randn(17), stream.randn(3)].concat();
        let expected = [
            1.5410, -0.2934, -2.1788, 0.5684, -1.0845, -0.0885, 0.8744, -0.1435, -0.1116, -0.6136, 0.0316, -0.4927,
            0.2484, 0.4397, -0.4128, -0.8411, -2.3160, -0.1023, 0.7924, -0.2897, 0.0525, 0.5229, -1.3986, 0.8512,
            -0.3502,
        ];
        assert_eq!(draws.len(), expected.len());
        for (value, expected) in draws.iter().zip(expected) {
            assert!((value - expected).abs() <= 5e-5 + f32::EPSILON, "{value} is not {expected}");
        }
    }

    #[test]
    fn rows_are_those_of_the_whole_draw_and_skipping_is_drawing() {
        for (total, len) in [(1, 5), (3, 5), (4, 5), (2, 8), (5, 7), (3, 784), (40, 1)] {
            let mut whole = Stream::new(9);
            let values = whole.randn(total * len);
            let after = whole.randn(40);
            for images in [vec![], vec![total - 1], vec![total / 2, 0]] {
                let mut stream = Stream::new(9);
                let expected: Vec<f32> =
                    images.iter().flat_map(|image| values[image * len..(image + 1) * len].to_vec()).collect();
                assert_eq!(stream.images(total, len, &images), expected, "{total} x {len}, {images:?}");
                assert_eq!(stream.randn(40), after, "{total} x {len}, after {images:?}");
            }
            let mut skipped = Stream::new(9);
            skipped.skip(total * len);
            assert_eq!(skipped.randn(40), after, "{total} x {len}, skipped");
        }
    }
}
