//! `downhill encode-text`: text embeddings.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use super::args::{Dtype, Global};
use super::device;
use crate::cli::stream::{self, output_name};
use crate::error::Result;
use crate::formats::npy;
use crate::graph::Compiler;
use crate::model::TextSource;
use crate::model::describe::{adapter_json, family_text, footprint_json};
use crate::model::stages::Texts;
use crate::model::timing::Stopwatch;
use crate::report::{Console, Report};
use crate::tensor::Tensor;

/// The shared flags.
pub type Flags = crate::cli::shared::DeviceFlags;

const EXAMPLES: &str = "\
Examples:
  downhill encode-text DIR -p \"a photograph of an astronaut\" --output e.npy
  downhill encode-text DIR -p \"\" -p \"a cat\" --output e.npy    two texts, the first empty
  downhill encode-text DIR -p \"a cat\" --tokens                 only the ids; no device is needed

DIR has the folders `tokenizer` and `text_encoder` of a Stable Diffusion model. A text becomes 77 \
tokens: a start, the text, an end, and padding. A longer text is cut, with a warning. The \
embeddings are the output of the encoder's final normalisation, as the network takes them.";

/// Encode prompts as text embeddings
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("result").required(true).multiple(true).args(["output", "tokens"]))]
pub struct Args {
    /// A diffusers folder or a hub id in the local cache
    #[arg(value_name = "DIR")]
    model: String,

    /// A prompt; repeat the flag for several
    #[arg(short, long = "prompt", value_name = "TEXT", required = true, allow_hyphen_values = true)]
    prompts: Vec<String>,

    /// Output: float32 (texts, tokens, channels); `-` for standard output
    #[arg(short, long, value_name = "FILE.npy")]
    output: Option<PathBuf>,

    /// Print the token ids, one line per text
    #[arg(long)]
    tokens: bool,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Texts per call; the batch does not change the result [default: all, at most 16]
    #[arg(short, long, allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    batch: Option<usize>,
}

/// Runs `downhill encode-text`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("encode-text");
    args.output.as_deref().map_or(Ok(()), stream::check_writable)?;
    let texts = Texts::open(&args.model)?;
    let tokens = args.prompts.iter().map(|prompt| texts.tokenizer.encode(prompt)).collect::<Result<Vec<_>>>()?;
    for left in tokens.iter().filter_map(|tokens| tokens.truncated.as_ref()) {
        let length = texts.tokenizer.length();
        console.warning(&format!("a text has more than {length} tokens; cut off: {left}"));
    }
    let ids: Vec<Vec<u32>> = tokens.iter().map(|tokens| tokens.ids.clone()).collect();
    report
        .set("model", json!({ "name": texts.name, "class": texts.class }))
        .set("prompts", json!(args.prompts))
        .set("tokens", json!(ids))
        .set("truncated", json!(tokens.iter().map(|tokens| tokens.truncated.as_ref()).collect::<Vec<_>>()));
    if let Some(output) = &args.output {
        let embeddings = encode(args, &texts.encoder()?, &ids, global, console, &mut report)?;
        stream::write(output, |file| npy::write(file, &embeddings))?;
        report.set("outputs", json!([output_name(output)]));
        console.note(&format!("wrote {}", output_name(output)));
    }
    if args.tokens {
        let line = |ids: &Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ") + "\n";
        global.print(&ids.iter().map(line).collect::<String>())?;
    }
    global.write_report(&report)
}

fn encode(
    args: &Args,
    source: &TextSource,
    ids: &[Vec<u32>],
    global: &Global,
    console: Console,
    report: &mut Report,
) -> Result<Tensor> {
    let mut clock = Stopwatch::start();
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, args.dtype.options(global));
    clock.lap("adapter");
    let encoded = source.encode(compiler, ids, args.batch, &mut clock.observer())?;
    let peak = engine.gpu.memory_bytes().1;
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(encoded.output.shape))
        .set("parameters", source.files.weights.parameters())
        .set("batch", encoded.batch)
        .set("memory", encoded.footprint.map(|footprint| footprint_json(&footprint, Some(peak))))
        .set("timings", clock.json(&[]));
    Ok(encoded.output)
}
