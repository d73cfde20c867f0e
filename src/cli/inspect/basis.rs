//! `downhill inspect basis`: the eigenvectors of a denoiser's Jacobian as bases, and the circulation of its eps.

use std::path::Path;

use serde_json::json;

use super::subject::SubjectArgs;
use crate::cli::numbers::{whole, whole_from};
use crate::cli::parts::{Refused, refused};
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data;
use crate::denoise::Denoiser;
use crate::denoise::jacobian::{Differences, Place};
use crate::error::{Error, Result};
use crate::formats::Image;
use crate::kernels::Engine;
use crate::model::levels_over;
use crate::sample::samplers::Sampler;
use crate::sample::settings::Settings as Sampling;
use crate::spectral::Settings;
use crate::study::basis::control::{NoNoise, Rotated, bases as control_bases, loops_of};
use crate::study::basis::sheet::{Range, is_picture, sheet};
use crate::study::basis::{
    Control, FILES, Finder, Found, Role, Rounds, bases, centred, circulations, nonlinearity, thinned,
};
use crate::study::environments::predictions;
use crate::study::jacobian::{Solver, USUAL_FLOOR, USUALLY_WHOLE, places};
use crate::study::results::{File, Results};
use crate::study::subject::Subject;

const HELP: &str = "\
Examples:
  downhill inspect basis -o basis
  downhill inspect basis -n 8 -k 16 --levels 8 -o basis
  downhill inspect basis wiener:digits -o basis
  downhill inspect basis ./ddpm-cifar10-32 -n 2 --levels 3 -k 12 -o basis

At --levels of the levels of DDIM trajectories, J is the Jacobian of x0(x, sigma) at the state x, and lambda_i, u_i \
are the eigenpairs of (J + J') / 2, largest first: the denoiser shrinks what it finds along u_i by lambda_i \
(Kadkhodaie et al. 2024). sheet-%d.png shows, per level, x over sqrt(1 + sigma^2), x0, and u_1 to u_k; grey \
is 0, and the sign of an eigenvector means nothing.

  degrees of freedom   tr J, the sum of the eigenvalues
  participation ratio  (sum lambda)^2 / sum lambda^2: r for r equal eigenvalues among zeros
  asymmetry            |J - J'| / |J + J'|, Frobenius norms: 0 for the posterior mean of any data
  energy of r          the share of |x0 - mean|^2 in the span of u_1 to u_r, of the image's basis, of the basis of \
another image at the same level, and of the controls' bases
  nonlinearity         |x0 - mean - J (x - mean)| / |x0 - mean|
  circulation          the integral of eps dl around a circle, over its length and the mean of |eps| on it: 0 for \
the gradient of any function

Loops are circles around x of --radii times sigma sqrt(p), for images of p values, in random planes and in the plane \
of u_1 and u_2. The error of their quadrature is the difference from half of the points. loops.csv has beside each the \
circulation that J predicts for small circles, by Stokes.

Images of up to 1024 values have J formed from as many products as they have values, exact for networks. For larger \
ones the leading eigenpairs are those of a Krylov space of (J + J') / 2, from exact products with both; traces and \
norms are then estimates from 32 random vectors, with their intervals.

The same is measured on controls, at the places of the first trajectory: the Wiener filter of --data, which is a \
gradient; this with a rotation, whose circulations are known; and the network with random weights.";

/// Find the bases in which a denoiser shrinks images, and the circulation of its eps
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Number of trajectories
    #[arg(short = 'n', long, value_name = "N", default_value = "4", value_parser = whole::<usize>(1..=1000))]
    count: usize,

    /// Eigenvectors that are kept and drawn, by eigenvalue, largest first
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8",
        value_parser = whole::<usize>(1..=256))]
    components: usize,

    /// Levels that are measured, evenly of those of a trajectory, the first and the last included
    #[arg(long, value_name = "N", default_value = "6", value_parser = whole::<usize>(2..=1000))]
    levels: usize,

    /// Steps per trajectory, log-spaced in sigma
    #[arg(long, value_name = "N", default_value = "20", value_parser = whole::<usize>(1..=1000))]
    steps: usize,

    /// First sigma [default: 40, for closed forms by their data]
    #[arg(long, value_name = "SIGMA")]
    sigma_max: Option<f64>,

    /// Last sigma [default: the least of the model]
    #[arg(long, value_name = "SIGMA")]
    sigma_min: Option<f64>,

    #[arg(long, value_name = "DATA", help = format!(
        "Data of the mean and of the Wiener filter beside it: {} [default: those of a closed form, or `digits` where \
         they fit]", data::forms()))]
    data: Option<String>,

    /// Omit the controls
    #[arg(long)]
    no_controls: bool,

    /// Radii of loops, in units of sigma sqrt(p), the length of the noise
    #[arg(long, value_name = "R,...", default_value = "0.1,1", value_delimiter = ',')]
    radii: Vec<f64>,

    /// Random planes of loops per state
    #[arg(long, value_name = "N", default_value = "4", value_parser = whole::<usize>(0..=1000))]
    planes: usize,

    /// Points per loop, an even number
    #[arg(long, value_name = "N", default_value = "24", value_parser = whole_from::<usize>(0))]
    points: usize,

    /// Vectors multiplied at once
    #[arg(long, value_name = "N", default_value = "16", value_parser = whole::<usize>(1..=1024))]
    block: usize,

    /// The residual of an eigenpair of a Krylov space, over the largest eigenvalue
    #[arg(long, value_name = "R", default_value = "0.001")]
    tolerance: f64,

    /// Maximum number of blocks of a Krylov space
    #[arg(long, value_name = "N", default_value = "24", value_parser = whole::<usize>(1..=1000))]
    most_blocks: usize,

    /// Grow a Krylov space, also where the whole Jacobian could be formed
    #[arg(long)]
    krylov: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[arg(long = "shard", id = "shard", hide = true, value_name = "I/N|auto",
        value_parser = refused("the bases of its images are whole matrices, which parts do not hold; `linear jacobian` \
            takes shards"))]
    _shard: Option<Refused>,
}

