//! Count, mean and centred products of rows: those of a leaf, and the combination of two nodes.

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, Par};

/// The elements from which on the combination of two nodes is divided among threads.
const LARGE: usize = 1 << 15;

/// Count, mean and centred products of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The number of rows, at least 1.
    pub count: usize,
    /// Their mean.
    pub mean: Vec<f64>,
    /// The upper triangle of the sum of (x - mean)(x - mean)', row by row; empty for one row, of which it is zero.
    pub products: Vec<f64>,
}

/// The number of elements of the upper triangle of a matrix of `values` rows.
#[must_use]
pub fn triangle(values: usize) -> usize {
    values * (values + 1) / 2
}

impl Node {
    /// Returns the moments of rows of `values` values, which are one after the other, on the calling thread.
    #[must_use]
    pub fn of_rows(rows: &[f32], values: usize) -> Self {
        let count = rows.len() / values;
        let mut mean = vec![0.0f64; values];
        for row in rows.chunks_exact(values) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        for sum in &mut mean {
            *sum /= count as f64;
        }
        if count == 1 {
            return Self { count, mean, products: Vec::new() };
        }
        let mut centred: Mat<f64> = Mat::zeros(count, values);
        for (at, mean) in mean.iter().enumerate() {
            let column = rows.iter().skip(at).step_by(values);
            centred
                .col_as_slice_mut(at)
                .iter_mut()
                .zip(column)
                .for_each(|(into, value)| *into = f64::from(*value) - mean);
        }
        let mut square: Mat<f64> = Mat::zeros(values, values);
        triangular::matmul(
            square.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Replace,
            centred.transpose(),
            BlockStructure::Rectangular,
            centred.as_ref(),
            BlockStructure::Rectangular,
            1.0,
            Par::Seq,
        );
        // The columns of the lower triangle are the rows of the upper one.
        let mut products = Vec::with_capacity(triangle(values));
        (0..values).for_each(|at| products.extend_from_slice(&square.col_as_slice(at)[at..]));
        Self { count, mean, products }
    }

    /// The moments of the rows of this node and of those of `other`, which follow them.
    #[must_use]
    pub fn combined(self, other: &Self) -> Self {
        let (a, b, count) = (self.count as f64, other.count as f64, (self.count + other.count) as f64);
        let distance: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        let mut products = self.products;
        if products.is_empty() {
            products = vec![0.0; triangle(distance.len())];
        }
        let others = (!other.products.is_empty()).then_some(&other.products[..]);
        add(&mut products, others, &distance, 0..distance.len(), a * b / count);
        let mean = self.mean.iter().zip(&distance).map(|(mean, distance)| mean + distance * (b / count)).collect();
        Self { count: self.count + other.count, mean, products }
    }

    /// A symmetric matrix of a function of row, column and centred product.
    pub(super) fn symmetric(&self, value: impl Fn(usize, usize, f64) -> f64) -> Mat<f64> {
        let values = self.mean.len();
        let mut matrix: Mat<f64> = Mat::zeros(values, values);
        let mut products = self.products.iter();
        for i in 0..values {
            for j in i..values {
                let element = value(i, j, products.next().copied().unwrap_or(0.0));
                matrix[(i, j)] = element;
                matrix[(j, i)] = element;
            }
        }
        matrix
    }

    /// Returns `true` if every number is finite.
    pub(super) fn is_finite(&self) -> bool {
        self.mean.iter().chain(&self.products).all(|value| value.is_finite())
    }
}

/// Adds `others` and `weight` times the products of `distance` to the `rows` of a triangle. Every element is computed
/// in the same way, however the rows are divided.
fn add(products: &mut [f64], others: Option<&[f64]>, distance: &[f64], rows: std::ops::Range<usize>, weight: f64) {
    if products.len() > LARGE && rows.len() > 1 {
        let middle = rows.start + rows.len() / 2;
        let cut: usize = (rows.start..middle).map(|row| distance.len() - row).sum();
        let (first, last) = products.split_at_mut(cut);
        let (first_others, last_others) = others.map(|others| others.split_at(cut)).unzip();
        rayon::join(
            || add(first, first_others, distance, rows.start..middle, weight),
            || add(last, last_others, distance, middle..rows.end, weight),
        );
        return;
    }
    let mut start = 0;
    for row in rows {
        let (along, scaled) = (&distance[row..], distance[row] * weight);
        let places = &mut products[start..start + along.len()];
        match others {
            None => places.iter_mut().zip(along).for_each(|(place, other)| *place += scaled * other),
            Some(others) => {
                let others = &others[start..start + along.len()];
                for ((place, other), along) in places.iter_mut().zip(others).zip(along) {
                    *place = (*place + other) + scaled * along;
                }
            }
        }
        start += along.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_combine_to_the_node_of_all_rows() {
        let rows: Vec<f32> = (0..400u16).map(|i| 50.0 + (f32::from(i) * 0.7).sin()).collect();
        for values in [2, 4, 200] {
            let whole = Node::of_rows(&rows, values);
            for rows_of_first in [1, (400 / values - 1).max(1)] {
                let (first, last) = rows.split_at(rows_of_first * values);
                let found = Node::of_rows(first, values).combined(&Node::of_rows(last, values));
                assert_eq!(found.count, whole.count);
                let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-10);
                assert!(close(&found.mean, &whole.mean) && close(&found.products, &whole.products), "{values}");
                assert_eq!(found.products.len(), triangle(values));
            }
        }
    }

    #[test]
    fn threads_change_no_bit_of_a_combination() {
        let rows: Vec<f32> = (0..3000u16).map(|i| (f32::from(i) * 0.7).sin()).collect();
        let (a, b) = (Node::of_rows(&rows[..1500], 500), Node::of_rows(&rows[1500..], 500));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| a.clone().combined(&b))
        };
        assert_eq!(on(1), on(4));
        assert!(triangle(500) > LARGE);
    }
}
