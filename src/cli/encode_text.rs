//! `downhill encode-text`: text embeddings.

use std::path::PathBuf;

use serde_json::json;

use super::args::{Dtype, Global};
use super::device;
use crate::cli::numbers::whole;
use crate::cli::spinning::spinning;
use crate::cli::stream::{self, output_name};
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::graph::Compiler;
use crate::latent::passage::{Passage, PromptStyle};
use crate::latent::text::Encoded;
use crate::model::TextSource;
use crate::model::describe::{adapter_json, family_text, footprint_json};
use crate::model::stages::Texts;
use crate::model::timing::Stopwatch;
use crate::report::{Console, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::DeviceFlags;

const EXAMPLES: &str = "\
Examples:
  downhill encode-text DIR -p \"a photograph of an astronaut\" --output e.npy
  downhill encode-text DIR -p \"\" -p \"a cat\" --output e.npy    two texts, the first empty
  downhill encode-text DIR -p \"a cat\" --tokens                 only the ids; no device is needed

DIR has the folders `tokenizer` and `text_encoder` of a Stable Diffusion model. A text becomes 77 \
tokens: a start, the text, an end, and padding. A longer text is cut, with a warning. The \
embeddings are the output of the encoder's final normalisation, as the network takes them.

SDXL has two of each. Its embeddings are the outputs of the blocks before the last of both encoders, side by side; \
`--pooled` writes the embedding of the whole text by the second. `--tokens` prints the ids of all texts by the first \
tokenizer, then those by the second.";

/// Encode prompts as text embeddings
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("result").required(true).multiple(true).args(["output", "pooled", "tokens"]))]
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

    /// Output: float32 (texts, channels), the embedding of each whole text (SDXL)
    #[arg(long, value_name = "FILE.npy")]
    pooled: Option<PathBuf>,

    /// Read brackets as weights: `(word)`, `[word]`, `(word:1.3)`
    #[arg(long)]
    prompt_weights: bool,

    /// Read long texts in chunks, each with its own start and end; all texts become as long as the longest
    #[arg(long)]
    long_prompts: bool,

    /// Print the token ids, one line per text or chunk
    #[arg(long)]
    tokens: bool,

    /// Precision of the stored weights; arithmetic is in float32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t)]
    dtype: Dtype,

    /// Texts per call; the batch does not change the result [default: all, at most 16]
    #[arg(short, long, value_parser = whole::<usize>(1..=4096))]
    batch: Option<usize>,
}

/// Runs `downhill encode-text`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("encode-text");
    args.output.iter().chain(&args.pooled).try_for_each(|path| stream::check_writable(path))?;
    let texts = Texts::open(&args.model)?;
    let style = PromptStyle { weights: args.prompt_weights, long: args.long_prompts };
    let passages = TextSource::passages(&texts.tokenizers, &args.prompts, style)?;
    let mut ids: Vec<Vec<Vec<u32>>> = Vec::new();
    let mut truncated: Vec<Vec<Option<String>>> = Vec::new();
    for (tokenizer, passages) in texts.tokenizers.iter().zip(&passages) {
        for left in passages.iter().filter_map(|passage| passage.truncated.as_ref()) {
            let length = tokenizer.length();
            console.warning(&format!("a text has more than {length} tokens; cut off: {left}"));
        }
        truncated.push(passages.iter().map(|passage| passage.truncated.clone()).collect());
        ids.push(passages.iter().flat_map(|passage| passage.chunks.clone()).collect());
    }
    report
        .set("model", json!({ "name": texts.name, "class": texts.class }))
        .set("prompts", json!(args.prompts))
        .set("tokens", json!(ids.first()))
        .set("truncated", json!(truncated.first()));
    if let Some(second) = ids.get(1) {
        report.set("tokens_2", json!(second)).set("truncated_2", json!(truncated.get(1)));
    }
    let outputs: Vec<&PathBuf> = args.output.iter().chain(&args.pooled).collect();
    if !outputs.is_empty() {
        let source = texts.encoder()?;
        if let (Some(_), None) = (&args.pooled, source.pooled_channels()) {
            let what = format!("`pooled` has no meaning for `{}`, which does not embed whole texts", args.model);
            return Err(Error::argument(what, "omit `pooled`"));
        }
        let encoded = encode(args, &source, &passages, global, console, &mut report)?;
        for (path, tensor) in [(&args.output, Some(&encoded.hidden)), (&args.pooled, encoded.pooled.as_ref())] {
            if let (Some(path), Some(tensor)) = (path, tensor) {
                stream::write(path, |file| npy::write(file, tensor))?;
                console.note(&format!("wrote {}", output_name(path)));
            }
        }
        report.set("outputs", json!(outputs.iter().map(|path| output_name(path)).collect::<Vec<_>>()));
    }
    if args.tokens {
        let line = |ids: &Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ") + "\n";
        global.print(&ids.iter().flatten().map(line).collect::<String>())?;
    }
    global.write_report(&report)
}

fn encode(
    args: &Args,
    source: &TextSource,
    passages: &[Vec<Passage>],
    global: &Global,
    console: Console,
    report: &mut Report,
) -> Result<Encoded> {
    let mut clock = Stopwatch::start();
    let engine = device::open(global, console)?;
    let compiler = Compiler::new(&engine, args.dtype.on(&engine, console).options(global));
    clock.lap("adapter");
    let encoded = source.encode(compiler, passages, args.batch, &mut spinning(console, clock.observer()))?;
    let peak = engine.gpu.memory_bytes().1;
    report
        .set("adapter", adapter_json(&engine.gpu.adapter))
        .set("family", family_text(engine.family))
        .set("shape", json!(encoded.encoded.hidden.shape))
        .set("parameters", source.parts.iter().map(|part| part.files.weights.parameters()).sum::<u64>())
        .set("batch", encoded.batch)
        .set("memory", encoded.footprint.map(|footprint| footprint_json(&footprint, Some(peak))))
        .set("timings", clock.json(&[]));
    Ok(encoded.encoded)
}
