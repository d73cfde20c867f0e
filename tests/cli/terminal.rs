//! The program on a terminal, which `script` of util-linux makes: bars and tables that fit, and silence in pipes.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};

use crate::{Folder, command};

/// Everything that the program writes to a terminal of this width; `None` where there is no `script` or no terminal.
fn on_terminal(columns: usize, arguments: &[&str], cache: &str) -> Option<String> {
    let probe = Command::new("script").args(["-qec", "true", "/dev/null"]).stdin(Stdio::null()).output().ok()?;
    if !probe.status.success() {
        return None;
    }
    let program = command(arguments);
    let words: Vec<String> = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("UTF-8")))
        .collect();
    let line = format!("stty cols {columns} rows 24; {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let output = script.env("TERM", "xterm").env("DOWNHILL_CACHE_DIR", cache).output().expect("script starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    Some(text)
}

#[test]
fn a_terminal_sees_what_is_compiled_and_the_images_that_are_done() {
    let folder = Folder::new();
    let sample = ["sample", "-n", "4", "-b", "2", "--steps", "2", "--adapter", "cpu", "-o", &folder.at("x.png")];
    let Some(text) = on_terminal(100, &sample, &folder.at("cache")) else { return };
    assert!(text.contains("compiling ") && text.contains(" pipelines ["), "{text}");
    assert!(text.contains("images 0/4, step 1/2") || text.contains("images 2/4, step 1/2"), "{text}");
    let piped = command(&sample).output().expect("the program starts");
    let piped = String::from_utf8(piped.stderr).expect("UTF-8");
    assert!(!piped.contains("compiling") && !piped.contains("images 0/4"), "{piped}");
}

#[test]
fn adapters_are_records_where_their_table_is_too_wide() {
    let folder = Folder::new();
    let Some(narrow) = on_terminal(60, &["devices"], &folder.at("cache")) else { return };
    let lines: Vec<&str> = narrow.lines().map(str::trim_end).collect();
    assert!(lines.iter().any(|line| line.starts_with("index") && line.ends_with(" 0")), "{narrow}");
    assert!(lines.iter().any(|line| line.starts_with("matrix units  ")), "{narrow}");
    let wide = on_terminal(400, &["devices"], &folder.at("cache")).expect("script");
    assert!(wide.lines().any(|line| line.starts_with("index  name")), "{wide}");
}

#[test]
fn a_bar_takes_one_line_of_a_narrow_terminal() {
    let folder = Folder::new();
    let sample = ["sample", "-n", "4", "-b", "2", "--steps", "2", "--adapter", "cpu", "-o", &folder.at("x.png")];
    let Some(text) = on_terminal(40, &sample, &folder.at("cache")) else { return };
    let bars: Vec<&str> = text.split(['\r', '\n']).filter(|piece| piece.contains("images ")).collect();
    assert!(bars.iter().any(|bar| bar.contains("images 2/4, step 2/2") && bar.contains('%')), "{text:?}");
    for bar in bars {
        let shown = bar.rsplit("\u{1b}[2K").next().unwrap_or(bar);
        assert!(shown.chars().count() <= 40 && !bar.contains("\u{1b}[1A"), "{bar:?}");
    }
}
