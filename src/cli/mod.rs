//! The command line: one file or folder per subcommand, which reads flags, calls the library and prints.
//!
//! Data goes to files and standard output, messages to standard error. Flags are checked before any device is opened.
//! Exit codes are those of `exit`; flags that clap refuses are a usage error (2).

pub mod args;
mod array_or_picture;
mod bench;
mod changes;
mod compare;
mod completions;
mod decode;
mod denoise;
mod device;
mod devices;
#[cfg(feature = "download")]
mod download;
mod encode;
mod encode_text;
#[cfg(test)]
mod every_command;
mod exit;
mod flags;
mod help;
mod info;
mod inputs;
mod inspect;
mod interrupt;
mod linear;
mod local_rank;
mod memory;
mod merge;
mod moments;
mod notes;
mod numbers;
mod parts;
mod quiet;
mod reports;
mod restore;
mod sample;
mod selftest;
mod separate;
mod serve;
mod shard;
mod shared;
mod spinning;
mod stream;
mod study;
mod tune;
mod vectors;

/// The parsers of foreign files and lines, for the fuzzer.
pub mod parsers {
    pub use super::sample::prompts;
    pub use super::serve::Request;
}

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, ErrorKind as FailureKind, Result};
use crate::gpu;
use crate::graph::counters::counts;
use crate::report::printable::is_printable;
use crate::report::{Console, Verbosity, print_stderr};
use flags::Flags;
use shared::{Global, With};

/// The exit code of a usage error.
const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  downhill sample                                  16 handwritten digits to samples.png
  downhill sample google/ddpm-cifar10-32 -n 64     a model from the local hub cache
  downhill serve DIR < requests.jsonl              many runs with one load, as JSON lines
  downhill denoise DIR -i x.npy -t 500 -o eps.npy  call a network once
  downhill restore --operator blur:2 -i y.png      images from blurred, masked or small ones
  downhill encode-text DIR -p TEXT -o e.npy        text embeddings
  downhill decode DIR -i latent.npy -o image.png   decode latents
  downhill linear pca --data digits -o components  principal components of data
  downhill moments images/ --features digits -o m.npz   mean and covariance of features
  downhill inspect schedule --error-model 0.05,2   check a schedule against an error model
  downhill compare out.png golden.png              test images and arrays against kept ones
  downhill info DIR                                describe a model and its costs
  downhill devices                                 list the adapters of this machine
  downhill tune DIR                                find the fastest algorithms for a model

`downhill COMMAND --help` shows more, `downhill COMMAND -h` less.

Exit codes: 0 done, 1 a comparison found a difference, 2 usage, 3 no adapter, 4 a bad file, 5 out of memory, 6 the \
device failed, 7 non-finite values, 130 stopped by SIGINT, 143 by SIGTERM.";

/// Denoising is projection, sampling is iterating it: diffusion models on any GPU, or none
#[derive(Debug, Parser)]
#[command(name = "downhill", version, after_long_help = EXAMPLES, max_term_width = help::WIDEST)]
struct Cli {
    #[command(flatten)]
    voice: Voice,
    #[command(subcommand)]
    command: Called,
}

/// A subcommand. `completions` stands apart, since its script is made from the definition of all the others.
#[derive(Debug, Subcommand)]
enum Called {
    #[command(flatten)]
    Subcommand(Subcommands),
    Completions(completions::Args),
}

