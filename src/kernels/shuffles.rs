//! The start-up probe of shuffles: measured once for each driver and processor, and kept.
//!
//! The kernels of software adapters hand a value to all lanes by a shuffle with a constant index. With eight lanes
//! every known driver has one instruction for it; with sixteen, llvmpipe of Mesa 22 has, and that of Mesa 25 and 26
//! goes through the lanes one by one (`docs/lab-notes.md`).

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::probes::Shuffles;
use crate::error::Result;
use crate::formats::{json, write_atomically};
use crate::gpu::Described;
use crate::input::read_regular;
use crate::paths::cache_dir;
use crate::tensor::TEXEL;

/// The time of a chain of shuffles over that of as many products: 1 to 2 where a shuffle is one instruction, 4 to 6
/// where it is a loop over sixteen lanes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Shuffles over products.
    pub ratio: f64,
}

impl Ratio {
    /// Returns `true` if a shuffle is one instruction, or a few.
    #[must_use]
    pub fn is_fast(self) -> bool {
        self.ratio < 2.5
    }

    /// The ratio that was measured on an adapter and this processor before, if it was kept.
    #[must_use]
    pub fn kept(adapter: &Described) -> Option<Self> {
        let kept: Self = json::parse(&read_regular(&file(adapter)?, json::LARGEST).ok()?).ok()?;
        (kept.ratio.is_finite() && kept.ratio > 0.0).then_some(kept)
    }

    /// Measures the ratio on an engine, and keeps it. Returns `None` for families without shuffles.
    ///
    /// # Errors
    /// Those of the device.
    pub fn measure(engine: &Engine) -> Result<Option<Self>> {
        let Some(shuffles) = seconds(engine, true)? else { return Ok(None) };
        let Some(products) = seconds(engine, false)? else { return Ok(None) };
        let ratio = Self { ratio: shuffles / products.max(f64::MIN_POSITIVE) };
        if let (Some(file), Ok(text)) = (file(&engine.gpu.adapter), serde_json::to_vec_pretty(&ratio)) {
            // Without a cache it is measured again.
            let _ = write_atomically(&file, |writer| std::io::Write::write_all(writer, &text));
        }
        Ok(Some(ratio))
    }
}

/// A millisecond of products, in one workgroup.
const ROUNDS: usize = 16_000;
const SAMPLES: usize = 3;

/// Returns the least seconds of a chain.
fn seconds(engine: &Engine, shuffles: bool) -> Result<Option<f64>> {
    let chain = |rounds| Shuffles { rounds, shuffles }.dispatch(engine.family);
    let (Some(first), Some(timed)) = (chain(1), chain(ROUNDS)) else { return Ok(None) };
    let texels = first.shader.constants.iter().find(|(name, _)| *name == "LANES").map_or(0, |(_, lanes)| *lanes);
    let x: Vec<f32> = (0..texels as usize * TEXEL).map(|at| at as f32 / 1024.0).collect();
    let run = |dispatch| engine.run_once(dispatch, &[&x], texels as usize);
    // Compiles.
    run(&first)?;
    let mut least = f64::INFINITY;
    for _ in 0..SAMPLES {
        let begin = Instant::now();
        run(&timed)?;
        least = least.min(begin.elapsed().as_secs_f64());
    }
    Ok(Some(least))
}

/// The file of an adapter, its driver and this processor. `None` without a home folder.
fn file(adapter: &Described) -> Option<PathBuf> {
    let key = [&adapter.name, &adapter.backend, &adapter.driver, &processor()].map(String::as_str).join(" ");
    let plain: String = key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    Some(cache_dir()?.join("shuffles").join(plain + ".json"))
}

/// The model of the processor, where the system tells it as Linux does.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|field| field.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    ["vendor_id", "cpu family", "model", "model name"].into_iter().filter_map(field).collect::<Vec<_>>().join(" ")
}
