//! One tensor of a set of weights: its place in a file, and the part of it that is used.

use super::header::Stored;
use super::take::Take;
use crate::error::excerpt;

/// A tensor of a set of weights.
#[derive(Debug)]
pub(super) struct Entry {
    /// The file that holds it, of several.
    pub file: usize,
    /// Its place there.
    pub stored: Stored,
    /// The part of the stored tensor that this one is.
    pub take: Take,
    /// The shape of that part.
    pub shape: Vec<usize>,
}

impl Entry {
    /// The whole of a stored tensor.
    pub fn whole(file: usize, stored: Stored) -> Self {
        Self { file, shape: stored.shape.clone(), stored, take: Take::Whole }
    }

    /// A part of a stored tensor. `None` for a shape that it cannot be taken of.
    pub fn part(file: usize, stored: &Stored, take: Take) -> Option<Self> {
        let shape = take.shape(&stored.shape)?;
        let mut stored = stored.clone();
        let is_row_major = stored.order.as_ref().is_none_or(|order| order.steps.is_none());
        if let (Take::Rows { index, of, groups: 1 }, true) = (take, is_row_major) {
            // Rows that follow each other are a smaller tensor.
            stored.bytes /= of;
            stored.offset += (index * stored.bytes) as u64;
            stored.shape.clone_from(&shape);
            return Some(Self::whole(file, stored));
        }
        Some(Self { file, stored, take, shape })
    }

    /// The bytes that the tensor takes in its stored dtype.
    pub fn bytes(&self) -> usize {
        match self.take {
            Take::Rows { of, .. } => self.stored.bytes / of,
            Take::Whole | Take::Transposed => self.stored.bytes,
        }
    }
}

/// Returns the name of a tensor for messages: both names if the file uses another one.
pub(super) fn label(name: &str, stored: &Stored) -> String {
    let name = excerpt(name);
    if name == stored.name { name.into_owned() } else { format!("{name}, stored as {}", excerpt(&stored.name)) }
}

/// Returns `true` for equal shapes, and for a matrix and a 1x1 convolution, of images or of sequences, of the same
/// extents.
pub(super) fn same_matrix(found: &[usize], expected: &[usize]) -> bool {
    let matrix = |shape: &[usize]| match *shape {
        [rows, columns] | [rows, columns, 1] | [rows, columns, 1, 1] => Some((rows, columns)),
        _ => None,
    };
    found == expected || matrix(found).is_some_and(|extents| matrix(expected) == Some(extents))
}
