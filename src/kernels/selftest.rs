//! The start-up self-test: checks that a device computes correctly. It runs once for each adapter and driver; a cache
//! file keeps the result.

use crate::kernels::parameters::{kernel, parameters};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::epilogue::EpilogueSpec;
use super::matmul::{MatMul, Strides};
use super::{Dispatch, Engine, Family, Kernel, Shader, params, words};
use crate::error::{Error, Result};
use crate::formats::json;
use crate::gpu::Region;
use crate::input::read_regular;
use crate::paths::finding_file;
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
type Probe = fn(&Engine, &MatMul) -> Result<Finding>;

/// The abilities that are probed: read-back, a small matrix product, barriers, a long loop.
const PROBES: [(&str, Probe); 4] =
    [("read-back", read_back), ("matrix product", matrix_product), (BARRIERS, barrier), ("long loop", long_loop)];
const BARRIERS: &str = "workgroup barrier";

/// Probes the engine's device.
///
/// # Errors
/// Those of the device; an ability that is insufficient is a [`Finding`].
pub fn run(engine: &Engine) -> Result<Vec<Check>> {
    let product = usual_product();
    PROBES
        .iter()
        .map(|(name, probe)| Ok(Check { name: (*name).to_owned(), finding: probe(engine, &product)? }))
        .collect()
}

/// As [`run`], the abilities that the family's kernels need, as far as possible with shaders that are compiled already.
fn run_for_kernels(engine: &Engine) -> Result<Vec<Check>> {
    let product = product_of(engine.family, |shader| engine.has(shader));
    let mut checks = Vec::new();
    for (name, probe) in PROBES.iter().filter(|(name, _)| is_needed(name, engine.family)) {
        let finding = match *name {
            "long loop" if !has_barriers(engine.family) => long_loop_of(engine, &product)?,
            _ => probe(engine, &product)?,
        };
        checks.push(Check { name: (*name).to_owned(), finding });
    }
    Ok(checks)
}

/// Returns `true` if kernels of a family synchronise workgroups. A workgroup of `lanes` is one subgroup.
const fn has_barriers(family: Family) -> bool {
    !matches!(family, Family::Lanes { .. })
}

fn is_needed(ability: &str, family: Family) -> bool {
    ability != BARRIERS || has_barriers(family)
}

/// Returns `true` if the findings for this adapter are cached, so that [`ensure`] runs nothing.
#[must_use]
pub fn is_known(engine: &Engine) -> bool {
    kept(engine).is_some()
}

/// The shaders that [`ensure`] needs beside those `planned`; empty if its findings are cached. Software adapters take
/// long to compile a shader, so they are probed with those of the network.
#[must_use]
pub fn pending(engine: &Engine, planned: &[&Shader]) -> Vec<Shader> {
    if kept(engine).is_some() {
        return Vec::new();
    }
    let product = product_of(engine.family, |shader| planned.contains(&shader) || engine.has(shader));
    let mut shaders = vec![product.dispatch(engine.family).shader];
    if has_barriers(engine.family) {
        shaders.extend(variants(engine.family));
    }
    shaders.retain(|shader| !planned.contains(&shader) && !engine.has(shader));
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
        let checks = run_for_kernels(engine)?;
        keep(engine, &checks);
        // Browsers have no files.
        if can_be_believed(&checks) {
            let _ = engine.findings.set(checks.clone());
        }
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
    finding_file("selftest", &key)
}

/// The cached findings for this adapter; `None` if there are none, or none that can be believed.
fn kept(engine: &Engine) -> Option<Vec<Check>> {
    if let Some(checks) = engine.findings.get() {
        return Some(checks.clone());
    }
    let checks = parse_kept(&read_regular(&cache_file(engine)?, json::LARGEST).ok()?)?;
    let needed = PROBES.iter().map(|(name, _)| *name).filter(|name| is_needed(name, engine.family));
    let has = |name: &str| checks.iter().any(|check| check.name == name);
    needed.into_iter().all(has).then_some(checks)
}

/// Parses kept findings. Returns `None` for any that cannot be believed.
#[must_use]
pub fn parse_kept(bytes: &[u8]) -> Option<Vec<Check>> {
    json::parse(bytes).ok().filter(|checks: &Vec<Check>| can_be_believed(checks))
}

/// Returns `true` for findings about the probes, in their order, in which none failed; barriers may be missing. A
/// failure may have had a cause that is gone, so the adapter is tested again.
fn can_be_believed(checks: &[Check]) -> bool {
    let names = || checks.iter().map(|check| check.name.as_str());
    let all = PROBES.map(|(name, _)| name);
    (names().eq(all) || names().eq(all.into_iter().filter(|name| *name != BARRIERS)))
        && !checks.iter().any(|check| matches!(check.finding, Finding::Failed(_)))
}

/// Caches the findings for [`ensure`]; a cache that cannot be written is not an error.
pub fn keep(engine: &Engine, checks: &[Check]) {
    let Some(file) = cache_file(engine) else { return };
    let Ok(text) = serde_json::to_vec_pretty(checks) else { return };
    let _ = crate::formats::write_atomically(&file, |writer| std::io::Write::write_all(writer, &text));
}

fn read_back(engine: &Engine, _: &MatMul) -> Result<Finding> {
    let values: Vec<f32> = (0..5000 * TEXEL).map(|i| i as f32).collect();
    let storage = engine.gpu.allocate(engine.storage_kind(), 9000, "self-test")?;
    engine.gpu.upload(&storage, 3001, &values)?;
    let got = engine.gpu.download(&[Region { storage: &storage, first: 3001, texels: 5000 }])?;
    Ok(trusted_if(got[0] == values, || "what was written is not what is read".into()))
}