/// Declares the subcommands: `Name(module)` for each, where `module` has `Args`, the shared `Flags` that it takes, and
/// `run`.
macro_rules! subcommands {
    ($($(#[$attribute:meta])* $name:ident($module:ident),)*) => {
        #[derive(Debug, Subcommand)]
        enum Subcommands {
            $($(#[$attribute])* $name(Box<With<$module::Args, $module::Flags>>),)*
        }

        impl Subcommands {
            fn run(&self, console: Console) -> Result<()> {
                match self {
                    $($(#[$attribute])* Self::$name(with) => {
                        let global = Global::from(&with.flags);
                        global.check()?;
                        let done = $module::run(&with.args, &global, console);
                        console.detail(&counts().to_string());
                        done
                    })*
                }
            }
        }
    };
}

subcommands! {
    Sample(sample),
    Serve(serve),
    Denoise(denoise),
    Restore(restore),
    EncodeText(encode_text),
    Encode(encode),
    Decode(decode),
    Linear(linear),
    Inspect(inspect),
    Moments(moments),
    Merge(merge),
    Compare(compare),
    Devices(devices),
    #[cfg(feature = "download")]
    Download(download),
    Info(info),
    Selftest(selftest),
    Bench(bench),
    Tune(tune),
}

/// The amount of messages.
#[derive(Debug, clap::Args)]
struct Voice {
    /// Print details
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = "Messages")]
    verbose: bool,

    /// Print errors only
    #[arg(short, long, global = true, help_heading = "Messages")]
    quiet: bool,
}

impl Voice {
    fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// Runs the program and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let mut program = root();
    let arguments = subcommand_first(&program, std::env::args_os().collect());
    let is_plain = arguments.iter().all(|argument| is_printable(&argument.to_string_lossy()));
    let matches = program.try_get_matches_from_mut(arguments);
    let (cli, (command, matches)) = match matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
        Ok((cli, matches)) => (cli, called(&program, matches)),
        Err(refusal) => {
            let refusal = with_redirection_tip(with_value_in_other_case(without_value_tip(refusal)));
            return print_refusal(&refusal, is_plain);
        }
    };
    if fills_wide_vectors(command, &matches) {
        vectors::widen();
    }
    let console = Console::new(cli.voice.verbosity());
    interrupt::register(console);
    gpu::silence_panics();
    let done = gpu::contain(|| match &cli.command {
        Called::Subcommand(subcommand) => separate::check(command, &matches).and_then(|()| subcommand.run(console)),
        Called::Completions(args) => completions::run(args, root()),
    });
    let done = done.and_then(|()| gpu::take_closing_failure().map_or(Ok(()), Err));
    match done {
        Ok(()) => exit::success(),
        // The subcommand has said what it has done.
        Err(Error::Cancelled) => ExitCode::from(interrupt::exit_code()),
        Err(error) => {
            let flags = Flags::of(command);
            console.error(&flags.message(&error), flags.hint(&error).as_deref());
            let code = exit::code(error.kind());
            if matches!(error.kind(), FailureKind::Device | FailureKind::Memory) {
                // The device is left as it was, and threads of its driver may still run. Without the destructors of the
                // driver's library, which would pull its data from under them (SIGSEGV).
                let _ = std::io::Write::flush(&mut std::io::stdout());
                signal_hook::low_level::exit(code.into());
            }
            ExitCode::from(code)
        }
    }
}

/// Prints what clap says: help, the version, or an error, and returns the exit code. An error quotes arguments, which
/// may hold control characters unless they are `plain`.
fn print_refusal(refusal: &clap::Error, plain: bool) -> ExitCode {
    if let Some((what, hint)) = without_feature(refusal) {
        Console::new(Verbosity::Normal).error(what, Some(hint));
    } else if !plain {
        print_stderr(&refusal.to_string());
    } else if let Err(source) = refusal.print()
        // A closed output has no reader left to tell.
        && source.kind() != std::io::ErrorKind::BrokenPipe
        && !refusal.use_stderr()
    {
        let error = Error::Io { file: "stdout".into(), source };
        Console::new(Verbosity::Normal).error(&error.to_string(), error.hint().as_deref());
        return ExitCode::from(exit::code(error.kind()));
    }
    ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(USAGE))
}

/// The message and the hint for a subcommand that this program was built without.
fn without_feature(refusal: &clap::Error) -> Option<(&'static str, &'static str)> {
    let is_download = refusal.get(ContextKind::InvalidSubcommand) == Some(&ContextValue::String("download".to_owned()));
    is_download.then_some((
        "`download` is not in this program: it was built without the feature `download`",
        "`cargo install --locked --features download downhill` builds it in; or fill the cache with `hf download`",
    ))
}

