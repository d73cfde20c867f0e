//! The wording and the form that `docs/STYLE.md` asks for, in comments, strings and documents.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Widest line of Rust, WGSL and Markdown, in characters.
const WIDTH: usize = 120;

/// Words and phrases of the left column of the table, in lower case.
const PHRASES: &[&str] = &[
    "answer",
    "answers",
    "answered",
    "gives back",
    "give back",
    "shall",
    "anew",
    "so many",
    "nobody",
    "of its own",
    "of their own",
    "of our own",
    "of one's own",
    "need not exist",
    "leave away",
    "leaves away",
    "left away",
    "look into",
    "looks into",
    "led by",
    "hang together",
    "hangs together",
    "came to",
    "for who",
    "whoever",
    "what of",
    "tells of",
    "in turns",
    "thereof",
    "whose every",
    "what is none",
    "the own",
];

/// First words of a definition that is a clause instead of a noun.
const CLAUSES: &[&str] = &["what", "how", "where", "whether", "which", "who", "whose", "why"];

/// After `is no`, `are no`, `was no` and `were no`, these are ordinary English.
const AFTER_NO: &[&str] =
    &["longer", "more", "less", "larger", "smaller", "greater", "better", "worse", "faster", "slower"];

/// Before `is no` and the like, these are ordinary English.
const BEFORE_NO: &[&str] = &["there", "it", "and", "or"];

/// `N vectors an image` is `N vectors per image`: a quantity, then its divisor with an article.
const QUANTITIES: &[&str] = &[
    "vector",
    "vectors",
    "sigma",
    "sigmas",
    "row",
    "rows",
    "value",
    "values",
    "number",
    "numbers",
    "call",
    "calls",
    "step",
    "steps",
    "gflop",
    "flop",
    "ms",
    "s",
    "gib",
    "mib",
    "kib",
    "bytes",
    "texels",
    "dispatches",
    "dispatch",
    "samples",
    "sample",
    "images",
    "image",
    "invocations",
    "invocation",
    "workgroup",
    "workgroups",
    "thread",
    "threads",
    "one",
    "pass",
    "matrix",
    "matrices",
    "multiplications",
    "products",
    "factors",
    "factor",
    "tokens",
    "channels",
    "pixels",
    "lines",
    "file",
    "folder",
    "entry",
    "weights",
    "timestep",
    "timesteps",
    "block",
    "tile",
    "tiles",
    "letters",
    "columns",
    "column",
];
const DIVISORS: &[&str] = &[
    "image",
    "call",
    "channel",
    "step",
    "case",
    "batch",
    "pixel",
    "row",
    "group",
    "layer",
    "texel",
    "level",
    "value",
    "thread",
    "workgroup",
    "tile",
    "column",
    "head",
    "map",
    "dispatch",
    "component",
    "sample",
    "line",
    "block",
    "mode",
    "vector",
    "matrix",
    "class",
    "token",
    "subcommand",
    "unit",
    "product",
    "operator",
    "pass",
    "run",
];

/// A stretch of text to be checked: where it begins, and if it is a definition.
struct Text {
    line: usize,
    words: String,
    definition: bool,
}