fn usual_product() -> MatMul {
    MatMul::plain(1, 37, 53, 70)
}

/// The first small product whose shader is compiled, or else the usual one.
fn product_of(family: Family, is_compiled: impl Fn(&Shader) -> bool) -> MatMul {
    let [nothing, bias, _] = EpilogueSpec::kinds();
    let sizes = [(37, 53, 70), (37, 260, 260), (13, 53, 70), (3, 53, 70)];
    let products = sizes.into_iter().flat_map(|(rows, k, columns)| {
        [nothing, bias].map(|epilogue| MatMul { epilogue, ..MatMul::plain(1, rows, k, columns) })
    });
    let mut serving = products.filter(|product| is_compiled(&product.dispatch(family).shader));
    serving.next().unwrap_or_else(usual_product)
}

fn matrix_product(engine: &Engine, product: &MatMul) -> Result<Finding> {
    let numbers = |len: usize| -> Vec<f32> { (0..len).map(|i| (i * i % 17) as f32 - 8.0).collect() };
    // Both operands carry their padding as zeros.
    let padded = |rows: usize, columns: usize| {
        let width = columns.next_multiple_of(TEXEL);
        let mut matrix = numbers(rows * width);
        matrix.chunks_mut(width).for_each(|row| row[columns..].fill(0.0));
        matrix
    };
    let (a, b) = (padded(product.rows, product.k), padded(product.k, product.columns));
    let reads = MatMul::reads(a.as_slice(), b.as_slice());
    compare(engine, &product.dispatch(engine.family), &reads, product.rows * product.columns.div_ceil(TEXEL))
}

fn barrier(engine: &Engine, _: &MatMul) -> Result<Finding> {
    let groups = 50;
    let values: Vec<f32> = (0..groups * 64 * TEXEL).map(|i| (i % 23) as f32).collect();
    let shader = engine.family.shader(&BARRIER, Vec::new());
    let dispatch = Dispatch { shader, params: words(&Count { count: groups as u32 }), grid: [groups as u32, 1, 1] };
    compare(engine, &dispatch, &[&values], groups)
}

/// The number of iterations that a long loop is asked for.
const LOOP_LENGTH: usize = 100_000;

fn long_loop(engine: &Engine, _: &MatMul) -> Result<Finding> {
    let shader = engine.family.shader(&LOOP, Vec::new());
    let dispatch = Dispatch { shader, params: words(&Count { count: LOOP_LENGTH as u32 }), grid: [1, 1, 1] };
    Ok(judged(engine.run_once(&dispatch, &[&[1.0; 2 * TEXEL]], 1)?[0]))
}

/// As [`long_loop`], by the loop of a product with the shader of `product`: a long row of ones by one texel of ones,
/// which strides of zero repeat.
fn long_loop_of(engine: &Engine, product: &MatMul) -> Result<Finding> {
    let shader = product.dispatch(engine.family).shader;
    let still = Strides { row: 0, image: 0, head: 0 };
    let long = [3, 13, 17].map(|rows| {
        let plain = MatMul::plain(1, rows, LOOP_LENGTH * TEXEL, TEXEL);
        MatMul { a: still, b: still, epilogue: product.epilogue, ..plain }
    });
    let Some(long) = long.into_iter().find(|long| long.dispatch(engine.family).shader == shader) else {
        return long_loop(engine, product);
    };
    let (a, b) = (vec![1.0; LOOP_LENGTH * TEXEL], [1.0; TEXEL]);
    let sum = engine.run_once(&long.dispatch(engine.family), &MatMul::reads(&a[..], &b[..]), long.rows)?[0];
    // An iteration adds four; a bias of one is lost in the division.
    Ok(judged((sum / TEXEL as f32).floor()))
}

fn judged(ran: f32) -> Finding {
    if ran == LOOP_LENGTH as f32 {
        Finding::Trusted
    } else if ran >= LONGEST_LOOP as f32 {
        Finding::Limited(format!("a loop of {LOOP_LENGTH} stops after {ran}; the kernels stay below {LONGEST_LOOP}"))
    } else {
        Finding::Failed(format!("a loop of {LOOP_LENGTH} stops after {ran}"))
    }
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
        let without_barriers: Vec<_> = checks.iter().filter(|check| check.name != BARRIERS).cloned().collect();
        assert!(!can_be_believed(&without_barriers));
        let trusted = |check: &Check| Check { finding: Finding::Trusted, ..check.clone() };
        assert!(can_be_believed(&without_barriers.iter().map(trusted).collect::<Vec<_>>()));
        assert!(!can_be_believed(&[]));
    }
    #[test]
    fn no_kernel_of_lanes_needs_barriers() {
        let family = Family::Lanes { width: 8 };
        let probes = variants(family);
        for shader in crate::kernels::all_variants(family).iter().filter(|shader| !probes.contains(shader)) {
            assert!(!shader.wgsl().contains("workgroupBarrier"), "{shader}");
        }
    }

    #[test]
    fn a_product_of_the_network_serves_the_self_test() {
        let family = Family::Lanes { width: 8 };
        let [_, bias, _] = EpilogueSpec::kinds();
        for (rows, k, columns) in [(2, 64, 64), (16, 64, 128), (196, 64, 64), (49, 384, 384)] {
            let layer = MatMul { epilogue: bias, ..MatMul::plain(1, rows, k, columns) };
            let shader = layer.dispatch(family).shader;
            assert_eq!(product_of(family, |other| *other == shader).dispatch(family).shader, shader, "{rows}");
        }
        assert_eq!(product_of(family, |_| false).dispatch(family), usual_product().dispatch(family));
    }
}