/// Removes clap's tip to pass an unknown flag as a value, which no subcommand would understand.
fn without_value_tip(mut refusal: clap::Error) -> clap::Error {
    if refusal.kind() != ErrorKind::UnknownArgument {
        return refusal;
    }
    if let Some(ContextValue::StyledStrs(mut tips)) = refusal.remove(ContextKind::Suggested) {
        tips.retain(|tip| !tip.to_string().contains("as a value"));
        if !tips.is_empty() {
            refusal.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
    refusal
}

/// Suggests the value that differs from the given one by upper and lower case only, where there is one.
fn with_value_in_other_case(mut refusal: clap::Error) -> clap::Error {
    let wanted = match (refusal.get(ContextKind::InvalidValue), refusal.get(ContextKind::ValidValue)) {
        (Some(ContextValue::String(given)), Some(ContextValue::Strings(valid))) => {
            valid.iter().find(|name| name.eq_ignore_ascii_case(given)).cloned()
        }
        _ => None,
    };
    if let Some(name) = wanted {
        refusal.insert(ContextKind::SuggestedValue, ContextValue::String(name));
    }
    refusal
}

/// Adds a tip to a format that looks like a file: the output goes to standard output.
fn with_redirection_tip(mut refusal: clap::Error) -> clap::Error {
    let text = |kind| match refusal.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (flag, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let Some((_, format)) = value.rsplit_once('.').filter(|_| flag.starts_with("--format ")) else { return refusal };
    let is_format = match refusal.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(formats)) => formats.iter().any(|known| known == format),
        _ => false,
    };
    let format = if is_format { format } else { "FORMAT" };
    let tip = format!("`-o` is the format, and the output goes to standard output: `-o {format} > {value}`");
    refusal.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    refusal
}

/// The definition of the program's arguments.
fn root() -> clap::Command {
    negatives_are_values(help::fitted(reports::described(Cli::command()), help::columns()))
}

/// The names of values that begin with a number and are not one, such as `64x96` and `10%`.
const BEGIN_WITH_A_NUMBER: [&str; 8] =
    ["HxW", "HEIGHTxWIDTH", "SIZE", "SHARE", "I/N|auto", "ROWS|never|auto", "TOP,LEFT", "LO,HI"];

/// A command and its subcommands, whose flags take numbers below 0 as values: their parsers then say what is wrong with
/// these. Without this, clap takes them for flags.
fn negatives_are_values(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let names = arg.get_value_names().unwrap_or_default();
        let begins_with_number = names.iter().any(|name| BEGIN_WITH_A_NUMBER.contains(&name.as_str()));
        match arg.get_long().is_some() && arg.get_action().takes_values() {
            true if begins_with_number => arg.allow_hyphen_values(true),
            true => arg.allow_negative_numbers(true),
            false => arg,
        }
    });
    command.mut_subcommands(negatives_are_values)
}

/// The subcommand that was called, and its matches.
fn called(root: &clap::Command, mut matches: ArgMatches) -> (&clap::Command, ArgMatches) {
    let mut command = root;
    while let Some((name, inner)) = matches.remove_subcommand()
        && let Some(subcommand) = command.find_subcommand(name)
    {
        (command, matches) = (subcommand, inner);
    }
    (command, matches)
}

/// Moves flags in front of the subcommand behind its name, because flags are defined by subcommands and not by the
/// program: `downhill --adapter cpu sample` means `downhill sample --adapter cpu`.
fn subcommand_first(root: &clap::Command, mut arguments: Vec<OsString>) -> Vec<OsString> {
    let names = |command: &clap::Command, argument: &OsString| {
        argument.to_str().and_then(|name| command.find_subcommand(name)).cloned()
    };
    if !arguments.get(1).is_some_and(|argument| argument.as_encoded_bytes().starts_with(b"-")) {
        return arguments;
    }
    let Some(first) = arguments.iter().skip(1).position(|argument| names(root, argument).is_some()) else {
        return arguments;
    };
    let flags: Vec<_> = arguments.drain(1..=first).collect();
    let (mut at, mut command) = (1, root.clone());
    while let Some(subcommand) = arguments.get(at).and_then(|argument| names(&command, argument)) {
        (at, command) = (at + 1, subcommand);
    }
    arguments.splice(at..at, flags);
    arguments
}

