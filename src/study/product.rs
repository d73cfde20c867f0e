//! One chain of noise levels, its projections and their product (equations 10 and 11 of the paper): the results of
//! [`Chain::run`].

use std::path::Path;

use serde_json::json;

use super::chain::{Arithmetic, Chain, Projections, participation_ratio};
use super::results::{File, Results};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::report::plot::{Axis, Colour, Figure, Heat, Panel, Picture, Series};
use crate::tensor::Tensor;

/// The files of the study.
pub const FILES: &[File] =
    &[BASIS, VALUES, ADJACENT, TO_FIRST, PARTIAL, LOG_NORM, PRODUCT, ENERGY, PARTIAL_PLOT, COSINES];
const BASIS: File = File::new("basis.npy", "U_t, (T+1, k, p)");
const VALUES: File = File::new("eigenvalues.npy", "(T+1, k)");
const ADJACENT: File = File::new("cos_adjacent.npy", "of each component at levels t and t+1, (T, k)");
const TO_FIRST: File = File::new("cos_to_first.npy", "of each component at levels t and 0, (T+1, k)");
const PARTIAL: File = File::new("partial.npy", "U_0' P_t U_t of Frobenius norm 1, (T+1, k, k)");
const LOG_NORM: File = File::new("log_norm.npy", "the natural logarithm of the norm of each P_t, (T+1)");
const PRODUCT: File = File::new("product.npy", "P of norm 1, (p, p)");
const ENERGY: File = File::new("energy.npy", "of the given draws along each component, (k)");
const PARTIAL_PLOT: File = File::new("partial", "the partial products");
const COSINES: File = File::new("cosines", "the cosines over levels");

/// The most values of an array that is written: 1 GiB.
const LARGEST_ARRAY: usize = 1 << 28;

/// Checks that the arrays of a chain are small enough to keep and to write.
///
/// # Errors
/// [`Error::Argument`].
pub fn expect_writable(levels: usize, components: usize, dimension: usize) -> Result<()> {
    if dimension * dimension > LARGEST_ARRAY {
        let what = format!("a product of {dimension} x {dimension} values is too large to write");
        return Err(Error::argument(what, "give data of fewer values, such as smaller images"));
    }
    if levels * components * dimension > LARGEST_ARRAY {
        let what = format!("{levels} bases of {components} x {dimension} values are too large to keep");
        return Err(Error::argument(what, "ask for fewer steps or components"));
    }
    Ok(())
}

/// Reads noise for data (n, p): (T, n, p), or (T, n, ...) with samples of p values.
///
/// # Errors
/// Those of [`npy::read`]; [`Error::BadFile`] for another shape; [`Error::NonFinite`].
pub fn read_noise(file: &Path, data: &Dataset) -> Result<Tensor> {
    let noise = npy::read(file)?;
    let (count, dimension) = (data.count(), data.dimension());
    let fits = matches!(noise.shape.as_slice(), [steps, samples, rest @ ..]
        if *steps > 0 && *samples == count && rest.iter().product::<usize>() == dimension);
    if !fits {
        let what =
            format!("noise of shape {:?} does not fit data of {count} samples of {dimension} values", noise.shape);
        return Err(Error::bad_file_hint(file, what, format!("give an array (T,{count},{dimension})")));
    }
    expect_finite(file, &noise)?;
    Ok(Tensor::new([noise.shape[0], count, dimension], noise.data))
}

/// Reads draws for data of `dimension` values: (m, p), or one of p.
///
/// # Errors
/// As [`read_noise`].
pub fn read_draws(file: &Path, dimension: usize) -> Result<Tensor> {
    let draws = npy::read(file)?;
    if draws.data.is_empty() || *draws.shape.last().unwrap_or(&0) != dimension {
        let what = format!("draws of shape {:?} do not fit samples of {dimension} values", draws.shape);
        return Err(Error::bad_file_hint(file, what, format!("give an array (m,{dimension})")));
    }
    expect_finite(file, &draws)?;
    Ok(Tensor::new([draws.data.len() / dimension, dimension], draws.data))
}

fn expect_finite(file: &Path, values: &Tensor) -> Result<()> {
    match values.data.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NonFinite {
            place: format!("`{}`: value {at}", file.display()),
            hint: "give finite numbers".into(),
        }),
    }
}

