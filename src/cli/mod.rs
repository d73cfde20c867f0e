//! The command line: one file a subcommand; parse, call, print.
//!
//! Data goes to files and standard output, talk to standard error. What was typed (`Args`) becomes what it means
//! (`Job`) in one place a subcommand, before any device is touched. Exit codes are those of [`exit`]; what clap itself
//! refuses is a usage error (2).

mod args;
mod bench;
mod completions;
mod decode;
mod denoise;
mod describe;
mod device;
mod devices;
#[cfg(feature = "download")]
mod download;
mod encode;
mod encode_text;
mod exit;
mod flags;
mod info;
mod inputs;
mod inspect;
mod linear;
mod quiet;
mod sample;
mod selftest;
mod study;
mod timing;
mod tune;
mod vectors;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::Result;
use crate::report::Console;
use args::Global;
use flags::Flags;

/// Exit code of what cannot be understood.
const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  downhill sample                                  16 handwritten digits to samples.png
  downhill sample google/ddpm-cifar10-32 -n 64     a model from the local hub cache
  downhill denoise DIR -i x.npy -t 500 -o eps.npy  one call of a network
  downhill encode-text DIR -p TEXT -o e.npy        what a text encoder makes of a text
  downhill decode DIR -i latent.npy -o image.png   what a decoder makes of latents
  downhill linear pca --data digits -o components  the principal components of data
  downhill inspect schedule --error-model 0.05,2   the theory of a model's sampling, study by study
  downhill info DIR                                what a model is, and what it needs
  downhill devices                                 the adapters of this machine
  downhill tune DIR                                find the fastest algorithms for a model on an adapter

`downhill COMMAND --help` shows more, `downhill COMMAND -h` less.

Exit codes: 0 done, 2 usage, 3 no adapter, 4 a bad file, 5 out of memory, 6 the device failed, 7 non-finite values.";

/// Denoising is projection, sampling is iterating it: diffusion models on any GPU, or none
#[derive(Debug, Parser)]
#[command(name = "downhill", version, after_long_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Sample(Box<sample::Args>),
    Denoise(denoise::Args),
    EncodeText(encode_text::Args),
    Encode(encode::Args),
    Decode(decode::Args),
    Linear(linear::Args),
    Inspect(inspect::Args),
    Devices(devices::Args),
    #[cfg(feature = "download")]
    Download(download::Args),
    Info(info::Args),
    Selftest(selftest::Args),
    Bench(bench::Args),
    Tune(tune::Args),
    Completions(completions::Args),
}

impl Command {
    /// Whether what it computes gains from vectors twice as wide. The embedded network has 32 to 96 channels, which fill half of them: it
    /// takes as long either way, and its shaders compile sooner for narrow ones.
    const fn fills_wide_vectors(&self) -> bool {
        match self {
            Self::Sample(args) => args.model.is_some(),
            Self::Denoise(args) => args.model.is_some(),
            Self::Tune(args) => args.model.is_some(),
            Self::Info(args) => args.subject.is_some(),
            // Opens no device.
            Self::Completions(_) => false,
            _ => true,
        }
    }
}

/// Runs the program; the answer is the process exit code.
pub fn main() -> ExitCode {
    let mut root = root();
    let matches = root.try_get_matches_from_mut(std::env::args_os());
    let (cli, flags) = match matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
        Ok((cli, matches)) => (cli, flags(&root, &matches)),
        Err(refusal) => {
            // Help and version come here too. Nobody reads any more: nothing to do about it.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(USAGE));
        }
    };
    if cli.command.fills_wide_vectors() {
        vectors::widen();
    }
    let console = Console::new(cli.global.verbosity());
    match run(cli.command, &cli.global, console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.error(&flags.message(&error), flags.hint(&error).as_deref());
            ExitCode::from(exit::code(error.kind()))
        }
    }
}

/// The program's arguments, as clap has them.
fn root() -> clap::Command {
    Cli::command()
}

/// The flags of the subcommand that was called.
fn flags(root: &clap::Command, matches: &ArgMatches) -> Flags {
    let (mut command, mut matches) = (root, matches);
    while let Some((name, inner)) = matches.subcommand()
        && let Some(subcommand) = command.find_subcommand(name)
    {
        (command, matches) = (subcommand, inner);
    }
    Flags::of(command)
}

/// Runs a subcommand, with those of the global flags that mean something to it.
fn run(command: Command, global: &Global, console: Console) -> Result<()> {
    let (name, meant): (_, &[&str]) = match &command {
        Command::Sample(_) => ("sample", &["adapter", "json", "checked", "exact", "family"]),
        Command::Denoise(_) => ("denoise", &["adapter", "json", "checked", "exact", "family"]),
        Command::EncodeText(_) => ("encode-text", &["adapter", "json", "checked", "family"]),
        Command::Encode(_) => ("encode", &["adapter", "json", "checked", "exact", "family"]),
        Command::Decode(_) => ("decode", &["adapter", "json", "checked", "exact", "family"]),
        Command::Linear(_) => ("linear", &["adapter", "json", "checked", "family"]),
        Command::Inspect(_) => ("inspect", &["adapter", "json", "checked", "exact", "family"]),
        Command::Selftest(_) => ("selftest", &["adapter", "json", "checked", "family"]),
        Command::Bench(_) => ("bench", &["adapter", "json", "checked", "exact", "family"]),
        Command::Tune(_) => ("tune", &["adapter", "json", "family"]),
        Command::Info(_) => ("info", &["adapter", "json", "exact", "family"]),
        #[cfg(feature = "download")]
        Command::Download(_) => ("download", &["json"]),
        Command::Devices(_) => ("devices", &["adapter", "json"]),
        Command::Completions(_) => ("completions", &[]),
    };
    global.expect_only(name, meant)?;
    if let Some(file) = &global.json {
        crate::formats::check_writable(file)?;
    }
    match command {
        Command::Sample(args) => sample::run(*args, global, console),
        Command::Denoise(args) => denoise::run(args, global, console),
        Command::EncodeText(args) => encode_text::run(&args, global, console),
        Command::Encode(args) => encode::run(&args, global, console),
        Command::Decode(args) => decode::run(&args, global, console),
        Command::Linear(args) => linear::run(&args, global, console),
        Command::Inspect(args) => inspect::run(&args, global, console),
        Command::Devices(args) => devices::run(&args, global),
        #[cfg(feature = "download")]
        Command::Download(args) => download::run(&args, global, console),
        Command::Info(args) => info::run(&args, global, console),
        Command::Selftest(args) => selftest::run(&args, global, console),
        Command::Bench(args) => bench::run(&args, global, console),
        Command::Tune(args) => tune::run(&args, global, console),
        Command::Completions(args) => completions::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn flags_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
