//! `downhill inspect schedule`: what an error model promises of a schedule.

use std::path::PathBuf;

use serde_json::json;

use crate::cli::args::{ErrorModelArg, Global, NumberList};
use crate::cli::study::StudyRun;
use crate::cli::table::aligned;
use crate::denoise::closed_form::ClosedForm;
use crate::error::Result;
use crate::model::Model;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::report::{Console, Report, Table, print_stdout};
use crate::sample::admissible::{ErrorModel, StepBound};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::Settings;

const FILES: [&str; 2] = ["schedule.csv", "schedule"];

const EXAMPLES: &str = "\
Examples:
  downhill inspect schedule --error-model 0.05,2 --steps 10
  downhill inspect schedule --error-model 0.05,2 --schedule admissible -o schedule
  downhill inspect schedule ideal:digits --error-model errors/error-model.json --sigmas 40,10,2,0.5

An error model (ETA, NU) says: where the distance to the data is sqrt(n) sigma within a factor NU, the
denoiser's answer is off by ETA times the distance at most. A schedule that starts at that distance is
admissible if DDIM, which is gradient descent of steps beta = 1 - sigma'/sigma, then keeps within the
factor to its end (Permenter and Yuan 2024). Steps of one length are admissible up to
beta* = c / (ETA + c) with c = 1 - NU^(-1/N). Distances are over the one at the start.

With -o the folder gets schedule.csv, schedule.svg, schedule.png and report.json.";

/// Tell whether a schedule is admissible for an error model, and what it promises
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The model whose schedule it is, as for `downhill sample`; nothing: digits
    model: Option<String>,

    /// `ETA,NU`, or a file of `downhill inspect error-model`
    #[arg(long, value_name = "ETA,NU|FILE", allow_hyphen_values = true)]
    error_model: ErrorModelArg,

    /// Steps [default: 10, or the fewest that `admissible` needs; 50 for closed forms]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    steps: Option<usize>,

    /// Where the noise levels lie [default: `paper`, for closed forms `exponential`]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND")]
    schedule: Option<ScheduleKind>,

    /// First sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    sigma_min: Option<f64>,

    /// N + 1 falling timesteps instead of a schedule
    #[arg(long, value_name = "A,...,Z", allow_hyphen_values = true)]
    timesteps: Option<NumberList>,

    /// N + 1 falling sigmas instead of a schedule
    #[arg(long, value_name = "A,...,Z", allow_hyphen_values = true)]
    sigmas: Option<NumberList>,

    /// Folder for the results
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs `downhill inspect schedule`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let model = args.error_model.read()?;
    let run = args.output.as_ref().map(|folder| StudyRun::begin("inspect schedule", folder, &FILES, global, console));
    let run = run.transpose()?;
    let sigmas = args.sigmas(&model)?;
    let found = Found::new(model, sigmas)?;
    print_stdout(&found.text())?;
    let describe = |report: &mut Report| {
        report.set("model", args.model.as_deref().unwrap_or("digits")).set("schedule", found.json());
    };
    let Some(mut run) = run else {
        let mut report = Report::new("inspect schedule");
        describe(&mut report);
        return global.json.as_ref().map_or(Ok(()), |file| report.write(file));
    };
    describe(&mut run.report);
    run.folder.table(FILES[0], &found.table())?;
    run.folder.picture(FILES[1], &found.picture())?;
    run.finish()
}

impl Args {
    /// The levels, first to last.
    fn sigmas(&self, model: &ErrorModel) -> Result<Vec<f64>> {
        let admissible = self.schedule == Some(ScheduleKind::Admissible);
        let settings = Settings {
            schedule: self.schedule,
            steps: self.steps,
            sigma_max: self.sigma_max,
            sigma_min: self.sigma_min,
            timesteps: self.timesteps.clone().map(|list| list.0),
            sigmas: self.sigmas.clone().map(|list| list.0),
            error_model: admissible.then_some(*model),
            ..Settings::default()
        };
        let schedule = if let Some(form) = self.model.as_deref().map_or(Ok(None), ClosedForm::open)? {
            settings.on_sigmas(form.sigma_range())?.schedule
        } else {
            let model = Model::open_or_embedded(self.model.as_deref())?;
            let settings = Settings { sampler: Some(Sampler::Ge), ..settings };
            model.course(&settings)?.schedule
        };
        Ok(schedule.levels().iter().map(|level| level.sigma).collect())
    }
}

/// What is known of a schedule.
struct Found {
    model: ErrorModel,
    sigmas: Vec<f64>,
    steps: Vec<StepBound>,
    share: f64,
}

impl Found {
    fn new(model: ErrorModel, sigmas: Vec<f64>) -> Result<Self> {
        let steps = model.bounds(&sigmas)?;
        let share = model.share_used(&sigmas)?;
        Ok(Self { model, sigmas, steps, share })
    }

    fn is_admissible(&self) -> bool {
        self.steps.iter().all(|step| step.is_admissible)
    }

    /// sigma over the first one, from the start on.
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
            Some(fewest) => format!("{fewest} steps at least lead to sigma {last:.4}"),
            None => format!("no number of steps leads to sigma {last:.4}"),
        };
        format!(
            "{verdict}: {count} steps, eta {}, nu {}; {:.1} % of nu is used\n\n{steps}\nlongest constant step of {count}: \
             beta {:.4}, which leads to sigma {deepest:.4}; {reach}\n",
            rounded(self.model.eta()),
            rounded(self.model.nu()),
            100.0 * self.share,
            self.model.longest_constant_step(count),
        )
    }

    fn json(&self) -> serde_json::Value {
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

/// To four places, as people read it.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
