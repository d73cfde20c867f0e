//! `downhill completions`: a script that lets a shell complete subcommands and flags.

use clap::Command;
use clap_complete::{Shell, generate};

use crate::error::Result;
use crate::report::print_stdout;

const EXAMPLES: &str = "\
Examples:
  downhill completions bash > ~/.local/share/bash-completion/completions/downhill
  downhill completions zsh > \"${fpath[1]}/_downhill\"
  downhill completions fish > ~/.config/fish/completions/downhill.fish";

/// Print a script of completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for the program `root` to standard output.
pub fn run(args: &Args, mut root: Command) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut root, "downhill", &mut script);
    print_stdout(&String::from_utf8_lossy(&script))
}
