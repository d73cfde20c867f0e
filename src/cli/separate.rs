//! Standard streams and files that flags name twice, outputs that are inputs too, and streams in place of what a stream
//! cannot be: refused before the work.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};

use super::stream;
use crate::error::{Error, Result};
use crate::formats::one_spelling;

/// The arguments of subcommands that name an output, which may be standard output.
pub const OUTPUTS: [&str; 9] = [
    "output",
    "save_samples",
    "save_images",
    "save_path",
    "steps_sheet",
    "steps_animation",
    "save_statistics",
    "difference",
    JSON,
];
/// The arguments that name an input, which may be standard input.
pub const INPUTS: [&str; 22] = [
    "input",
    "reference",
    "init",
    "init_noise",
    "init_image",
    "mask",
    "prompts",
    "timesteps",
    "class_labels",
    "context",
    "time_ids",
    "error_model",
    "variances",
    "captions",
    "compare",
    "noise",
    "eps",
    // Of `bench compare` and `compare`.
    "first",
    "second",
    "A",
    "B",
    "files",
];
/// The arguments that name folders, data sets, models or weights, which are read in any order, or more than once.
pub const NOT_STREAMS: [&str; 19] = [
    "data",
    "against",
    "known",
    "noised",
    "samples",
    "analytic_data",
    "denoiser",
    "features",
    "features_file",
    "clip",
    "clip_score",
    "classifier",
    "lora",
    "embedding",
    "vae",
    "preview_vae",
    "generated_by",
    SAVE_STEPS,
    MODEL,
];
/// Arguments with a specification that may name a file, as `mask:FILE` and `pca:DATA,k=8` do, beside those above.
const SPECIFICATIONS: [&str; 2] = ["operator", "metric"];
/// A folder that is written.
const SAVE_STEPS: &str = "save_steps";
/// Flags that print to standard output beside what the subcommand writes.
const PRINTING: [&str; 2] = ["timings", "tokens"];
const JSON: &str = "json";
const MODEL: &str = "model";
/// The name of both an input of `denoise` and an output of `encode-text`.
pub const POOLED: &str = "pooled";
pub const ENCODE_TEXT: &str = "encode-text";
/// The subcommand whose model may be a file on standard input.
const INFO: &str = "info";
/// The subcommand that writes its events to standard output.
const SERVE: &str = "serve";

/// Refuses two outputs that are one (standard output, or the same file), an output that would replace an input, two
/// inputs from standard input, a text on standard output beside a file on it, and a stream in place of a folder or a
/// model.
///
/// # Errors
/// [`Error::Argument`] naming the flags.
pub fn check(command: &Command, called: &ArgMatches) -> Result<()> {
    let name = command.get_name();
    let encodes_text = name == ENCODE_TEXT;
    let pooled = |wanted: bool| wanted.then_some(POOLED);
    let is_model = |id: &&str| name != INFO || *id != MODEL;
    no_streams(NOT_STREAMS.into_iter().filter(is_model), called)?;
    separate_outputs(OUTPUTS.into_iter().chain(pooled(encodes_text)), called)?;
    separate_inputs(INPUTS.into_iter().chain(pooled(!encodes_text)), called)?;
    keep_inputs(command, called)?;
    if name == SERVE && paths(called, JSON).any(stream::is_stream) {
        let what = format!("`{JSON}` is standard output, and so are the events");
        return Err(Error::argument(what, format!("name a file for `{JSON}`")));
    }
    Ok(())
}

/// Refuses an output that is the same file as an input: the run would replace what it was made from.
///
/// # Errors
/// [`Error::Argument`] naming both arguments.
pub fn keep_inputs(command: &Command, called: &ArgMatches) -> Result<()> {
    let encodes_text = command.get_name() == ENCODE_TEXT;
    let pooled = |wanted: bool| wanted.then_some(POOLED);
    let is_input = |id: &&str| *id != SAVE_STEPS;
    let inputs: Vec<_> = INPUTS
        .into_iter()
        .chain(NOT_STREAMS)
        .chain(SPECIFICATIONS)
        .chain(pooled(!encodes_text))
        .filter(is_input)
        .flat_map(|id| paths(called, id).map(move |path| (id, path)))
        .collect();
    for id in OUTPUTS.into_iter().chain(pooled(encodes_text)) {
        for output in paths(called, id).filter(|path| !stream::is_stream(path)) {
            keep(id, output, inputs.iter().copied())?;
        }
    }
    Ok(())
}

