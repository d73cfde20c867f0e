//! The files, figures and findings of the study.

use serde_json::{Value, json};

use super::plots;
use super::turning::Turning;
use super::{Control, Role};
use crate::report::Table;
use crate::spectral::arnoldi::NearlySymmetric;
use crate::study::rank::{Interval, bootstrap, chance, kendall, paired, spearman};
use crate::study::results::{File, Results};
use crate::tensor::Tensor;

/// The files of the study.
pub const FILES: &[File] =
    &[SIGMAS, SINES, FLOORS, SINGLE, SHARES, VALUES, VECTORS, ASYMMETRY, SLOPES, TABLE, CONTROLS, ANGLES, SPECTRA];
const SIGMAS: File = File::new("sigmas.npy", "(levels)");
const SINES: File =
    File::new("sines.npy", "of leading subspaces to those at the end, NaN if not determined, (samples, levels, k)");
const FLOORS: File = File::new("floors.npy", "the sines that errors of the solver can make, (samples, levels, k)");
const SINGLE: File = File::new("single_sines.npy", "of single eigenvectors, whatever their gaps, (samples, levels, k)");
const SHARES: File = File::new("shares.npy", "of u_i in the span of those at the end, (samples, levels, k)");
const VALUES: File = File::new("eigenvalues.npy", "(samples, levels, k)");
const VECTORS: File = File::new("eigenvectors.npy", "(samples, levels, k, p)");
const ASYMMETRY: File = File::new("asymmetry.npy", "(samples, levels)");
const SLOPES: File = File::new("slopes.npy", "(samples, k)");
const TABLE: File = File::new("angles.csv", "one row per sample, level and component");
const CONTROLS: File = File::new("controls.csv", "the same of the controls");
const ANGLES: File = File::new("angles", "sines over sigma, of samples and controls");
const SPECTRA: File = File::new("spectra", "eigenvalues, dimensions of subspaces, slopes, asymmetry");

/// The eigenvectors along all trajectories.
#[derive(Clone, Debug)]
pub struct Found {
    /// The sigma of each level, falling.
    pub sigmas: Vec<f64>,
    /// One per trajectory.
    pub turnings: Vec<Turning>,
    /// Denoisers beside this one.
    pub controls: Vec<Control>,
}

/// The rank correlations of component and slope.
struct Correlations {
    spearman: Interval,
    kendall: Interval,
    /// The chance of a mean correlation as large, of either sign, if slopes were in a random order.
    chance: f64,
}

impl Correlations {
    fn of(slopes: &[Vec<f64>], seed: u64) -> Self {
        Self {
            spearman: bootstrap(slopes, seed, spearman),
            kendall: bootstrap(slopes, seed, kendall),
            chance: chance(slopes, seed, spearman),
        }
    }

    fn json(&self) -> Value {
        json!({
            "spearman": self.spearman, "kendall": self.kendall, "chance_of_spearman": self.chance,
            "of": "component and slope",
        })
    }
}

impl Found {
    /// The results of the study for the denoiser called `name` on images of `dimension` values, with products by
    /// `settings`; rank correlations are bootstrapped from `seed`.
    #[must_use]
    pub fn results(&self, name: &str, dimension: usize, settings: Value, seed: u64) -> Results {
        let (samples, levels, k) = (self.turnings.len(), self.sigmas.len(), self.components());
        let vectors = self.places(|found| found.spectrum.vectors.data.clone()).concat();
        let slopes: Vec<Vec<f64>> = self.turnings.iter().map(|turning| turning.slopes.clone()).collect();
        let correlations = Correlations::of(&slopes, seed);
        let shape = [samples, levels, k];
        let mut results = Results::default();
        results
            .numbers(SIGMAS, &[levels], &self.sigmas)
            .numbers(SINES, &shape, &self.by_component(Turning::sines))
            .numbers(FLOORS, &shape, &self.by_component(|turning, i| turning.each(i, |turned| turned.floor)))
            .numbers(SINGLE, &shape, &self.by_component(|turning, i| column(&turning.single, i)))
            .numbers(SHARES, &shape, &self.by_component(|turning, i| column(&turning.shares, i)))
            .numbers(VALUES, &shape, &self.by_component(eigenvalues))
            .array(VECTORS, Tensor::new([samples, levels, k, dimension], vectors))
            .numbers(ASYMMETRY, &[samples, levels], &self.places(|found| found.asymmetry))
            .numbers(SLOPES, &[samples, k], &slopes.concat())
            .table(TABLE, self.table(self.turnings.iter().enumerate().map(|(at, turning)| (at.to_string(), turning))))
            .table(CONTROLS, self.table(self.controls.iter().map(|each| (each.name.clone(), &each.turning))))
            .plot(ANGLES, plots::angles(self, name))
            .plot(SPECTRA, plots::spectra(self, name, dimension))
            .set("jacobian", settings)
            .set("correlation", correlations.json())
            .set("samples", self.turnings.iter().map(|turning| self.json(turning)).collect::<Value>())
            .set("controls", self.controls.iter().map(|control| self.control_json(control)).collect::<Value>());
        self.say(&correlations, &mut results);
        let missed = self.not_converged();
        if missed > 0 {
            results.warning(format!(
                "at {missed} of {} places the basis was full before the tolerance was met; raise the largest \
                 number of blocks",
                levels * samples
            ));
        }
        results
    }

