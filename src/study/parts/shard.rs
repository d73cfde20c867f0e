//! One of several runs that share work among them.

use std::fmt;

/// One of several runs that share items among them: items `index`, `index + of`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The number of this run, from 0.
    pub index: usize,
    /// The number of runs.
    pub of: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Shard {
    /// Every item.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// This run of the runs `inner` that share the items of the run `self`; `None` for more runs than can be counted.
    #[must_use]
    pub fn within(self, inner: Self) -> Option<Self> {
        let of = self.of.checked_mul(inner.of)?;
        Some(Self { index: self.index * inner.of + inner.index, of })
    }

    /// The items of `count` that are of this run.
    pub fn items(self, count: usize) -> impl ExactSizeIterator<Item = usize> + Clone + use<> {
        (0..self.len(count)).map(move |at| self.item(at))
    }

    /// The number of the item that is the run's `at`-th, from 0.
    #[must_use]
    pub const fn item(self, at: usize) -> usize {
        self.index + at * self.of
    }

    /// The number of items of `count` that are of this run.
    #[must_use]
    pub const fn len(self, count: usize) -> usize {
        count.saturating_sub(self.index).div_ceil(if self.of == 0 { 1 } else { self.of })
    }

    /// Returns `true` if none of `count` items is of this run.
    #[must_use]
    pub const fn is_empty(self, count: usize) -> bool {
        self.len(count) == 0
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_of_one_run() {
        for count in 0..12 {
            for of in 1..15 {
                let mut all: Vec<usize> = (0..of).flat_map(|index| Shard { index, of }.items(count)).collect();
                all.sort_unstable();
                assert_eq!(all, (0..count).collect::<Vec<_>>(), "{count} of {of}");
            }
        }
    }

    #[test]
    fn runs_within_a_run_have_its_items() {
        let outer = Shard { index: 1, of: 3 };
        let inner = Shard { index: 1, of: 2 };
        assert_eq!(outer.within(inner), Some(Shard { index: 3, of: 6 }));
        assert_eq!(outer.within(Shard { index: 0, of: usize::MAX }), None);
    }
}
