//! `downhill tune`: the fastest algorithm for each convolution of a model, then the fastest tile for each product,
//! measured and kept.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde_json::json;

use super::args::{Dtype, Global, Size};
use super::{device, interrupt};
use crate::cli::numbers::whole;
use crate::error::{Error, Result};
use crate::formats::check_writable;
use crate::graph::Compiler;
use crate::graph::tune::{
    Measurement, TileMeasurement, candidates, table, tile_table, tune, tune_tiles, unknown_layers_of,
    unknown_products_of,
};
use crate::kernels::choice::{Algorithm, Layer};
use crate::kernels::selftest;
use crate::kernels::tiling::{ProductShape, TileSize};
use crate::kernels::tuned::{Choices, Key};
use crate::model::Tunable;
use crate::model::describe::{adapter_json, family_text};
use crate::report::{Console, Progress, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::TuneFlags;

const EXAMPLES: &str = "\
Examples:
  downhill tune                      the embedded model
  downhill tune DIR --seconds 120    more time, for a large model
  downhill tune DIR --again          measure again what was measured before
  downhill tune DIR --dtype f16      for runs with `--dtype f16`
  downhill tune VAE --size 512x512   an autoencoder alone

A 3x3 convolution can be computed by its definition or by Winograd's algorithm, on tiles or on \
rows: fewer products, larger weights, slightly more rounding. The fastest depends on the layer \
and on the adapter. The choices are kept for this adapter, its driver and this version in the \
cache folder (`DOWNHILL_CACHE_DIR`), and later runs of any model with the same layers follow them; \
layers that were not measured use a default. Choices for weights in float16 are kept apart.

Then each matrix product of a call, those of Winograd's algorithm included, is measured by every \
tile that its kernels have: the rows and columns that one workgroup computes. A tile changes no \
bit. It is kept for products of the same shape, so for calls with the same number of images \
(`--batch`), where it is faster than the default by 5 % twice.

Of a pipeline, the layers of the denoising network come first, then those of its autoencoder's \
decoder and encoder for whole images.

Images change in their last bits when the algorithms do. Runs that make one set of images together \
(`--shard`, `--resume`) should all start before it or all after it, with the same file, or use \
`--exact`.";

/// Measure the fastest algorithms for a model on an adapter, and remember them
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[arg(help = tunable_help())]
    pub model: Option<String>,

    /// Images per call while measuring; algorithms hold for any batch, tiles for this one
    #[arg(short, long, default_value = "1", value_parser = whole::<usize>(1..=4096))]
    batch: usize,

    /// Height and width of the images [default: the size that the model was trained on]
    #[arg(long, value_name = "HxW")]
    size: Option<Size>,

    /// Precision of the weights
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Seconds after which no further layer or product is started; most work first
    #[arg(long, value_name = "S", default_value = "30", value_parser = whole::<u64>(0..=86_400))]
    seconds: u64,

    /// Measure again the layers and products that were measured before
    #[arg(long)]
    again: bool,
}

/// The help of the MODEL argument.
fn tunable_help() -> String {
    let forms = crate::checkpoint::MODEL_FORMS;
    format!("A network, an autoencoder or a classifier: {forms} [default: the embedded network of digits]")
}

/// Runs `downhill tune`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("tune");
    if args.dtype == Dtype::F16Maps {
        let what = "`--dtype f16-maps` follows the choices that are measured for `f16`";
        return Err(Error::argument(what, "`downhill tune --dtype f16`"));
    }
    let options = args.dtype.options(global);
    let weights = options.weights;
    let model = Tunable::open(args.model.as_deref())?;
    let graphs = model.graphs(args.batch, args.size.map(Into::into))?;
    let mut engine = device::open(global, console)?;
    selftest::ensure(&engine)?;
    let key = Key::new(&engine.gpu.adapter, engine.family);
    let file = key.file().ok_or_else(|| {
        Error::argument("there is no folder for the measured algorithms", "set `DOWNHILL_CACHE_DIR` to a folder")
    })?;
    check_writable(&file)?;
    let (begin, budget) = (Instant::now(), Duration::from_secs(args.seconds));
    let interrupt = interrupt::listen();
    let go_on = |progress: &Progress| {
        progress.advance(1);
        if interrupt.check().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };

    let known = if args.again { BTreeMap::new() } else { engine.measured.layers(weights).clone() };
    let layers = unknown_layers_of(graphs.iter().map(AsRef::as_ref), &known);
    let progress = Progress::new("tuning", layers.len() as u64, console.verbosity);
    let measured = tune(&engine, weights, &layers, args.batch, budget, || go_on(&progress))?;
    drop(progress);
    let chosen: BTreeMap<Layer, Algorithm> = measured.iter().map(|one| (one.subject.layer, one.chosen)).collect();
    let mut choices = Choices::of(weights, chosen);
    engine.measured.extend(&choices);

    // The products of a network follow from the algorithms of its convolutions.
    let known = if args.again { BTreeMap::new() } else { engine.measured.tiles(weights).clone() };
    let plans: Vec<_> = graphs.iter().map(|graph| Compiler::new(&engine, options).plan(graph)).collect();
    let products = unknown_products_of(&plans, &known);
    let progress = Progress::new("tuning tiles", products.len() as u64, console.verbosity);
    let is_interrupted = interrupt.check().is_err();
    let budget = if is_interrupted { Duration::ZERO } else { budget.saturating_sub(begin.elapsed()) };
    let tiled = tune_tiles(&engine, &products, budget, || go_on(&progress))?;
    drop(progress);
    let chosen: BTreeMap<ProductShape, TileSize> = tiled.iter().map(|one| (one.shape, one.chosen)).collect();
    choices.extend(&Choices::of_tiles(weights, chosen));

    let tables = [table(&measured, &candidates(engine.family, weights)), tile_table(&tiled)];
    let tables: Vec<_> = tables.into_iter().filter(|table| !table.is_empty()).collect();
    global.print(&tables.join("\n"))?;
    if layers.is_empty() && products.is_empty() {
        console.note("nothing to do: every layer and product was measured before; `--again` measures them again");
    }
    let left = [layers.len() - measured.len(), products.len() - tiled.len()];
    let counts = format!("{} of {} layers and {} of {} products", left[0], layers.len(), left[1], products.len());
    let is_done = left == [0, 0];
    if !is_done && interrupt.check().is_ok() {
        console.warning(&format!("{counts} were not reached in the given time; run the command again"));
    }
    if choices != Choices::NONE {
        key.save(&file, &choices)?;
        console.note(&format!("wrote {}", file.display()));
    }
    report
        .set("model", model.json())
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("dtype", weights.to_string())
        .set("batch", args.batch)
        .set("layers", measured.iter().map(Measurement::json).collect::<Vec<_>>())
        .set("left", left[0])
        .set("products", tiled.iter().map(TileMeasurement::json).collect::<Vec<_>>())
        .set("left_products", left[1])
        .set("outputs", json!([file.display().to_string()]));
    global.write_report(&report)?;
    if !is_done && interrupt.check().is_err() {
        interrupt::say(console, &format!("{counts} are left"), &["--again"], &[]);
    }
    if is_done { Ok(()) } else { interrupt.check() }
}
