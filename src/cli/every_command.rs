//! Rules of all subcommands, by the definition of their arguments.

use clap::error::ErrorKind;
use clap::{Arg, Command};

use super::root;
use super::separate::{ENCODE_TEXT, INPUTS, NOT_STREAMS, OUTPUTS, POOLED, check};

/// Every subcommand that does something, with the names before its own.
fn every_command() -> Vec<(String, Command)> {
    let mut program = root();
    program.build();
    let mut found = Vec::new();
    let mut left = vec![(String::new(), program)];
    while let Some((path, command)) = left.pop() {
        let inner: Vec<_> = command.get_subcommands().filter(|one| one.get_name() != "help").cloned().collect();
        let is_work = inner.is_empty() || !command.is_subcommand_required_set();
        left.extend(inner.into_iter().map(|one| (format!("{path} {}", one.get_name()), one)));
        if is_work {
            found.push((path, command));
        }
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// Returns `true` for an argument whose value is a path, by its type or by its name.
fn names_a_path(arg: &Arg) -> bool {
    let value = |name: &clap::builder::Str| {
        let name = name.as_str();
        ["FILE", "DIR", "PATH", "DATA", "MODEL"]
            .iter()
            .any(|word| name.split(['|', '.', '[', ',']).any(|it| it == *word))
    };
    let is_path = arg.get_value_parser().type_id() == clap::builder::ValueParser::path_buf().type_id();
    arg.get_action().takes_values() && (is_path || arg.get_value_names().unwrap_or_default().iter().any(value))
}

/// Every flag that names a file is an input or an output, which may be a stream, or known not to be one.
#[test]
fn every_path_may_be_a_stream_or_is_refused_as_one() {
    for (path, command) in every_command() {
        for arg in command.get_arguments().filter(|arg| names_a_path(arg)) {
            let id = arg.get_id().as_str();
            let groups = [&OUTPUTS[..], &INPUTS, &NOT_STREAMS, &[POOLED]];
            let count = groups.iter().filter(|ids| ids.contains(&id)).count();
            assert_eq!(count, 1, "`{id}` of `{path}`");
        }
    }
}

/// The flags of `words`, of which those that are missing do not count.
fn refusal(command: &Command, words: &[String]) -> Option<String> {
    let matches = command.clone().ignore_errors(true).no_binary_name(true).try_get_matches_from(words);
    match matches {
        Ok(matches) => check(command, &matches).err().map(|error| error.to_string()),
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::UnknownArgument, "{words:?}");
            None
        }
    }
}

#[test]
fn every_pair_of_outputs_on_one_stream_is_refused() {
    let (mut pairs, mut alone) = (0, 0);
    for (path, command) in every_command() {
        let is_output = |id: &str| OUTPUTS.contains(&id) || id == POOLED && command.get_name() == ENCODE_TEXT;
        let flags: Vec<_> = command
            .get_arguments()
            .filter(|arg| names_a_path(arg) && is_output(arg.get_id().as_str()))
            .map(|arg| (arg.get_id().to_string(), format!("--{}=-", arg.get_long().expect("a flag"))))
            .collect();
        for (at, (one, first)) in flags.iter().enumerate() {
            if command.get_name() != "serve" {
                assert_eq!(refusal(&command, std::slice::from_ref(first)), None, "{path} {first}");
                alone += 1;
            }
            for (other, second) in &flags[at + 1..] {
                let told = refusal(&command, &[first.clone(), second.clone()]);
                let told = told.unwrap_or_else(|| panic!("{path} {first} {second} is not refused"));
                assert!(told.contains(&format!("`{one}`")) && told.contains(&format!("`{other}`")), "{told}");
                pairs += 1;
            }
        }
    }
    assert!(pairs > 50 && alone > 40, "{pairs} pairs, {alone} flags");
}

#[test]
fn every_pair_of_inputs_from_one_stream_is_refused() {
    let mut pairs = 0;
    for (path, command) in every_command() {
        let is_input = |id: &str| INPUTS.contains(&id) || id == POOLED && command.get_name() != ENCODE_TEXT;
        let flags: Vec<_> = command
            .get_arguments()
            .filter(|arg| names_a_path(arg) && is_input(arg.get_id().as_str()))
            .map(|arg| arg.get_long().map_or("-".to_owned(), |long| format!("--{long}=-")))
            .collect();
        for (at, first) in flags.iter().enumerate() {
            for second in &flags[at + 1..] {
                let told = refusal(&command, &[first.clone(), second.clone()]);
                assert!(told.is_some_and(|told| told.contains("standard input")), "{path} {first} {second}");
                pairs += 1;
            }
        }
    }
    assert!(pairs > 30, "{pairs}");
}

/// At any width, no line of a help is wider than the terminal unless it is one word.
#[test]
fn help_fits_into_terminals() {
    for columns in [40, 80, 100] {
        for (path, command) in every_command() {
            let mut command = super::help::fitted(command, columns).term_width(columns);
            for text in [command.render_help(), command.render_long_help()] {
                // clap does not wrap the line of usage.
                for line in text.to_string().lines().filter(|line| !line.starts_with("Usage: ")) {
                    let is_word = |line: &str| !line.trim().trim_end_matches(" \\").contains(' ');
                    assert!(line.chars().count() <= columns || is_word(line), "{path} at {columns}: {line}");
                }
            }
        }
    }
}
