//! Every parser of downhill that foreign bytes can reach, as functions of bytes. The fuzzer runs one of them for as
//! long as it is given, `tests/files/fuzz.rs` runs all of them over the seeds and mutations of these.

mod additions;
mod answers;
mod arrays;
mod kept;
mod models;
mod networks;
mod pictures;
mod scratch;
mod seeds;
mod texts;
mod tokenizers;
mod words;

use downhill::{ErrorKind, Result};
pub use seeds::Seeds;
pub use words::WORDS;

/// A parser.
pub struct Target {
    pub name: &'static str,
    /// The longest input, in bytes. Longer ones reach no further branches.
    pub longest: usize,
    /// The number of mutations in the bounded run of the tests.
    pub bounded: usize,
    /// Parses bytes. Panics if a promise of the parser is broken; a refusal is not.
    pub run: fn(&[u8]),
    /// Inputs of the right form, from which others are bred.
    pub seeds: fn(&Seeds) -> Vec<Vec<u8>>,
}

/// The targets.
pub const TARGETS: &[Target] = &[
    Target { name: "npy", longest: 512, bounded: 20000, run: arrays::npy, seeds: Seeds::npy },
    Target { name: "npz", longest: 2048, bounded: 20000, run: arrays::npz, seeds: Seeds::npz },
    Target { name: "npz-arrays", longest: 512, bounded: 20000, run: arrays::npz_arrays, seeds: Seeds::npy },
    Target { name: "idx", longest: 256, bounded: 20000, run: arrays::idx, seeds: Seeds::idx },
    Target { name: "gzip", longest: 512, bounded: 20000, run: arrays::idx, seeds: Seeds::gzip },
    Target { name: "png-text", longest: 2048, bounded: 20000, run: pictures::png_text, seeds: Seeds::png },
    Target { name: "picture", longest: 2048, bounded: 8000, run: pictures::picture, seeds: Seeds::picture },
    Target { name: "folder", longest: 1024, bounded: 4000, run: pictures::folder, seeds: Seeds::picture },
    Target { name: "safetensors", longest: 2048, bounded: 20000, run: models::safetensors, seeds: Seeds::safetensors },
    Target { name: "pickle", longest: 6144, bounded: 20000, run: models::pickle, seeds: Seeds::pickle },
    Target { name: "pickle-opcodes", longest: 1024, bounded: 20000, run: models::opcodes, seeds: Seeds::opcodes },
    Target { name: "config", longest: 1024, bounded: 20000, run: models::config, seeds: Seeds::config },
    Target { name: "shard-index", longest: 512, bounded: 20000, run: models::shard_index, seeds: Seeds::shard_index },
    Target { name: "model-index", longest: 1024, bounded: 20000, run: models::model_index, seeds: Seeds::model_index },
    Target { name: "single-file", longest: 4096, bounded: 4000, run: models::single_file, seeds: Seeds::single_file },
    Target { name: "hub-ref", longest: 128, bounded: 20000, run: models::hub_ref, seeds: Seeds::hub_ref },
    Target { name: "hub-listing", longest: 512, bounded: 20000, run: answers::hub_listing, seeds: Seeds::hub_listing },
    Target { name: "hub-headers", longest: 512, bounded: 20000, run: answers::hub_headers, seeds: Seeds::hub_headers },
    Target { name: "findings", longest: 512, bounded: 20000, run: answers::findings, seeds: Seeds::findings },
    Target { name: "saved-run", longest: 1024, bounded: 8000, run: answers::saved_run, seeds: Seeds::saved_run },
    Target { name: "pipelines", longest: 128, bounded: 20000, run: answers::pipelines, seeds: Seeds::pipelines },
    Target { name: "unet2d", longest: 2048, bounded: 1500, run: networks::unet2d, seeds: Seeds::unet2d },
    Target {
        name: "unet2d-condition",
        longest: 4096,
        bounded: 1500,
        run: networks::unet2d_condition,
        seeds: Seeds::unet2d_condition,
    },
    Target { name: "adm", longest: 1024, bounded: 1500, run: networks::adm, seeds: Seeds::adm },
    Target { name: "dit", longest: 2048, bounded: 1500, run: networks::dit, seeds: Seeds::dit },
    Target { name: "autoencoder", longest: 2048, bounded: 1500, run: networks::autoencoder, seeds: Seeds::autoencoder },
    Target { name: "clip-text", longest: 1024, bounded: 1500, run: networks::clip_text, seeds: Seeds::clip_text },
    Target { name: "scheduler", longest: 2048, bounded: 1500, run: networks::scheduler, seeds: Seeds::scheduler },
    Target {
        name: "tokenizer-parts",
        longest: 2048,
        bounded: 4000,
        run: tokenizers::parts,
        seeds: Seeds::tokenizer_parts,
    },
    Target {
        name: "tokenizer-whole",
        longest: 2048,
        bounded: 4000,
        run: tokenizers::whole,
        seeds: Seeds::tokenizer_whole,
    },
    Target { name: "prompt", longest: 512, bounded: 8000, run: tokenizers::prompt, seeds: Seeds::prompt },
    Target { name: "lora", longest: 2048, bounded: 8000, run: additions::lora, seeds: additions::lora_seeds },
    Target { name: "learned", longest: 512, bounded: 20000, run: additions::learned, seeds: additions::learned_seeds },
    Target {
        name: "prompt-weights",
        longest: 256,
        bounded: 20000,
        run: additions::weights,
        seeds: additions::weights_seeds,
    },
    Target {
        name: "prompt-file",
        longest: 512,
        bounded: 20000,
        run: additions::prompt_file,
        seeds: additions::prompt_file_seeds,
    },
    Target { name: "request", longest: 512, bounded: 8000, run: additions::request, seeds: additions::request_seeds },
    Target { name: "tuned", longest: 1024, bounded: 20000, run: kept::tuned, seeds: Seeds::tuned },
    Target { name: "benchmark", longest: 2048, bounded: 20000, run: kept::benchmark, seeds: Seeds::benchmark },
    Target { name: "study", longest: 256, bounded: 20000, run: kept::study, seeds: Seeds::study },
    Target { name: "names", longest: 128, bounded: 20000, run: texts::names, seeds: Seeds::names },
    Target { name: "numbers", longest: 128, bounded: 20000, run: texts::numbers, seeds: Seeds::numbers },
];

/// Returns the value of `result`. Of an error, checks that it says something and is one that a parser may have.
fn said<T>(result: Result<T>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let own = [ErrorKind::Argument, ErrorKind::NotFound, ErrorKind::File, ErrorKind::Memory, ErrorKind::NonFinite];
    assert!(own.contains(&error.kind()), "a parser does not fail by {:?}: {error}", error.kind());
    assert!(!error.to_string().trim().is_empty(), "an error without words: {error:?}");
    assert!(error.hint().is_none_or(|hint| !hint.trim().is_empty()), "a hint without words: {error:?}");
    None
}
