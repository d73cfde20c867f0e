//! `downhill encode`: images to latents, by the encoder alone.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::args::{Dtype, Global, Size};
use super::device;
use super::inputs::{begins_as_array, read_pixels};
use crate::cli::numbers::{whole, whole_from};
use crate::cli::spinning::spinning;
use crate::cli::stream::{self, input_name, output_name};
use crate::data::picture::Picture;
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::graph::Compiler;
use crate::model::describe::{adapter_json, family_text, footprint_json};
use crate::model::stages::Autoencoder;
use crate::model::timing::Stopwatch;
use crate::nets::autoencoder::Autoencoder as NetAutoencoder;
use crate::report::{Console, Report};
use crate::tensor::Tensor;

/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;

const EXAMPLES: &str = "\
Examples:
  downhill encode DIR --input image.npy --output latent.npy
  downhill encode DIR --input photo.jpg --size 512 --output latent.npy
  downhill encode DIR --input image.png --output latent.npy --sample --seed 7

DIR is a Stable Diffusion model with a folder `vae`, or that folder alone. Arrays are images in -1 to 1; \
pictures, and arrays of bytes (uint8), are scaled to that. The output is the mean of the encoder's distribution, or \
a draw from it; the diffusion network's latents are those times its scaling factor.";

/// Encode images as latents
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// A diffusers folder, or a hub id in the local cache
    #[arg(value_name = "DIR")]
    model: String,

    /// The images: an array (N,C,H,W), or an image file as `sample --init-image` takes it; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,

    /// Output: float32 (N,C,h,w), not scaled; `-` for standard output
    #[arg(short, long, value_name = "FILE.npy")]
    output: PathBuf,

    /// Resize a picture [default: its size, each side rounded down to a multiple of the autoencoder's factor, usually
    /// 8]
    #[arg(long, value_name = "HEIGHTxWIDTH")]
    size: Option<Size>,

    /// Draw from the encoder's distribution instead of taking its mean
    #[arg(long)]
    sample: bool,

    /// Seed of the draw
    #[arg(short, long, value_name = "SEED", requires = "sample", default_value_t = 0,
        value_parser = whole_from::<u64>(0))]
    seed: u64,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Images per call; the batch does not change the result [default: as many as fit in 1 GiB]
    #[arg(short, long, value_parser = whole::<usize>(1..=4096))]
    batch: Option<usize>,
}

/// Runs `downhill encode`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("encode");
    stream::check_writable(&args.output)?;
    let autoencoder = Autoencoder::open(&args.model)?;
    let (images, notes) = read(&args.input, args.size, autoencoder.net.as_ref())?;
    for note in notes {
        console.note(&format!("note: {note}"));
    }
    let size = (images.shape[2], images.shape[3]);
    autoencoder.net.check_images(1, size).map_err(|error| of_picture(error, &args.input))?;
    report.set("model", json!({ "name": autoencoder.name, "class": autoencoder.class }));
    let latents = encode(args, &autoencoder, &images, global, console, &mut report)?;
    stream::write(&args.output, |file| npy::write(file, &latents))?;
    report.set("outputs", json!([output_name(&args.output)]));
    console.note(&format!("wrote {}", output_name(&args.output)));
    global.write_report(&report)
}

fn is_array(file: &Path) -> bool {
    file.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("npy")) || begins_as_array(file)
}

/// Returns the images, and sentences on what the file holds besides and on its size.
fn read(file: &Path, size: Option<Size>, net: &dyn NetAutoencoder) -> Result<(Tensor, Vec<String>)> {
    let name = input_name(file);
    stream::read(file, |file| {
        let (images, notes) = read_file(file, size, net)?;
        let shown = |note: String| note.replace(&file.display().to_string(), &name);
        Ok((images, notes.into_iter().map(shown).collect()))
    })
}

fn read_file(file: &Path, size: Option<Size>, net: &dyn NetAutoencoder) -> Result<(Tensor, Vec<String>)> {
    match (is_array(file), size) {
        (true, Some(_)) => Err(Error::argument("`--size` is for pictures", "omit `--size`, or give an image file")),
        (true, None) => Ok((read_pixels(file, net.in_channels())?, Vec::new())),
        (false, size) => {
            let picture = Picture::read(file)?;
            let fitting = crate::model::fitting_size(picture.size(), net.factor());
            let size = size.map_or(fitting, |size| (size.height, size.width));
            let notes = picture.note().map(str::to_owned).into_iter().chain(picture.scaled_note(size)).collect();
            Ok((picture.at(net.in_channels(), size)?, notes))
        }
    }
}

/// Adds the flag to the error about a picture of a size that does not fit.
fn of_picture(error: Error, file: &Path) -> Error {
    match error {
        Error::Argument { what, hint } if !is_array(file) => {
            Error::argument(what, format!("{}: give another `--size HEIGHTxWIDTH`", hint.unwrap_or_default()))
        }
        other => other,
    }
}

fn encode(
    args: &Args,
    autoencoder: &Autoencoder,
    images: &Tensor,
    global: &Global,
    console: Console,
    report: &mut Report,
) -> Result<Tensor> {
    let mut clock = Stopwatch::start();
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, args.dtype.on(&engine, console).options(global));
    clock.lap("adapter");
    let draw = args.sample.then_some(args.seed);
    let encoded = autoencoder.encode(compiler, images, args.batch, draw, &mut spinning(console, clock.observer()))?;
    let peak = engine.gpu.memory_bytes().1;
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(encoded.output.shape))
        .set("parameters", autoencoder.files.weights.parameters())
        .set("seed", json!(draw))
        .set("batch", encoded.batch)
        .set("memory", encoded.footprint.map(|footprint| footprint_json(&footprint, Some(peak))))
        .set("timings", clock.json(&[]));
    Ok(encoded.output)
}
