//! A spinner while a part of a run begins and ends.

use crate::error::Result;
use crate::model::Event;
use crate::report::{Console, Spinner};

/// Returns an observer that shows a spinner from the begin of a part of a run to the next event, and passes all events
/// on. Only pipelines are parts that begin.
pub fn spinning<'a>(
    console: Console,
    mut inner: impl FnMut(Event) -> Result<()> + 'a,
) -> impl FnMut(Event) -> Result<()> + 'a {
    let mut spinner = None;
    move |event| {
        // The spinner of the last event goes away first.
        drop(spinner.take());
        if let Event::Begun { detail, .. } = &event {
            spinner = Some(Spinner::new(&format!("compiling {detail}"), console.verbosity));
        }
        inner(event)
    }
}
