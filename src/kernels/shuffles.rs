//! The start-up probe of shuffles: measured once for each driver and processor, and kept.
//!
//! The kernels of software adapters hand a value to all lanes by a shuffle with a constant index. With eight lanes
//! every known driver has one instruction for it; with sixteen, llvmpipe of Mesa 22 has, and that of Mesa 25 and 26
//! goes through the lanes one by one (`docs/lab-notes.md`).

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::probes::Shuffles;
use super::{Engine, Family};
use crate::error::Result;
use crate::formats::{json, write_atomically};
use crate::gpu::Described;
use crate::input::read_regular;
use crate::paths::finding_file;
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

    /// Measures the ratio on an engine. Returns `None` for families without shuffles.
    ///
    /// # Errors
    /// Those of the device.
    pub fn measure(engine: &Engine) -> Result<Option<Self>> {
        let Family::Lanes { width } = engine.family else { return Ok(None) };
        let products = seconds(engine, width, false)?.max(f64::MIN_POSITIVE);
        Ok(Some(Self { ratio: seconds(engine, width, true)? / products }))
    }

    /// Keeps the ratio for an adapter and this processor. Where that fails it is measured again.
    pub fn keep(self, adapter: &Described) {
        let (Some(file), Ok(text)) = (file(adapter), serde_json::to_vec_pretty(&self)) else { return };
        let _ = write_atomically(&file, |writer| std::io::Write::write_all(writer, &text));
    }
}

/// A millisecond of products, in one workgroup.
const ROUNDS: usize = 16_000;
const SAMPLES: usize = 3;

/// Returns the least seconds of a chain in a subgroup of `width` lanes.
fn seconds(engine: &Engine, width: u32, shuffles: bool) -> Result<f64> {
    let x: Vec<f32> = (0..width as usize * TEXEL).map(|at| at as f32 / 1024.0).collect();
    let run = |rounds| engine.run_once(&Shuffles { rounds, shuffles }.dispatch(width), &[&x], width as usize);
    // Compiles.
    run(1)?;
    let mut least = f64::INFINITY;
    for _ in 0..SAMPLES {
        let begin = Instant::now();
        run(ROUNDS)?;
        least = least.min(begin.elapsed().as_secs_f64());
    }
    Ok(least)
}

/// The file of an adapter, its driver and this processor. `None` without a home folder.
fn file(adapter: &Described) -> Option<PathBuf> {
    let Described { name, backend, driver, .. } = adapter;
    finding_file("shuffles", &format!("{name} {backend} {driver} {}", processor()))
}

/// The model of the processor, where the system tells it as Linux does: the fields of the first core.
fn processor() -> String {
    let Ok(file) = File::open("/proc/cpuinfo") else { return String::new() };
    let first = BufReader::new(file).lines().map_while(io::Result::ok).take_while(|line| !line.is_empty());
    let fields: Vec<_> = first
        .filter_map(|line| line.split_once(':').map(|(a, b)| (a.trim().to_owned(), b.trim().to_owned())))
        .collect();
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    ["vendor_id", "cpu family", "model", "model name"].into_iter().filter_map(field).collect::<Vec<_>>().join(" ")
}
