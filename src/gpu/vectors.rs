//! How wide the vectors are that a software adapter computes with.
//!
//! lavapipe compiles for 256 bits unless it is told otherwise, also where the processor has 512. Twice the width is twice the roof of
//! arithmetic, and a cifar10-32 call takes two thirds of the time (`docs/lab-notes.md`, "Vectors of 512 bits"). It reads the width from the
//! environment, once, when the first adapter is looked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::warm::keeps_nothing;

/// What lavapipe calls the width.
const WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";
/// Where Mesa keeps compiled shaders.
const SHADER_CACHE: &str = "MESA_SHADER_CACHE_DIR";

/// Variables to set in this process's environment, before it looks for adapters and before it has threads, so that a software adapter
/// uses the widest vectors of this processor. None where the user has chosen a width, or nothing is gained.
///
/// Shaders compiled for one width must not be found by a process that wants the other, and Mesa's cache does not keep them apart (22.3
/// hands out the narrow ones, which are right but slow): so the cache gets a folder of its own, in that of the user's choice or in `cache`.
#[must_use]
pub fn wide_vectors(cache: Option<&Path>) -> Vec<(&'static str, OsString)> {
    let chosen = std::env::var_os(SHADER_CACHE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if std::env::var_os(WIDTH).is_some() || !has_wide_vectors() {
        return Vec::new();
    }
    let width = (WIDTH, OsString::from("512"));
    if keeps_nothing() {
        return vec![width];
    }
    let Some(folder) = chosen.as_deref().or(cache).map(|folder| folder.join("mesa-512")) else { return Vec::new() };
    // Mesa makes one folder, not those above it.
    match std::fs::create_dir_all(&folder) {
        Ok(()) => vec![width, (SHADER_CACHE, folder.into_os_string())],
        Err(_) => Vec::new(),
    }
}

/// Whether the processor has every instruction on vectors of 512 bits that LLVM needs to use them throughout.
fn has_wide_vectors() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vl")
    }
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_vectors_come_with_a_cache_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let set = wide_vectors(Some(folder.path()));
        if has_wide_vectors() && std::env::var_os(WIDTH).is_none() && std::env::var_os(SHADER_CACHE).is_none() {
            let own = folder.path().join("mesa-512");
            assert_eq!(set, vec![(WIDTH, "512".into()), (SHADER_CACHE, own.clone().into())]);
            assert!(own.is_dir());
        } else if !has_wide_vectors() {
            assert!(set.is_empty());
        }
        assert!(wide_vectors(None).len() <= set.len());
    }
}
