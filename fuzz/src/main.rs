//! The fuzzer: libFuzzer on one of the targets, which `DOWNHILL_FUZZ` names. Before it starts, the seeds of the target
//! are written to the folder in `DOWNHILL_FUZZ_SEEDS`, and a dictionary to the file in `DOWNHILL_FUZZ_WORDS`. Without
//! a target, the names of all are printed. `scripts/fuzz.sh` does all of this.

#![no_main]

mod law;
mod targets;

use std::path::PathBuf;
use std::sync::OnceLock;

use targets::{Seeds, TARGETS, Target, WORDS};

#[global_allocator]
static MEMORY: law::Counted = law::Counted;

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: prepare(),
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            law::held(bytes.len(), || (target.run)(bytes));
        }
    }
);

fn prepare() {
    // A panic that becomes an error is not a fault.
    downhill::gpu::silence_panics();
    let wanted = std::env::var("DOWNHILL_FUZZ").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == wanted) else {
        for Target { name, longest, .. } in TARGETS {
            println!("{name} {longest}");
        }
        std::process::exit(i32::from(!wanted.is_empty()));
    };
    if let Some(folder) = std::env::var_os("DOWNHILL_FUZZ_SEEDS").map(PathBuf::from) {
        std::fs::create_dir_all(&folder).expect("a folder for seeds");
        for (at, seed) in (target.seeds)(&Seeds::new()).iter().enumerate() {
            std::fs::write(folder.join(format!("{at:03}")), seed).expect("a seed");
        }
    }
    if let Some(file) = std::env::var_os("DOWNHILL_FUZZ_WORDS") {
        let escaped = |word: &&str| -> String { word.bytes().map(|byte| format!("\\x{byte:02x}")).collect() };
        let lines: String = WORDS.iter().map(escaped).map(|word| format!("\"{word}\"\n")).collect();
        std::fs::write(file, lines).expect("a dictionary");
    }
    let _ = TARGET.set(target);
}
