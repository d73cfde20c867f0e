//! Errors in the words of the command line: fields of settings become flags.
//!
//! The library names fields by their Rust names in backticks, `` `sigma_max` ``. Where the subcommand has a flag for
//! that field, the text names the flag, `` `--sigma-max` ``. Everything else in backticks stays as it is:
//! positional arguments, values, tensors, files.

use clap::Command;

use crate::error::Error;

/// The flags of one subcommand.
#[derive(Debug, Default)]
pub struct Flags {
    /// The name of a field, and the flag without its dashes.
    flags: Vec<(String, String)>,
}

impl Flags {
    /// The flags of `command`, by the id and by the long name of each.
    pub fn of(command: &Command) -> Self {
        let flags = command.get_arguments().filter_map(|arg| Some((arg.get_id().to_string(), arg.get_long()?)));
        let both = flags.flat_map(|(id, long)| [(id, long.to_owned()), (long.replace('-', "_"), long.to_owned())]);
        Self { flags: both.collect() }
    }

    /// The message of an error. Names in files and of tensors are not fields, so only an [`Error::Argument`] changes.
    pub fn message(&self, error: &Error) -> String {
        match error {
            Error::Argument { what, .. } => self.translate(what),
            // Drivers explain themselves in several lines.
            Error::Device { .. } => {
                let text = error.to_string();
                text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
            }
            _ => error.to_string(),
        }
    }

    /// The hint of an error. Those about the content of a file stay as they are.
    pub fn hint(&self, error: &Error) -> Option<String> {
        let hint = error.hint()?;
        Some(match error {
            Error::BadFile { .. }
            | Error::UnsupportedField { .. }
            | Error::MissingKey { .. }
            | Error::UnexpectedKey { .. }
            | Error::WrongShape { .. } => hint,
            _ => self.translate(&hint),
        })
    }

    /// A note about a run: the fields before and after a text that it quotes. Notes about files, which name the fields
    /// of these, stay as they are.
    pub fn note(&self, note: &str) -> String {
        if !["`prompt`", "`negative`", "`cfg_scale`", "`gamma`"].iter().any(|text| note.starts_with(text)) {
            return note.to_owned();
        }
        match (note.find('"'), note.rfind('"')) {
            (Some(from), Some(to)) => {
                let (before, after) = (self.translate(&note[..from]), self.translate(&note[to..]));
                before + &note[from..to] + &after
            }
            _ => self.translate(note),
        }
    }

    fn translate(&self, text: &str) -> String {
        let quoted = |(at, part): (usize, &str)| {
            let flag = self.flags.iter().find(|(field, _)| at % 2 == 1 && field == part);
            flag.map_or_else(|| part.to_owned(), |(_, long)| format!("--{long}"))
        };
        text.split('`').enumerate().map(quoted).collect::<Vec<_>>().join("`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(subcommands: &[&str]) -> Flags {
        let mut command = super::super::root();
        command.build();
        let find = |command: Command, name: &&str| command.find_subcommand(name).unwrap().clone();
        Flags::of(&subcommands.iter().fold(command, find))
    }

    #[test]
    fn fields_become_flags_of_the_subcommand() {
        let error =
            Error::argument("`sigma_max` is below `sigma_min`, sigma_max", "raise `sigma_max` or omit `schedule`");
        let sample = flags(&["sample"]);
        assert_eq!(sample.message(&error), "`--sigma-max` is below `--sigma-min`, sigma_max");
        assert_eq!(sample.hint(&error).unwrap(), "raise `--sigma-max` or omit `--schedule`");
        assert_eq!(flags(&["devices"]).message(&error), error.to_string());
        let jacobian = flags(&["linear", "jacobian"]);
        assert_eq!(jacobian.message(&error), sample.message(&error));
    }

    #[test]
    fn positional_arguments_and_values_stay_words() {
        let error = Error::argument("`model` is `ge`", "omit `steps 3`");
        let sample = flags(&["sample"]);
        assert_eq!(sample.message(&error), "`model` is `ge`");
        assert_eq!(sample.hint(&error).unwrap(), "omit `steps 3`");
    }

    #[test]
    fn a_flag_with_another_name_than_its_field_is_found_by_either() {
        let flags = flags(&["encode-text"]);
        for field in ["prompt", "prompts"] {
            assert_eq!(flags.message(&Error::argument(format!("`{field}`"), "")), "`--prompt`");
        }
    }

    #[test]
    fn notes_about_texts_name_flags_and_leave_what_they_quote() {
        let sample = flags(&["sample"]);
        let note = "`prompt` is longer than 77 tokens: \"a \"`seed`\" of `eta`\" is cut off; `long_prompts` keeps it";
        let shown =
            "`--prompt` is longer than 77 tokens: \"a \"`seed`\" of `eta`\" is cut off; `--long-prompts` keeps it";
        assert_eq!(sample.note(note), shown);
        assert_eq!(
            sample.note("`negative` is not read at a `cfg_scale` of 1"),
            "`--negative` is not read at a `--cfg-scale` of 1"
        );
        assert_eq!(sample.note("`cfg_scale` is below 1"), "`--cfg-scale` is below 1");
        assert_eq!(sample.note("the token `seed` stands for 1 vector"), "the token `seed` stands for 1 vector");
    }

    #[test]
    fn texts_about_files_stay_as_they_are() {
        let sample = flags(&["sample"]);
        let error = Error::bad_file_hint("scheduler_config.json", "`sigma_max` is text", "`sigma_max` is a number");
        assert_eq!(sample.message(&error), error.to_string());
        assert_eq!(sample.hint(&error), error.hint());
        let memory = Error::OutOfMemory { tensor: "`batch`".into(), bytes: 1, hint: "lower `batch`".into() };
        assert_eq!(sample.message(&memory), memory.to_string());
        assert_eq!(sample.hint(&memory).unwrap(), "lower `--batch`");
    }
}
