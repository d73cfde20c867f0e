//! `downhill linear jacobian`: the leading eigenvectors of a denoiser's Jacobian along its trajectories.

use std::path::Path;

use serde_json::json;

use crate::cli::inspect::subject::SubjectArgs;
use crate::cli::numbers::whole;
use crate::cli::parts::ShardArgs;
use crate::cli::shard::Shard;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::denoise::jacobian::{Differences, Jacobian, Place};
use crate::error::{Error, Result};
use crate::kernels::Engine;
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::settings::Settings as Sampling;
use crate::spectral::Settings;
use crate::study::jacobian::{
    Control, FILES, Found, Identity, Role, Solver, Turning, USUAL_FLOOR, USUALLY_WHOLE, levels, places, turning,
};
use crate::study::parts::Rows;
use crate::study::results::{File, Results};
use crate::study::subject::Subject;
use crate::study::trajectories::Trajectories;

const HELP: &str = "\
Examples:
  downhill linear jacobian -o jacobian
  downhill linear jacobian -n 8 -k 12 --steps 20 -o jacobian
  downhill linear jacobian --krylov --floor 0.1 -o jacobian
  downhill linear jacobian wiener:digits -o jacobian

At each level of a DDIM trajectory, J is the Jacobian of x0(x, sigma) = x - sigma eps(x, sigma) at the state x; u_i \
are the leading eigenvectors of (J + J') / 2, and the plot shows the sine of the angle between u_i and its counterpart \
at the end of the trajectory. Products with J are exact for networks (forward-mode tangents) and central differences \
for closed forms. Two thirds of the levels are within 30 times the least noise, where eigenvectors settle.

Eigenvalues that are closer than the error of J over --floor are one cluster, whose directions are compared as one \
subspace: the sine is that of the leading subspace that ends with the cluster of u_i. floors.npy holds the sines that \
the error of J can make, and NaN in sines.npy stands for what no gap determines.

Images of up to 1024 values have J formed, from as many products as they have values, and its error is that of \
rounding, measured on random vectors. For larger ones, or with --krylov, the symmetric part is diagonalised in the \
Krylov space of J, in blocks, until the part of J u_i outside of it is below --tolerance. Products with J' are not \
available there: |J - J'| / |J + J'| is an estimate from random vectors, and it counts as error of J.

The slope of component i is that of its sine over sigma, from the end to where it first passes 1/2; it is 0 where the \
sine is never above the floor, and 1/2 / sigma of the last level before the end where the sine is beyond 1/2 there. \
Its rank correlation with i, the mean over samples, comes with a 95 % interval by bootstrap and with the chance of one \
as large in a random order.

The same is measured on controls, at the places of the first trajectory: the Wiener filter of --data, whose \
eigenvectors never turn; the network with random weights; and eps = 0, whose J is the identity.";

/// Follow the leading eigenvectors of a denoiser's Jacobian along sampling trajectories
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Number of trajectories
    #[arg(short = 'n', long, value_name = "N", default_value = "4", value_parser = whole::<usize>(1..=1000))]
    count: usize,

    /// Eigenvectors, by eigenvalue, largest first
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8",
        value_parser = whole::<usize>(1..=1000))]
    components: usize,

    #[arg(long, value_name = "DATA", help = format!(
        "Data of the Wiener filter beside it: {} [default: those of a closed form, or `digits` where they fit]",
        data::forms()))]
    data: Option<String>,

    /// Omit the controls
    #[arg(long)]
    no_controls: bool,

    /// Steps per trajectory
    #[arg(long, value_name = "N", default_value = "15", value_parser = whole::<usize>(2..=1000))]
    steps: usize,

    /// Spacing of the noise levels [default: log-spaced, two thirds below 30 times the least noise]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND")]
    schedule: Option<ScheduleKind>,

    /// First sigma of a schedule that has a range [default: 40, for closed forms by their data]
    #[arg(long, value_name = "SIGMA")]
    sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA")]
    sigma_min: Option<f64>,

    /// Vectors multiplied at once
    #[arg(long, value_name = "N", default_value = "16", value_parser = whole::<usize>(1..=1024))]
    block: usize,

    /// The norm of J times an eigenvector outside the basis, over the largest eigenvalue
    #[arg(long, value_name = "R", default_value = "0.01")]
    tolerance: f64,

    /// Maximum number of blocks of a basis
    #[arg(long, value_name = "N", default_value = "16", value_parser = whole::<usize>(1..=1000))]
    most_blocks: usize,

    /// The sine that errors of J may make where eigenvalues count as apart
    #[arg(long, value_name = "S", default_value_t = USUAL_FLOOR)]
    floor: f64,

    /// Form the whole Jacobian, from as many products as an image has values [default: of up to 1024 values]
    #[arg(long)]
    whole: bool,

    /// Grow a Krylov space, also where the whole Jacobian could be formed
    #[arg(long, conflicts_with = "whole")]
    krylov: bool,

    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The most noise of a network's trajectory: the paper's.
