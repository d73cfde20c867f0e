//! The directives of a template carried out.
//!
//! | directive | meaning |
//! |---|---|
//! | `//#read x`, `//#write y` | an operand: an array of texels behind `load_x(i)` or `store_y(i, v)` |
//! | `//#weights b` | as `//#read b`, for packed weights, which may be stored in float16 |
//! | `//#split` | a dispatch may be cut in several: the template adds `call.origin` to the place of a workgroup |
//! | `//#enable f16` | an extension of the language that the shader needs |
//! | `//#include activation` | the declarations of `shaders/shared/activation.wgsl`, once |
//! | `//#insert matrix_step` | the statements of `shaders/shared/matrix_step.wgsl`, each time |
//! | `//#repeat p COUNT` ... `//#end` | the lines between, COUNT times; `$p` is the index, `$((p + 1) * 4)` computes |
//! | `//#if NAME` ... `//#else` ... `//#end` | the lines between if NAME, an expression of constants, is not zero |
//!
//! Templates are compiled in and a test composes every variant of every one, so a malformed one panics.

/// Writes `lines` to `text` with directives carried out and `$` expressions replaced.
pub(super) fn expand(lines: &[&str], scope: &[(String, i64)], text: &mut String) {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        let Some(directive) = line.trim().strip_prefix("//#") else {
            text.push_str(&substitute(line, scope));
            text.push('\n');
            continue;
        };
        let words: Vec<_> = directive.split_whitespace().collect();
        match words[..] {
            ["read" | "weights" | "write" | "enable", _] | ["split"] => {}
            ["repeat", variable, ref count @ ..] => {
                let (body, rest) = block(&lines[at..]);
                for index in 0..evaluate(&count.concat(), scope) {
                    let mut inner = scope.to_vec();
                    inner.push((variable.to_owned(), index));
                    expand(body, &inner, text);
                }
                at = lines.len() - rest;
            }
            ["if", ref condition @ ..] => {
                let (body, rest) = block(&lines[at..]);
                let (then, otherwise) = split_else(body);
                expand(if evaluate(&condition.concat(), scope) != 0 { then } else { otherwise }, scope, text);
                at = lines.len() - rest;
            }
            _ => panic!("unknown directive `{line}`"),
        }
    }
}

/// The lines up to the `//#end` that closes the current block, and the number of lines after it.
fn block<'a, 'b>(lines: &'a [&'b str]) -> (&'a [&'b str], usize) {
    let mut depth = 1;
    for (index, line) in lines.iter().enumerate() {
        match line.trim() {
            opening if opening.starts_with("//#repeat ") || opening.starts_with("//#if ") => depth += 1,
            "//#end" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&lines[..index], lines.len() - index - 1);
        }
    }
    panic!("a `//#repeat` or `//#if` without its `//#end`")
}

/// The two halves of an `//#if` block.
fn split_else<'a, 'b>(body: &'a [&'b str]) -> (&'a [&'b str], &'a [&'b str]) {
    let mut depth = 0;
    for (index, line) in body.iter().enumerate() {
        match line.trim() {
            opening if opening.starts_with("//#repeat ") || opening.starts_with("//#if ") => depth += 1,
            "//#end" => depth -= 1,
            "//#else" if depth == 0 => return (&body[..index], &body[index + 1..]),
            _ => {}
        }
    }
    (body, &[])
}

