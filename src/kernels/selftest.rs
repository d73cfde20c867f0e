//! The start-up self-test: checks that a device computes correctly. It runs once for each adapter and driver; a cache
//! file keeps the result.

use crate::kernels::parameters::{kernel, parameters};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::matmul::MatMul;
use super::{Dispatch, Engine, Family, Kernel, Shader, params, words};
use crate::error::{Error, Result};
use crate::formats::json;
use crate::gpu::Region;
use crate::input::read_regular;
use crate::paths::cache_dir;
use crate::tensor::TEXEL;

/// The longest loop that any kernel runs in one invocation.
pub const LONGEST_LOOP: u32 = 30_000;

/// The state of one ability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// Correct.
    Trusted,
    /// Incorrect, but sufficient for the kernels, with the consequence.
    Limited(String),
    /// Insufficient, with the observation.
    Failed(String),
}

/// One probed ability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The ability.
    pub name: String,
    /// Its state.
    pub finding: Finding,
}

parameters! {
    struct Count {
        count: u32,
    }
}

static BARRIER: Kernel = kernel!("probe_barrier", Count, |words, reads, write| {
    let Count { count } = params(words);
    for (group, sums) in write.chunks_mut(TEXEL).enumerate().take(count as usize) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = reads[0][group * 64 * TEXEL..][..64 * TEXEL].iter().skip(lane).step_by(TEXEL).sum();
        }
    }
});

static LOOP: Kernel = kernel!("probe_loop", Count, |words, reads, write| {
    let Count { count } = params(words);
    for (lane, sum) in write.iter_mut().enumerate().take(TEXEL) {
        *sum = (0..count as usize).map(|i| reads[0][i % 2 * TEXEL + lane]).sum();
    }
});

/// The shaders of the self-test, for validation.
#[must_use]
pub fn variants(family: Family) -> Vec<Shader> {
    [&BARRIER, &LOOP].map(|kernel| family.shader(kernel, Vec::new())).to_vec()
}

/// A test of one ability.
type Probe = fn(&Engine) -> Result<Finding>;

/// The abilities that are probed: read-back, a small matrix product, barriers, a long loop.
const PROBES: [(&str, Probe); 4] = [
    ("read-back", read_back),
    ("matrix product", matrix_product),
    ("workgroup barrier", barrier),
    ("long loop", long_loop),
];

/// Probes the engine's device.
///
/// # Errors
/// Those of the device; an ability that is insufficient is a [`Finding`].
pub fn run(engine: &Engine) -> Result<Vec<Check>> {
    PROBES.iter().map(|(name, probe)| Ok(Check { name: (*name).to_owned(), finding: probe(engine)? })).collect()
}

/// The shaders that [`ensure`] is about to compile; empty if its findings are cached.
#[must_use]
pub fn pending(engine: &Engine) -> Vec<Shader> {
    if kept(engine).is_some() {
        return Vec::new();
    }
    let mut shaders = variants(engine.family);
    shaders.push(product().dispatch(engine.family).shader);
    shaders
}

/// The self-test of this adapter, driver and version: from the cache, or else run and cached.
///
/// # Errors
/// Those of [`run`]; [`Error::Device`] if an ability is insufficient.
pub fn ensure(engine: &Engine) -> Result<()> {
    let checks = if let Some(checks) = kept(engine) {
        checks
    } else {
        let checks = run(engine)?;
        keep(engine, &checks);
        checks
    };
    match checks.iter().find_map(|check| match &check.finding {
        Finding::Failed(what) => Some(format!("{}: {what}", check.name)),
        _ => None,
    }) {
        None => Ok(()),
        Some(what) => Err(Error::Device {
            what: format!("`{}` fails the self-test: {what}", engine.gpu.adapter.name),
            hint: Some(
                "choose another `adapter`: `downhill devices` lists them, `downhill selftest` checks one".into(),
            ),
        }),
    }
}

/// The cache file of the findings for this adapter, driver, family and version of the program.
fn cache_file(engine: &Engine) -> Option<PathBuf> {
    let adapter = &engine.gpu.adapter;
    let key = format!(
        "{} {} {} {:?} {}",
        adapter.name,
        adapter.backend,
        adapter.driver,
        engine.family,
        env!("CARGO_PKG_VERSION")
    );
    let plain: String = key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    Some(cache_dir()?.join("selftest").join(plain + ".json"))
}

/// The cached findings for this adapter; `None` if there are none, or none that can be believed.
fn kept(engine: &Engine) -> Option<Vec<Check>> {
    parse_kept(&read_regular(&cache_file(engine)?, json::LARGEST).ok()?)
}

/// Parses kept findings. Returns `None` for any that cannot be believed.
#[must_use]
pub fn parse_kept(bytes: &[u8]) -> Option<Vec<Check>> {
    json::parse(bytes).ok().filter(|checks: &Vec<Check>| can_be_believed(checks))
}

