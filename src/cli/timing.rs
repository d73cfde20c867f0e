//! What the parts of a run take.

use std::time::Instant;

use serde_json::{Map, Value};

/// Phases of a run, one after the other.
pub struct Stopwatch {
    since: Instant,
    phases: Vec<(&'static str, f64)>,
}

impl Stopwatch {
    /// Starts the first phase.
    pub fn start() -> Self {
        Self { since: Instant::now(), phases: Vec::new() }
    }

    /// Ends a phase, which is called `name`, and starts the next.
    pub fn lap(&mut self, name: &'static str) {
        self.phases.push((name, self.since.elapsed().as_secs_f64()));
        self.since = Instant::now();
    }

    /// The phases and their seconds.
    pub fn phases(&self) -> &[(&'static str, f64)] {
        &self.phases
    }

    /// The phases for a report, in seconds.
    pub fn json(&self) -> Value {
        self.phases
            .iter()
            .map(|(name, seconds)| ((*name).to_owned(), Value::from(*seconds)))
            .collect::<Map<_, _>>()
            .into()
    }
}
