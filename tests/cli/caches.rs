//! Caches: where they are, and what is told of one that cannot be used.

use std::path::Path;

use super::{Folder, Run, command};

#[test]
fn an_empty_variable_is_an_unset_one() {
    let (cache, here) = (Folder::new(), Folder::new());
    let mut program = command(&["selftest", "-q"]);
    program.current_dir(here.path("")).env("DOWNHILL_CACHE_DIR", "").env("XDG_CACHE_HOME", cache.path(""));
    let run = Run::of(program.output().expect("the program starts"));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(here.names().is_empty(), "{:?}", here.names());
    if cfg!(target_os = "linux") {
        assert!(cache.path("downhill/selftest").is_dir());
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_told_of_once() {
    let folder = Folder::new();
    std::fs::write(folder.path("file"), "").expect("written");
    let cache = folder.path("file").join("cache");
    let arguments = ["sample", "-n", "1", "--steps", "1", "-o", &folder.at("x.png")];
    let run = Run::of(command(&arguments).env("DOWNHILL_CACHE_DIR", &cache).output().expect("the program starts"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told = format!("note: the cache `{}` cannot be used: ", cache.display());
    assert_eq!(run.stderr.matches(&told).count(), 1, "{}", run.stderr);
    assert!(Path::new(&folder.at("x.png")).is_file());
}