/// The most noise of a network's trajectory.
const SIGMA_MAX: f64 = 40.0;
/// The most numbers of a Krylov space and its images: 4 GiB in float64.
const LARGEST_SPACE: usize = 1 << 29;

/// The places of a study, and everything that is known of them before Jacobians are taken.
struct Known {
    paths: Vec<Vec<Place>>,
    /// x0, (levels) (images).
    x0: Vec<Vec<Vec<f64>>>,
    /// x0 - mean.
    centred: Vec<Vec<Vec<f64>>>,
    solver: Solver,
    rounds: Rounds,
}

impl Study for Args {
    const NAME: &'static str = "inspect basis";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let subject = self.subject.open(None)?;
        refuse_latents(&subject)?;
        let (name, image, differences) = (subject.name.clone(), subject.image, subject.difference_step());
        let dimension: usize = image.iter().product();
        let solver = self.solver(dimension)?;
        let rounds = Rounds { radii: self.radii.clone(), points: self.points, batch: 1 };
        rounds.check()?;
        let trails = subject.trails(self.sampling(&subject), self.count, self.steps)?;
        let null = subject.wiener(self.data.as_deref())?;
        let mean = subject.mean.clone().or_else(|| null.as_ref().and_then(|null| null.mean.clone()));
        if mean.is_none() {
            run.console.note("note: the mean counts as 0, and there is no Wiener filter, without `--data DATA`");
        }
        let mean = mean.unwrap_or_else(|| vec![0.0; dimension]);
        let range = Range { is_unit: subject.has_unit_range() };
        let engine = run.engine()?;
        let (mut denoiser, batch) = self.subject.ready(subject, &engine, run, self.points.max(self.count))?;
        let seed = self.output.seed;
        let walks = trails.from_seed(seed, batch);
        let paths = run.timed("trajectories", walks.calls(), "trajectories", |advance| {
            places(denoiser.as_mut(), &walks, advance)
        })?;
        run.report.set("trajectories", trails.json()).set("seed", seed);
        let paths = thinned(paths, self.levels);
        let x0 = predictions(denoiser.as_mut(), &paths, batch)?;
        let centred = centred(x0.clone(), &mean);
        let rounds = Rounds { batch, ..rounds };
        let known = Known { paths, x0, centred, solver, rounds };
        let work = known.paths.iter().map(|path| path.len() as u64).sum();
        let (products, (found, nonlinearity)) = if let Some(step) = &differences {
            let jacobian = Differences::new(denoiser.as_mut(), step);
            let finder = self.finder(&jacobian, None, &known);
            (
                "central differences",
                run.timed("eigenvectors", work, "eigenvectors", |advance| {
                    let found = bases(&finder, &known.paths, &known.centred, advance)?;
                    Ok((found, nonlinearity(&jacobian, &known.paths, &known.centred, &mean)?))
                })?,
            )
        } else {
            // Network and tangents are in memory one after the other.
            drop(denoiser);
            let subject = self.subject.open(None)?;
            let found = self.of_network(
                run,
                &engine,
                &subject,
                |finder, advance| {
                    let found = bases(finder, &known.paths, &known.centred, advance)?;
                    Ok((found, nonlinearity(finder.jacobian, &known.paths, &known.centred, &mean)?))
                },
                &known,
                work,
            )?;
            (denoiser, _) = self.subject.ready(subject, &engine, run, self.points.max(self.count))?;
            ("exact", found)
        };
        let loops = run.timed("loops", work, "loops", |advance| {
            circulations(denoiser.as_mut(), &known.paths, &found, &known.rounds, advance)
        })?;
        drop(denoiser);
        let controls = if self.no_controls { Vec::new() } else { self.controls(run, &engine, null, image, &known)? };
        let sheets = if is_picture(image) {
            sheets(&known, &found, image, range)?
        } else {
            run.console.note(&format!("note: values of shape {image:?} are not pictures: no sheet is drawn"));
            Vec::new()
        };
        let sigmas = known.paths[0].iter().map(|place| place.level.sigma).collect();
        let settings = json!({
            "products": products, "whole": solver.is_whole, "settings": solver.settings, "loops": known.rounds,
            "random_planes": self.planes, "pixels": if range.is_unit { "0 to 1" } else { "-1 to 1" },
        });
        Ok(Found { sigmas, bases: found, loops, nonlinearity, controls, sheets, image }.results(&name, settings))
    }
}