const SIGMA_MAX: f64 = 40.0;
/// The most values of an image whose whole Jacobian is formed: 0.5 GiB in float64.
const LARGEST_WHOLE: usize = 8192;

impl Study for Args {
    const NAME: &'static str = "linear jacobian";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        let dimension: usize = subject.image.iter().product();
        let solver = self.solver(dimension)?;
        let trails = subject.trails(self.sampling(&subject), self.count, self.steps)?;
        let null = if self.no_controls { None } else { subject.wiener(self.data.as_deref())? };
        if null.is_none() && !self.no_controls {
            run.console.note("note: there is no Wiener filter beside it without `--data DATA`");
        }
        let (name, image, differences) = (subject.name.clone(), subject.image, subject.difference_step());
        let engine = run.engine()?;
        let seed = self.output.seed;
        run.report.set("model", subject.json()).set("trajectories", trails.json()).set("seed", seed);
        let filter = null.as_ref().map(|null| null.name.clone());
        let mut parts = run.parts(&self.shard, &self.output, Some(&engine), || {
            json!({
                "subject": self.subject.settings(&subject), "trajectories": trails.json(),
                "components": self.components,
                "solver": solver.settings, "whole": solver.is_whole, "floor": solver.floor,
                "controls": !self.no_controls, "filter": filter,
            })
        })?;
        let untrained = !self.no_controls && subject.with_random_weights(seed).is_some();
        let controls = self.kinds(null.as_ref(), untrained);
        let sigmas: Vec<f64> = trails.sigmas_of_places();
        // The trajectories are walked for the eigenvectors, and the first one for the controls.
        let mut walk = Some(|run: &mut StudyRun, shard: Shard| {
            let (mut denoiser, batch) = self.subject.ready(subject, &engine, run, shard.len(self.count))?;
            let walks = Trajectories { shard, ..trails.from_seed(seed, batch) };
            let paths = run.timed("trajectories", walks.calls(), "trajectories", |advance| {
                places(denoiser.as_mut(), &walks, advance)
            })?;
            Ok::<_, Error>((denoiser, paths))
        });
        let mut first_path = None;
        parts.measure("trajectories", self.count, |shard| {
            let Some(walk) = walk.take() else { return Ok(Rows::default()) };
            let (mut denoiser, paths) = walk(run, shard)?;
            let work = paths.iter().map(|path| path.len() as u64).sum();
            let exact;
            let by_differences;
            let jacobian: &dyn Jacobian = if let Some(step) = &differences {
                by_differences = Differences::new(denoiser.as_mut(), step);
                &by_differences
            } else {
                // The network's memory is free again before its tangents take theirs.
                drop(denoiser);
                exact = self.subject.open(None)?.jacobian(self.subject.compiler(&engine, run), self.block)?;
                &exact
            };
            let rows = run.timed("eigenvectors", work, "eigenvectors", |advance| {
                paths.iter().map(|path| Ok(turning(jacobian, path, &solver, advance)?.row())).collect::<Result<_>>()
            })?;
            first_path = paths.into_iter().next();
            Ok(Rows::of_each(rows))
        })?;
        parts.measure("controls", usize::from(!controls.is_empty()), |shard| {
            let path = match (first_path, walk.take()) {
                (Some(path), _) => path,
                // The eigenvectors were there, and the trajectory is that of a run alone.
                (None, walk) => {
                    let first = Shard { index: 0, of: self.count.max(shard.of) };
                    let paths = walk.map(|walk| walk(run, first)).transpose()?.map(|(_, paths)| paths);
                    paths.and_then(|paths| paths.into_iter().next()).unwrap_or_default()
                }
            };
            let found = self.controls(run, &engine, null, image, &path, &solver)?;
            Ok(Rows::of_each(vec![found.iter().flat_map(|control| control.turning.row()).collect()]))
        })?;
        let Some(rows) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let of_trajectories = rows.rows("trajectories")?;
        let turnings: Vec<Turning> =
            (0..self.count).map(|at| Turning::of_row(of_trajectories.row(at), dimension, &solver)).collect();
        let width = Turning::width(sigmas.len(), dimension, &solver);
        let of_controls = rows.rows("controls")?.values().chunks(width.max(1));
        let controls = controls.into_iter().zip(of_controls).map(|((role, name), row)| Control {
            role,
            name,
            turning: Turning::of_row(row, dimension, &solver),
        });
        let found = Found { sigmas, turnings, controls: controls.collect() };
        let products = if differences.is_some() { "central differences" } else { "exact" };
        let described = json!({
            "products": products, "made": found.products(), "whole": solver.is_whole, "floor": solver.floor,
            "settings": solver.settings,
        });
        Ok(found.results(&name, dimension, described, seed))
    }
}

