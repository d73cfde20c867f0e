//! The blocks of rows, at whose beginnings parts of the whole may begin.

use std::ops::Range;

use super::forest::Address;

/// The most blocks of a whole.
const MOST: usize = 1024;
/// The binary logarithm of the most rows of a leaf.
const LEAF: u32 = 8;

/// The rows of a whole, cut into blocks of a power of two: the smallest with at most 1024 blocks. The last block may
/// have fewer rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    rows: usize,
    /// The binary logarithm of the rows per block.
    level: u32,
}

impl Blocks {
    /// The blocks of `rows` rows.
    #[must_use]
    pub fn of(rows: usize) -> Self {
        Self { rows, level: rows.div_ceil(MOST).max(1).next_power_of_two().trailing_zeros() }
    }

    /// The rows of each block but the last.
    #[must_use]
    pub fn size(self) -> usize {
        1 << self.level
    }

    /// The number of blocks.
    #[must_use]
    pub fn count(self) -> usize {
        self.rows.div_ceil(self.size())
    }

    /// The number of the first row of a block; that of the rows for the block after the last.
    #[must_use]
    pub fn first_row(self, block: usize) -> usize {
        (block * self.size()).min(self.rows)
    }

    /// The blocks of run `index` of `of` runs that share them: contiguous ranges, alike in length within one block.
    #[must_use]
    pub fn shard(self, index: usize, of: usize) -> Range<usize> {
        let cut = |index: usize| (self.count() as u128 * index as u128 / of.max(1) as u128) as usize;
        cut(index)..cut(index + 1)
    }

    /// The rows of the leaf that begins at row `first`, up to `end`.
    pub(super) fn leaf(self, first: usize, end: usize) -> Range<usize> {
        first..(first + (1 << self.leaf_level())).min(end)
    }

    pub(super) fn leaf_address(self, first: usize) -> Address {
        Address { level: self.leaf_level(), index: first >> self.leaf_level() }
    }

    /// The binary logarithm of the rows per block.
    pub(super) fn level(self) -> u32 {
        self.level
    }

    fn leaf_level(self) -> u32 {
        self.level.min(LEAF)
    }

    /// Returns `true` for a row at which a block begins, and for the end of the rows.
    pub(super) fn is_boundary(self, row: usize) -> bool {
        row == self.rows || row.is_multiple_of(self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_smallest_power_of_two_with_at_most_1024() {
        for (rows, size, count) in
            [(1, 1, 1), (1024, 1, 1024), (1025, 2, 513), (2000, 2, 1000), (50_000, 64, 782), (1 << 20, 1024, 1024)]
        {
            assert_eq!((Blocks::of(rows).size(), Blocks::of(rows).count()), (size, count), "{rows}");
        }
        let blocks = Blocks::of(50_000);
        assert_eq!((blocks.first_row(781), blocks.first_row(782)), (49_984, 50_000));
    }

    #[test]
    fn shards_cover_every_block_once() {
        for (rows, of) in [(50_000, 8), (3, 7), (1000, 1), (2000, 3)] {
            let blocks = Blocks::of(rows);
            let all: Vec<usize> = (0..of).flat_map(|index| blocks.shard(index, of)).collect();
            assert_eq!(all, (0..blocks.count()).collect::<Vec<_>>());
        }
    }
}