/// Refuses pipelines that denoise latents, whose eigenvectors are not pictures.
fn refuse_latents(subject: &Subject) -> Result<()> {
    if !subject.is_latent() {
        return Ok(());
    }
    let what = format!("`{}` denoises latents, whose eigenvectors are not pictures", subject.name);
    Err(Error::argument(what, "give a network of pixels, or follow the eigenvectors by `linear jacobian`"))
}

/// The sheet of each image.
fn sheets(
    known: &Known,
    bases: &[Vec<crate::study::basis::Basis>],
    image: [usize; 3],
    range: Range,
) -> Result<Vec<Image>> {
    let of = |(at, path): (usize, &Vec<Place>)| {
        let x0: Vec<Vec<f64>> = known.x0.iter().map(|images| images[at].clone()).collect();
        sheet(path, &x0, &bases[at], image, range)
    };
    known.paths.iter().enumerate().map(of).collect()
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
        let is_whole = !self.krylov && dimension <= USUALLY_WHOLE;
        let space = 2 * dimension.saturating_mul(self.block.saturating_mul(self.most_blocks).min(dimension));
        if !is_whole && space > LARGEST_SPACE {
            let what = format!("a Krylov space of {} blocks of {} images is too large", self.most_blocks, self.block);
            return Err(Error::argument(what, "give fewer blocks: `--most-blocks N`, `--block N`"));
        }
        Ok(Solver { components: self.components, settings, is_whole, floor: USUAL_FLOOR })
    }

    /// The settings of the trajectories of a closed form, or of a network.
    fn sampling(&self, subject: &Subject) -> Sampling {
        let (least, most) = subject.sigma_range();
        let most = if subject.mean.is_none() { most.min(SIGMA_MAX) } else { most };
        let (least, most) = (self.sigma_min.unwrap_or(least), self.sigma_max.unwrap_or(most));
        let sigmas = levels_over((least, most), self.steps + 1).collect();
        Sampling { sampler: Some(Sampler::Ddim), sigmas: Some(sigmas), ..Sampling::default() }
    }

    fn finder<'a>(
        &self,
        jacobian: &'a dyn crate::denoise::jacobian::Jacobian,
        transposed: Option<&'a crate::denoise::vjp::NetworkVjp<'a>>,
        known: &Known,
    ) -> Finder<'a> {
        Finder { jacobian, transposed, solver: known.solver, random_planes: self.planes }
    }

    /// Runs `work` with the exact Jacobian of a network, and with its transpose where matrices are too large.
    fn of_network<T>(
        &self,
        run: &mut StudyRun,
        engine: &Engine,
        subject: &Subject,
        work: impl FnOnce(&Finder, crate::study::Advance) -> Result<T>,
        known: &Known,
        units: u64,
    ) -> Result<T> {
        let jacobian = subject.jacobian(self.subject.compiler(engine, run), self.block)?;
        let transposed = (!known.solver.is_whole)
            .then(|| subject.vjp(self.subject.compiler(engine, run), self.block))
            .transpose()?;
        let finder = self.finder(&jacobian, transposed.as_ref(), known);
        run.timed("eigenvectors", units, "eigenvectors", |advance| work(&finder, advance))
    }

    /// The controls at the places of the first trajectory.
    fn controls(
        &self,
        run: &mut StudyRun,
        engine: &Engine,
        null: Option<Subject>,
        image: [usize; 3],
        known: &Known,
    ) -> Result<Vec<Control>> {
        let path = &known.paths[0];
        let units = path.len() as u64;
        let mut controls = Vec::new();
        let mut inner: Box<dyn Denoiser> = Box::new(NoNoise { image });
        let mut rotated = "a rotation".to_owned();
        let mut usual: Box<dyn Fn(f64) -> f64> = Box::new(|sigma| sigma);
        if let Some(null) = null {
            let name = null.name.clone();
            if let Some(step) = null.difference_step() {
                let ready = null.ready(self.subject.compiler(engine, run), None, self.points, &mut |_| Ok(()))?;
                let mut denoiser = ready.denoiser;
                let found = run.timed(&name, units, "controls", |advance| {
                    let jacobian = Differences::new(denoiser.as_mut(), &step);
                    control_bases(&self.finder(&jacobian, None, known), path, &known.centred, advance)
                })?;
                let loops = loops_of(denoiser.as_mut(), path, &found, &known.rounds, &|_| {})?;
                rotated = format!("{name} and a rotation");
                controls.push(Control { role: Role::Null, name, bases: found, loops, known: Vec::new() });
                inner = denoiser;
                usual = Box::new(step);
            }
        }
        let mut rotation = Rotated::new(inner, Rotated::USUAL);
        let found = run.timed(&rotated, units, "controls", |advance| {
            let jacobian = Differences::new(&mut rotation, &usual);
            control_bases(&self.finder(&jacobian, None, known), path, &known.centred, advance)
        })?;
        let loops = loops_of(&mut rotation, path, &found, &known.rounds, &|_| {})?;
        let circulations = rotation.known(path, &found, &known.rounds);
        controls.push(Control { role: Role::Rotated, name: rotated, bases: found, loops, known: circulations });
        if let Some(untrained) = self.subject.open(None)?.with_random_weights(self.output.seed) {
            let found = self.of_network(
                run,
                engine,
                &untrained,
                |finder, advance| control_bases(finder, path, &known.centred, advance),
                known,
                units,
            )?;
            let name = untrained.name.clone();
            let compiler = self.subject.compiler(engine, run);
            let mut ready = untrained.ready(compiler, self.subject.batch, self.points, &mut |_| Ok(()))?;
            let loops = loops_of(ready.denoiser.as_mut(), path, &found, &known.rounds, &|_| {})?;
            controls.push(Control { role: Role::Untrained, name, bases: found, loops, known: Vec::new() });
        }
        Ok(controls)
    }
}
