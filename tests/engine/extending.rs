//! The recipe "an operator" of `docs/EXTENDING.md`: the files that know an operator.

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

#[test]
fn an_operator_is_known_to_the_files_of_the_recipe_and_to_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let mut found: Vec<String> = files
        .into_iter()
        .filter(|path| has_word(&fs::read_to_string(path).expect("text"), "Gate"))
        .map(|path| path.strip_prefix(root).expect("a file of the project").display().to_string())
        .collect();
    found.sort();
    let recipe = fs::read_to_string(root.join("docs/EXTENDING.md")).expect("the recipes");
    let mut expected: Vec<String> = recipe
        .lines()
        .skip_while(|line| *line != "## An operator")
        .take_while(|line| *line == "## An operator" || !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `src/")?.split_once('`').map(|(path, _)| format!("src/{path}")))
        .collect();
    expected.sort();
    assert_eq!(found, expected);
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
