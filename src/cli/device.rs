//! Opening the device, the same way for every subcommand.

use super::args::Global;
use super::local_rank::LocalRank;
use super::quiet::without_driver_chatter;
use super::vectors;
use crate::error::Result;
use crate::gpu::{Described, Kind};
use crate::kernels::tuned::{Choices, Key};
use crate::kernels::{Engine, Family, FamilyName};
use crate::model::describe::family_text;
use crate::paths::cache_trouble;
use crate::report::Console;

/// Opens the device that the flags select, with a note if it computes in software.
///
/// # Errors
/// As [`Engine::open`]; a usage error when `--family` asks for kernels that the adapter cannot run.
pub fn open(global: &Global, console: Console) -> Result<Engine> {
    let wanted = global.family.map(FamilyName::from);
    let options = global.options()?;
    let mut engine = without_driver_chatter(|| Engine::open(&options))?;
    if let Some(LocalRank { number, variable }) = global.local_rank()? {
        let Described { index, name, .. } = &engine.gpu.adapter;
        console.note(&format!("adapter {index}, \"{name}\", for the process number {number} by {variable}"));
    }
    vectors::settle([&engine.gpu.adapter]);
    if let Some(trouble) = cache_trouble() {
        console.note(&format!(
            "note: {trouble}; shaders are compiled again in each run (set DOWNHILL_CACHE_DIR to a folder to write to)"
        ));
    }
    engine.measured = measured(global, &engine.gpu.adapter, engine.family, console);
    let adapter = &engine.gpu.adapter;
    engine.family.expect(wanted, adapter)?;
    if adapter.kind == Kind::Software {
        console.note(&format!("note: computing in software on \"{}\"", adapter.name));
    }
    console.detail(&format!(
        "adapter {}: {}, {} on {}, driver {}; {}",
        adapter.index,
        adapter.name,
        adapter.kind,
        adapter.backend,
        adapter.driver,
        family_text(engine.family)
    ));
    Ok(engine)
}

/// The algorithms that `downhill tune` measured; none with `--exact`, which does not use them.
pub fn measured(global: &Global, adapter: &Described, family: Family, console: Console) -> Choices {
    if global.exact {
        return Choices::NONE;
    }
    let key = Key::new(adapter, family);
    let Some(file) = key.file() else { return Choices::NONE };
    key.load(&file).unwrap_or_else(|why| {
        console.detail(&format!("{} is ignored: {why}", file.display()));
        Choices::NONE
    })
}
