//! Text of others, made safe to print.
//!
//! Names and texts in files may hold control characters, which a terminal obeys: they set its title, clear it, or
//! change what is shown. Everything that the program prints goes through these functions.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns `text` with every control character but tabs and line ends as `\u{1b}`: those of ASCII and of Latin-1, and
/// those that change the direction of text or break lines in Unicode.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| steers(c) && !matches!(c, '\n' | '\t'))
}

/// As [`printable`], with tabs and line ends written so too.
#[must_use]
pub fn printable_line(text: &str) -> Cow<'_, str> {
    escaped(text, steers)
}

/// Returns `true` for text that [`printable_line`] leaves as it is.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    !text.contains(steers)
}

/// As [`printable`], for JSON, in the escapes of JSON. Control characters of ASCII are escaped in it already.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let escape = |c: char, safe: &mut String| {
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            let _ = write!(safe, "\\u{unit:04x}");
        }
    };
    replaced(json, |c| steers(c) && !c.is_ascii_whitespace(), escape)
}

fn escaped(text: &str, escapes: impl Fn(char) -> bool) -> Cow<'_, str> {
    replaced(text, escapes, |c, safe| safe.extend(c.escape_unicode()))
}

/// Replaces the characters that `is_replaced` by the text that `replace` appends.
fn replaced(text: &str, is_replaced: impl Fn(char) -> bool, replace: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(&is_replaced) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_replaced(c) { replace(c, &mut safe) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// Returns `true` for characters that act instead of being shown.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_named_and_not_obeyed() {
        assert_eq!(printable("\u{1b}[2Ja\u{7}\r\n\tb\u{7f}\u{9b}1m"), "\\u{1b}[2Ja\\u{7}\\u{d}\n\tb\\u{7f}\\u{9b}1m");
        assert_eq!(printable("\u{202e}cba\u{2066}\u{2028}\u{200f}"), "\\u{202e}cba\\u{2066}\\u{2028}\\u{200f}");
        assert_eq!(printable_line("a\nhint: b\tc"), "a\\u{a}hint: b\\u{9}c");
    }

    #[test]
    fn json_stays_json() {
        let name = "\u{1b}[2J\u{9b}\u{7f}\u{202e}\"ü\u{1f600}";
        let json = serde_json::to_string_pretty(&[name]).unwrap();
        let printed = printable_json(&json);
        assert!(!printed.contains(|c| steers(c) && c != '\n'), "{printed}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&printed).unwrap(), [name]);
    }

    #[test]
    fn other_text_stays_as_it_is() {
        let text = "größe, 数字, שלום, e\u{301}, \u{1f600}, \\u{1b}";
        assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        assert!(matches!(printable_line(text), Cow::Borrowed(_)));
    }
}
