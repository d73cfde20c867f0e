//! Tensors whose elements do not lie in the file as they are read: views of a storage, and numbers with the most
//! significant byte first.

use std::ops::Range;
use std::path::Path;

use super::header::Stored;
use super::source::Source;
use crate::error::{Error, Result};
use crate::input::{ask, room};

/// The order of the elements of a tensor in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The step of each axis in elements; `None` for row-major.
    pub(super) steps: Option<Vec<usize>>,
    /// `true` if the most significant byte of a number comes first.
    pub(super) big_endian: bool,
}

impl Order {
    /// Reads the bytes in `range` of the tensor, row-major and little-endian. The range holds whole elements.
    pub(super) fn read(&self, file: &Path, source: &Source, stored: &Stored, range: Range<usize>) -> Result<Vec<u8>> {
        let size = stored.dtype.bitsize() / 8;
        let bytes = range.len();
        let mut dense = match &self.steps {
            None => {
                let bytes = source.read(file, stored.offset + range.start as u64, bytes)?;
                let mut dense = room(file, bytes.len())?;
                dense.extend_from_slice(&bytes);
                dense
            }
            Some(steps) => {
                let elements = range.start / size..range.end / size;
                let places = Places { shape: &stored.shape, steps };
                let Some((first, last)) = places.span(elements.clone()) else { return Ok(Vec::new()) };
                let beyond = || Error::bad_file(file, format!("a tensor of shape {:?} is impossible", stored.shape));
                let span = (last - first + 1).checked_mul(size).ok_or_else(beyond)?;
                ask(file, (span as u64).saturating_add(bytes as u64))?;
                let held = source.read(file, stored.offset + (first * size) as u64, span)?;
                let mut dense = room(file, bytes)?;
                places.each(elements, |place| {
                    let start = (place - first) * size;
                    dense.extend_from_slice(&held[start..start + size]);
                });
                dense
            }
        };
        if self.big_endian && size > 1 {
            dense.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(dense)
    }
}

/// The places of the elements of a view, counted from its first element in elements of its storage.
struct Places<'a> {
    shape: &'a [usize],
    steps: &'a [usize],
}

impl Places<'_> {
    /// The place of element number `index`, row-major.
    fn place(&self, mut index: usize) -> usize {
        let mut place = 0;
        for (extent, step) in self.shape.iter().zip(self.steps).rev() {
            place += index % extent * step;
            index /= extent;
        }
        place
    }

    /// The first and the last place of these elements, or places around them; `None` without elements. The rows of the
    /// outermost axis that hold the elements bound them.
    fn span(&self, elements: Range<usize>) -> Option<(usize, usize)> {
        if elements.is_empty() {
            return None;
        }
        let (Some((_, rest)), Some((step, steps))) = (self.shape.split_first(), self.steps.split_first()) else {
            return Some((0, 0));
        };
        let row: usize = rest.iter().product();
        let within: usize = rest.iter().zip(steps).map(|(extent, step)| (extent - 1) * step).sum();
        Some((elements.start / row * step, (elements.end - 1) / row * step + within))
    }

    /// Passes the place of each of these elements to `visit`.
    fn each(&self, elements: Range<usize>, mut visit: impl FnMut(usize)) {
        let Some((&extent, &step)) = self.shape.last().zip(self.steps.last()) else {
            return elements.for_each(|_| visit(0));
        };
        let mut index = elements.start;
        while index < elements.end {
            let column = index % extent;
            let count = (extent - column).min(elements.end - index);
            let first = self.place(index);
            (0..count).for_each(|column| visit(first + column * step));
            index += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(shape: &[usize], steps: &[usize], elements: Range<usize>) -> Vec<usize> {
        let places = Places { shape, steps };
        let mut all = Vec::new();
        places.each(elements.clone(), |place| all.push(place));
        let (first, last) = places.span(elements).unwrap_or_default();
        assert!(all.iter().all(|place| (first..=last).contains(place)), "{all:?} in {first}..={last}");
        all
    }

    #[test]
    fn views_are_walked_row_by_row() {
        // The transpose of a matrix (2, 3).
        assert_eq!(places(&[3, 2], &[1, 3], 0..6), [0, 3, 1, 4, 2, 5]);
        assert_eq!(places(&[3, 2], &[1, 3], 1..4), [3, 1, 4]);
        // Every second column, a scalar, one row that is repeated, and nothing.
        assert_eq!(places(&[2, 2], &[4, 2], 0..4), [0, 2, 4, 6]);
        assert_eq!(places(&[], &[], 0..1), [0]);
        assert_eq!(places(&[3, 2], &[0, 1], 0..6), [0, 1, 0, 1, 0, 1]);
        assert_eq!(places(&[3, 2], &[1, 3], 2..2), [0; 0]);
        assert_eq!(places(&[2, 1, 3], &[9, 7, 2], 2..5), [4, 9, 11]);
    }
}