#[test]
fn comments_strings_and_documents_keep_to_the_style() {
    let mut faults = String::new();
    let code = ["src", "fuzz/src", "python/src", "python/downhill", "shaders", "examples"];
    let documents = ["docs", "deploy", "README.md", "CONTRIBUTING.md"];
    for file in files(&[&code[..], &documents[..]].concat()) {
        let content = std::fs::read_to_string(root().join(&file)).expect("text");
        let texts = match file.extension().and_then(|name| name.to_str()) {
            Some("md") => markdown(&content),
            Some("py" | "pyi") => docstrings(&content),
            _ => source(&content),
        };
        let library = file.starts_with("src") && !file.starts_with("src/cli");
        for text in texts.iter().filter(|_| file != Path::new("docs/STYLE.md")) {
            for fault in wording(text).into_iter().chain(flag(text).filter(|_| library)) {
                writeln!(faults, "{}:{}: {fault}", file.display(), text.line).expect("a string");
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{faults}", faults.lines().count());
}

#[test]
fn lines_fit_in_120_columns() {
    let all =
        ["src", "fuzz/src", "python", "shaders", "docs", "deploy", "examples", "tests", "benches", "data", "weights"];
    let documents = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let mut long = String::new();
    for file in files(&[&all[..], &documents[..]].concat()) {
        let content = std::fs::read_to_string(root().join(&file)).expect("text");
        let is_markdown = file.extension().is_some_and(|name| name == "md");
        let mut fenced = false;
        for (index, line) in content.lines().enumerate() {
            fenced ^= is_markdown && line.trim_start().starts_with("```");
            let exempt = is_markdown && (fenced || line.trim_start().starts_with('|')) || line.contains("](http");
            if line.chars().count() > WIDTH && !exempt {
                writeln!(long, "{}:{}: {} columns", file.display(), index + 1, line.chars().count()).expect("a string");
            }
        }
    }
    assert!(long.is_empty(), "{} lines:\n{long}", long.lines().count());
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust, WGSL, Python and Markdown files in `places`, relative to the root, sorted.
fn files(places: &[&str]) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = places.iter().map(PathBuf::from).filter(|place| root().join(place).exists()).collect();
    let mut files = Vec::new();
    while let Some(place) = open.pop() {
        if root().join(&place).is_dir() {
            let entries = std::fs::read_dir(root().join(&place)).expect("a folder");
            open.extend(entries.map(|entry| place.join(entry.expect("an entry").file_name())));
        } else if place
            .extension()
            .is_some_and(|name| ["rs", "wgsl", "py", "pyi", "md"].iter().any(|known| name == *known))
        {
            files.push(place);
        }
    }
    files.sort();
    files
}

/// The comments and string literals of Rust or WGSL. A block of comment lines is one text.
fn source(content: &str) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    let mut open: Option<&str> = None;
    let mut string: Option<Text> = None;
    for (index, line) in content.lines().enumerate() {
        let trimmed = line.trim_start();
        let marker = ["///", "//!", "//"].into_iter().find(|marker| string.is_none() && trimmed.starts_with(marker));
        if let Some(marker) = marker {
            let words = trimmed[marker.len()..].trim();
            match texts.last_mut().filter(|_| open == Some(marker)) {
                Some(text) => {
                    text.words.push(' ');
                    text.words.push_str(words);
                }
                None => texts.push(Text { line: index + 1, words: words.to_owned(), definition: marker != "//" }),
            }
            open = Some(marker);
            continue;
        }
        open = None;
        strings(line, index + 1, &mut string, &mut texts);
    }
    texts
}

/// Collects the string literals of a line and its trailing comment; one that goes on in the next line stays in
/// `string`.
fn strings(line: &str, number: usize, string: &mut Option<Text>, texts: &mut Vec<Text>) {
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (&mut *string, character) {
            (Some(text), '\\') => text.words.extend(characters.next().map(|_| ' ')),
            (Some(_), '"') => texts.extend(string.take()),
            (Some(text), _) => text.words.push(character),
            (None, '"') => *string = Some(Text { line: number, words: String::new(), definition: false }),
            (None, '\'') => {
                // A character literal may hold a quotation mark; a lifetime has no closing one.
                let ahead: Vec<char> = characters.clone().take(3).collect();
                let skip = match ahead[..] {
                    ['\\', ..] => 3,
                    [_, '\'', ..] => 2,
                    _ => 0,
                };
                characters.by_ref().take(skip).for_each(drop);
            }
            (None, '/') if characters.peek() == Some(&'/') => {
                let words = characters.collect::<String>();
                texts.push(Text { line: number, words: words[1..].trim().to_owned(), definition: false });
                return;
            }
            (None, _) => {}
        }
    }
    if let Some(text) = string {
        text.words.push(' ');
    }
}

/// The paragraphs of the docstrings of Python, and its comments. The first paragraph of a docstring is a definition.
fn docstrings(content: &str) -> Vec<Text> {
    const QUOTES: &str = "\"\"\"";
    let mut texts: Vec<Text> = Vec::new();
    let (mut within, mut open) = (false, false);
    for (index, line) in content.lines().enumerate() {
        let begins = !within && line.contains(QUOTES);
        let is_comment = !within && line.trim_start().starts_with('#');
        if !(within || begins || is_comment) {
            open = false;
            continue;
        }
        let mut words = line.trim();
        if begins {
            words = words.split_once(QUOTES).map_or("", |(_, rest)| rest);
            (within, open) = (true, false);
        }
        let ends = within && words.contains(QUOTES);
        words = words.split(QUOTES).next().unwrap_or_default().trim_start_matches('#').trim();
        match texts.last_mut().filter(|_| open && !words.is_empty()) {
            Some(text) => {
                text.words.push(' ');
                text.words.push_str(words);
            }
            None => texts.push(Text { line: index + 1, words: words.to_owned(), definition: begins }),
        }
        open = !words.is_empty() && !ends;
        within &= !ends;
    }
    texts
}

/// The paragraphs of a document, without its blocks of code.
fn markdown(content: &str) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    let (mut fenced, mut open) = (false, false);
    for (index, line) in content.lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let words = line.trim();
        if fence || fenced || words.is_empty() {
            open = false;
            continue;
        }
        let item = words.starts_with("- ") || words.starts_with('|');
        match texts.last_mut().filter(|_| open && !item) {
            Some(text) => {
                text.words.push(' ');
                text.words.push_str(words);
            }
            None => texts.push(Text { line: index + 1, words: words.to_owned(), definition: false }),
        }
        open = true;
    }
    texts
}

