//! Rows that are read in passes, a few at a time: data that no memory holds.

use crate::data::Stream;
use crate::error::Result;

/// The bytes of rows that are read at once. Two such pieces are in memory: the next one is read while one is used.
const PIECE: usize = 64 << 20;

/// Hears how many rows have been used; an error of it ends the pass.
pub type Watch<'a> = &'a dyn Fn(u64) -> Result<()>;

/// Rows that are read in passes.
pub struct Passes<'a> {
    stream: &'a mut dyn Stream,
    watch: Watch<'a>,
    count: usize,
    made: usize,
}

impl<'a> Passes<'a> {
    /// Passes over the first `count` rows of `stream`, or over all if there are fewer. `watch` hears of the rows as
    /// they are used.
    #[must_use]
    pub fn over(stream: &'a mut dyn Stream, count: usize, watch: Watch<'a>) -> Self {
        Self { count: count.min(stream.count()), stream, watch, made: 0 }
    }

    /// The number of passes made so far.
    #[must_use]
    pub const fn made(&self) -> usize {
        self.made
    }

    /// The number of rows.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The number of values per row.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.stream.dimension()
    }

    /// Hands all rows to `take`, some at a time and in order.
    ///
    /// # Errors
    /// Those of reading, of `take` and of the watch.
    pub fn pass(&mut self, mut take: impl FnMut(&[f32]) -> Result<()> + Send) -> Result<()> {
        let (count, dimension) = (self.count(), self.dimension());
        let most = (PIECE / (size_of::<f32>() * dimension)).clamp(1, count.max(1));
        let (mut rows, mut next) = (vec![0.0f32; most * dimension], vec![0.0f32; most * dimension]);
        let values = |first: usize| most.min(count - first) * dimension;
        self.stream.read(0, &mut rows[..values(0)])?;
        for first in (0..count).step_by(most) {
            let (here, after) = (values(first), first + most);
            let stream = &mut *self.stream;
            let read = || if after < count { stream.read(after, &mut next[..values(after)]) } else { Ok(()) };
            let (taken, read) = rayon::join(|| take(&rows[..here]), read);
            taken?;
            read?;
            std::mem::swap(&mut rows, &mut next);
            (self.watch)((here / dimension) as u64)?;
        }
        self.made += 1;
        Ok(())
    }

    /// The mean of the rows, of p values, summed in float64.
    ///
    /// # Errors
    /// Those of [`Passes::pass`].
    pub fn mean(&mut self) -> Result<Vec<f64>> {
        let (count, dimension) = (self.count() as f64, self.dimension());
        let mut sums = vec![0.0f64; dimension];
        self.pass(|rows| {
            for row in rows.chunks_exact(dimension) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            Ok(())
        })?;
        Ok(sums.into_iter().map(|sum| sum / count).collect())
    }
}
