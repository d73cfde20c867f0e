//! The time that each phase of a run takes.

use serde_json::{Map, Value, json};
use web_time::Instant;

use super::Event;
use crate::error::Result;
use crate::report::columns::aligned;

/// A phase of a run.
#[derive(Clone, Debug)]
struct Phase {
    name: &'static str,
    seconds: f64,
    /// The amount of work, in words.
    note: String,
}

/// A clock for the consecutive phases of a run.
#[derive(Clone, Debug)]
pub struct Stopwatch {
    begun: Instant,
    since: Instant,
    phases: Vec<Phase>,
}

impl Stopwatch {
    /// Starts the first phase.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        Self { begun: now, since: now, phases: Vec::new() }
    }

    /// Ends the phase `name` and starts the next.
    pub fn lap(&mut self, name: &'static str) {
        self.lap_with(name, "");
    }

    /// As [`Stopwatch::lap`], with a note on the amount of work.
    pub fn lap_with(&mut self, name: &'static str, note: impl Into<String>) {
        let now = Instant::now();
        self.phases.push(Phase { name, seconds: (now - self.since).as_secs_f64(), note: note.into() });
        self.since = now;
    }

    /// Returns an observer that ends a phase with every part of a run.
    pub fn observer(&mut self) -> impl FnMut(Event) -> Result<()> + '_ {
        |event| {
            if let Event::Done { part, detail } = event {
                self.lap_with(part, detail);
            }
            Ok(())
        }
    }

    /// Returns the phases, their total and the sampling steps for a report, in seconds.
    #[must_use]
    pub fn json(&self, steps: &[f64]) -> Value {
        let phases: Map<_, _> =
            self.phases.iter().map(|phase| (phase.name.to_owned(), Value::from(phase.seconds))).collect();
        let notes: Map<_, _> = (self.phases.iter().filter(|phase| !phase.note.is_empty()))
            .map(|phase| (phase.name.to_owned(), Value::from(phase.note.as_str())))
            .collect();
        let (first, steady) = first_and_steady(steps);
        json!({
            "phases": phases,
            "notes": notes,
            "total": (self.since - self.begun).as_secs_f64(),
            "first_step": first,
            "steady_step": steady,
            "steps": steps,
        })
    }

    /// Returns the same as a table.
    #[must_use]
    pub fn table(&self, steps: &[f64]) -> String {
        let row = |name: &str, seconds: f64, note: &str| [name.to_owned(), format!("{seconds:8.3} s"), note.to_owned()];
        let (first, steady) = first_and_steady(steps);
        let others = format!("median of {}", steps.len().saturating_sub(1));
        let of_steps = [("  first step", first, ""), ("  steady step", steady, others.as_str())];
        let mut rows = Vec::new();
        for phase in &self.phases {
            rows.push(row(phase.name, phase.seconds, &phase.note));
            if phase.name == SAMPLING {
                rows.extend(of_steps.iter().filter_map(|(name, seconds, note)| Some(row(name, (*seconds)?, note))));
            }
        }
        rows.push(row("total", (self.since - self.begun).as_secs_f64(), ""));
        aligned(&rows)
    }
}

/// The phase that consists of steps.
pub const SAMPLING: &str = "sampling";

/// The seconds of the first step and the median of the others.
fn first_and_steady(seconds: &[f64]) -> (Option<f64>, Option<f64>) {
    let mut others = seconds.get(1..).unwrap_or_default().to_vec();
    others.sort_by(f64::total_cmp);
    (seconds.first().copied(), others.get(others.len() / 2).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_below_the_sampling_and_phases_add_up() {
        let mut clock = Stopwatch::start();
        clock.lap_with("pipelines", "3 compiled");
        clock.lap(SAMPLING);
        let steps = [0.5, 0.3, 0.1, 0.2];
        let table = clock.table(&steps);
        let lines: Vec<&str> = table.lines().collect();
        let begins = ["pipelines ", "sampling ", "  first step ", "  steady step ", "total "];
        assert_eq!(lines.len(), begins.len());
        assert!(lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{table}");
        assert!(lines[0].ends_with("3 compiled") && lines[2].ends_with("0.500 s"), "{table}");
        assert!(lines[3].ends_with("0.200 s  median of 3"), "{table}");

        let report = clock.json(&steps);
        assert_eq!((&report["first_step"], &report["steady_step"]), (&json!(0.5), &json!(0.2)));
        let sum: f64 = ["pipelines", SAMPLING].iter().filter_map(|name| report["phases"][name].as_f64()).sum();
        assert!((sum - report["total"].as_f64().unwrap()).abs() < 1e-9);
        assert_eq!(report["notes"], json!({ "pipelines": "3 compiled" }));
    }

    #[test]
    fn a_single_step_has_no_steady_state() {
        assert_eq!(first_and_steady(&[0.5]), (Some(0.5), None));
        assert_eq!(first_and_steady(&[]), (None, None));
    }
}
