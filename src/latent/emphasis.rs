//! Weights in prompts, by the rule of AUTOMATIC1111's web UI: `(word)` weighs 1.1 times as much, `[word]` 1 / 1.1
//! times, `(word:1.3)` 1.3 times, nested as often as one likes; `\(`, `\)`, `\[`, `\]` and `\\` are characters. A
//! bracket that is not closed reaches to the end.
//!
//! The embedding of each token is multiplied by its weight, and the whole then by the number that restores its mean.

/// The weight of a plain pair of brackets.
const STEP: f64 = 1.1;

/// A part of a prompt, and the weight of its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub text: String,
    pub weight: f64,
}

/// A piece of the text of a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Piece<'t> {
    Text(&'t str),
    Round,
    Square,
    /// `:1.3)`, with the whole text of it.
    Weighted(f64, &'t str),
    RoundEnd,
    SquareEnd,
}

/// Returns the parts of a prompt, of which neighbours have different weights; a single empty part for an empty text.
#[must_use]
pub fn segments(prompt: &str) -> Vec<Segment> {
    let mut found: Vec<Segment> = Vec::new();
    let (mut round, mut square) = (Vec::new(), Vec::new());
    let multiply = |found: &mut Vec<Segment>, first: usize, by: f64| {
        found[first..].iter_mut().for_each(|segment| segment.weight *= by);
    };
    let mut rest = prompt;
    while !rest.is_empty() {
        let (piece, length) = next(rest);
        rest = &rest[length..];
        let mut text = "";
        match piece {
            Piece::Round => round.push(found.len()),
            Piece::Square => square.push(found.len()),
            Piece::Weighted(weight, whole) => match round.pop() {
                Some(first) => multiply(&mut found, first, weight),
                None => text = whole,
            },
            Piece::RoundEnd => match round.pop() {
                Some(first) => multiply(&mut found, first, STEP),
                None => text = ")",
            },
            Piece::SquareEnd => match square.pop() {
                Some(first) => multiply(&mut found, first, STEP.recip()),
                None => text = "]",
            },
            Piece::Text(plain) => text = plain,
        }
        if !text.is_empty() {
            found.push(Segment { text: text.to_owned(), weight: 1.0 });
        }
    }
    for first in round {
        multiply(&mut found, first, STEP);
    }
    for first in square {
        multiply(&mut found, first, STEP.recip());
    }
    let mut merged: Vec<Segment> = Vec::new();
    for segment in found {
        match merged.last_mut().filter(|last| last.weight == segment.weight) {
            Some(last) => last.text.push_str(&segment.text),
            None => merged.push(segment),
        }
    }
    if merged.is_empty() {
        merged.push(Segment { text: String::new(), weight: 1.0 });
    }
    merged
}

/// The piece at the beginning of a text that is not empty, and its length in bytes.
fn next(text: &str) -> (Piece<'_>, usize) {
    let mut characters = text.chars();
    match characters.next() {
        Some('\\') => match characters.next() {
            Some(escaped @ ('(' | ')' | '[' | ']' | '\\')) => (Piece::Text(&text[1..=escaped.len_utf8()]), 2),
            _ => (Piece::Text(&text[..1]), 1),
        },
        Some('(') => (Piece::Round, 1),
        Some('[') => (Piece::Square, 1),
        Some(')') => (Piece::RoundEnd, 1),
        Some(']') => (Piece::SquareEnd, 1),
        Some(':') => match weight(text) {
            Some((weight, length)) => (Piece::Weighted(weight, &text[..length]), length),
            None => (Piece::Text(&text[..1]), 1),
        },
        _ => {
            let end = text.find(['\\', '(', ')', '[', ']', ':']).unwrap_or(text.len());
            (Piece::Text(&text[..end]), end)
        }
    }
}

/// The number in `: 1.3 )` at the beginning of a text, and the length of all of that in bytes.
fn weight(text: &str) -> Option<(f64, usize)> {
    let (number, _) = text.strip_prefix(':')?.split_once(')')?;
    let digits = number.trim();
    let plain = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let weight = digits.parse::<f64>().ok().filter(|weight| weight.is_finite())?;
    Some((weight, number.len() + 2))
}

/// Returns the beginning of what looks like a weight in a prompt: `(word:1.3)`, `((word))` or `[word]`. Plain round
/// brackets are common in ordinary text, and no sign.
#[must_use]
pub fn looks_weighted(prompt: &str) -> Option<&str> {
    let mut at = 0;
    while at < prompt.len() {
        let rest = &prompt[at..];
        let (piece, length) = next(rest);
        let from = |open: &str| prompt[..at].rfind(open).unwrap_or(0);
        match piece {
            Piece::Weighted(..) if prompt[..at].contains('(') => return Some(&prompt[from("(")..at + length]),
            Piece::Round if rest.starts_with("((") && rest.contains("))") => {
                return Some(&rest[..rest.find("))").map_or(rest.len(), |end| end + 2)]);
            }
            Piece::SquareEnd if prompt[..at].contains('[') => return Some(&prompt[from("[")..=at]),
            _ => {}
        }
        at += length;
    }
    None
}

/// Returns the first tag of a LoRA in a prompt: `<lora:name:0.8>`, as web UIs read it.
#[must_use]
pub fn lora_tag(prompt: &str) -> Option<&str> {
    let start = ["<lora:", "<lyco:", "<hypernet:"].iter().filter_map(|tag| prompt.find(tag)).min()?;
    let length = prompt[start..].find('>')?;
    Some(&prompt[start..=start + length])
}

/// Multiplies the embeddings of a text, (tokens, channels), by the weight of each token, and restores their mean.
pub fn emphasise(embeddings: &mut [f32], weights: &[f64]) {
    let channels = embeddings.len() / weights.len().max(1);
    if channels == 0 || weights.iter().all(|weight| *weight == 1.0) {
        return;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let before: Vec<f64> = embeddings.iter().map(|value| f64::from(*value)).collect();
    let after: Vec<f64> =
        before.chunks(channels).zip(weights).flat_map(|(row, weight)| row.iter().map(move |v| v * weight)).collect();
    let (original, new) = (mean(&before), mean(&after));
    let restored = if new == 0.0 { 1.0 } else { original / new };
    embeddings.iter_mut().zip(after).for_each(|(value, after)| *value = (after * restored) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(prompt: &str) -> Vec<(String, f64)> {
        segments(prompt).into_iter().map(|segment| (segment.text, (segment.weight * 1e6).round() / 1e6)).collect()
    }

    #[test]
    fn brackets_are_weights() {
        let one = |text: &str, weight: f64| (text.to_owned(), weight);
        for (prompt, expected) in [
            ("", vec![one("", 1.0)]),
            ("a cat", vec![one("a cat", 1.0)]),
            ("a (cat:1.3) b", vec![one("a ", 1.0), one("cat", 1.3), one(" b", 1.0)]),
            ("(a [b])", vec![one("a ", 1.1), one("b", 1.0)]),
            ("((a))", vec![one("a", 1.21)]),
            ("(a", vec![one("a", 1.1)]),
            ("a)", vec![one("a)", 1.0)]),
            ("a: b", vec![one("a: b", 1.0)]),
            ("a:1.3)", vec![one("a:1.3)", 1.0)]),
            ("(a: 0.5 )", vec![one("a", 0.5)]),
            ("(a:b)", vec![one("a:b", 1.1)]),
            (r"\(a\) \[b\] \\ \c", vec![one(r"(a) [b] \ \c", 1.0)]),
            ("(a (b:2):-1.5)", vec![one("a ", -1.5), one("b", -3.0)]),
            ("[x", vec![one("x", 0.909_091)]),
            ("(é富:1.5)士", vec![one("é富", 1.5), one("士", 1.0)]),
        ] {
            assert_eq!(parts(prompt), expected, "{prompt}");
        }
    }

    #[test]
    fn only_what_is_no_ordinary_text_looks_weighted() {
        for (prompt, found) in [
            ("a (cat:1.3) b", Some("(cat:1.3)")),
            ("a ((big)) cat", Some("((big))")),
            ("a [small] cat", Some("[small]")),
            ("a cat (sitting) at 10:30", None),
            (r"\[a\]", None),
            ("a cat :) and :3", None),
            ("é [富]", Some("[富]")),
        ] {
            assert_eq!(looks_weighted(prompt), found, "{prompt}");
        }
        assert_eq!(lora_tag("a fox <lora:style:0.8>, b"), Some("<lora:style:0.8>"));
        assert_eq!(lora_tag("a < b > <cat>"), None);
    }

    #[test]
    fn the_mean_is_restored() {
        let mut values = [1.0, 2.0, 3.0, 4.0];
        emphasise(&mut values, &[1.0, 2.0]);
        let expected = [1.0, 2.0, 6.0, 8.0].map(|value: f32| value * 10.0 / 17.0);
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
        let same = values;
        emphasise(&mut values, &[1.0, 1.0]);
        assert_eq!(values, same);
    }
}
