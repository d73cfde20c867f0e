//! The recipes of `docs/EXTENDING.md`: the files that know an operator, a study, a data source, a layout and an
//! architecture.

use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Returns `true` if `word` occurs in `text` as a whole identifier.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .any(|(at, _)| !is_part(text[..at].chars().next_back()) && !is_part(text[at + word.len()..].chars().next()))
}

/// The Rust files of `src` that `names`, relative to the root, sorted.
fn files_that(names: impl Fn(&str) -> bool) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let mut found: Vec<String> = files
        .into_iter()
        .filter(|path| names(&fs::read_to_string(path).expect("text")))
        .map(|path| path.strip_prefix(root).expect("a file of the project").display().to_string())
        .collect();
    found.sort();
    found
}

/// The files of `src` in the table of a recipe, sorted.
fn recipe(heading: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipes = fs::read_to_string(root.join("docs/EXTENDING.md")).expect("the recipes");
    let mut files: Vec<String> = recipes
        .lines()
        .skip_while(|line| *line != heading)
        .take_while(|line| *line == heading || !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `src/")?.split_once('`').map(|(path, _)| format!("src/{path}")))
        .collect();
    files.sort();
    files
}

/// Returns `text` without its comments.
fn code(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_operator_is_known_to_the_files_of_the_recipe_and_to_no_other() {
    assert_eq!(files_that(|text| has_word(text, "Gate")), recipe("## An operator"));
}

#[test]
fn a_study_is_known_to_the_files_of_the_recipe_and_to_no_other() {
    assert_eq!(files_that(|text| has_word(&code(text), "transition")), recipe("## A study"));
}

#[test]
fn a_data_source_is_known_to_the_files_of_the_recipe_and_to_no_other() {
    let names = |text: &str| text.contains("mod spiked;") || text.contains("spiked::");
    let own = |text: &str| text.contains("static KIND: SourceKind") && text.contains("spiked:n=");
    assert_eq!(files_that(|text| names(text) || own(text)), recipe("## A data source"));
}

#[test]
fn a_layout_is_known_to_the_files_of_the_recipe_and_to_no_other() {
    let names = |text: &str| text.contains("mod stable_diffusion;") || text.contains("stable_diffusion::");
    let own = |text: &str| text.contains("static LAYOUT: Layout") && text.contains("Stable Diffusion's original code");
    assert_eq!(files_that(|text| names(text) || own(text)), recipe("## A layout"));
}

#[test]
fn an_architecture_is_known_to_its_folder_and_to_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    for (name, folder) in [("UNet2d", "unet2d"), ("UNet2dCondition", "unet2d_condition"), ("DitTransformer2d", "dit")] {
        let outside = files.iter().filter(|path| !path.starts_with(root.join("src/nets").join(folder)));
        let found: Vec<_> = outside.filter(|path| has_word(&fs::read_to_string(path).expect("text"), name)).collect();
        assert_eq!(found, [&root.join("src/nets/architecture.rs")], "{name}");
    }
}
