//! The cases as rows of numbers, for runs that share the study.

use super::{Assumptions, CONTROLS, Case, Draw, Settings};
use crate::study::chain::Coupling;
use crate::study::parts::Rows;

impl Assumptions {
    /// The cases, from their rows of `k` components, for data called `name`.
    #[must_use]
    pub fn of_rows(rows: &Rows, settings: &Settings, name: &str, k: usize) -> Self {
        let couplings = Coupling::ALL.len();
        let of_data = |at: usize| Case::of_row(rows.row(at), settings, (name, Coupling::ALL[at], k));
        let control = |at: usize| Case::of_row(rows.row(couplings + at), settings, (CONTROLS[at], Coupling::Nested, k));
        Self { cases: (0..couplings).map(of_data).collect(), controls: (0..CONTROLS.len()).map(control).collect() }
    }
}

impl Case {
    /// These values as a row.
    pub(super) fn row(&self) -> Vec<f64> {
        let mut row = vec![self.cosine_of_mean];
        row.extend(&self.last_overlap);
        for draw in &self.draws {
            row.extend([draw.cosine, draw.cosine_in_bases]);
            row.extend(draw.leaves.iter().chain(&draw.excess).chain(&draw.within_block));
            row.extend(draw.masses.iter().flatten());
        }
        row
    }

    /// The inverse of [`Self::row`].
    fn of_row(row: &[f64], settings: &Settings, (name, coupling, k): (&str, Coupling, usize)) -> Self {
        let steps = settings.sigmas.len();
        let (first, draws) = row.split_at(1 + k * k);
        let draw = |numbers: &[f64]| Draw {
            cosine: numbers[0],
            cosine_in_bases: numbers[1],
            leaves: numbers[2..][..k].to_vec(),
            excess: numbers[2 + k..][..k].to_vec(),
            within_block: numbers[2 + 2 * k..][..steps].to_vec(),
            masses: numbers[2 + 2 * k + steps..].chunks(k).map(<[f64]>::to_vec).collect(),
        };
        Self {
            data: name.to_owned(),
            coupling,
            draws: draws.chunks(2 + 2 * k + steps + steps * k).map(draw).collect(),
            cosine_of_mean: first[0],
            last_overlap: first[1..].to_vec(),
        }
    }
}