impl Args {
    /// The solver for images of `dimension` values.
    fn solver(&self, dimension: usize) -> Result<Solver> {
        let settings = Settings {
            tolerance: self.tolerance,
            block: Some(self.block.min(dimension)),
            most_applications: self.most_blocks,
            seed: self.output.seed,
            ..Settings::new(self.components)
        };
        settings.check(dimension)?;
        if !(self.floor > 0.0 && self.floor < 1.0) {
            let what = format!("`--floor {}` is not a sine between 0 and 1", self.floor);
            return Err(Error::argument(what, "give a small number, such as 0.01"));
        }
        let is_whole = self.whole || (!self.krylov && dimension <= USUALLY_WHOLE);
        if is_whole && dimension > LARGEST_WHOLE {
            let what = format!("a whole Jacobian of {dimension} x {dimension} values is too large");
            return Err(Error::argument(what, "omit `--whole`"));
        }
        Ok(Solver { components: self.components, settings, is_whole, floor: self.floor })
    }

    /// The settings of the trajectories of a closed form, or of a network.
    fn sampling(&self, subject: &Subject) -> Sampling {
        let is_network = subject.mean.is_none();
        let usual = Sampling { sampler: Some(Sampler::Ddim), ..Sampling::default() };
        if let Some(schedule) = self.schedule {
            let (sigma_max, sigma_min) = (self.sigma_max, self.sigma_min);
            return Sampling { schedule: Some(schedule), steps: Some(self.steps), sigma_max, sigma_min, ..usual };
        }
        let (least, most) = subject.sigma_range();
        let most = if is_network { most.min(SIGMA_MAX) } else { most };
        let sigmas = levels(self.sigma_max.unwrap_or(most), self.sigma_min.unwrap_or(least), self.steps);
        Sampling { sigmas: Some(sigmas), ..usual }
    }

    /// The kinds and names of the controls.
    fn kinds(&self, null: Option<&Subject>, untrained: bool) -> Vec<(Role, String)> {
        if self.no_controls {
            return Vec::new();
        }
        let null = null.filter(|null| null.difference_step().is_some());
        let null = null.map(|null| (Role::Null, null.name.clone()));
        let untrained = untrained.then(|| (Role::Untrained, "random weights".to_owned()));
        null.into_iter().chain(untrained).chain([(Role::Zero, "eps = 0".to_owned())]).collect()
    }

    /// The controls at the places of a trajectory.
    fn controls(
        &self,
        run: &mut StudyRun,
        engine: &Engine,
        null: Option<Subject>,
        image: [usize; 3],
        path: &[Place],
        solver: &Solver,
    ) -> Result<Vec<Control>> {
        let mut controls = Vec::new();
        let mut add = |run: &mut StudyRun, role, name: String, jacobian: &dyn Jacobian| -> Result<()> {
            let turning =
                run.timed(&name, path.len() as u64, "controls", |advance| turning(jacobian, path, solver, advance))?;
            controls.push(Control { role, name, turning });
            Ok(())
        };
        if let Some(null) = null {
            let name = null.name.clone();
            let step = null.difference_step();
            let ready = null.ready(self.subject.compiler(engine, run), None, 1, &mut |_| Ok(()))?;
            let mut denoiser = ready.denoiser;
            if let Some(step) = &step {
                add(run, Role::Null, name, &Differences::new(denoiser.as_mut(), step))?;
            }
        }
        let compiler = self.subject.compiler(engine, run);
        if let Some(untrained) = self.subject.open(None)?.untrained(compiler, self.block, self.output.seed)? {
            add(run, Role::Untrained, "random weights".to_owned(), &untrained)?;
        }
        add(run, Role::Zero, "eps = 0".to_owned(), &Identity { image })?;
        Ok(controls)
    }
}
