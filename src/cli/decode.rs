//! `downhill decode`: latents to images, by the decoder alone.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::{Dtype, Global, TileArg};
use super::array_or_picture::{FormatArg, is_picture};
use super::device;
use super::inputs::read_images;
use crate::cli::numbers::whole;
use crate::cli::spinning::spinning;
use crate::cli::stream::{self, output_name};
use crate::error::Result;
use crate::formats::images::{WHITE, grid, quantise, square_columns};
use crate::formats::npy;
use crate::formats::png::write_png;
use crate::graph::Compiler;
use crate::model::describe::{adapter_json, family_text, footprint_json};
use crate::model::stages::Autoencoder;
use crate::model::timing::Stopwatch;
use crate::report::{Console, Report};
use crate::tensor::Tensor;

/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;

const EXAMPLES: &str = "\
Examples:
  downhill decode DIR --input latent.npy --output image.npy
  downhill decode DIR --input latent.npy --output image.png    several become a grid
  downhill decode DIR --input latent.npy --output image.npy --tile 128

DIR is a Stable Diffusion model with a folder `vae`, or that folder alone. The latents are the \
decoder's own: those of the diffusion network divided by its scaling factor. An array holds the \
output of the decoder, about -1 to 1; a PNG is clipped.

A map that is too large for the device is computed in strips of rows. The rows around a strip are computed with it, \
and normalisations use the statistics of the whole map, so that the result is the same up to rounding.";

/// Decode latents into images
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// A diffusers folder, or a hub id in the local cache
    #[arg(value_name = "DIR")]
    model: String,

    /// The latents (N,C,h,w), not scaled; `-` for standard input
    #[arg(short, long, value_name = "FILE.npy")]
    input: PathBuf,

    /// Output: `.npy` of float32 (N,C,H,W), or `.png`; `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Format of `-o -` [default: npy]
    #[arg(long, value_enum, value_name = "FORMAT", hide_possible_values = true, hide_short_help = true)]
    format: Option<FormatArg>,

    /// Decode in strips: always, of ROWS rows (a number); `never`; or only if the image does not fit (`auto`)
    #[arg(long, value_name = "ROWS|never|auto", default_value = "auto")]
    tile: TileArg,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Images per call; the batch does not change the result [default: as many as fit in 1 GiB]
    #[arg(short, long, value_parser = whole::<usize>(1..=4096))]
    batch: Option<usize>,
}

/// Runs `downhill decode`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("decode");
    let as_picture = is_picture(&args.output, args.format)?;
    stream::check_writable(&args.output)?;
    let autoencoder = Autoencoder::open(&args.model)?;
    let latents = read_images(&args.input, autoencoder.net.latent_channels())?;
    autoencoder.net.check_latents(1, (latents.shape[2], latents.shape[3]))?;
    report.set("model", json!({ "name": autoencoder.name, "class": autoencoder.class }));
    let images = decode(args, &autoencoder, &latents, global, console, &mut report)?;
    if as_picture {
        stream::write(&args.output, |file| write_picture(file, &images))?;
    } else {
        stream::write(&args.output, |file| npy::write(file, &images))?;
    }
    report.set("outputs", json!([output_name(&args.output)]));
    console.note(&format!("wrote {}", output_name(&args.output)));
    global.write_report(&report)
}

fn decode(
    args: &Args,
    autoencoder: &Autoencoder,
    latents: &Tensor,
    global: &Global,
    console: Console,
    report: &mut Report,
) -> Result<Tensor> {
    let mut clock = Stopwatch::start();
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, args.dtype.on(&engine, console).options(global));
    clock.lap("adapter");
    let decoded =
        autoencoder.decode(compiler, latents, args.batch, args.tile.0, &mut spinning(console, clock.observer()))?;
    if decoded.strips > 1 {
        console.detail(&format!("decoded in up to {} strips of rows", decoded.strips));
    }
    let peak = engine.gpu.memory_bytes().1;
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(decoded.output.shape))
        .set("parameters", autoencoder.files.weights.parameters())
        .set("batch", decoded.batch)
        .set("strips", decoded.strips)
        .set("memory", decoded.footprint.map(|footprint| footprint_json(&footprint, Some(peak))))
        .set("timings", clock.json(&[]));
    Ok(decoded.output)
}

/// One image, or a grid of several.
fn write_picture(path: &Path, images: &Tensor) -> Result<()> {
    let images = quantise(images)?;
    let columns = square_columns(images.len());
    write_png(path, &grid(&images, columns, WHITE), &[])
}
