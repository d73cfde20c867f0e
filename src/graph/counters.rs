//! Counts of expensive work, for tests that hold it down: graphs built and plans made by the calling thread.

use std::cell::Cell;

thread_local! {
    static GRAPHS: Cell<usize> = const { Cell::new(0) };
    static PLANS: Cell<usize> = const { Cell::new(0) };
}

/// Counts of the calling thread since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Graphs of networks that were built.
    pub graphs: usize,
    /// Plans that were made.
    pub plans: usize,
}

/// The counts of the calling thread.
#[must_use]
pub fn counts() -> Counts {
    Counts { graphs: GRAPHS.get(), plans: PLANS.get() }
}

pub(crate) fn count_graph() {
    GRAPHS.set(GRAPHS.get() + 1);
}

pub(crate) fn count_plan() {
    PLANS.set(PLANS.get() + 1);
}
