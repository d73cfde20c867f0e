//! Ways to compute the same, timed beside each other: samples alternate, so that other load on the machine affects all
//! alike; the least time of each counts.

use web_time::Instant;

use crate::error::Result;

/// The least seconds of a sample, and the most calls.
const SAMPLE_SECONDS: f64 = 0.005;
const MOST_CALLS: f64 = 100.0;
/// Samples of a contender; after the first `SURE`, one that is `HOPELESS` times slower than another is not measured
/// further.
const SAMPLES: usize = 7;
const SURE: usize = 3;
const HOPELESS: f64 = 1.5;

/// One of the ways, ready to be timed.
pub struct Contender<'e, T> {
    /// The way.
    pub is: T,
    /// Computes a number of times and waits.
    repeat: Box<dyn Fn(usize) -> Result<()> + 'e>,
    calls: usize,
    /// The least seconds of a call so far.
    pub least: f64,
}

impl<'e, T> Contender<'e, T> {
    /// Times a way once, to find how many calls make a sample. `repeat` computes a number of times and waits.
    ///
    /// # Errors
    /// Those of `repeat`.
    pub fn new(is: T, repeat: impl Fn(usize) -> Result<()> + 'e) -> Result<Self> {
        let begin = Instant::now();
        repeat(1)?;
        let once = begin.elapsed().as_secs_f64();
        let calls = (SAMPLE_SECONDS / once.max(f64::MIN_POSITIVE)).ceil().clamp(1.0, MOST_CALLS) as usize;
        Ok(Self { is, repeat: Box::new(repeat), calls, least: once })
    }

    fn sample(&mut self) -> Result<()> {
        let begin = Instant::now();
        (self.repeat)(self.calls)?;
        self.least = self.least.min(begin.elapsed().as_secs_f64() / self.calls as f64);
        Ok(())
    }
}

/// Takes the samples.
///
/// # Errors
/// Those of the contenders.
pub fn race<T>(contenders: &mut [Contender<T>]) -> Result<()> {
    for sample in 0..SAMPLES {
        let best = contenders.iter().map(|contender| contender.least).fold(f64::INFINITY, f64::min);
        let most = if sample < SURE { f64::INFINITY } else { HOPELESS * best };
        for contender in contenders.iter_mut().filter(|contender| contender.least <= most) {
            contender.sample()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_hopeless_is_not_measured_to_the_end() {
        let (fast, slow) = (Cell::new(0), Cell::new(0));
        let way = |count, milliseconds| {
            Contender::new(milliseconds, move |times: usize| {
                let count: &Cell<usize> = count;
                count.set(count.get() + 1);
                std::thread::sleep(Duration::from_millis(milliseconds) * times as u32);
                Ok(())
            })
        };
        let mut contenders = [way(&fast, 5).unwrap(), way(&slow, 50).unwrap()];
        race(&mut contenders).unwrap();
        drop(contenders);
        assert_eq!((fast.get(), slow.get()), (1 + SAMPLES, 1 + SURE));
    }
}
