//! Opening the device, the same way for every subcommand.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::Global;
use super::quiet::without_driver_chatter;
use super::timing::Stopwatch;
use super::vectors;
use crate::error::{Error, Result};
use crate::gpu::{Described, Kind};
use crate::graph::Plan;
use crate::kernels::choice::{Algorithm, Layer};
use crate::kernels::tuned::Key;
use crate::kernels::{Engine, Family, FamilyName, selftest};
use crate::report::Console;

/// Opens the device that the flags choose, and says so when it computes in software.
///
/// # Errors
/// As [`Engine::open`]; a usage error when `--family` asks for kernels that the adapter cannot run.
pub fn open(global: &Global, console: Console) -> Result<Engine> {
    let wanted = global.family.map(FamilyName::from);
    let mut engine = without_driver_chatter(|| Engine::open(&global.options(), wanted))?;
    vectors::settle([&engine.gpu.adapter]);
    engine.measured = measured(global, &engine.gpu.adapter, engine.family, console);
    let adapter = &engine.gpu.adapter;
    expect_family(adapter, engine.family, wanted)?;
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

/// Compiles what `plan` needs, and makes sure that the device computes what it is told. What the self-test needs, where it
/// has not been run on this adapter before, is compiled with the rest, all at once.
///
/// # Errors
/// [`Error::Device`] when a shader is refused or the self-test fails.
pub fn make_ready(engine: &Engine, plan: &Plan, clock: &mut Stopwatch) -> Result<()> {
    let tests = selftest::pending(engine);
    let shaders: Vec<_> = plan.steps.iter().map(|step| &step.dispatch.shader).chain(&tests).collect();
    engine.pipelines(&shaders)?;
    clock.lap_with("pipelines", format!("{} compiled", engine.compiled()));
    selftest::ensure(engine)?;
    clock.lap_with(
        "self-test",
        if tests.is_empty() { "known from an earlier run" } else { "first run on this adapter" },
    );
    Ok(())
}

/// The algorithms measured before by `downhill tune`; none with `--exact`, which has no use for them.
pub fn measured(global: &Global, adapter: &Described, family: Family, console: Console) -> BTreeMap<Layer, Algorithm> {
    if global.exact {
        return BTreeMap::new();
    }
    let key = Key::new(adapter, family);
    let Some(file) = key.file() else { return BTreeMap::new() };
    key.load(&file).unwrap_or_else(|why| {
        console.detail(&format!("{} is ignored: {why}", file.display()));
        BTreeMap::new()
    })
}

/// A usage error when the kernels asked for are not those that the adapter can run.
pub fn expect_family(adapter: &Described, family: Family, wanted: Option<FamilyName>) -> Result<()> {
    match (wanted, family) {
        (Some(FamilyName::Lanes), Family::Tile) => Err(Error::argument(
            format!("`--family lanes` needs subgroups of one size, which `{}` has not", adapter.name),
            "leave out `--family`",
        )),
        (Some(FamilyName::Matrix), Family::Tile) => Err(Error::argument(
            format!(
                "`--family matrix` needs subgroups of one size and matrix units for float16, which `{}` has not",
                adapter.name
            ),
            "leave out `--family`; `downhill devices` says which adapters have them",
        )),
        _ => Ok(()),
    }
}

/// The kernels in words.
pub fn family_text(family: Family) -> String {
    match family {
        Family::Tile => "tile kernels".to_owned(),
        Family::Lanes { width } => format!("lanes kernels, {width} wide"),
        Family::Matrix { width, side } => format!("matrix kernels, tiles of {side} x {side}, subgroups of {width}"),
    }
}

/// An adapter for a report.
pub fn adapter_json(adapter: &Described) -> Value {
    json!({
        "index": adapter.index,
        "name": adapter.name,
        "backend": adapter.backend,
        "type": adapter.kind.to_string(),
        "driver": adapter.driver,
        "max_binding_bytes": adapter.max_binding_bytes,
        "max_buffer_bytes": adapter.max_buffer_bytes,
        "max_texture_side": adapter.max_texture_side,
        "workgroup_bytes": adapter.workgroup_bytes,
        "subgroup": adapter.subgroup.map(|(least, most)| [least, most]),
        "f16": adapter.f16,
        "matrix": adapter.matrix,
    })
}
