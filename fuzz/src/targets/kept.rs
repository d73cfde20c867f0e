//! Files that downhill wrote, and that may have been changed since.

use std::sync::OnceLock;

use downhill::bench::report::Findings;
use downhill::kernels::tuned::Key;
use downhill::sample::admissible::ErrorModel;
use downhill::study::compare::Store;
use downhill::study::compare::store::Times;

use super::said;
use super::scratch::{at, put};
use super::seeds::KEY;

/// The measured algorithms of an adapter.
pub fn tuned(bytes: &[u8]) {
    static MINE: OnceLock<Key> = OnceLock::new();
    let key = MINE.get_or_init(|| serde_json::from_str(KEY).expect("a sound key"));
    if let Err(why) = key.load(&put("tuned.json", bytes)) {
        assert!(!why.is_empty());
    }
}

/// An earlier benchmark, to compare with.
pub fn benchmark(bytes: &[u8]) {
    let Some(base) = said(Findings::read(&put("base.json", bytes))) else { return };
    let mut now = base.clone();
    now.compare(&base);
    assert!(now.differences(&base).is_empty(), "a run does not differ from itself");
    assert!(now.failures().count() <= now.rows.len());
}

/// The settings and times of a study, and an error model.
pub fn study(bytes: &[u8]) {
    put("study/settings.json", bytes);
    said(Store::open(&at("study"), &serde_json::json!({ "samplers": ["ddim"] })));
    let _ = serde_json::from_slice::<Times>(bytes);
    if let Ok(model) = serde_json::from_slice::<ErrorModel>(bytes) {
        said(model.bounds(&[10.0, 5.0, 1.0]));
    }
}