/// The results of `chain`, whose projections are `found`, with the energy of draws `eps` (m, p) if there are any. The
/// last but one argument is the file and the seed of the noise, for the report.
#[must_use]
pub fn results(
    chain: &Chain,
    found: &Projections,
    eps: Option<&Tensor>,
    (noise, seed): (Option<&str>, u64),
    arithmetic: Arithmetic,
) -> Results {
    let (steps, k, dimension) = (chain.steps(), found.count(), chain.data.shape[1]);
    let energy = eps.map(|eps| found.energy_of(eps));
    let expected = found.expected_energy(steps);
    let mut results = Results::default();
    results
        .array(BASIS, Tensor::new([steps + 1, k, dimension], found.bases.clone()))
        .numbers(VALUES, &[steps + 1, k], &found.values.concat())
        .numbers(ADJACENT, &[steps, k], &found.adjacent.concat())
        .numbers(TO_FIRST, &[steps + 1, k], &found.to_first.concat())
        .numbers(PARTIAL, &[steps + 1, k, k], &partials(found))
        .numbers(LOG_NORM, &[steps + 1], &found.log_norm)
        .array(PRODUCT, found.product());
    if let Some(energy) = &energy {
        results.numbers(ENERGY, &[k], energy);
    }
    results
        .plot(PARTIAL_PLOT, partial_picture(found, &chain.coupling.to_string()))
        .plot(COSINES, cosine_picture(found))
        .set(
            "chain",
            json!({
                "coupling": chain.coupling, "steps": steps, "components": k, "sigmas": chain.sigmas,
                "samples": chain.data.shape[0], "noise": noise, "seed": seed, "arithmetic": arithmetic,
            }),
        )
        .set(
            "product",
            json!({
                "log_norm": found.log_norm[steps],
                "expected_energy": expected,
                "participation_ratio": participation_ratio(&expected),
                "energy": energy,
            }),
        );
    results
}

/// C of every level, row-major.
fn partials(found: &Projections) -> Vec<f64> {
    let rows = found.partial.iter().flat_map(faer::Mat::row_iter);
    rows.flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect()
}

/// `|U_0' P_t U_t|` at six levels from the first to the last (figure 5 of the paper).
fn partial_picture(found: &Projections, coupling: &str) -> Picture {
    let (last, k) = (found.partial.len() - 1, found.count());
    let mut shown: Vec<usize> = (0..6).map(|at| (at * last + 2) / 5).collect();
    shown.dedup();
    let panel = |level: &usize| -> Panel {
        let matrix = &found.partial[*level];
        let largest = matrix.norm_max();
        let values = (0..k * k).map(|at| matrix[(at / k, at % k)].abs() / largest).collect();
        Heat {
            x: Axis::linear("component of level t"),
            y: Axis::linear("component of level 0"),
            colours: Axis::linear("over the largest").over(0.0, 1.0),
            ..Heat::matrix(&format!("t = {level}"), k, k, values)
        }
        .into()
    };
    Picture::new(&format!("|U₀ᵀ P U| of the partial products, {coupling} noise"), 3, shown.iter().map(panel).collect())
}

/// The most components that have a colour each; more are dark to bright.
const TOLD_APART: usize = 12;

/// Cosines over levels, by component.
fn cosine_picture(found: &Projections) -> Picture {
    let k = found.count();
    let told_apart = k <= TOLD_APART;
    let figure = |title: &str, label: &str, rows: &[Vec<f64>]| {
        let shades = Figure::new(title, Axis::linear("level t"), Axis::linear(label));
        let curve = |i: usize| rows.iter().enumerate().map(|(t, row)| (t as f64, row[i])).collect();
        let figure = (0..k).fold(shades, |figure, i| {
            let (name, colour) = if told_apart {
                (format!("i = {i}"), Colour::Cycle(i))
            } else {
                (String::new(), Colour::shade_of(i, k))
            };
            figure.with(Series::line(&name, curve(i)).colour(colour))
        });
        if told_apart { figure } else { figure.with_shades("component i", 0.0, (k.max(2) - 1) as f64) }
    };
    let adjacent = figure("From a level to the next", "|cos| of component i at levels t and t + 1", &found.adjacent);
    let first = figure("From the first level", "|cos| of component i at levels t and 0", &found.to_first);
    Picture::new("", 2, vec![adjacent.into(), first.into()])
}