/// Returns `true` if a subcommand gains from vectors twice as wide. The embedded network has 32 to 96 channels, which
/// fill half of them: it takes as long either way, and its shaders compile sooner for narrow ones. A subcommand without
/// an adapter has no use for vectors.
fn fills_wide_vectors(command: &clap::Command, called: &ArgMatches) -> bool {
    // Matches know the arguments of their command in development builds only.
    let takes = |id: &str| command.get_arguments().any(|argument| argument.get_id() == id);
    // `--model` without a name is the embedded network, whose images are those of `sample`.
    let generates_with_embedded = takes("generated_by")
        && called.contains_id("generated_by")
        && called.get_raw("generated_by").is_none_or(|mut names| names.next().is_none());
    takes("adapter") && (!takes("model") || called.contains_id("model")) && !generates_with_embedded
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::subcommand_first;

    #[test]
    fn flags_do_not_contradict_each_other() {
        super::root().debug_assert();
    }

    /// clap wraps a paragraph that is one line. Lines of examples and of tables are indented.
    #[test]
    fn paragraphs_of_help_are_not_broken_by_hand() {
        let mut commands = vec![super::root()];
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let arguments = command.get_arguments().flat_map(|one| [one.get_help(), one.get_long_help()]);
            let about = [command.get_about(), command.get_long_about(), command.get_after_long_help()];
            for text in arguments.chain(about).flatten() {
                let text = text.to_string();
                for (line, next) in text.lines().zip(text.lines().skip(1)) {
                    let is_prose = |line: &str| line.starts_with(|c: char| !c.is_whitespace());
                    let is_broken = is_prose(line) && is_prose(next) && !line.ends_with(':');
                    assert!(!is_broken, "{}: {line}\n{next}", command.get_name());
                }
            }
        }
    }

    #[test]
    fn wide_vectors_are_for_work_on_a_device_that_fills_them() {
        let wide = |line: &str| {
            let root = super::root();
            let matches = root.clone().try_get_matches_from(line.split(' ')).unwrap();
            let (command, matches) = super::called(&root, matches);
            super::fills_wide_vectors(command, &matches)
        };
        assert!(wide("downhill bench unet"));
        assert!(wide("downhill sample folder"));
        assert!(!wide("downhill sample"));
        assert!(!wide("downhill completions bash"));
        assert!(wide("downhill moments x.npy -o m.npz"));
        assert!(wide("downhill moments --model folder -n 2 -o m.npz"));
        assert!(!wide("downhill moments --model -n 2 -o m.npz"));
    }

    #[test]
    fn a_program_without_downloads_says_how_to_get_them() {
        let others = clap::Command::new("downhill").subcommand(clap::Command::new("sample")).subcommand_required(true);
        let refused = |name: &str| others.clone().try_get_matches_from(["downhill", name, "org/name"]).unwrap_err();
        let (what, hint) = super::without_feature(&refused("download")).unwrap();
        assert!(what.contains("built without the feature `download`"), "{what}");
        assert!(hint.contains("`cargo install --locked --features download downhill`"), "{hint}");
        assert_eq!(super::without_feature(&refused("upload")), None);
    }

    #[test]
    fn an_unknown_flag_is_not_suggested_as_a_value() {
        let refusal = |flag: &str| {
            let refused = super::root().try_get_matches_from(["downhill", "sample", flag]).unwrap_err();
            super::without_value_tip(refused).to_string()
        };
        let sampler = super::root().try_get_matches_from(["downhill", "sample", "--sampler", "dpm++2M"]).unwrap_err();
        let told = super::with_value_in_other_case(sampler).to_string();
        assert!(told.contains("a similar value exists: 'dpm++2m'"), "{told}");
        assert!(!refusal("--no-such-flag").contains("as a value"), "{}", refusal("--no-such-flag"));
        assert!(refusal("--stepz").contains("'--steps'"), "{}", refusal("--stepz"));
    }

    #[test]
    fn flags_before_the_subcommand_are_its_own() {
        let moved = |text: &str| {
            let arguments = text.split(' ').map(OsString::from).collect();
            let moved = subcommand_first(&super::root(), arguments);
            moved.iter().map(|argument| argument.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(moved("downhill --adapter cpu sample -n 2"), "downhill sample --adapter cpu -n 2");
        assert_eq!(moved("downhill --json x.json -v linear pca -k 3"), "downhill linear pca --json x.json -v -k 3");
        for unmoved in ["downhill", "downhill --help", "downhill sample", "downhill help sample", "downhill -v"] {
            assert_eq!(moved(unmoved), unmoved);
        }
    }
}
