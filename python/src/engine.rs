//! Devices: one engine per adapter and process, which stays until the process ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use downhill::low_level::gpu::{Adapters, Choice};
use downhill::low_level::kernels::tuned::Key;
use downhill::model::describe::{adapter_json, family_text};
use downhill::{Engine, Error, FamilyName, Options};
use pyo3::prelude::*;

use crate::error::{Result, argument};

/// The engines that are open, by what was asked for.
static OPEN: Mutex<Option<Open>> = Mutex::new(None);

/// Engines by adapter, family and whether shaders are checked.
type Open = HashMap<(String, String, bool), &'static Engine>;

/// The process that opened the first device; 0 before that.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Refuses the devices of another process: they and the threads of the host do not survive a fork.
pub fn expect_own_process() -> std::result::Result<(), Error> {
    match OWNER.load(Ordering::Relaxed) {
        0 => Ok(()),
        owner if owner == std::process::id() => Ok(()),
        _ => Err(Error::Device {
            what: "this process was forked after a device was opened, and devices do not survive a fork".to_owned(),
            hint: Some(
                "start processes by `spawn` (`multiprocessing.set_start_method`), or fork before the first model is \
                 opened"
                    .to_owned(),
            ),
        }),
    }
}

/// A device that is open.
#[pyclass(frozen, name = "Engine")]
pub struct PyEngine {
    engine: &'static Engine,
}

impl PyEngine {
    /// The device of an engine.
    pub fn new(engine: &'static Engine) -> Self {
        Self { engine }
    }

    /// The device, in the process that opened it.
    pub fn get(&self) -> std::result::Result<&'static Engine, Error> {
        expect_own_process()?;
        Ok(self.engine)
    }
}

#[pymethods]
impl PyEngine {
    /// Opens an adapter, or returns the engine that is open on it.
    #[new]
    #[pyo3(signature = (adapter=None, family=None, checked=false))]
    fn open(py: Python<'_>, adapter: Option<&str>, family: Option<&str>, checked: bool) -> Result<Self> {
        let wanted = family.map(named).transpose()?;
        let key = (adapter.unwrap_or_default().to_owned(), family.unwrap_or_default().to_owned(), checked);
        let choice = adapter.map_or(Choice::Best, Choice::parse);
        expect_own_process()?;
        let engine = py.detach(|| -> std::result::Result<&'static Engine, Error> {
            let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            let open = open.get_or_insert_default();
            if let Some(engine) = open.get(&key) {
                return Ok(engine);
            }
            let mut engine = Engine::open(&Options { adapter: choice, family: wanted, checked })?;
            engine.family.expect(wanted, &engine.gpu.adapter)?;
            let tuned = Key::new(&engine.gpu.adapter, engine.family);
            if let Some(layers) = tuned.file().and_then(|file| tuned.load(&file).ok()) {
                engine.measured = layers;
            }
            // A device has no owner but the process: models on it may outlive any object of Python.
            let engine: &'static Engine = Box::leak(Box::new(engine));
            open.insert(key, engine);
            OWNER.store(std::process::id(), Ordering::Relaxed);
            Ok(engine)
        })?;
        Ok(Self { engine })
    }

    /// The adapter, as JSON.
    fn adapter(&self) -> String {
        adapter_json(&self.engine.gpu.adapter).to_string()
    }

    /// The kernels in words.
    fn family(&self) -> String {
        family_text(self.engine.family)
    }
}

fn named(family: &str) -> Result<FamilyName> {
    match family {
        "tile" => Ok(FamilyName::Tile),
        "lanes" => Ok(FamilyName::Lanes),
        "matrix" => Ok(FamilyName::Matrix),
        other => Err(argument(
            format!("`family` of `{other}`"),
            "the families are `tile`, `lanes` and `matrix`; omit `family` for the one that fits the adapter",
        )),
    }
}

/// All adapters of the machine, as JSON, best first.
#[pyfunction]
fn adapters(py: Python<'_>) -> Vec<String> {
    py.detach(|| Adapters::find().describe().iter().map(|adapter| adapter_json(adapter).to_string()).collect())
}

/// Adds this file's names to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyEngine>()?;
    module.add_function(wrap_pyfunction!(adapters, module)?)
}
