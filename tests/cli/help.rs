//! What the program says of itself.

use crate::downhill;

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let run = downhill(arguments);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    run.stdout
}

#[test]
fn help_is_short_and_long() {
    // `download` is there with its feature alone.
    let everywhere =
        |text: String| text.split_inclusive('\n').filter(|line| !line.starts_with("  download ")).collect::<String>();
    insta::assert_snapshot!("help", everywhere(printed(&["-h"])));
    insta::assert_snapshot!("help_long", everywhere(printed(&["--help"])));
    insta::assert_snapshot!("sample_help", printed(&["sample", "-h"]));
    insta::assert_snapshot!("sample_help_long", printed(&["sample", "--help"]));
    for command in [
        "denoise",
        "restore",
        "encode-text",
        "encode",
        "decode",
        "compare",
        "devices",
        "info",
        "serve",
        "selftest",
        "bench",
        "tune",
        "linear",
        "inspect",
        "moments",
        "merge",
        "completions",
    ] {
        insta::assert_snapshot!(format!("{command}_help_long"), printed(&[command, "--help"]));
        assert!(printed(&[command, "-h"]).len() < printed(&[command, "--help"]).len());
    }
}

#[test]
fn the_version_is_that_of_the_crate() {
    assert_eq!(printed(&["--version"]), format!("downhill {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_subcommand_is_a_usage_error_with_help() {
    let run = downhill(&[]);
    run.expect_error(2, "Usage: downhill");
}
