//! Several prompts in one run: `-p` more than once, or a file of them.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::args::Args;
use crate::cli::stream;
use crate::error::{Error, Result, excerpt};
use crate::formats::json;
use crate::input::read_regular;

/// The largest file of prompts in bytes.
const LARGEST: u64 = 64 << 20;
/// The most prompts of a run.
const MOST: usize = 100_000;
/// Digits at least of the number of a prompt in the names of files.
const DIGITS: usize = 3;
const FORMS: &str =
    "a prompt per line, or a JSON object per line with `prompt`, and `negative` and `seed` if they differ";

/// A prompt, with what differs from the flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub prompt: String,
    pub negative: Option<String>,
    pub seed: Option<u64>,
}

/// The prompts of the flags; `None` for a run with at most one, which is named as it is.
///
/// # Errors
/// Those of reading the file; [`Error::BadFile`] for a line of another form.
pub fn lines(args: &Args) -> Result<Option<Vec<Line>>> {
    if let Some(file) = &args.conditions.prompts {
        return stream::read(file, read).map(Some);
    }
    let given = &args.conditions.prompt;
    let line = |prompt: &String| Line { prompt: prompt.clone(), ..Line::default() };
    Ok((given.len() > 1).then(|| given.iter().map(line).collect()))
}

/// Reads a file of prompts. Empty lines are passed over.
///
/// # Errors
/// Those of reading the file; [`Error::BadFile`] for a line of another form.
pub fn read(file: &Path) -> Result<Vec<Line>> {
    let bytes = read_regular(file, LARGEST)?;
    let bad = |what: String| Error::bad_file_hint(file, what, FORMS);
    let text = std::str::from_utf8(&bytes).map_err(|error| bad(format!("not UTF-8: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = if line.trim_start().starts_with('{') {
            of_json(line).map_err(|error| bad(format!("line {}: {error}", at + 1)))?
        } else {
            Line { prompt: line.to_owned(), ..Line::default() }
        };
        if lines.len() == MOST {
            return Err(bad(format!("more than {MOST} prompts")));
        }
        lines.push(line);
    }
    if lines.is_empty() { Err(bad("no prompts".to_owned())) } else { Ok(lines) }
}

fn of_json(line: &str) -> std::result::Result<Line, String> {
    let fields: Map<String, Value> = json::parse(line.as_bytes())?;
    let mut found = Line::default();
    let mut has_prompt = false;
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("prompt", Value::String(text)) => (found.prompt, has_prompt) = (text, true),
            ("negative", Value::String(text)) => found.negative = Some(text),
            ("negative" | "seed", Value::Null) => {}
            ("seed", Value::Number(number)) if number.as_u64().is_some() => found.seed = number.as_u64(),
            ("prompt" | "negative" | "seed", value) => {
                return Err(format!("`{name}` is {}", excerpt(&value.to_string())));
            }
            _ => return Err(format!("`{}` is not a field", excerpt(&name))),
        }
    }
    if has_prompt { Ok(found) } else { Err("no `prompt`".to_owned()) }
}

/// The flags of one of several prompts: its texts and seed, and files with its number in their names.
///
/// # Errors
/// [`Error::Argument`] for an output on standard output, and for several starts from standard input.
pub fn of_line(args: &Args, line: &Line, index: usize, of: usize, usual_output: &str) -> Result<Args> {
    let inputs = [&args.init, &args.init_noise, &args.init_image];
    if of > 1 && inputs.into_iter().flatten().any(|file| stream::is_stream(file)) {
        let what = "several prompts, and a start from standard input, which can be read once";
        return Err(Error::argument(what, "name a file"));
    }
    let mut one = args.clone();
    one.conditions.prompt = vec![line.prompt.clone()];
    one.conditions.prompts = None;
    // The images of all prompts are shared, not those of each.
    one.shard = None;
    one.conditions.negative = line.negative.clone().or_else(|| args.conditions.negative.clone());
    one.seed = line.seed.or(args.seed);
    let number = |path: &str| numbered(path, index, of);
    one.output = Some(number(args.output.as_deref().unwrap_or(usual_output))?);
    let files = [
        &mut one.save_samples,
        &mut one.save_images,
        &mut one.save_steps,
        &mut one.save_path,
        &mut one.steps_sheet,
        &mut one.steps_animation,
    ];
    for path in files.into_iter().flatten() {
        *path = PathBuf::from(number(&path.to_string_lossy())?);
    }
    Ok(one)
}

/// A path with the number of a prompt: `x.png` becomes `x-000.png`, and `dir/%05d.png` becomes `dir/000-%05d.png`.
fn numbered(path: &str, index: usize, of: usize) -> Result<String> {
    if stream::is_stream(Path::new(path)) {
        let what = "several prompts, and an output on standard output";
        return Err(Error::argument(what, "name a file; the number of the prompt is added to its name"));
    }
    let digits = of.saturating_sub(1).to_string().len().max(DIGITS);
    let number = format!("{index:0digits$}");
    let start = path.rfind(['/', std::path::MAIN_SEPARATOR]).map_or(0, |at| at + 1);
    let (folder, name) = path.split_at(start);
    if name.contains('%') {
        return Ok(format!("{folder}{number}-{name}"));
    }
    Ok(match name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) {
        Some((stem, suffix)) => format!("{folder}{stem}-{number}.{suffix}"),
        None => format!("{folder}{name}-{number}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_numbered_by_their_prompt() {
        for (path, expected) in [
            ("x.png", "x-007.png"),
            ("a.b/x.png", "a.b/x-007.png"),
            ("dir/%05d.png", "dir/007-%05d.png"),
            ("steps", "steps-007"),
            (".hidden", ".hidden-007"),
        ] {
            assert_eq!(numbered(path, 7, 12).unwrap(), expected);
        }
        assert_eq!(numbered("x.npz", 7, 12_345).unwrap(), "x-00007.npz");
        assert!(numbered("-", 0, 2).is_err());
    }

    #[test]
    fn lines_are_texts_or_objects() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts.txt");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file)
        };
        let found = read(
            "\u{feff}a cat\n\n  {\"prompt\": \"b\", \"seed\": 18446744073709551615, \"negative\": \"c\"}\r\n (d)\n",
        );
        let line = |prompt: &str| Line { prompt: prompt.to_owned(), ..Line::default() };
        let second = Line { prompt: "b".to_owned(), negative: Some("c".to_owned()), seed: Some(u64::MAX) };
        assert_eq!(found.unwrap(), [line("a cat"), second, line(" (d)")]);
        for (text, what) in [
            ("\n \n", "no prompts"),
            ("a\n{\"seed\": 1}", "line 2: no `prompt`"),
            ("{\"prompt\": 1}", "`prompt` is 1"),
            ("{\"prompt\": \"a\", \"seed\": -1}", "`seed` is -1"),
            ("{\"prompt\": \"a\", \"steps\": 3}", "`steps` is not a field"),
            ("{\"prompt\"", "line 1: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(what), "{text}: {error}");
        }
    }
}