/// Replaces `$name` and `$(expression)` in a line.
fn substitute(line: &str, scope: &[(String, i64)]) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (expression, after) = if rest.starts_with('(') {
            rest.split_at(closing(rest).unwrap_or_else(|| panic!("unclosed `$(` in `{line}`")))
        } else if let Some(inner) = rest.strip_prefix('{') {
            inner.split_once('}').unwrap_or_else(|| panic!("unclosed `${{` in `{line}`"))
        } else {
            rest.split_at(rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len()))
        };
        out.push_str(&evaluate(expression, scope).to_string());
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The index after the parenthesis that closes the one at the start of `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        (depth == 0).then_some(at + 1)
    })
}

/// Integer arithmetic over `+ - * / %`, parentheses and names.
fn evaluate(expression: &str, scope: &[(String, i64)]) -> i64 {
    let mut rest = expression;
    let value = sum(&mut rest, scope);
    assert!(rest.trim().is_empty(), "`{rest}` is left of `{expression}`");
    value
}

/// Terms added and subtracted, taken off the front of `rest`.
fn sum(rest: &mut &str, scope: &[(String, i64)]) -> i64 {
    let mut value = product(rest, scope);
    while let Some(operator) = next(rest, "+-") {
        let term = product(rest, scope);
        value += if operator == '-' { -term } else { term };
    }
    value
}

/// Factors multiplied and divided, from left to right.
fn product(rest: &mut &str, scope: &[(String, i64)]) -> i64 {
    let mut value = atom(rest, scope);
    while let Some(operator) = next(rest, "*/%") {
        let factor = atom(rest, scope);
        value = match operator {
            '*' => value * factor,
            '/' => value / factor,
            _ => value % factor,
        };
    }
    value
}

/// A number, a name, or a sum in parentheses.
fn atom(rest: &mut &str, scope: &[(String, i64)]) -> i64 {
    if next(rest, "(").is_some() {
        let value = sum(rest, scope);
        assert!(next(rest, ")").is_some(), "a parenthesis is not closed before `{rest}`");
        return value;
    }
    let text = *rest;
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    *rest = after;
    word.parse().unwrap_or_else(|_| {
        let found = scope.iter().rev().find(|(name, _)| name == word);
        found.unwrap_or_else(|| panic!("unknown name `{word}` in `{text}`")).1
    })
}

/// Takes the next character off `rest` if it is one of `wanted`; spaces around it do not count.
fn next(rest: &mut &str, wanted: &str) -> Option<char> {
    let text = rest.trim_start();
    *rest = text;
    let first = text.chars().next().filter(|c| wanted.contains(*c))?;
    *rest = text[first.len_utf8()..].trim_start();
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(template: &str, scope: &[(&str, i64)]) -> String {
        let scope: Vec<_> = scope.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let lines: Vec<_> = template.lines().collect();
        let mut text = String::new();
        expand(&lines, &scope, &mut text);
        text
    }

    #[test]
    fn repeats_nest_and_compute() {
        let text = run("//#repeat p N\n//#repeat q 2\na$p = b$(p * 2 + q - 1);\n//#end\n//#end\nend", &[("N", 2)]);
        assert_eq!(text, "a0 = b-1;\na0 = b0;\na1 = b1;\na1 = b2;\nend\n");
    }

    #[test]
    fn expressions_bind_as_usual() {
        let scope: Vec<_> = [("ROWS", 20), ("LANES", 8)].map(|(name, value)| (name.to_owned(), value)).to_vec();
        for (expression, value) in [
            ("(ROWS + LANES - 1) / LANES", 3),
            ("ROWS % LANES", 4),
            ("ROWS - ROWS / LANES * LANES", 4),
            ("2 * (ROWS - (3 + 1)) - 1", 31),
            ("ROWS - 3 - 4", 13),
        ] {
            assert_eq!(evaluate(expression, &scope), value, "{expression}");
        }
        assert_eq!(run("a$(p * (LANES + 1))_${p}b", &[("p", 2), ("LANES", 3)]), "a8_2b\n");
    }

    #[test]
    fn conditions_choose_a_branch() {
        let template = "//#if FLAG\n//#if OTHER\nboth\n//#else\none\n//#end\n//#else\nnone\n//#end";
        assert_eq!(run(template, &[("FLAG", 1), ("OTHER", 1)]), "both\n");
        assert_eq!(run(template, &[("FLAG", 1), ("OTHER", 0)]), "one\n");
        assert_eq!(run(template, &[("FLAG", 0), ("OTHER", 1)]), "none\n");
    }
}
