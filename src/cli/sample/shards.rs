//! The files of shards. Runs of one command that each make a part of the images would write one file over the other,
//! so the name of a file that holds several images says the shard.

use std::path::{Path, PathBuf};

use super::args::Args;
use super::job::USUAL_OUTPUT;
use crate::cli::shard::{Shard, ShardArg};
use crate::cli::stream::is_stream;
use crate::error::{Error, Result};

/// The place of the shard in the name of a file: `x-{shard}.npz` becomes `x-1-of-4.npz`.
const PLACE: &str = "{shard}";

/// The flags of a run with the names of its files.
///
/// # Errors
/// [`Error::Argument`] for a file of several images that every shard would write, and for a name with the place of a
/// shard in a run without.
pub fn named(args: &Args) -> Result<Args> {
    let shard = args.shard.map(ShardArg::resolve).transpose()?.map(|(shard, _)| shard);
    let mut own = args.clone();
    // Each prompt with one image is a file that one shard writes.
    let is_one_image_per_file = args.count == Some(1) && args.conditions.prompts.is_some();
    let is_checked = shard.is_some_and(|shard| shard.of > 1) && !is_one_image_per_file;
    match (&args.output, shard) {
        (None, Some(shard)) if is_checked => own.output = Some(usual_output(shard)),
        (Some(output), _) => own.output = Some(name("output", output, shard, is_checked && !output.contains('%'))?),
        _ => {}
    }
    let files = [
        ("save_samples", &mut own.save_samples),
        ("save_images", &mut own.save_images),
        ("save_steps", &mut own.save_steps),
        ("steps_sheet", &mut own.steps_sheet),
        ("steps_animation", &mut own.steps_animation),
        ("save_path", &mut own.save_path),
    ];
    for (field, file) in files {
        let Some(path) = file else { continue };
        // A path that is not Unicode is taken as it is.
        if let Some(text) = path.to_str() {
            *file = Some(PathBuf::from(name(field, text, shard, is_checked)?));
        }
    }
    Ok(own)
}

/// The name of the file of `field` in a shard.
fn name(field: &str, text: &str, shard: Option<Shard>, is_checked: bool) -> Result<String> {
    let has_place = text.contains(PLACE);
    let Some(shard) = shard else {
        if has_place {
            let what = format!("`{field}` is `{text}`, and this run is not a shard");
            return Err(Error::argument(what, format!("give `shard`, or omit {PLACE}")));
        }
        return Ok(text.to_owned());
    };
    if !is_checked || has_place || is_stream(Path::new(text)) || says(text, shard) {
        return Ok(text.replace(PLACE, &in_words(shard)));
    }
    let example = with_place(text);
    let (becomes, files) = (example.replace(PLACE, &in_words(shard)), ", or write one file per image: `DIR/%05d.png`");
    Err(Error::argument(
        format!("`{field}` is `{text}` in every shard, and each shard would replace the file of the others"),
        format!("`{example}` becomes `{becomes}`{}", if field == "output" { files } else { "" }),
    ))
}

/// Returns `true` if a number in `text` is that of the shard, counted from 0 or from 1.
fn says(text: &str, shard: Shard) -> bool {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<usize>().ok());
    numbers.into_iter().any(|number| number == shard.index || number == shard.index + 1)
}

fn in_words(Shard { index, of }: Shard) -> String {
    format!("{index}-of-{of}")
}

/// A name with the place of a shard before its ending.
fn with_place(text: &str) -> String {
    let path = Path::new(text);
    match (path.file_stem().and_then(|stem| stem.to_str()), path.extension().and_then(|ending| ending.to_str())) {
        (Some(stem), Some(ending)) => path.with_file_name(format!("{stem}-{PLACE}.{ending}")).display().to_string(),
        _ => format!("{text}-{PLACE}"),
    }
}

fn usual_output(shard: Shard) -> String {
    with_place(USUAL_OUTPUT).replace(PLACE, &in_words(shard))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches};

    use super::*;

    fn of(words: &str) -> Result<Args> {
        let command = Args::augment_args(Command::new("sample").no_binary_name(true));
        named(&Args::from_arg_matches(&command.get_matches_from(words.split(' '))).unwrap())
    }

    fn output(words: &str) -> Option<String> {
        of(words).unwrap().output
    }

    #[test]
    fn the_files_of_shards_have_their_own_names() {
        assert_eq!(output("--shard 1/4").as_deref(), Some("samples-1-of-4.png"));
        assert_eq!(output("--shard 0/1"), None);
        assert_eq!(output("--shard 1/4 -o a/x-{shard}.npz").as_deref(), Some("a/x-1-of-4.npz"));
        for name in ["z1.npz", "part-01.png", "s2/x.npz", "-", "d/%05d.png"] {
            assert_eq!(output(&format!("--shard 1/4 -o {name}")).as_deref(), Some(name));
        }
        let saved = of("--shard 3/4 -o %d.png --save-samples z{shard}.npy --save-steps steps-3").unwrap();
        assert_eq!(saved.save_samples.as_deref(), Some(Path::new("z3-of-4.npy")));
        assert_eq!(saved.save_steps.as_deref(), Some(Path::new("steps-3")));
        assert_eq!(output("--shard 1/4 -n 1 --prompts p.txt -o x.png").as_deref(), Some("x.png"));
    }

    #[test]
    fn a_file_that_every_shard_would_write_is_refused() {
        let refused = |words: &str| {
            let error = of(words).unwrap_err();
            (error.to_string(), error.hint().unwrap())
        };
        let (what, hint) = refused("--shard 1/4 -o out/all.npz");
        assert!(what.starts_with("`output` is `out/all.npz` in every shard"), "{what}");
        assert!(hint.starts_with("`out/all-{shard}.npz` becomes `out/all-1-of-4.npz`, or write one"), "{hint}");
        let (what, hint) = refused("--shard 1/4 -o x10.npz");
        assert!(what.contains("`x10.npz`") && hint.contains("`x10-1-of-4.npz`"), "{what}: {hint}");
        let (what, hint) = refused("--shard 1/4 -o %d.png --save-steps steps");
        assert!(what.starts_with("`save_steps`") && hint == "`steps-{shard}` becomes `steps-1-of-4`", "{what}: {hint}");
        let (what, _) = refused("-o x-{shard}.npz");
        assert!(what.ends_with("this run is not a shard"), "{what}");
    }
}