/// Returns `true` for findings about each of the probes in which none failed. A failure may have had a cause that is
/// gone, so the adapter is tested again.
fn can_be_believed(checks: &[Check]) -> bool {
    checks.iter().map(|check| check.name.as_str()).eq(PROBES.map(|(name, _)| name))
        && !checks.iter().any(|check| matches!(check.finding, Finding::Failed(_)))
}

/// Caches the findings for [`ensure`]; a cache that cannot be written is not an error.
pub fn keep(engine: &Engine, checks: &[Check]) {
    let Some(file) = cache_file(engine) else { return };
    let Ok(text) = serde_json::to_vec_pretty(checks) else { return };
    let _ = crate::formats::write_atomically(&file, |writer| std::io::Write::write_all(writer, &text));
}

fn read_back(engine: &Engine) -> Result<Finding> {
    let values: Vec<f32> = (0..5000 * TEXEL).map(|i| i as f32).collect();
    let storage = engine.gpu.allocate(engine.storage_kind(), 9000, "self-test")?;
    engine.gpu.upload(&storage, 3001, &values)?;
    let got = engine.gpu.download(&[Region { storage: &storage, first: 3001, texels: 5000 }])?;
    Ok(trusted_if(got[0] == values, || "what was written is not what is read".into()))
}

fn product() -> MatMul {
    MatMul::plain(1, 37, 53, 70)
}

fn matrix_product(engine: &Engine) -> Result<Finding> {
    let numbers = |len: usize| -> Vec<f32> { (0..len).map(|i| (i * i % 17) as f32 - 8.0).collect() };
    // Both operands carry their padding as zeros.
    let mut a = numbers(37 * 56);
    a.chunks_mut(56).for_each(|row| row[53..].fill(0.0));
    let mut b = numbers(53 * 72);
    b.chunks_mut(72).for_each(|row| row[70..].fill(0.0));
    let reads = MatMul::reads(a.as_slice(), b.as_slice());
    compare(engine, &product().dispatch(engine.family), &reads, 37 * 18)
}

fn barrier(engine: &Engine) -> Result<Finding> {
    let groups = 50;
    let values: Vec<f32> = (0..groups * 64 * TEXEL).map(|i| (i % 23) as f32).collect();
    let shader = engine.family.shader(&BARRIER, Vec::new());
    let dispatch = Dispatch { shader, params: words(&Count { count: groups as u32 }), grid: [groups as u32, 1, 1] };
    compare(engine, &dispatch, &[&values], groups)
}

fn long_loop(engine: &Engine) -> Result<Finding> {
    let count = 100_000;
    let shader = engine.family.shader(&LOOP, Vec::new());
    let dispatch = Dispatch { shader, params: words(&Count { count }), grid: [1, 1, 1] };
    let ran = engine.run_once(&dispatch, &[&[1.0; 2 * TEXEL]], 1)?[0];
    Ok(if ran == count as f32 {
        Finding::Trusted
    } else if ran >= LONGEST_LOOP as f32 {
        Finding::Limited(format!("a loop of {count} stops after {ran}; the kernels stay below {LONGEST_LOOP}"))
    } else {
        Finding::Failed(format!("a loop of {count} stops after {ran}"))
    })
}

/// Small integers are exact in every order of summation, so device and twin must agree bit for bit.
fn compare(engine: &Engine, dispatch: &Dispatch, reads: &[&[f32]], texels: usize) -> Result<Finding> {
    let device = engine.run_once(dispatch, reads, texels)?;
    let mut host = vec![0.0; texels * TEXEL];
    (dispatch.shader.kernel.twin)(&dispatch.params, reads, &mut host);
    let wrong = device.iter().zip(&host).filter(|(a, b)| a != b).count();
    Ok(trusted_if(wrong == 0, || format!("{wrong} of {} values are wrong", host.len())))
}

fn trusted_if(holds: bool, otherwise: impl FnOnce() -> String) -> Finding {
    if holds { Finding::Trusted } else { Finding::Failed(otherwise()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_findings_are_believed_only_if_complete_and_without_failure() {
        let mut checks: Vec<Check> =
            PROBES.iter().map(|(name, _)| Check { name: (*name).to_owned(), finding: Finding::Trusted }).collect();
        assert!(can_be_believed(&checks));
        checks[3].finding = Finding::Limited("a loop stops after 40000".into());
        assert!(can_be_believed(&checks));
        checks[0].finding = Finding::Failed("what was written is not what is read".into());
        assert!(!can_be_believed(&checks));
        assert!(!can_be_believed(&checks[1..]));
        assert!(!can_be_believed(&[]));
    }
}
