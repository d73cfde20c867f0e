//! Measurements as rows of numbers, one for each item: image, trajectory, query or draw.

use super::Shard;
use crate::denoise::Level;
use crate::study::norms::ByLevel;

/// A row of numbers for each of several items, all of one width.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    width: usize,
    /// (items, width), row-major.
    values: Vec<f64>,
}

impl Rows {
    /// Rows of `width` numbers.
    ///
    /// # Panics
    /// When `values` are not whole rows: a bug of the study.
    #[must_use]
    pub fn new(width: usize, values: Vec<f64>) -> Self {
        assert!(if width == 0 { values.is_empty() } else { values.len().is_multiple_of(width) });
        Self { width, values }
    }

    /// One row after another.
    ///
    /// # Panics
    /// When they differ in width: a bug of the study.
    #[must_use]
    pub fn of_each(rows: Vec<Vec<f64>>) -> Self {
        let width = rows.first().map_or(0, Vec::len);
        assert!(rows.iter().all(|row| row.len() == width));
        Self { width, values: rows.concat() }
    }

    /// The rows of several sets, one set after the other.
    #[must_use]
    pub fn after_each_other(sets: &[Self]) -> Self {
        let width = sets.first().map_or(0, Self::width);
        Self::new(width, sets.iter().flat_map(|set| &set.values).copied().collect())
    }

    /// The values of each image over the levels of each set, side by side.
    ///
    /// # Panics
    /// When the sets are of different numbers of images: a bug of the study.
    #[must_use]
    pub fn of(sets: &[&ByLevel]) -> Self {
        let (images, width) = (sets.first().map_or(0, |set| set.images), sets.iter().map(|set| set.levels.len()).sum());
        assert!(sets.iter().all(|set| set.images == images));
        let levels = |image: usize| {
            sets.iter().flat_map(move |set| (0..set.levels.len()).map(move |level| set.at(level)[image]))
        };
        Self { width, values: (0..images).flat_map(levels).collect() }
    }

    /// These rows with one more number at the end of each.
    ///
    /// # Panics
    /// When there is not one number per row: a bug of the study.
    #[must_use]
    pub fn beside(self, column: &[f64]) -> Self {
        assert_eq!(self.count(), column.len());
        let rows = (0..self.count()).flat_map(|at| self.row(at).iter().chain(std::iter::once(&column[at])));
        Self { width: self.width + 1, values: rows.copied().collect() }
    }

    /// Numbers per row.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.values.len() / if self.width == 0 { 1 } else { self.width }
    }

    /// All numbers, row-major.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The row of an item.
    #[must_use]
    pub fn row(&self, item: usize) -> &[f64] {
        &self.values[item * self.width..][..self.width]
    }

    /// The number at `place` of every row.
    #[must_use]
    pub fn column(&self, place: usize) -> Vec<f64> {
        self.values.iter().skip(place).step_by(self.width.max(1)).copied().collect()
    }

    /// The numbers from `place` on as values over `levels`: the inverse of [`Rows::of`] for one set.
    #[must_use]
    pub fn by_level(&self, place: usize, levels: &[Level]) -> ByLevel {
        let values = (0..levels.len()).flat_map(|level| self.column(place + level)).collect();
        ByLevel { levels: levels.to_vec(), values, images: self.count() }
    }

    /// The rows of all items, from those of each of several runs: row i is of run i modulo their number.
    ///
    /// # Panics
    /// When the runs do not have the rows of `count` items: a bug of the caller.
    #[must_use]
    pub fn together(runs: &[Self], count: usize) -> Self {
        let of = runs.len();
        assert!(runs.iter().enumerate().all(|(index, rows)| rows.count() == Shard { index, of }.len(count)));
        let width = runs.iter().map(Self::width).max().unwrap_or(0);
        let values = (0..count).flat_map(|item| runs[item % of].row(item / of)).copied().collect();
        Self { width, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_over_levels_are_rows_and_back() {
        let levels: Vec<Level> = [3.0, 2.0, 1.0].map(Level::at_sigma).to_vec();
        let one = ByLevel { levels: levels.clone(), values: (0..6).map(f64::from).collect(), images: 2 };
        let two = ByLevel { levels: levels[..1].to_vec(), values: vec![10.0, 11.0], images: 2 };
        let rows = Rows::of(&[&one, &two]).beside(&[7.0, 8.0]);
        assert_eq!(rows.row(1), [1.0, 3.0, 5.0, 11.0, 8.0]);
        assert_eq!(rows.by_level(0, &levels), one);
        assert_eq!(rows.by_level(3, &levels[..1]), two);
        assert_eq!(rows.column(4), [7.0, 8.0]);
    }

    #[test]
    fn runs_take_turns() {
        let whole = Rows::new(2, (0..14).map(f64::from).collect());
        for of in 1..10 {
            let run = |index: usize| {
                Rows::new(2, Shard { index, of }.items(7).flat_map(|item| whole.row(item).to_vec()).collect())
            };
            assert_eq!(Rows::together(&(0..of).map(run).collect::<Vec<_>>(), 7), whole, "{of}");
        }
    }
}
