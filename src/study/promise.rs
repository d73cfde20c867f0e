//! The promise of an error model for a schedule: bounds on the distance at each step, and the longest admissible steps
//! (Permenter and Yuan, ICML 2024).

use serde_json::{Value, json};

use super::results::{File, Results};
use crate::error::Result;
use crate::report::Table;
use crate::report::columns::aligned;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::sample::admissible::{ErrorModel, StepBound};

/// The files of the study.
pub const FILES: &[File] = &[TABLE, PLOT];
const TABLE: File = File::new("schedule.csv", "sigmas, step lengths, bounds on the distance");
const PLOT: File = File::new("schedule", "the bounds over steps");

/// A schedule under an error model.
pub struct Promise {
    model: ErrorModel,
    sigmas: Vec<f64>,
    steps: Vec<StepBound>,
    share: f64,
}

impl Promise {
    /// The promise of `model` for falling `sigmas`.
    ///
    /// # Errors
    /// Those of [`ErrorModel::bounds`] and [`ErrorModel::share_used`].
    pub fn new(model: ErrorModel, sigmas: Vec<f64>) -> Result<Self> {
        let steps = model.bounds(&sigmas)?;
        let share = model.share_used(&sigmas)?;
        Ok(Self { model, sigmas, steps, share })
    }

    fn is_admissible(&self) -> bool {
        self.steps.iter().all(|step| step.is_admissible)
    }

    /// Each sigma over the first one.
    fn ratios(&self) -> Vec<f64> {
        std::iter::once(1.0).chain(self.steps.iter().map(|step| step.sigma_ratio)).collect()
    }

    fn text(&self) -> String {
        let count = self.steps.len();
        let (first, last) = (self.sigmas[0], self.sigmas[count]);
        let verdict = match self.steps.iter().position(|step| !step.is_admissible) {
            None => "admissible".to_owned(),
            Some(at) => format!("not admissible from step {} on", at + 1),
        };
        let head = [String::from("step"), "sigma".into(), "beta".into(), "distance".into(), "holds".into()];
        let rows = self.steps.iter().enumerate().map(|(at, step)| {
            [
                format!("{}", at + 1),
                format!("{:.4} to {:.4}", self.sigmas[at], self.sigmas[at + 1]),
                format!("{:.4}", step.beta),
                format!("{:.3e} to {:.3e}", step.least, step.most),
                if step.is_admissible { "yes" } else { "no" }.to_owned(),
            ]
        });
        let steps = aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
        let deepest = first * self.model.deepest_constant_ratio(count);
        let reach = match self.model.fewest_steps(first, last) {
            _ if last <= 0.0 => "no number of steps leads to sigma 0".to_owned(),
            Some(fewest) => format!("at least {fewest} steps lead to sigma {last:.4}"),
            None => format!("no number of steps leads to sigma {last:.4}"),
        };
        format!(
            "{verdict}: {count} steps, eta {}, nu {}; {:.1} % of nu is used\n\n{steps}\nlongest constant step of \
             {count}: beta {:.4}, which leads to sigma {deepest:.4}; {reach}\n",
            rounded(self.model.eta()),
            rounded(self.model.nu()),
            100.0 * self.share,
            self.model.longest_constant_step(count),
        )
    }

    fn json(&self) -> Value {
        let count = self.steps.len();
        let (first, last) = (self.sigmas[0], self.sigmas[count]);
        json!({
            "eta": self.model.eta(),
            "nu": self.model.nu(),
            "steps": count,
            "sigmas": self.sigmas,
            "admissible": self.is_admissible(),
            "first_step_that_is_not": self.steps.iter().position(|step| !step.is_admissible).map(|at| at + 1),
            "share_of_nu_used": self.share,
            "longest_constant_step": self.model.longest_constant_step(count),
            "longest_constant_steps_lead_to": first * self.model.deepest_constant_ratio(count),
            "fewest_steps": self.model.fewest_steps(first, last),
            "no_steps_lead_below": first * self.model.nu().powf(-self.model.eta().recip()),
        })
    }

    /// The results of the study.
    #[must_use]
    pub fn results(&self) -> Results {
        let mut results = Results::default();
        results.set("schedule", self.json()).table(TABLE, self.table()).plot(PLOT, self.picture()).text =
            Some(self.text());
        results
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["step", "sigma", "sigma_next", "beta", "least", "most", "admissible"]);
        for (at, step) in self.steps.iter().enumerate() {
            let (sigma, next) = (self.sigmas[at], self.sigmas[at + 1]);
            table.row(&[&(at + 1), &sigma, &next, &step.beta, &step.least, &step.most, &step.is_admissible]);
        }
        table
    }

    fn picture(&self) -> Picture {
        let nu = self.model.nu();
        let ratios = self.ratios();
        let start = StepBound { beta: 0.0, sigma_ratio: 1.0, least: 1.0, most: 1.0, is_admissible: true };
        let bounds: Vec<StepBound> = std::iter::once(start).chain(self.steps.iter().copied()).collect();
        let curve =
            |value: &dyn Fn(usize) -> f64| (0..bounds.len()).map(|at| (at as f64, value(at))).collect::<Vec<_>>();
        let middle = |at: usize| (bounds[at].least * bounds[at].most).sqrt();
        let band: Vec<(f64, f64)> = bounds.iter().map(|step| (step.least, step.most)).collect();
        let relative = band.iter().zip(&ratios).map(|((least, most), ratio)| (least / ratio, most / ratio)).collect();
        let distance = Figure::new("Bounds on the distance", Axis::linear("step"), Axis::log("over the start"))
            .with(Series::line("distance, between its bounds", curve(&middle)).band(band))
            .with(Series::line("σ", curve(&|at| ratios[at])).colour(Colour::Cycle(1)))
            .with(Series::dashed("σν and σ/ν", curve(&|at| ratios[at] * nu)).colour(Colour::Grey))
            .with(Series::dashed("", curve(&|at| ratios[at] / nu)).colour(Colour::Grey));
        let title = if self.is_admissible() { "Admissible" } else { "Not admissible" };
        let range = Figure::new(title, Axis::linear("step"), Axis::log("distance / √n σ"))
            .with(Series::line("between its bounds", curve(&|at| middle(at) / ratios[at])).band(relative))
            .with(Series::dashed("ν and 1/ν", curve(&|_| nu)).colour(Colour::Grey))
            .with(Series::dashed("", curve(&|_| nu.recip())).colour(Colour::Grey));
        let title = format!("η = {}, ν = {}, {} steps", rounded(self.model.eta()), rounded(nu), self.steps.len());
        Picture::new(&title, 2, vec![distance.into(), range.into()])
    }
}

/// Rounded to four decimal places.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
