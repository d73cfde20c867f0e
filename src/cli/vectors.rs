//! The width of the vectors that a software adapter computes with.
//!
//! lavapipe compiles for 256 bits unless it is told otherwise, even where the processor has 512. Twice the width is
//! twice the roof of arithmetic, and a cifar10-32 call takes two thirds of the time (`docs/lab-notes.md`, "Vectors of
//! 512 bits"). lavapipe reads the width from the environment, once, when the first adapter is looked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::quiet::without_driver_chatter;
use crate::gpu::{Choice, Described, Kind, driver_keeps_nothing};
use crate::kernels::shuffles::Ratio;
use crate::kernels::{Engine, Options};
use crate::paths::{WIDE_SHADERS, cache_dir, private_folder, variable};

/// The variable from which lavapipe reads the width.
const WIDTH: &str = "LP_NATIVE_VECTOR_WIDTH";
/// The variable that names the folder of Mesa's compiled shaders.
const SHADER_CACHE: &str = "MESA_SHADER_CACHE_DIR";

/// Makes a software adapter use the widest vectors of the processor, by setting variables of the environment. To be
/// called before the program has threads and before it looks for adapters.
pub fn widen() {
    for (name, value) in wide(cache_dir().as_deref()) {
        // SAFETY: the environment must not change while another thread reads it. The program has one thread until it
        // runs a subcommand, which is after this.
        #[expect(unsafe_code, reason = "lavapipe takes the width from the environment alone; see the SAFETY note")]
        unsafe {
            std::env::set_var(name, value);
        }
    }
}

/// The variables to set for the widest vectors. Empty where the user has chosen a width or told Mesa to keep no
/// shaders, or where nothing is gained.
///
/// A process must not find shaders compiled for the other width, and Mesa's cache does not keep them apart (22.3 hands
/// out the narrow ones, which are right but slow). So the cache gets a separate folder, inside the one the user chose
/// or inside `cache`.
fn wide(cache: Option<&Path>) -> Vec<(&'static str, OsString)> {
    if variable(WIDTH).is_some() || driver_keeps_nothing() || !has_wide_vectors() {
        return Vec::new();
    }
    let chosen = variable(SHADER_CACHE).map(PathBuf::from);
    let Some(folder) = chosen.as_deref().or(cache).map(|folder| folder.join(WIDE_SHADERS)) else { return Vec::new() };
    // Mesa creates the folder, but not its parents, and for others to read.
    match private_folder(&folder) {
        Ok(()) => vec![(WIDTH, "512".into()), (SHADER_CACHE, folder.into_os_string())],
        Err(_) => Vec::new(),
    }
}

/// Runs the program again, in place of this process, with vectors of 256 bits, where [`widen`] has set wider ones and
/// an adapter is slow with them. The driver is known only after it has read the width, and it reads it once. To be
/// called before anything is written; where the program cannot be started again, this process continues with the wide
/// vectors.
pub fn settle<'a>(adapters: impl IntoIterator<Item = &'a Described>) {
    if std::env::var_os(WIDTH).is_none_or(|width| width != "512") {
        return;
    }
    let shaders = variable(SHADER_CACHE).map(PathBuf::from);
    let Some(folder) = shaders.as_deref().filter(|folder| folder.ends_with(WIDE_SHADERS)).and_then(Path::parent) else {
        return;
    };
    let mut software = adapters.into_iter().filter(|adapter| adapter.kind == Kind::Software);
    if software.all(shuffles_wide_vectors) {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        use std::os::unix::process::CommandExt;
        let mut again = std::process::Command::new(program);
        again.args(std::env::args_os().skip(1)).env(WIDTH, "256");
        if cache_dir().as_deref() == Some(folder) {
            again.env_remove(SHADER_CACHE);
        } else {
            again.env(SHADER_CACHE, folder);
        }
        // Returns only when it has failed.
        let _ = again.exec();
    }
}

/// Returns `true` if an adapter compiles a shuffle of sixteen lanes with a constant index to one instruction, on which
/// the speed of the kernels rests: as measured before with this driver on this processor, or now. An adapter that fails
/// is left to the run, which reports it.
fn shuffles_wide_vectors(adapter: &Described) -> bool {
    let measured = || {
        let options = Options { adapter: Choice::parse(&adapter.index.to_string()), ..Options::default() };
        let ratio = Ratio::measure(&without_driver_chatter(|| Engine::open(&options)).ok()?).ok()??;
        ratio.keep(adapter);
        Some(ratio)
    };
    Ratio::kept(adapter).or_else(measured).is_none_or(Ratio::is_fast)
}

/// Returns `true` if the processor has every instruction on vectors of 512 bits that LLVM needs to use them throughout.
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
    fn wide_vectors_have_a_separate_cache() {
        let folder = tempfile::tempdir().unwrap();
        let set = wide(Some(folder.path()));
        if has_wide_vectors()
            && !driver_keeps_nothing()
            && [WIDTH, SHADER_CACHE].iter().all(|name| std::env::var_os(name).is_none())
        {
            let separate = folder.path().join("mesa-512");
            assert_eq!(set, vec![(WIDTH, "512".into()), (SHADER_CACHE, separate.clone().into())]);
            assert!(separate.is_dir());
        } else if !has_wide_vectors() {
            assert!(set.is_empty());
        }
        assert!(wide(None).len() <= set.len());
    }
}
