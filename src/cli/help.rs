//! Examples of help texts where a terminal is narrower than they are. clap wraps paragraphs; an example that it wraps
//! is not a command any more, and its description is lost between the lines.

use clap::Command;

/// The most columns of a help text.
pub const WIDEST: usize = 100;
/// The heading of lines that are commands.
const EXAMPLES: &str = "Examples:";
const INDENT: &str = "  ";
const DEEPER: &str = "      ";

/// The columns of help texts: those of the terminal or else of the variable `COLUMNS`, as clap has them.
pub fn columns() -> usize {
    let of_terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let of_variable = || std::env::var("COLUMNS").ok()?.parse().ok();
    of_terminal.or_else(of_variable).unwrap_or(WIDEST).min(WIDEST)
}

/// A command and its subcommands with examples that fit into `columns`.
pub fn fitted(command: Command, columns: usize) -> Command {
    let text = command.get_after_long_help().map(|text| lines_fitted(&text.to_string(), columns));
    let command = match text {
        Some(text) => command.after_long_help(text),
        None => command,
    };
    command.mut_subcommands(|subcommand| fitted(subcommand, columns))
}

fn lines_fitted(text: &str, columns: usize) -> String {
    let mut is_example = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let has_room = line.chars().count() <= columns;
        is_example = line == EXAMPLES || is_example && !line.is_empty();
        match line.strip_prefix(INDENT) {
            Some(row) if !has_room => {
                let (left, right) = row.split_once(INDENT).unwrap_or((row, ""));
                if is_example {
                    lines.extend(command_fitted(left.trim_end(), columns));
                } else {
                    lines.push(format!("{INDENT}{left}"));
                }
                if !right.is_empty() {
                    lines.push(format!("{DEEPER}{}", right.trim_start()));
                }
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// A command of a shell on several lines, each but the last with a backslash at its end.
fn command_fitted(command: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), INDENT.to_owned());
    for word in flags_with_values(&words(command).collect::<Vec<_>>()) {
        let is_first = line.trim().is_empty();
        // Room for the backslash.
        let fits = line.chars().count() + 1 + word.chars().count() + 2 <= columns;
        if is_first || fits {
            line.push_str(if is_first { "" } else { " " });
            line.push_str(&word);
        } else {
            lines.push(line + " \\");
            line = format!("{DEEPER}{word}");
        }
    }
    lines.push(line);
    lines
}

/// Words, where a flag and the word after it, which may be its value, are one.
fn flags_with_values(words: &[&str]) -> Vec<String> {
    let is_flag = |word: &str| word.len() > 1 && word.starts_with('-');
    let mut joined: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        match joined.last_mut() {
            Some(last) if is_flag(last) && !last.contains(' ') && !is_flag(word) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => joined.push((*word).to_owned()),
        }
    }
    joined
}

/// The words of a command with their quotes.
fn words(command: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    command.split(move |character: char| {
        match quote {
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ => {}
        }
        character == ' ' && quote.is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_stay_commands() {
        let end = "  short\n\nFiles:\n  x.npy  ones";
        let text = &format!("Examples:\n  downhill decode DIR -i 'a b' -o x.png   decode latents\n{end}");
        let command = "  downhill decode DIR \\\n      -i 'a b' \\\n      -o x.png\n      decode latents";
        let narrow = format!("Examples:\n{command}\n{end}");
        assert_eq!(lines_fitted(text, 23), narrow);
        assert_eq!(lines_fitted(text, 80), *text);
        assert_eq!(words("a 'b \" c' d").collect::<Vec<_>>(), ["a", "'b \" c'", "d"]);
    }
}
