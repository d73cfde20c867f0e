//! The recipes in `deploy/`: their commands are those of the program, and the golden picture is one that it makes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use downhill::data::picture::Picture;

use crate::{Folder, downhill, quietly};

/// The files of the recipes, those in folders too.
fn recipes() -> Vec<PathBuf> {
    let (mut open, mut files) = (vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")], Vec::new());
    while let Some(place) = open.pop() {
        if place.is_dir() {
            open.extend(place.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else {
            files.push(place);
        }
    }
    files.sort();
    files
}

/// The words of the commands of the program in a text: after its name, up to the end of the command.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let line = line.replace(['`', '(', ')'], " ; ");
        for part in line.split([';', '|', '&', '#']) {
            let words: Vec<&str> = part.split_whitespace().collect();
            let names = ["downhill", "\"$DOWNHILL\"", "\"$program\"", "inside"];
            let Some(at) = words.iter().position(|word| names.contains(word)) else { continue };
            let is_command = words.get(at + 1).is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase()));
            if is_command {
                found.push(words[at + 1..].iter().map(|word| (*word).to_owned()).collect());
            }
        }
    }
    found
}

#[test]
fn the_recipes_have_commands_and_flags_that_exist() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut checked = 0;
    for file in recipes().iter().filter(|file| file.extension().is_none_or(|name| name != "png")) {
        let text = std::fs::read_to_string(file).expect("text");
        for words in commands(&text) {
            if !words.iter().any(|word| word.starts_with('-')) {
                continue;
            }
            let depth = if words[0] == "inspect" { 2 } else { 1 };
            let command = words[..depth].to_vec();
            let help = helps.entry(command.clone()).or_insert_with(|| {
                let names: Vec<&str> = command.iter().map(String::as_str).collect();
                let run = downhill(&[&["help"], &names[..]].concat());
                assert_eq!(run.code, 0, "{}: `{}`: {}", file.display(), command.join(" "), run.stderr);
                run.stdout
            });
            for flag in words[depth..].iter().filter(|word| word.starts_with('-') && word.len() > 1) {
                let flag = flag.split('=').next().expect("a part");
                let known = help.split([' ', ',', '\n']).any(|word| word == flag);
                assert!(known, "{}: `{}` has no `{flag}`", file.display(), command.join(" "));
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked} flags in all");
}

#[test]
fn the_pods_are_as_many_as_the_shards() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/moments.yaml"));
    let text = text.expect("the manifest");
    let after = |key: &str| {
        let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("no {key}"));
        rest.lines().next().expect("a line").trim().trim_matches('"').to_owned()
    };
    let completions = after("\n  completions:");
    assert!(completions.parse::<usize>().is_ok_and(|count| count > 1), "{completions}");
    assert_eq!(after("\n  parallelism:"), completions);
    assert_eq!(after("DOWNHILL_SHARDS\n              value:"), completions);
}

#[test]
fn the_golden_picture_is_that_of_the_workflow() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ci");
    let workflow = std::fs::read_to_string(place.join("samples.yml")).expect("the workflow");
    let sample = "sample -n 16 --seed 0 --steps 10 -o";
    assert!(workflow.contains(sample), "the workflow samples otherwise");

    let folder = Folder::new();
    let arguments: Vec<&str> = sample.split(' ').collect();
    quietly(&[&arguments[..], &[&folder.at("samples.png")]].concat());
    let read = |file: &Path| {
        let picture = Picture::read(file).expect("a picture");
        picture.at(1, picture.size()).expect("memory")
    };
    let (made, golden) = (read(&folder.path("samples.png")), read(&place.join("golden.png")));
    assert_eq!(made.shape, golden.shape);
    // As the workflow compares: 1 of 255 between processors and drivers.
    let largest = made.data.iter().zip(&golden.data).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(largest * 127.5 < 1.5, "a pixel differs by {}", largest * 127.5);
}
