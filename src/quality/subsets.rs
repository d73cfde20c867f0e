//! Random subsets as `NumPy` draws them, so that estimates from subsets are those of other programs.

use crate::noise::torch::words;

/// `numpy.random.RandomState(seed)`, for choices without replacement.
pub struct RandomState(Box<dyn FnMut() -> u32>);

impl RandomState {
    /// Creates the generator of a seed.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(Box::new(words(seed)))
    }

    /// Draws `choice(count, taken, replace=False)`: the beginning of a permutation of `0..count`.
    pub fn choice(&mut self, count: usize, taken: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let other = self.up_to(last);
            order.swap(last, other);
        }
        order.truncate(taken);
        order
    }

    /// Draws a whole number from 0 to `most`, below 2^32, by rejection.
    fn up_to(&mut self, most: usize) -> usize {
        let mask = (most.next_power_of_two() - 1) | most;
        loop {
            let value = (self.0)() as usize & mask;
            if value <= most {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_those_of_numpy() {
        // numpy.random.RandomState(2020): choice(10, 4, replace=False), then choice(7, 7, replace=False).
        let mut state = RandomState::new(2020);
        assert_eq!(state.choice(10, 4), FIRST);
        assert_eq!(state.choice(7, 7), SECOND);
    }

    const FIRST: [usize; 4] = [2, 4, 9, 1];
    const SECOND: [usize; 7] = [4, 3, 1, 2, 5, 6, 0];
}
