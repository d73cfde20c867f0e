//! How wide the vectors are that a software adapter computes with.
//!
//! lavapipe compiles for 256 bits unless it is told otherwise, also where the processor has 512. Twice the width is twice the roof of
//! arithmetic, and a cifar10-32 call takes two thirds of the time (`docs/lab-notes.md`, "Vectors of 512 bits"). It reads the width from the
//! environment, once, when the first adapter is looked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::adapter::{Described, Kind};
use super::warm::keeps_nothing;

/// What lavapipe calls the width.
const WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";
/// Where Mesa keeps compiled shaders.
const SHADER_CACHE: &str = "MESA_SHADER_CACHE_DIR";

/// The folder, in that of the caches, that keeps shaders compiled for wide vectors.
const WIDE_SHADERS: &str = "mesa-512";

/// Variables to set in this process's environment, before it looks for adapters and before it has threads, so that a software adapter
/// uses the widest vectors of this processor. None where the user has chosen a width or lets Mesa keep no shaders, or nothing is gained.
///
/// Shaders compiled for one width must not be found by a process that wants the other, and Mesa's cache does not keep them apart (22.3
/// hands out the narrow ones, which are right but slow): so the cache gets a folder of its own, in that of the user's choice or in `cache`.
#[must_use]
pub fn wide_vectors(cache: Option<&Path>) -> Vec<(&'static str, OsString)> {
    if std::env::var_os(WIDTH).is_some() || keeps_nothing() || !has_wide_vectors() {
        return Vec::new();
    }
    let chosen = std::env::var_os(SHADER_CACHE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let Some(folder) = chosen.as_deref().or(cache).map(|folder| folder.join(WIDE_SHADERS)) else { return Vec::new() };
    // Mesa makes one folder, not those above it.
    match std::fs::create_dir_all(&folder) {
        Ok(()) => vec![(WIDTH, "512".into()), (SHADER_CACHE, folder.into_os_string())],
        Err(_) => Vec::new(),
    }
}

/// Starts the program anew, in its own place, with vectors of 256 bits, where [`wide_vectors`] has set wider ones and an adapter turns out to
/// be slow with them. The driver is known only once it has read the width, and it reads it once. To be called before anything is
/// written; goes on, slower, where the program cannot be started.
pub fn settle_vectors<'a>(adapters: impl IntoIterator<Item = &'a Described>, cache: Option<&Path>) {
    if std::env::var_os(WIDTH).is_none_or(|width| width != "512") {
        return;
    }
    let shaders = std::env::var_os(SHADER_CACHE).map(PathBuf::from);
    let Some(folder) = shaders.as_deref().filter(|folder| folder.ends_with(WIDE_SHADERS)).and_then(Path::parent) else {
        return;
    };
    let mut software = adapters.into_iter().filter(|adapter| adapter.kind == Kind::Software);
    if software.all(|adapter| shuffles_wide_vectors(&adapter.driver)) {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        use std::os::unix::process::CommandExt;
        let mut again = std::process::Command::new(program);
        again.args(std::env::args_os().skip(1)).env(WIDTH, "256");
        if cache == Some(folder) {
            again.env_remove(SHADER_CACHE);
        } else {
            again.env(SHADER_CACHE, folder);
        }
        // Comes back only when it has failed.
        let _ = again.exec();
    }
}

/// Whether a driver makes one instruction of a shuffle of sixteen lanes whose index is a number, on which the kernels live: the llvmpipe
/// of Mesa 22 does, that of Mesa 25 goes through the lanes one by one (`emit_shuffle` in `lp_bld_nir_soa.c`), and takes three times as long as
/// with eight lanes.
fn shuffles_wide_vectors(driver: &str) -> bool {
    let version = driver.split_once("Mesa ").map(|(_, version)| version);
    version.and_then(|version| version.split('.').next()?.parse().ok()).is_some_and(|major: u32| major <= 22)
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
    fn only_drivers_with_wide_shuffles_get_wide_vectors() {
        assert!(shuffles_wide_vectors("llvmpipe Mesa 22.3.6 (LLVM 15.0.6)"));
        assert!(!shuffles_wide_vectors("llvmpipe Mesa 25.0.7-2~bpo12+1 (LLVM 15.0.6)"));
        assert!(!shuffles_wide_vectors("SwiftShader 5.0.0"));
    }

    #[test]
    fn wide_vectors_come_with_a_cache_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let set = wide_vectors(Some(folder.path()));
        if has_wide_vectors()
            && !keeps_nothing()
            && [WIDTH, SHADER_CACHE].iter().all(|name| std::env::var_os(name).is_none())
        {
            let own = folder.path().join("mesa-512");
            assert_eq!(set, vec![(WIDTH, "512".into()), (SHADER_CACHE, own.clone().into())]);
            assert!(own.is_dir());
        } else if !has_wide_vectors() {
            assert!(set.is_empty());
        }
        assert!(wide_vectors(None).len() <= set.len());
    }
}
