//! The fuzzer's targets on stable Rust: each parser gets its seeds, the inputs that once were faults, and mutations of
//! both, the same in every run. `scripts/fuzz.sh` runs the same targets guided by coverage, for longer.

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use targets::{Seeds, TARGETS, Target, WORDS};

/// Inputs that a parser once failed on, in a folder named after its target.
const ONCE_FAULTS: &str = "tests/bad/parsers";
/// The first bytes of a PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

#[test]
fn no_bytes_make_a_parser_panic() {
    // The panics of decoders become errors.
    downhill::gpu::silence_panics();
    let waiting = Mutex::new(TARGETS.iter());
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(target) = waiting.lock().unwrap().next() else { break };
                    let began = std::time::Instant::now();
                    let fault = first_fault(target);
                    println!("{}: {} mutations, {:.1} s", target.name, target.bounded, began.elapsed().as_secs_f64());
                    if let Some(input) = fault {
                        faults.lock().unwrap().push(format!("{}: b\"{}\"", target.name, input.escape_ascii()));
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "a parser panics at\n{}", faults.join("\n"));
}

#[test]
fn the_names_of_targets_are_those_of_folders() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(ONCE_FAULTS);
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|target| *target.name == *name), "no target is called {}", name.display());
    }
}

/// Runs a target over its inputs and returns the first one at which it panics.
fn first_fault(target: &Target) -> Option<Vec<u8>> {
    let panics = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err();
    let mut corpus = (target.seeds)(&Seeds::new());
    corpus.extend(once_faults(target.name));
    assert!(!corpus.is_empty(), "{} has no seeds", target.name);
    let seeds = corpus.iter().find(|input| panics(input)).cloned();
    let mut random =
        Random(target.name.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())));
    seeds.or_else(|| {
        (0..target.bounded).map(|_| mutated(&corpus, target.longest, &mut random)).find(|input| panics(input))
    })
}

fn once_faults(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(ONCE_FAULTS).join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// One of `corpus` after one to four changes, of at most `longest` bytes.
fn mutated(corpus: &[Vec<u8>], longest: usize, random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        change(&mut input, corpus, random);
    }
    input.truncate(longest);
    // Else most changes of a PNG are no more than wrong checksums.
    if input.starts_with(PNG) && random.below(4) > 0 {
        check_chunks(&mut input);
    }
    input
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(9)).min(input.len());
    match random.below(8) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'"', b','][random.below(8)],
        2 => drop(input.splice(at..end, [])),
        3 => drop(input.splice(at..at, (0..=random.below(4)).map(|_| random.next() as u8).collect::<Vec<_>>())),
        4 => drop(input.splice(at..end, WORDS[random.below(WORDS.len())].bytes())),
        5 => drop(input.splice(number_at(input, at), WORDS[random.below(WORDS.len())].bytes())),
        6 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let copied = input[at..end].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, copied);
        }
    }
}

/// The first run of digits from `at` on, or nothing at the end.
fn number_at(input: &[u8], at: usize) -> std::ops::Range<usize> {
    let first = input[at..].iter().position(u8::is_ascii_digit).map_or(input.len(), |first| at + first);
    let digits = input[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    first..first + digits
}

/// Gives every whole chunk of a PNG its checksum.
fn check_chunks(png: &mut [u8]) {
    let mut at = PNG.len();
    while let Some(&[a, b, c, d]) = png.get(at..at + 4) {
        let end = at + 8 + u32::from_be_bytes([a, b, c, d]) as usize;
        if end + 4 > png.len() {
            return;
        }
        let mut checksum = flate2::Crc::new();
        checksum.update(&png[at + 4..end]);
        png[end..end + 4].copy_from_slice(&checksum.sum().to_be_bytes());
        at = end + 4;
    }
}