    /// The findings in words.
    fn say(&self, correlations: &Correlations, results: &mut Results) {
        let (samples, levels) = (self.turnings.len(), self.sigmas.len());
        let determined = self.turnings.iter().map(Turning::determined).sum::<f64>() / samples.max(1) as f64;
        let Interval { mean, low, high } = correlations.spearman;
        results
            .note(format!(
                "rank correlation of component and slope {mean:.2} (95 % {low:.2} to {high:.2}; at random, one as \
                 large has a chance of {:.3}) over {samples} trajectories and {levels} levels",
                correlations.chance
            ))
            .note(format!(
                "{:.0} % of the angles are determined; asymmetry {:.2} at the most noise, {:.2} at the least",
                100.0 * determined,
                self.mean_asymmetry(0),
                self.mean_asymmetry(levels - 1)
            ));
        if determined == 0.0 {
            results.warning(
                "no angle is determined: eigenvalues are closer than the errors of the solver divided by the floor; \
                 form the whole matrix, or raise the floor",
            );
        }
        for control in &self.controls {
            let turning = &control.turning;
            let text = match (control.role, turning.largest()) {
                (Role::Zero, None) => "the identity, where no direction is defined and none is reported".to_owned(),
                (Role::Zero, Some(_)) => "the identity, and yet directions are reported".to_owned(),
                (_, None) => "no angle is determined".to_owned(),
                (Role::Null, Some((sine, floor))) => {
                    format!("sines of at most {sine:.1e} where nothing turns; the floor is at most {floor:.1e}")
                }
                (Role::Untrained, Some((sine, _))) => {
                    let (index, slopes) = paired(&turning.slopes);
                    format!("sines of up to {sine:.2}, rank correlation {:.2}", spearman(&index, &slopes))
                }
            };
            results.note(format!("control, {}: {text}", control.name));
            if let (Role::Null, Some((sine, floor))) = (control.role, turning.largest())
                && sine > floor
            {
                results.warning(format!("the null reads a sine of {sine:.1e}, above its floor of {floor:.1e}"));
            }
        }
    }

    fn table<'a>(&self, turnings: impl Iterator<Item = (String, &'a Turning)>) -> Table {
        let columns =
            ["sample", "sigma", "component", "eigenvalue", "sine", "floor", "chance", "directions", "single_sine"];
        let mut table = Table::new(&columns);
        let k = self.components();
        for (name, turning) in turnings {
            for (level, sigma) in self.sigmas.iter().enumerate() {
                for i in 0..k {
                    let value = turning.found[level].spectrum.values[i];
                    let turned = turning.turned[level][i];
                    let number = |of: fn(&super::subspaces::Turned) -> f64| {
                        turned.as_ref().map_or(String::new(), |turned| of(turned).to_string())
                    };
                    let cells = [
                        number(|turned| turned.sine),
                        number(|turned| turned.floor),
                        number(|turned| turned.chance),
                        number(|turned| turned.directions as f64),
                    ];
                    let [sine, floor, chance, directions] = &cells;
                    let single = turning.single[level][i];
                    table.row(&[&name, sigma, &i, &value, sine, floor, chance, directions, &single]);
                }
            }
        }
        table
    }

    pub(super) fn components(&self) -> usize {
        self.turnings[0].slopes.len()
    }

    /// Products with J in all.
    #[must_use]
    pub fn products(&self) -> usize {
        self.places(|found| found.spectrum.applied_vectors).into_iter().sum()
    }

    fn not_converged(&self) -> usize {
        self.places(|found| usize::from(!found.spectrum.converged)).into_iter().sum()
    }

    fn mean_asymmetry(&self, level: usize) -> f64 {
        let of = |turning: &Turning| turning.found[level].asymmetry;
        self.turnings.iter().map(of).sum::<f64>() / self.turnings.len() as f64
    }

    /// A value of each place, one sample after the other.
    fn places<T>(&self, of: impl Fn(&NearlySymmetric) -> T) -> Vec<T> {
        self.turnings.iter().flat_map(|turning| &turning.found).map(of).collect()
    }

    /// A value of each component at each place: (samples, levels, k).
    fn by_component(&self, of: impl Fn(&Turning, usize) -> Vec<f64>) -> Vec<f64> {
        let (levels, count) = (self.sigmas.len(), self.components());
        let of_turning = |turning: &Turning| {
            let curves: Vec<Vec<f64>> = (0..count).map(|i| of(turning, i)).collect();
            (0..levels * count).map(|at| curves[at % count][at / count]).collect::<Vec<_>>()
        };
        self.turnings.iter().flat_map(of_turning).collect()
    }

    /// A trajectory for the report.
    fn json(&self, turning: &Turning) -> Value {
        let places = turning.found.iter().zip(&self.sigmas).map(|(found, sigma)| {
            json!({
                "sigma": sigma,
                "asymmetry": found.asymmetry,
                "error": found.error,
                "eigenvalues": found.spectrum.values,
                "residuals": found.spectrum.residuals,
                "outside": found.outside,
                "converged": found.spectrum.converged,
                "products": found.spectrum.applied_vectors,
                "solver": found.spectrum.solver,
            })
        });
        let (index, slopes) = paired(&turning.slopes);
        json!({
            "slopes": turning.slopes,
            "spearman": spearman(&index, &slopes),
            "kendall": kendall(&index, &slopes),
            "determined": turning.determined(),
            "places": places.collect::<Vec<_>>(),
        })
    }

    fn control_json(&self, control: &Control) -> Value {
        let largest = control.turning.largest();
        json!({
            "role": control.role,
            "name": control.name,
            "largest_sine": largest.map(|(sine, _)| sine),
            "largest_floor": largest.map(|(_, floor)| floor),
            "trajectory": self.json(&control.turning),
        })
    }
}

/// Entry `i` of each row.
fn column(rows: &[Vec<f64>], i: usize) -> Vec<f64> {
    rows.iter().map(|row| row[i]).collect()
}

/// The eigenvalue `i` at each place.
pub(super) fn eigenvalues(turning: &Turning, i: usize) -> Vec<f64> {
    turning.found.iter().map(|found| found.spectrum.values[i]).collect()
}
