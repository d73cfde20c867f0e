//! Counts of expensive work, for tests that hold it down: graphs built and plans made by the calling thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

thread_local! {
    static GRAPHS: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
    static PLANS: Cell<usize> = const { Cell::new(0) };
}

/// Counts of the calling thread since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Graphs that were built, by the name of the network.
    pub graphs: BTreeMap<&'static str, usize>,
    /// Plans that were made.
    pub plans: usize,
}

/// The counts of the calling thread.
#[must_use]
pub fn counts() -> Counts {
    Counts { graphs: GRAPHS.with_borrow(Clone::clone), plans: PLANS.get() }
}

pub(crate) fn count_graph(network: &'static str) {
    GRAPHS.with_borrow_mut(|graphs| *graphs.entry(network).or_default() += 1);
}

pub(crate) fn count_plan() {
    PLANS.set(PLANS.get() + 1);
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("graphs built: ")?;
        for (name, count) in &self.graphs {
            write!(f, "{count} {name}, ")?;
        }
        write!(f, "plans made: {}", self.plans)
    }
}
