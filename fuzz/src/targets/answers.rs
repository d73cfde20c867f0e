//! Parsers of responses of a hub and of the caches of this program.

use downhill::bench::breakdown::Grouping;
use downhill::bench::compare::SideBySide;
use downhill::bench::report::Findings;
use downhill::bench::{lines, print, summary};
use downhill::checkpoint::{Listing, Stated};
use downhill::gpu::parse_kept_pipelines;
use downhill::kernels::selftest::{Finding, parse_kept};

use super::said;

/// The listing of a revision.
pub fn hub_listing(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(listing) = said(Listing::parse("http://hub/api/models/a/b", text)) else { return };
    for name in listing.files.iter().chain([&listing.commit]) {
        let place = std::path::Path::new(name);
        let is_inside = place.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(is_inside && !name.is_empty(), "{name:?} leads out of the repository");
    }
}

/// The headers of a response, a line each after one that says whether it is a redirection.
pub fn hub_headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let is_redirection = lines.next() == Some("302");
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| headers.iter().find(|(of, _)| *of == name).map(|(_, value)| *value);
    if let Stated::File(about) = Stated::read(is_redirection, header) {
        let blob = about.blob("beef", "unet/config.json");
        assert!(blob.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{blob:?} is not a file name");
    }
}

/// The findings of a self-test.
pub fn findings(bytes: &[u8]) {
    let Some(checks) = parse_kept(bytes) else { return };
    assert!(checks.iter().all(|check| !matches!(check.finding, Finding::Failed(_))), "a failure is believed");
}

/// The pipelines of a driver.
pub fn pipelines(bytes: &[u8]) {
    if let Some(data) = parse_kept_pipelines(bytes) {
        assert_eq!(data.len() + 8, bytes.len());
    }
}

/// A saved run of the benchmark, as JSON or as lines.
pub fn saved_run(bytes: &[u8]) {
    let Ok(run) = Findings::parse(bytes) else { return };
    let both = SideBySide::new(&run, &run);
    let apart = [&both.differences[..], &both.lost, &both.only_first, &both.only_second].concat();
    assert!(apart.is_empty(), "a run differs from itself");
    assert!(both.markdown().lines().count() >= 2 && !summary::line(&run).is_empty());
    assert!(print::csv(&run, Grouping::Kinds).lines().count() > run.rows.len());
    let rows: String = run.rows.iter().map(lines::row).collect();
    let again = Findings::parse((lines::first(&run) + &rows + &lines::last(&run)).as_bytes());
    assert_eq!(again.map(|again| again.rows.len()), Ok(run.rows.len()), "its lines are the run");
}
