//! The help of `--json`: the content of the report of each subcommand.

use clap::Command;

/// The content of reports, by subcommand. A study has that of the command that holds it.
const CONTENTS: [(&str, &str); 18] = [
    ("sample", "adapter, driver, model, seed, settings, timings, bytes, files"),
    ("serve", "adapter, driver, model, the numbers of requests that were served and refused"),
    ("denoise", "adapter, driver, model, shape, timings, bytes"),
    ("restore", "adapter, driver, model, operator, method, seed, quality of the images, timings"),
    ("encode-text", "adapter, driver, model, prompts and their tokens, timings, bytes"),
    ("encode", "adapter, driver, model, shape, timings, bytes"),
    ("decode", "adapter, driver, model, shape, timings, bytes"),
    ("linear", "adapter, driver, settings, findings, timings"),
    ("inspect", "adapter, driver, settings, findings, timings"),
    ("moments", "adapter, driver, settings, the rows that were measured, timings"),
    ("merge", "the files, the settings and the rows of the moments"),
    ("compare", "the verdict, the bounds, and for each pair its differences"),
    ("devices", "every adapter with its driver and its limits"),
    ("download", "model, folder, bytes received"),
    ("info", "the description that is printed"),
    ("selftest", "adapter, driver, every check with its outcome"),
    ("bench", "adapter, driver, machine, roofs, every case with its times and rates"),
    ("tune", "adapter, driver, model, every layer with the times of its algorithms"),
];

/// The subcommands of `program` with the help of their `--json`.
pub fn described(program: Command) -> Command {
    program.mut_subcommands(|subcommand| {
        let content = CONTENTS.iter().find(|(name, _)| *name == subcommand.get_name()).map(|(_, content)| *content);
        match content {
            Some(content) => with_content(subcommand, content),
            None => subcommand,
        }
    })
}

fn with_content(command: Command, content: &str) -> Command {
    let help = format!("Write a report of the run as JSON: {content}; `-` for standard output");
    let command = command.mut_args(|arg| if arg.get_id() == "json" { arg.help(help.clone()) } else { arg });
    command.mut_subcommands(|inner| with_content(inner, content))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_report_is_described() {
        let mut left = vec![super::super::root()];
        while let Some(command) = left.pop() {
            let json = command.get_arguments().find(|arg| arg.get_id() == "json");
            assert!(json.is_none_or(|arg| arg.get_help().is_some()), "{}", command.get_name());
            left.extend(command.get_subcommands().cloned());
        }
    }
}
