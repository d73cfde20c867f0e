//! Mean and covariance of rows, in float64, as a tree of blocks of rows: the moments of parts that separate runs have
//! measured combine to those of the whole, bit for bit, in any order and grouping.
//!
//! The rows 0..n of the whole are cut into [`Blocks`]. A leaf of the tree holds count, mean and centred products of a
//! few rows ([`node`]); a node of level l and index i holds those of the rows i 2^l..(i + 1) 2^l, of which the last may
//! be fewer. It is made of its two children by the formula of Chan, Golub and `LeVeque` (1983, Am. Stat. 37:242),
//! always the left one first:
//!
//! ```text
//! d = mean_b - mean_a,  mean = mean_a + d n_b / n,  M = M_a + M_b + d d' n_a n_b / n
//! ```
//!
//! The place of a row in the whole alone decides the sums that it enters, so that no bit depends on the division among
//! runs, on the number of threads, or on the order in which parts arrive. The products of a leaf are those of a library
//! of linear algebra on one thread: their last bits depend on the instruction set of the processor (with fused
//! multiply-add or without) and on nothing else. Runs on processors of one kind agree bit for bit, those on others to
//! rounding.
//!
//! [`Moments`] are such a tree, whole or in part, with a [`Description`] of the rows; [`mod@file`] keeps them, and
//! [`merge()`] combines those of several files.

pub mod blocks;
pub mod description;
pub mod file;
mod forest;
pub mod merge;
pub mod node;

use std::ops::Range;

use faer::Mat;
use rayon::prelude::*;

pub use blocks::Blocks;
pub use description::Description;
pub use merge::merge;
pub use node::Node;

use crate::data::Stream;
use crate::error::{Error, Result};
use crate::input::room;
use forest::Forest;

/// The most values per row: a matrix of their square is kept, 2 GiB.
pub const MOST_VALUES: usize = 1 << 14;
/// The bytes of rows that are read from a stream at a time.
const PIECE: usize = 1 << 24;

/// Count, mean and centred products of a part of the rows of a whole, or of all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The whole that the rows belong to.
    pub description: Description,
    /// The number of runs that share the rows, where they do, for messages.
    pub shards: Option<usize>,
    blocks: Blocks,
    forest: Forest,
    /// The rows that this run adds, and those of them that have been added.
    range: Range<usize>,
    added: usize,
    /// Rows of a leaf that is not full.
    waiting: Vec<f32>,
}

impl Moments {
    /// Creates the moments of no rows yet, to which the rows of the blocks `range` will be added.
    ///
    /// # Errors
    /// [`Error::Argument`] for rows of no values or too many.
    ///
    /// # Panics
    /// Panics if there are no such blocks.
    pub fn new(description: Description, range: Range<usize>) -> Result<Self> {
        let (blocks, values) = (Blocks::of(description.rows), description.values());
        if values == 0 || values > MOST_VALUES {
            let what = format!("the covariance of {values} values");
            let hint = format!("it is a matrix: give samples of 1 to {MOST_VALUES} values, or features of images");
            return Err(Error::argument(what, hint));
        }
        assert!(range.end <= blocks.count() && range.start <= range.end, "blocks {range:?} of {}", blocks.count());
        let range = blocks.first_row(range.start)..blocks.first_row(range.end);
        let forest = Forest::new(description.rows);
        Ok(Self { description, shards: None, blocks, forest, added: range.start, range, waiting: Vec::new() })
    }

    /// The moments of all rows of `dimension` values, which are in memory.
    ///
    /// # Errors
    /// Those of [`Moments::new`].
    pub fn of_rows(rows: &[f32], dimension: usize) -> Result<Self> {
        let mut moments = Self::whole(Description::of_rows(rows.len() / dimension.max(1), &[dimension]))?;
        moments.add(rows);
        Ok(moments)
    }

    /// Creates the moments of no rows yet, to which all rows will be added.
    ///
    /// # Errors
    /// Those of [`Moments::new`].
    pub fn whole(description: Description) -> Result<Self> {
        let blocks = Blocks::of(description.rows).count();
        Self::new(description, 0..blocks)
    }

