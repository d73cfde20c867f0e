//! Studies whose measurement several runs share: their flag, their settings, and the outcome of a run.

use serde_json::{Value, json};
use sha2::Digest;

use super::shard::{Shard, ShardArg};
use super::study::{OutputArgs, StudyRun};
use crate::data::Dataset;
use crate::error::Result;
use crate::kernels::Engine;
use crate::kernels::tuned::Choices;
use crate::model::describe::family_text;
use crate::study::parts::{Gathered, Parts};
use crate::tensor::Tensor;

/// The flag of studies that several runs share.
#[derive(Debug, clap::Args)]
pub struct ShardArgs {
    /// Measure the images, trajectories or draws I, I + N, I + 2 N, ...: one of N runs that share a folder. Each keeps
    /// its part in DIR/parts; the run that finds all parts writes the results. `auto` takes I/N from the environment of
    /// Slurm, PBS, Grid Engine, LSF, Kubernetes, CI jobs, MPI or GNU parallel
    #[arg(long, value_name = "I/N|auto")]
    pub shard: Option<ShardArg>,
}

/// The flag of studies whose images several runs make.
#[derive(Debug, clap::Args)]
pub struct CellShardArgs {
    /// Make the parts I, I + N, I + 2 N, ... of the images: one of N runs that share a folder; the run that makes the
    /// last part measures. `auto` takes I/N from the environment of Slurm, PBS, Grid Engine, LSF, Kubernetes, CI
    /// jobs, MPI or GNU parallel
    #[arg(long, value_name = "I/N|auto")]
    pub shard: Option<ShardArg>,
}

impl CellShardArgs {
    /// As [`ShardArgs::resolve`].
    ///
    /// # Errors
    /// Those of [`ShardArg::resolve`].
    pub fn resolve(&self, run: &mut StudyRun) -> Result<Option<Shard>> {
        ShardArgs { shard: self.shard }.resolve(run)
    }
}

/// The value of `--shard` where one run measures the whole study: there is none.
#[derive(Clone, Copy, Debug)]
pub enum Refused {}

/// Refuses any value of `--shard`, with the reason.
pub fn refused(why: &'static str) -> impl Fn(&str) -> std::result::Result<Refused, String> + Clone {
    move |_| Err(format!("one run measures this study: {why}"))
}

impl ShardArgs {
    /// The run, with a note of where `auto` found it.
    ///
    /// # Errors
    /// Those of [`ShardArg::resolve`].
    pub fn resolve(&self, run: &mut StudyRun) -> Result<Option<Shard>> {
        let (shard, note) = self.shard.map(ShardArg::resolve).transpose()?.unzip();
        note.flatten().iter().for_each(|note| run.console.note(note));
        run.report.set("shard", shard.map(|shard| shard.to_string()));
        Ok(shard)
    }
}

impl StudyRun<'_> {
    /// The parts of a study, of which this run is one, or all. `settings` are those that its rows follow from.
    ///
    /// # Errors
    /// Those of [`ShardArg::resolve`], of `settings` and of [`Parts::open`].
    pub fn parts(
        &mut self,
        args: &ShardArgs,
        out: &OutputArgs,
        engine: Option<&Engine>,
        settings: impl FnOnce() -> Value,
    ) -> Result<Parts> {
        let Some(shard) = args.resolve(self)? else { return Ok(Parts::in_memory()) };
        let mut settings = settings();
        settings["study"] = self.report.get("command").cloned().unwrap_or_default();
        settings["version"] = json!(env!("CARGO_PKG_VERSION"));
        settings["seed"] = json!(out.seed);
        if let Some(engine) = engine {
            settings["kernels"] = json!(family_text(engine.family));
            settings["exact"] = json!(self.global.exact);
        }
        Parts::open(&out.output, shard, &settings, engine.map_or_else(|| "no device".to_owned(), device_text))
    }

    /// The rows of all runs; `None`, with a note that says whose are missing, while there are others to come.
    ///
    /// # Errors
    /// Those of [`Parts::gather`].
    pub fn gathered(&mut self, parts: Parts) -> Result<Option<Gathered>> {
        match parts.gather()? {
            Err(missing) => {
                self.console.note(&missing);
                Ok(None)
            }
            Ok(found) => {
                if found.devices.len() > 1 {
                    let devices = found.devices.join("; ");
                    self.console.note(&format!(
                        "note: parts were measured on {} devices, whose last bits may differ: {devices}",
                        found.devices.len()
                    ));
                }
                if !found.devices.is_empty() {
                    self.report.set("devices_of_parts", found.devices.clone());
                }
                Ok(Some(found))
            }
        }
    }
}

/// The properties of a device that the last bits of results may depend on.
fn device_text(engine: &Engine) -> String {
    let adapter = &engine.gpu.adapter;
    let text = format!("{}, {}, driver {}", adapter.name, adapter.backend, adapter.driver);
    if engine.measured == Choices::NONE {
        return text;
    }
    let digest = hexadecimal(&sha2::Sha256::digest(format!("{:?}", engine.measured)));
    format!("{text}, tuned {}", &digest[..8])
}

/// Data as one of the settings of parts.
pub fn data_settings(data: &Dataset) -> Value {
    json!({ "source": data.name, "samples": data.count(), "sha256": digest(&data.samples) })
}

/// The digest of an array.
fn digest(tensor: &Tensor) -> String {
    let mut digest = sha2::Sha256::new();
    for some in tensor.data.chunks(4096) {
        digest.update(some.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }
    hexadecimal(&digest.finalize())
}

/// The first 16 bytes of a digest in hexadecimal.
fn hexadecimal(bytes: &[u8]) -> String {
    let number = bytes.iter().take(16).fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:032x}")
}
