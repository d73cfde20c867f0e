//! Work that counts units: progress for Python, and Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use downhill::low_level::gpu::stop_by;
use downhill::low_level::kernels::selftest;
use downhill::study::Advance;
use downhill::{Engine, Error};
use pyo3::prelude::*;

use crate::error::{FirstException, Result};

/// Runs `work` with the interpreter free for other threads. It counts units, each of which is told to `progress` and
/// stops the device once there was Ctrl-C.
pub fn counted<T: Send>(
    py: Python<'_>,
    raised: &FirstException,
    progress: Option<&Py<PyAny>>,
    work: impl FnOnce(Advance) -> std::result::Result<T, Error> + Send,
) -> Result<T> {
    let stop = Arc::new(AtomicBool::new(false));
    let done = py.detach(|| {
        let _stoppable = stop_by(Some(Arc::clone(&stop)));
        work(&|units| {
            let seen = Python::attach(|py| {
                py.check_signals()?;
                progress.map(|progress| progress.bind(py).call1((units,))).transpose().map(drop)
            });
            if let Err(error) = seen {
                raised.keep(error);
                stop.store(true, Ordering::Relaxed);
            }
        })
    });
    if stop.load(Ordering::Relaxed) {
        return Err(raised.or(Error::Cancelled));
    }
    done.map_err(|error| raised.or(error))
}

/// As [`counted`], on a device that has passed the self-test.
pub fn on_device<T: Send>(
    py: Python<'_>,
    engine: &Engine,
    progress: Option<&Py<PyAny>>,
    work: impl FnOnce(Advance) -> std::result::Result<T, Error> + Send,
) -> Result<T> {
    counted(py, &FirstException::default(), progress, |advance| {
        selftest::ensure(engine)?;
        work(advance)
    })
}