/// What a text says that it should not.
fn wording(text: &Text) -> Vec<String> {
    // A name in backticks is one word, whatever it holds.
    let prose: String =
        text.words.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "_" }).collect();
    let prose = prose.to_lowercase().replace('\u{2019}', "'");
    // Punctuation ends a phrase, so it is kept as a word.
    let mut words: Vec<String> = Vec::new();
    for piece in prose.split_whitespace() {
        // So is a placeholder in braces.
        let piece = if piece.contains('{') { "_" } else { piece };
        let word: String = piece.trim_matches(|c: char| !c.is_alphanumeric() && c != '_').to_owned();
        let ends = piece.ends_with(['.', ',', ';', ':', ')', '?', '!', '"']);
        words.push(word);
        words.extend(ends.then(|| ".".to_owned()));
    }
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let mut faults = Vec::new();
    if text.definition && CLAUSES.contains(&word(0)) {
        faults.push(format!("begins with `{}`: a definition is a noun", word(0)));
    }
    for at in 0..words.len() {
        for phrase in PHRASES {
            if phrase.split(' ').enumerate().all(|(index, part)| word(at + index) == part) {
                faults.push(format!("`{phrase}`"));
            }
        }
        let verb = ["is", "are", "was", "were"].contains(&word(at));
        let usual = at > 0 && BEFORE_NO.contains(&word(at - 1)) || AFTER_NO.contains(&word(at + 2));
        if verb && word(at + 1) == "no" && !usual {
            faults.push(format!("`{} no {}`: `{} not ...`", word(at), word(at + 2), word(at)));
        }
        if ["has", "have"].contains(&word(at)) && word(at + 1) == "not" && word(at + 2) == "." {
            faults.push(format!("`{} not`: `does not have`", word(at)));
        }
        let article = ["a", "an"].contains(&word(at + 1));
        if QUANTITIES.contains(&word(at)) && article && DIVISORS.contains(&word(at + 2)) {
            faults.push(format!("`{} {} {}`: `per {}`", word(at), word(at + 1), word(at + 2), word(at + 2)));
        }
    }
    faults
}

/// A flag of the command line in backticks.
fn flag(text: &Text) -> Option<String> {
    let at = text.words.find("`--")?;
    let name: String = text.words[at + 1..].chars().take_while(|c| *c != '`' && *c != ' ').collect();
    name.chars().nth(2).filter(char::is_ascii_lowercase).map(|_| format!("the library names the flag `{name}`"))
}
