//! The list of slow tests in `tests/slow.txt`, by which `scripts/test.sh --quick` chooses.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.push((path, text));
        }
    }
}

#[test]
fn every_slow_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(root.join("tests/slow.txt")).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(names.is_sorted() && names.len() > 50);
    let mut files = Vec::new();
    sources(&root.join("tests"), &mut files);
    sources(&root.join("src"), &mut files);
    for name in names {
        let (module, test) = name.rsplit_once("::").unwrap_or_else(|| panic!("`{name}` has no module"));
        // `tests` is the module at the end of a source file.
        let file = module.trim_end_matches("::tests").rsplit("::").next().unwrap_or(module);
        let holds = |(path, text): &(PathBuf, String)| {
            let stem = path.file_stem().is_some_and(|stem| stem == file)
                || path.parent().and_then(Path::file_name).is_some_and(|folder| folder == file);
            stem && text.contains(&format!("fn {test}("))
        };
        assert!(
            files.iter().any(holds),
            "tests/slow.txt names `{name}`, which is not there: python3 tools/slow_tests.py"
        );
    }
}
