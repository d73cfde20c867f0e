//! The part of a stored tensor that a tensor of a model is: networks of other code bases store some tensors joined or
//! transposed.

use std::path::Path;

use crate::error::Result;
use crate::input::room;

/// The part of a stored tensor that a tensor of a model is.
///
/// Trailing extents of 1 are not compared: a 1x1 convolution and a matrix are accepted for each other when a tensor
/// is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The whole tensor, as it is.
    Whole,
    /// Rows, along the first axis. The rows are cut into `groups` equal groups, each group into `of` equal parts, and
    /// part `index` of each group is taken.
    ///
    /// With one group these are the queries (0 of 3), keys (1 of 3) or values (2 of 3) of a product that makes all
    /// three one after the other. With a group per head, each head's three follow each other. With a group per channel
    /// of the queries, they alternate.
    Rows {
        /// The part that is taken, from 0.
        index: usize,
        /// Parts per group.
        of: usize,
        /// Groups.
        groups: usize,
    },
    /// A matrix, with rows and columns exchanged.
    Transposed,
}

impl Take {
    /// The shape of what is taken of a tensor of shape `stored`, or `None` for a shape that this cannot be taken of.
    pub(super) fn shape(self, stored: &[usize]) -> Option<Vec<usize>> {
        match (self, stored) {
            (Self::Whole, _) => Some(stored.to_vec()),
            (Self::Rows { index, of, groups }, [rows, rest @ ..]) => {
                let sound = index < of && groups > 0 && rows.is_multiple_of(of.checked_mul(groups)?);
                sound.then(|| [&[rows / of], rest].concat())
            }
            (Self::Transposed, [rows, columns]) => Some(vec![*columns, *rows]),
            (Self::Rows { .. } | Self::Transposed, _) => None,
        }
    }

    /// Takes the values out of those of a whole tensor of shape `stored`, row-major. Errors name `file`.
    pub(super) fn apply(self, file: &Path, stored: &[usize], values: Vec<f32>) -> Result<Vec<f32>> {
        match (self, stored) {
            (Self::Rows { index, of, groups }, [rows, rest @ ..]) => {
                let part = (rows / of / groups) * rest.iter().product::<usize>();
                let mut taken = room(file, values.len() / of)?;
                for group in 0..groups {
                    let start = (group * of + index) * part;
                    taken.extend_from_slice(&values[start..start + part]);
                }
                Ok(taken)
            }
            (Self::Transposed, [rows, columns]) => {
                let mut taken = room(file, values.len())?;
                for column in 0..*columns {
                    taken.extend((0..*rows).map(|row| values[row * columns + column]));
                }
                Ok(taken)
            }
            _ => Ok(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: usize, of: usize) -> Take {
        Take::Rows { index, of, groups: 1 }
    }

    fn taken(take: Take, shape: &[usize]) -> (Vec<usize>, Vec<f32>) {
        let values = (0..shape.iter().product()).map(|at: usize| at as f32).collect();
        (take.shape(shape).unwrap(), take.apply(Path::new("x"), shape, values).unwrap())
    }

    #[test]
    fn rows_are_taken_by_groups() {
        assert_eq!(taken(part(1, 3), &[6, 2]), (vec![2, 2], vec![4.0, 5.0, 6.0, 7.0]));
        let of_two_heads = Take::Rows { index: 1, of: 3, groups: 2 };
        assert_eq!(taken(of_two_heads, &[12]), (vec![4], vec![2.0, 3.0, 8.0, 9.0]));
        let alternating = Take::Rows { index: 2, of: 3, groups: 4 };
        assert_eq!(taken(alternating, &[12, 1, 1]), (vec![4, 1, 1], vec![2.0, 5.0, 8.0, 11.0]));
    }

    #[test]
    fn matrices_are_transposed() {
        assert_eq!(taken(Take::Transposed, &[2, 3]), (vec![3, 2], vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        assert_eq!(taken(Take::Whole, &[2, 2]), (vec![2, 2], vec![0.0, 1.0, 2.0, 3.0]));
    }

    #[test]
    fn shapes_that_cannot_be_cut_are_refused() {
        for (take, shape) in [
            (part(0, 3), &[4, 2][..]),
            (part(3, 3), &[6]),
            (Take::Rows { index: 0, of: 3, groups: 4 }, &[6]),
            (Take::Rows { index: 0, of: usize::MAX, groups: 2 }, &[6]),
            (part(0, 3), &[]),
            (Take::Transposed, &[2, 2, 1]),
        ] {
            assert_eq!(take.shape(shape), None, "{take:?} of {shape:?}");
        }
    }
}
