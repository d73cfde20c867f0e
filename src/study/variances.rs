//! The second moment of a denoiser's eps over noised data at each level, from which the variance of x0 given x follows:
//! the statistics of Analytic-DDIM (Bao et al., ICLR 2022, equation 8, Gamma).

use serde_json::json;

use super::Advance;
use super::error::{OnImages, on_noised};
use super::estimate::Estimate;
use super::norms::ByLevel;
use super::panels::over_sigma;
use super::results::{File, Results};
use crate::Result;
use crate::denoise::{Denoiser, Level};
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Picture, Series};
use crate::sample::solvers::analytic::Variances;

/// |eps(k + sigma w, sigma)|^2 / n for images k and independent standard normals w at each of the falling levels.
///
/// # Errors
/// Those of [`errors_on_images`](super::error::errors_on_images).
pub fn squares_on_images(denoiser: &mut dyn Denoiser, on: &OnImages, advance: Advance) -> Result<ByLevel> {
    on_noised(denoiser, on, advance, &|eps, _| {
        eps.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / eps.len() as f64
    })
}

/// The files of the study.
pub const FILES: &[File] = &[VARIANCES, TABLE, PLOT];
const VARIANCES: File = File::new("variances.json", "Gamma over sigma: the variances of Analytic-DDIM");
const TABLE: File = File::new("variances.csv", "Gamma with its interval, and the variance, per level");
const PLOT: File = File::new("variances", "the variance of x0 given x over sigma");

/// The results of [`squares_on_images`] for the denoiser called `name` on images of `data`.
///
/// # Errors
/// Those of [`Variances::new`].
pub fn results(squares: &ByLevel, name: &str, data: &str) -> Result<Results> {
    let estimates: Vec<Estimate> = (0..squares.levels.len()).map(|at| Estimate::of(squares.at(at))).collect();
    let sigmas = Level::sigmas(&squares.levels);
    let gammas: Vec<f64> = estimates.iter().map(|estimate| estimate.mean).collect();
    let variances = Variances::new(sigmas.clone(), gammas.clone())?;
    let columns = ["timestep", "sigma", "gamma", "half_width_95", "variance", "variance_low", "variance_high"];
    let mut table = Table::new(&columns);
    let unclipped = |sigma: f64, gamma: f64| sigma * sigma * (1.0 - gamma);
    let mut band = Vec::new();
    let mut clipped = 0;
    for (level, estimate) in squares.levels.iter().zip(&estimates) {
        let (sigma, (low, high)) = (level.sigma, estimate.band());
        let interval = (unclipped(sigma, high), unclipped(sigma, low));
        if !(0.0..=1.0).contains(&unclipped(sigma, estimate.mean)) {
            clipped += 1;
        }
        let timestep = level.timestep.map_or(String::new(), |t| t.to_string());
        let variance = variances.at(sigma);
        table.row(&[&timestep, &sigma, &estimate.mean, &estimate.half_width, &variance, &interval.0, &interval.1]);
        band.push((interval.0.clamp(0.0, 1.0), interval.1.clamp(0.0, 1.0)));
    }
    let figure = over_sigma("", Axis::linear("σ² (1 − Γ), from 0 to 1")).with(
        Series::points("mean of the values, 95 %", sigmas.iter().map(|sigma| (*sigma, variances.at(*sigma))).collect())
            .band(band)
            .colour(Colour::Cycle(0)),
    );
    let (count, levels) = (squares.images, variances.levels());
    let title = format!("Variance of x0 given x, by the eps of {name} on {count} images of {data}");
    let file = json!({ "sigmas": sigmas, "gammas": gammas, "model": name, "data": data, "images": count });
    let mut results = Results::default();
    results
        .text_file(VARIANCES, format!("{file:#}\n"))
        .table(TABLE, table)
        .plot(PLOT, Picture::new(&title, 1, vec![figure.into()]))
        .set("data", json!({ "source": data, "images": count }))
        .set("variances", json!({ "digest": variances.digest(), "levels": levels, "clipped": clipped }))
        .note(format!("{levels} levels of {count} images each"));
    if clipped > 0 {
        results.note(format!(
            "at {clipped} of {levels} levels the estimate is outside 0..1 and is clipped, as in the authors' code; \
             where there is much noise only more images tell the variance"
        ));
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Purpose;
    use crate::study::parts::Shard;
    use crate::tensor::Tensor;

    /// The eps of values of mean 0 and variance 0.25.
    struct Gaussian;

    impl Denoiser for Gaussian {
        fn image_shape(&self) -> [usize; 3] {
            [1, 8, 8]
        }

        fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
            let gain = levels[0].sigma / (0.25 + levels[0].sigma.powi(2));
            Ok(Tensor::new(x.shape.clone(), x.data.iter().map(|x| (f64::from(*x) * gain) as f32).collect()))
        }
    }

    #[test]
    fn the_second_moment_of_a_gaussian_is_its_closed_form() {
        let count = 256;
        let normals = (0..count).flat_map(|at| Purpose::AddedNoise.normals(7, at, 0, 64));
        let images = normals.map(|value| 0.5 * value).collect();
        let images = Tensor::new([count as usize, 1, 8, 8], images);
        let levels: Vec<Level> = [10.0, 1.0, 0.5, 0.1].map(Level::at_sigma).to_vec();
        let on = OnImages { images: &images, levels: &levels, batch: 100, seed: 3, shard: Shard::WHOLE };
        let found = squares_on_images(&mut Gaussian, &on, &|_| {}).unwrap();
        for (at, level) in levels.iter().enumerate() {
            let expected = level.sigma.powi(2) / (0.25 + level.sigma.powi(2));
            let estimate = Estimate::of(found.at(at));
            // 16384 values: squares have a standard deviation of 1.1 % of their mean.
            assert!((estimate.mean - expected).abs() < 0.045 * expected, "{level}: {estimate:?}, {expected}");
        }
        let results = results(&found, "gaussian", "normals").unwrap();
        assert_eq!(results.files.len(), FILES.len());
    }
}