    /// The blocks of the whole.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// The number of the row that [`Moments::add`] takes next; the end of the range once it is complete.
    #[must_use]
    pub fn next_row(&self) -> usize {
        self.added
    }

    /// The end of the rows that this run adds.
    #[must_use]
    pub fn end(&self) -> usize {
        self.range.end
    }

    /// Adds the next rows of the range, one after the other.
    ///
    /// # Panics
    /// Panics if `rows` are not whole rows, or more than are left of the range.
    pub fn add(&mut self, rows: &[f32]) {
        let values = self.description.values();
        let count = rows.len() / values;
        assert!(rows.len().is_multiple_of(values), "{} values in rows of {values}", rows.len());
        assert!(self.added + count <= self.range.end, "rows beyond the last, {}", self.range.end);
        let mut rest = rows;
        while !rest.is_empty() {
            let waiting = self.waiting.len() / values;
            let start = self.added - waiting;
            let wanted = self.blocks.leaf(start, self.range.end).len() - waiting;
            let (now, later) = rest.split_at(rest.len().min(wanted * values));
            if waiting > 0 || now.len() < wanted * values {
                self.waiting.extend_from_slice(now);
                self.added += now.len() / values;
                if now.len() == wanted * values {
                    let leaf = Node::of_rows(&self.waiting, values);
                    self.waiting.clear();
                    self.forest.insert(self.blocks.leaf_address(start), leaf);
                }
                rest = later;
            } else {
                rest = self.add_leaves(rest);
            }
        }
    }

