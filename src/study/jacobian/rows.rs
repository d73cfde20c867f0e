//! Eigenvectors along trajectories as rows of numbers, for runs that share a study.

use super::subspaces::Turned;
use super::turning::{Solver, Turning};
use crate::spectral::arnoldi::{ARNOLDI, NearlySymmetric, WHOLE};
use crate::spectral::spectrum::Spectrum;
use crate::tensor::Tensor;

/// Numbers of a place besides those of its components.
const OF_PLACE: usize = 6;
/// Numbers of a component at a place besides its eigenvector.
const OF_COMPONENT: usize = 9;

impl Turning {
    /// These values as a row: of each place, of each component at it, then the slopes.
    #[must_use]
    pub fn row(&self) -> Vec<f64> {
        let mut row = Vec::new();
        for (at, found) in self.found.iter().enumerate() {
            let spectrum = &found.spectrum;
            row.extend([found.asymmetry, found.basis as f64, found.error, f64::from(u8::from(spectrum.converged))]);
            row.extend([spectrum.iterations, spectrum.applied_vectors].map(|count| count as f64));
            for i in 0..self.slopes.len() {
                row.extend([spectrum.values[i], spectrum.residuals[i], found.outside[i]]);
                let turned = self.turned[at][i].map(|it| [it.sine, it.floor, it.chance, it.directions as f64]);
                row.extend(turned.unwrap_or([f64::NAN; 4]));
                row.extend([self.single[at][i], self.shares[at][i]]);
                row.extend(spectrum.vectors.item(i).iter().map(|value| f64::from(*value)));
            }
        }
        row.extend(&self.slopes);
        row
    }

    /// The length of a row, for `places` and images of `dimension` values.
    #[must_use]
    pub const fn width(places: usize, dimension: usize, solver: &Solver) -> usize {
        places * (OF_PLACE + solver.components * (OF_COMPONENT + dimension)) + solver.components
    }

    /// The inverse of [`Self::row`], for images of `dimension` values and the eigenpairs of `solver`.
    #[must_use]
    pub fn of_row(row: &[f64], dimension: usize, solver: &Solver) -> Self {
        let k = solver.components;
        let (places, slopes) = row.split_at(row.len() - k);
        let mut turning = Self {
            found: Vec::new(),
            turned: Vec::new(),
            single: Vec::new(),
            shares: Vec::new(),
            slopes: slopes.to_vec(),
        };
        let name = if solver.is_whole { WHOLE } else { ARNOLDI };
        let settings = solver.settings_of(dimension);
        for place in places.chunks_exact(OF_PLACE + k * (OF_COMPONENT + dimension)) {
            let (of_place, components) = place.split_at(OF_PLACE);
            let components: Vec<&[f64]> = components.chunks_exact(OF_COMPONENT + dimension).collect();
            let each = |number: usize| components.iter().map(|numbers| numbers[number]).collect::<Vec<f64>>();
            let vectors = components.iter().flat_map(|numbers| &numbers[OF_COMPONENT..]).map(|value| *value as f32);
            let turned = |numbers: &&[f64]| {
                // An angle that is determined is a number.
                let is_determined = !numbers[6].is_nan();
                let (sine, floor, chance, directions) = (numbers[3], numbers[4], numbers[5], numbers[6] as usize);
                is_determined.then_some(Turned { sine, floor, chance, directions })
            };
            turning.found.push(NearlySymmetric {
                spectrum: Spectrum {
                    values: each(0),
                    vectors: Tensor::new([k, dimension], vectors.collect()),
                    residuals: each(1),
                    converged: of_place[3] != 0.0,
                    iterations: of_place[4] as usize,
                    applied_vectors: of_place[5] as usize,
                    solver: name,
                    settings,
                },
                asymmetry: of_place[0],
                basis: of_place[1] as usize,
                outside: each(2),
                error: of_place[2],
            });
            turning.turned.push(components.iter().map(turned).collect());
            turning.single.push(each(7));
            turning.shares.push(each(8));
        }
        turning
    }
}
