//! Flags that name one file or one stream twice, which is refused before the work.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};

use super::stream;
use crate::error::{Error, Result};
use crate::formats::one_spelling;

/// The arguments of subcommands that name an output, which may be standard output.
const OUTPUTS: [&str; 9] = [
    "output",
    "save_samples",
    "save_images",
    "save_path",
    "steps_sheet",
    "steps_animation",
    "save_statistics",
    "difference",
    "json",
];
/// The arguments that name an input, which may be standard input.
const INPUTS: [&str; 18] = [
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
    "model",
];
/// Flags that print to standard output beside what the subcommand writes.
const PRINTING: [&str; 2] = ["timings", "tokens"];
/// The name of both an input of `denoise` and an output of `encode-text`.
const POOLED: &str = "pooled";
const ENCODE_TEXT: &str = "encode-text";

/// Refuses two outputs that are one (standard output, or the same file), two inputs from standard input, and a text
/// on standard output beside a file on it.
///
/// # Errors
/// [`Error::Argument`] naming the flags.
pub fn check(command: &Command, called: &ArgMatches) -> Result<()> {
    let encodes_text = command.get_name() == ENCODE_TEXT;
    let pooled = |wanted: bool| wanted.then_some(POOLED);
    separate_outputs(OUTPUTS.into_iter().chain(pooled(encodes_text)), called)?;
    if !encodes_text {
        separate_inputs(INPUTS.into_iter().chain(pooled(true)), called)?;
    }
    Ok(())
}

/// The paths of an argument; none for one that the subcommand does not have.
fn paths<'m>(called: &'m ArgMatches, id: &str) -> impl Iterator<Item = &'m Path> {
    called.try_get_raw(id).ok().flatten().into_iter().flatten().map(Path::new)
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
    let streamed = seen.iter().find(|(id, place)| place.is_none() && *id != "json");
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
        (Some(one), Some(other)) => {
            let what = format!("`{one}` and `{other}` are both standard input");
            Err(Error::argument(what, "name a file for one of them"))
        }
        _ => Ok(()),
    }
}
