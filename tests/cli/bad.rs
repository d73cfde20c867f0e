//! Every bad input of `tests/bad/README.md` through the program.

use std::fmt::Write;
use std::path::Path;

use crate::{Folder, Run, downhill};

/// (input, exit code) of each row of the table.
fn listed() -> Vec<(String, i32)> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/README.md");
    let text = std::fs::read_to_string(readme).expect("the list of bad inputs");
    let rows = text.lines().filter_map(|line| {
        let (input, rest) = line.strip_prefix("| `")?.split_once('`')?;
        Some((input.to_owned(), rest.trim_end_matches(" |").rsplit_once("| ")?.1.parse().ok()?))
    });
    rows.collect()
}

fn run(input: &str, folder: &Folder) -> Run {
    let path = format!("tests/bad/{}", input.trim_end_matches('/'));
    let (image, array) = (folder.at("x.png"), folder.at("eps.npy"));
    if input.ends_with('/') {
        return downhill(&["sample", &path, "-n", "1", "--steps", "2", "-o", &image, "-q"]);
    }
    downhill(&["denoise", "tests/bad/sound", "--input", &path, "--timesteps", "10", "--output", &array, "-q"])
}

#[test]
fn each_is_refused_by_name_with_a_hint() {
    let listed = listed();
    assert!(listed.len() > 30, "the list has shrunk");
    let mut all = String::new();
    for (input, code) in listed {
        let folder = Folder::new();
        let Run { code: found, stdout, stderr } = run(&input, &folder);
        assert_eq!((found, stdout.as_str()), (code, ""), "{input}: {stderr}");
        if code == 0 {
            assert_eq!((stderr.as_str(), folder.names().len()), ("", 1), "{input}");
            continue;
        }
        assert!(folder.names().is_empty(), "{input} left a file behind");
        assert!(stderr.contains(&format!("tests/bad/{}", input.trim_end_matches('/'))), "{input}: {stderr}");
        assert!(stderr.contains("\nhint: "), "{input}: {stderr}");
        let _ = writeln!(all, "{input} ({code})\n{stderr}");
    }
    insta::assert_snapshot!(all);
}
