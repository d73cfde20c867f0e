//! The device of the page: opened once, and again after it has failed.

use std::cell::Cell;

use downhill::low_level::kernels::selftest;
use downhill::{Engine, Options, Result};

thread_local! {
    static ENGINE: Cell<Option<&'static Engine>> = const { Cell::new(None) };
}

/// Returns the engine of the page. It stays open with what it has compiled, for all models; a device that has failed is
/// replaced.
///
/// # Errors
/// Those of [`Engine::open_in_browser`]; [`downhill::Error::Device`] for a device whose self-test fails.
pub async fn engine() -> Result<&'static Engine> {
    if let Some(engine) = ENGINE.get().filter(|engine| engine.gpu.wait().is_ok()) {
        return Ok(engine);
    }
    let engine: &'static Engine = Box::leak(Box::new(Engine::open_in_browser(&Options::default()).await?));
    engine.gpu.replay(|| selftest::ensure(engine)).await?;
    ENGINE.set(Some(engine));
    Ok(engine)
}