    /// Adds as many full leaves as there are threads, and returns the rows after them.
    fn add_leaves<'a>(&mut self, rows: &'a [f32]) -> &'a [f32] {
        let values = self.description.values();
        let mut leaves = Vec::new();
        let mut rest = rows;
        while leaves.len() < rayon::current_num_threads() {
            let leaf = self.blocks.leaf(self.added, self.range.end);
            if leaf.is_empty() || rest.len() < leaf.len() * values {
                break;
            }
            let (now, later) = rest.split_at(leaf.len() * values);
            leaves.push((self.blocks.leaf_address(leaf.start), now));
            (self.added, rest) = (leaf.end, later);
        }
        let nodes: Vec<_> = leaves.par_iter().map(|(at, rows)| (*at, Node::of_rows(rows, values))).collect();
        for (at, node) in nodes {
            self.forest.insert(at, node);
        }
        rest
    }

    /// Adds the rows of `stream` that are left of the range. `watch` sees the moments after each few rows, and may stop
    /// the run.
    ///
    /// # Errors
    /// Those of the stream and of `watch`; [`Error::Argument`] for a stream of other rows.
    pub fn add_stream(
        &mut self,
        stream: &mut dyn Stream,
        watch: &mut dyn FnMut(&Self, usize) -> Result<()>,
    ) -> Result<()> {
        let values = self.description.values();
        if (stream.count(), stream.dimension()) != (self.description.rows, values) {
            let what = format!("{} samples of {} values", stream.count(), stream.dimension());
            return Err(Error::argument(what, format!("{} of {values} are expected", self.description.rows)));
        }
        let most = (PIECE / (values * size_of::<f32>())).clamp(1, self.end() - self.next_row().min(self.end()) + 1);
        let mut rows = room(std::path::Path::new(stream.name()), most * values)?;
        while self.next_row() < self.end() {
            let (first, count) = (self.next_row(), most.min(self.end() - self.next_row()));
            rows.resize(count * values, 0.0);
            stream.read(first, &mut rows)?;
            self.add(&rows);
            watch(self, count)?;
        }
        Ok(())
    }

    /// The rows whose moments these are, as ranges in their order. Rows of a block that is not complete are not among
    /// them.
    #[must_use]
    pub fn rows(&self) -> Vec<Range<usize>> {
        self.forest.rows(self.blocks.level())
    }

    /// The number of the rows that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.rows().iter().map(ExactSizeIterator::len).sum()
    }

    /// Returns `true` if all rows of the blocks `range` are there, and no others.
    #[must_use]
    pub fn holds(&self, range: &Range<usize>) -> bool {
        let rows = self.blocks.first_row(range.start)..self.blocks.first_row(range.end);
        matches!(&self.rows()[..], [held] if *held == rows)
    }

    /// Continues moments that were interrupted: the range of blocks is `range`, of which these hold the first ones.
    ///
    /// # Errors
    /// [`Error::Argument`] for moments of other rows.
    pub fn continued(self, range: Range<usize>) -> Result<Self> {
        let range = self.blocks.first_row(range.start)..self.blocks.first_row(range.end);
        let added = match &self.rows()[..] {
            [] => range.start,
            [held] if held.start == range.start && held.end <= range.end => held.end,
            held => {
                let what = format!("it holds {}, and this run adds {}", merge::listed(held), merge::listed(&[range]));
                return Err(Error::argument(what, "name another file for each shard"));
            }
        };
        Ok(Self { range, added, ..self })
    }

    /// Returns `true` for the moments of all rows.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.forest.root().is_some()
    }

    /// Count, mean and centred products of all rows.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the rows that are missing.
    pub fn root(&self) -> Result<&Node> {
        self.forest.root().ok_or_else(|| {
            let what = format!("{} of {} rows", merge::listed(&self.rows()), self.description.rows);
            Error::argument(format!("these are the moments of {what}"), "merge them with those of the other rows")
        })
    }

    /// The mean of all rows.
    ///
    /// # Errors
    /// Those of [`Moments::root`].
    pub fn mean(&self) -> Result<Vec<f64>> {
        Ok(self.root()?.mean.clone())
    }

    /// The covariance of all rows: the centred products over `count - less`, with 1 for the unbiased estimate.
    ///
    /// # Errors
    /// Those of [`Moments::root`]; [`Error::Argument`] for no more than `less` rows.
    pub fn covariance(&self, less: usize) -> Result<Mat<f64>> {
        let root = self.root()?;
        if root.count <= less {
            let what = format!("the covariance of {} samples", root.count);
            return Err(Error::argument(what, "statistics need at least two samples"));
        }
        let scale = (root.count - less) as f64;
        Ok(root.symmetric(|_, _, product| product / scale))
    }

    /// The second moment X'X / n of all rows about zero.
    ///
    /// # Errors
    /// Those of [`Moments::root`].
    pub fn second_moment(&self) -> Result<Mat<f64>> {
        let root = self.root()?;
        let (count, mean) = (root.count as f64, &root.mean);
        Ok(root.symmetric(|i, j, product| product / count + mean[i] * mean[j]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Purpose;
    use proptest::prelude::*;

    fn drawn(count: usize, values: usize) -> Vec<f32> {
        Purpose::Images.normals(3, 0, 0, count * values).into_iter().map(|value| 100.0 + value).collect()
    }

    fn same(a: &Moments, b: &Moments) -> bool {
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let (a, b) = (a.root().unwrap(), b.root().unwrap());
        (a.count, bits(&a.mean), bits(&a.products)) == (b.count, bits(&b.mean), bits(&b.products))
    }

    #[test]
    fn the_moments_are_those_of_the_definition() {
        for (count, values) in [(2, 3), (20, 3), (1500, 7), (3000, 2), (1, 2)] {
            let rows = drawn(count, values);
            let moments = Moments::of_rows(&rows, values).unwrap();
            let at = |row: usize, column: usize| f64::from(rows[row * values + column]);
            let mean: Vec<f64> =
                (0..values).map(|i| (0..count).map(|row| at(row, i)).sum::<f64>() / count as f64).collect();
            let (second, covariance) = (moments.second_moment().unwrap(), moments.covariance(0).unwrap());
            for i in 0..values {
                assert!((moments.mean().unwrap()[i] - mean[i]).abs() < 1e-12 * 100.0);
                for j in 0..values {
                    let n = count as f64;
                    let raw = (0..count).map(|row| at(row, i) * at(row, j)).sum::<f64>() / n;
                    let about = (0..count).map(|row| (at(row, i) - mean[i]) * (at(row, j) - mean[j])).sum::<f64>() / n;
                    assert!((second[(i, j)] - raw).abs() < 1e-9, "{count} {i} {j}");
                    assert!((covariance[(i, j)] - about).abs() < 1e-12, "{count} {i} {j}");
                    assert_eq!(covariance[(i, j)], covariance[(j, i)]);
                }
            }
        }
        assert!(Moments::of_rows(&[1.0, 2.0], 2).unwrap().covariance(1).is_err());
    }

    #[test]
    fn the_size_of_the_pieces_changes_no_bit() {
        let (rows, values) = (drawn(3333, 3), 3);
        let whole = Moments::of_rows(&rows, values).unwrap();
        for piece in [1, 7, 250, 256, 4000] {
            let mut moments = Moments::whole(Description::of_rows(3333, &[values])).unwrap();
            rows.chunks(piece * values).for_each(|rows| moments.add(rows));
            assert!(same(&moments, &whole), "{piece}");
        }
        let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert!(same(&threads.install(|| Moments::of_rows(&rows, values).unwrap()), &whole));
    }

    #[test]
    fn an_interrupted_run_goes_on_with_the_same_bits() {
        let count = 600_000;
        let rows: Vec<f32> = (0..count).map(|at| (at as f32 * 0.7).sin()).collect();
        let whole = Moments::of_rows(&rows, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let mut moments = Moments::whole(Description::of_rows(count, &[1])).unwrap();
        // Within a block of 1024 rows, after some of its leaves.
        moments.add(&rows[..300_500]);
        assert_eq!(merge::listed(&moments.rows()), "rows 0 to 300031");
        moments.write(&path).unwrap();
        let blocks = moments.blocks().count();
        let mut moments = Moments::read(&path).unwrap().continued(0..blocks).unwrap();
        assert_eq!((moments.next_row(), moments.end()), (300_032, count));
        moments.add(&rows[300_032..]);
        assert!(same(&moments, &whole));
        let error = Moments::read(&path).unwrap().continued(5..9).unwrap_err();
        assert_eq!(error.to_string(), "it holds rows 0 to 300031, and this run adds rows 5120 to 9215");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn any_division_order_and_grouping_has_the_same_bits(
            count in 2usize..5000,
            cuts in prop::collection::vec(0.0f64..1.0, 0..9),
            order in prop::collection::vec(any::<u32>(), 10),
            group in 1usize..4,
        ) {
            let (rows, values) = (drawn(count, 3), 3);
            let description = Description::of_rows(count, &[values]);
            let blocks = Blocks::of(count);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (cut * blocks.count() as f64) as usize).collect();
            cuts.extend([0, blocks.count()]);
            cuts.sort_unstable();
            let mut parts: Vec<(u32, Moments)> = cuts.windows(2).zip(&order).map(|(cut, order)| {
                let mut part = Moments::new(description.clone(), cut[0]..cut[1]).unwrap();
                part.add(&rows[blocks.first_row(cut[0]) * values..blocks.first_row(cut[1]) * values]);
                (*order, part)
            }).collect();
            parts.sort_by_key(|(order, _)| *order);
            let named = |parts: &[(u32, Moments)]| -> Vec<(String, Moments)> {
                parts.iter().map(|(order, part)| (order.to_string(), part.clone())).collect()
            };
            let grouped: Vec<(String, Moments)> = parts.chunks(group)
                .map(|parts| ("group".to_owned(), merge(named(parts), true).unwrap()))
                .collect();
            let whole = Moments::of_rows(&rows, values).unwrap();
            prop_assert!(same(&merge(grouped, false).unwrap(), &whole));
            prop_assert!(same(&merge(named(&parts), false).unwrap(), &whole));
        }
    }
}
