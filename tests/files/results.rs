//! The results of machines in `docs/results/`.

use std::path::Path;

use downhill::bench::report::{Findings, Status};

/// The runs of the folder with their names.
fn results() -> Vec<(String, Findings)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    let read = |file: std::path::PathBuf| {
        let run = Findings::read(&file).unwrap_or_else(|error| panic!("{error}"));
        (file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), run)
    };
    files.map(read).collect()
}

#[test]
fn every_result_can_be_compared() {
    let results = results();
    assert!(results.len() > 4);
    for (name, run) in &results {
        assert!(!run.rows.is_empty() && !run.adapter.is_empty() && !run.date.is_empty(), "{name}");
        for row in &run.rows {
            assert_ne!(row.status, Status::Failed, "{name}: {}", row.case);
            let Some(timing) = &row.timing else { continue };
            assert!(timing.median > 0.0, "{name}: {}", row.case);
            // A figure without samples comes from a document, which the file names.
            assert!(!timing.samples.is_empty() || run.source.is_some(), "{name}: {}", row.case);
        }
    }
}

#[test]
fn the_page_names_every_result() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results/README.md"))
        .unwrap_or_else(|error| panic!("{error}"));
    for (name, run) in results() {
        let row = page.lines().find(|line| line.starts_with(&format!("| [{name}]({name}.json) | ")));
        let row = row.unwrap_or_else(|| panic!("{name} is not on the page: python3 tools/results.py write"));
        assert!(row.contains(&run.adapter) && row.contains(&run.date), "{row}");
    }
}
