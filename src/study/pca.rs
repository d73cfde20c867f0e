//! Principal components of data: the files and messages of [`crate::spectral::principal`].

use serde_json::json;

use super::results::{File, Results};
use crate::spectral::streamed::StreamedComponents;
use crate::spectral::{Arithmetic, Components};

/// The files of the study.
pub const FILES: &[File] = &[VALUES, VECTORS, MEAN];
const VALUES: File = File::new("eigenvalues.npy", "(k), those of X'X / n, largest first");
const VECTORS: File = File::new("eigenvectors.npy", "(k, p), one per row");
const MEAN: File = File::new("mean.npy", "(p), where it was subtracted");

/// The results of the study; `mean` is the mean that was subtracted, if any.
#[must_use]
pub fn results(found: &Components, mean: Option<&[f64]>) -> Results {
    let mut results = results_of_moments(found, mean);
    if found.arithmetic == Arithmetic::Float64 {
        results.note("float32 does not hold these eigenvalues to the tolerance: found in float64 on the host");
    }
    results
}

/// As [`results`], of moments that are known in float64.
#[must_use]
pub fn results_of_moments(found: &Components, mean: Option<&[f64]>) -> Results {
    let spectrum = &found.spectrum;
    let mut results = Results::default();
    results
        .set("components", json!(found))
        .numbers(VALUES, &[spectrum.values.len()], &spectrum.values)
        .array(VECTORS, spectrum.vectors.clone());
    if let Some(mean) = mean {
        results.numbers(MEAN, &[mean.len()], mean);
    }
    results.detail(format!(
        "{} by the {}: {} products with vectors, {:.2} s",
        spectrum.solver,
        found.route,
        spectrum.applied_vectors,
        found.prepare_seconds + found.solve_seconds
    ));
    let (worst, tolerance) = (spectrum.worst_residual(), spectrum.settings.tolerance);
    if !spectrum.converged || worst > tolerance {
        results.warning(format!("a residual of {worst:.1e} stayed above the tolerance of {tolerance:.1e}"));
    }
    let largest = spectrum.values.first().copied().unwrap_or(0.0);
    let least = spectrum.settings.least_resolved() * largest;
    let blurred = spectrum.values.iter().filter(|value| **value < least).count();
    if blurred > 0 {
        results.note(format!("{blurred} eigenvalues are not told from zero: they are below {least:.1e}"));
    }
    results
}

/// As [`results`], of `samples` rows that were read in passes.
#[must_use]
pub fn results_of_passes(found: &StreamedComponents, samples: usize) -> Results {
    let mut results = results_of_moments(&found.components, found.mean.as_deref());
    results.set("passes", found.passes);
    let passes = if found.passes == 1 { "one pass".to_owned() } else { format!("{} passes", found.passes) };
    results.detail(format!("{passes} over {samples} samples"));
    results
}