/// Refuses `output`, the value of `id`, if it is the same file as one of `inputs`.
///
/// # Errors
/// [`Error::Argument`] naming both arguments.
pub fn keep<'p>(id: &str, output: &Path, inputs: impl IntoIterator<Item = (&'static str, &'p Path)>) -> Result<()> {
    // A file that does not exist cannot be lost, and neither can a device.
    let Some(place) = output.is_file().then(|| one_spelling(output)).flatten() else { return Ok(()) };
    let is_it = |path: &Path| files_in(path).any(|file| file.is_file() && one_spelling(file).as_ref() == Some(&place));
    let Some((input, _)) = inputs.into_iter().find(|(_, path)| !stream::is_stream(path) && is_it(path)) else {
        return Ok(());
    };
    let what = format!("`{id}` would replace `{}`, which is read by `{input}`", output.display());
    Err(Error::argument(what, format!("name another file by `{id}`")))
}

/// The paths that the value of an argument may name: itself, and the parts of a specification such as
/// `wiener:mean=M.npy,cov=C.npy` or `style.safetensors:0.8`.
fn files_in(value: &Path) -> impl Iterator<Item = &Path> {
    let parts = value.to_str().into_iter().flat_map(|text| text.split([':', ',']));
    let unnamed = parts.map(|part| part.split_once('=').map_or(part, |(_, path)| path));
    std::iter::once(value).chain(unnamed.map(Path::new))
}

/// The paths of an argument; none for one that the subcommand does not have.
fn paths<'m>(called: &'m ArgMatches, id: &str) -> impl Iterator<Item = &'m Path> {
    called.try_get_raw(id).ok().flatten().into_iter().flatten().map(Path::new)
}

fn no_streams(mut ids: impl Iterator<Item = &'static str>, called: &ArgMatches) -> Result<()> {
    let Some(id) = ids.find(|id| paths(called, id).any(stream::is_stream)) else { return Ok(()) };
    let what = format!("`{id}` is `-`, and a standard stream can only be a single file that is read or written once");
    Err(Error::argument(what, format!("name a file or a folder for `{id}`; `./-` is one called `-`")))
}

fn separate_outputs(ids: impl Iterator<Item = &'static str>, called: &ArgMatches) -> Result<()> {
    let mut seen: Vec<(&str, Option<PathBuf>)> = Vec::new();
    for id in ids {
        for path in paths(called, id) {
            let is_stream = stream::is_stream(path);
            let place = if is_stream { None } else { one_spelling(path) };
            if !is_stream && place.is_none() {
                continue;
            }
            if let Some((one, _)) = seen.iter().find(|(_, other)| *other == place) {
                let both = place.map_or("standard output".to_owned(), |_| format!("the file `{}`", path.display()));
                let hint = if is_stream { "name a file for one of them" } else { "name another file for one of them" };
                return Err(Error::argument(format!("`{one}` and `{id}` are both {both}"), hint));
            }
            seen.push((id, place));
        }
    }
    // A report in place of the text is what `--json -` asks for.
    let streamed = seen.iter().find(|(id, place)| place.is_none() && *id != JSON);
    let is_set = |id: &&str| called.try_get_one::<bool>(id).ok().flatten().is_some_and(|is_set| *is_set);
    if let (Some((output, _)), Some(printing)) = (streamed, PRINTING.iter().find(|id| is_set(id))) {
        let what = format!("`{printing}` prints to standard output, and `{output}` is standard output");
        return Err(Error::argument(what, format!("name a file for `{output}`, or omit `{printing}`")));
    }
    Ok(())
}

fn separate_inputs(ids: impl Iterator<Item = &'static str>, called: &ArgMatches) -> Result<()> {
    let mut streams = ids.flat_map(|id| paths(called, id).filter(|path| stream::is_stream(path)).map(move |_| id));
    match (streams.next(), streams.next()) {
        (Some(one), Some(other)) if one == other => {
            let what = format!("`{one}` names standard input twice");
            Err(Error::argument(what, "standard input can be read once: name files"))
        }
        (Some(one), Some(other)) => {
            let what = format!("`{one}` and `{other}` are both standard input");
            Err(Error::argument(what, "name a file for one of them"))
        }
        _ => Ok(()),
    }
}
