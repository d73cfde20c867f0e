//! `downhill linear jacobian`: how the leading eigenvectors of a denoiser's Jacobian turn along its trajectories.

use clap::builder::RangedU64ValueParser;
use serde_json::{Value, json};

use crate::cli::args::Global;
use crate::cli::inspect::subject::{Descent, Subject, SubjectArgs, WalkArgs};
use crate::cli::study::{OutputArgs, StudyRun};
use crate::denoise::jacobian::{Differences, Jacobian};
use crate::error::{Error, Result};
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::report::{Console, Folder, Table};
use crate::sample::schedule::ScheduleKind;
use crate::spectral::Settings;
use crate::study::jacobian::{Turning, places, turning};
use crate::study::rank::{bootstrap, kendall, spearman};
use crate::tensor::Tensor;

const EXAMPLES: &str = "\
Examples:
  downhill linear jacobian -o jacobian
  downhill linear jacobian -n 8 -k 12 --steps 20 -o jacobian
  downhill linear jacobian -n 1 --whole -o jacobian
  downhill linear jacobian ideal:digits --sigma-max 20 -o jacobian

At each level of a DDIM trajectory, J is the Jacobian of x0(x, sigma) = x - sigma eps(x, sigma) at the
state x; u_i are the leading eigenvectors of (J + J') / 2, and the plot shows the sine of the angle
between u_i and what it is at the end of the trajectory. Products with J are exact for networks
(forward-mode tangents) and central differences for closed forms.

Products with J' are not at hand, so the basis in which the symmetric part is diagonalised is the Krylov
space of J, in blocks, until what J u_i has outside of it is below --tolerance; --whole forms J from as
many products as an image has values, and is exact. The asymmetry |J - J'| / |J + J'| is reported.

The slope of component i is that of its sine over sigma, from the end to where it first passes 1/2. Its
rank correlation with i, the mean over samples, comes with a 95 % interval by bootstrap.

The folder gets sigmas.npy (levels), sines.npy, shares.npy (of u_i in the span of those at the end) and
eigenvalues.npy (samples, levels, k), eigenvectors.npy (samples, levels, k, p), asymmetry.npy (samples,
levels), slopes.npy (samples, k), angles.csv, plots of the angles and of the rest, and report.json.";

/// Follow the eigenvectors of a denoiser's Jacobian along sampling trajectories
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,

    /// Trajectories
    #[arg(short = 'n', long, value_name = "N", default_value = "4", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    count: usize,

    /// Eigenvectors, by eigenvalue, largest first
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    components: usize,

    /// Steps of a trajectory
    #[arg(long, value_name = "N", default_value = "12", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=1000))]
    steps: usize,

    /// Where the noise levels lie [default: `loglinear`]
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "KIND")]
    schedule: Option<ScheduleKind>,

    /// First sigma of a schedule that has a range [default: 40, for closed forms as far as their data ask for]
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    sigma_max: Option<f64>,

    /// Last sigma of a schedule that has a range
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    sigma_min: Option<f64>,

    /// Vectors multiplied at once
    #[arg(long, value_name = "N", default_value = "16", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    block: usize,

    /// What J times an eigenvector may have outside the basis, over the largest eigenvalue
    #[arg(long, value_name = "R", default_value = "0.01", allow_negative_numbers = true)]
    tolerance: f64,

    /// Blocks of a basis at most
    #[arg(long, value_name = "N", default_value = "16", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    most_blocks: usize,

    /// Form the whole Jacobian: exact, for as many products as an image has values
    #[arg(long)]
    whole: bool,

    #[command(flatten)]
    output: OutputArgs,
}

const FILES: [&str; 10] = [
    "sigmas.npy",
    "sines.npy",
    "shares.npy",
    "eigenvalues.npy",
    "eigenvectors.npy",
    "asymmetry.npy",
    "slopes.npy",
    "angles.csv",
    "angles",
    "spectra",
];
/// The most noise of a network's trajectory: the paper's.
const SIGMA_MAX: f64 = 40.0;
/// Values of an image whose Jacobian is formed as a whole: 0.5 GiB in float64.
const LARGEST_WHOLE: usize = 8192;

/// Runs `downhill linear jacobian`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("linear jacobian", &args.output.output, &FILES, global, console)?;
    let subject = Subject::open(&args.subject, None)?;
    let dimension: usize = subject.image.iter().product();
    let settings = Settings {
        tolerance: args.tolerance,
        block: Some(args.block.min(dimension)),
        most_applications: args.most_blocks,
        seed: args.output.seed,
        ..Settings::new(args.components)
    };
    settings.check(dimension)?;
    if args.whole && dimension > LARGEST_WHOLE {
        let what = format!("a whole Jacobian of {dimension} x {dimension} values is not formed");
        return Err(Error::argument(what, "leave out `--whole`"));
    }
    let usual_sigma = subject.mean.is_none().then_some(SIGMA_MAX);
    let walk = WalkArgs {
        count: args.count,
        sampler: Descent::Ddim,
        steps: Some(args.steps),
        schedule: Some(args.schedule.unwrap_or(ScheduleKind::LogLinear)),
        sigma_max: args.sigma_max.or(usual_sigma.filter(|_| args.schedule.is_none())),
        sigma_min: args.sigma_min,
        error_model: None,
    };
    let way = subject.way(&walk, args.steps)?;
    let (name, mean, differences) = (subject.name.clone(), subject.mean.clone(), subject.difference_step());
    let engine = run.engine()?;
    let (mut denoiser, batch) = subject.ready(&engine, &mut run, args.count)?;
    let walks = way.trajectories(args.count, batch, args.output.seed, mean.as_deref());
    let bar = run.progress("trajectories", walks.calls());
    let paths = places(denoiser.as_mut(), &walks, &|done| bar.advance(done))?;
    drop(bar);
    run.clock.lap("trajectories");

    let exact;
    let by_differences;
    let (jacobian, products): (&dyn Jacobian, _) = if let Some(step) = &differences {
        by_differences = Differences::new(denoiser.as_mut(), step);
        (&by_differences, "central differences")
    } else {
        // The network's memory is free again before its tangents take theirs.
        drop(denoiser);
        exact = Subject::open(&args.subject, None)?.jacobian(&engine, &run, args.block)?;
        (&exact, "exact")
    };
    let bar = run.progress("eigenvectors", paths.iter().map(|path| path.len() as u64).sum());
    let turnings = paths
        .iter()
        .map(|path| turning(jacobian, path, &settings, args.whole, &|done| bar.advance(done)))
        .collect::<Result<Vec<_>>>()?;
    drop(bar);
    let sigmas: Vec<f64> = paths[0].iter().map(|place| place.level.sigma).collect();
    let found = Found { sigmas, turnings };
    run.clock.lap_with("eigenvectors", format!("{} products", found.products()));

    found.write(&mut run.folder, dimension)?;
    run.folder.picture("angles", &found.angles(&name))?;
    run.folder.picture("spectra", &found.spectra(&name))?;
    let slopes: Vec<Vec<f64>> = found.turnings.iter().map(|turning| turning.slopes.clone()).collect();
    let correlation = bootstrap(&slopes, args.output.seed, spearman);
    let tau = bootstrap(&slopes, args.output.seed, kendall);
    run.report
        .set("trajectories", way.json(&walk))
        .set("seed", args.output.seed)
        .set("jacobian", json!({ "products": products, "whole": args.whole, "settings": settings }))
        .set("correlation", json!({ "spearman": correlation, "kendall": tau, "of": "component and slope" }))
        .set("samples", found.json());
    console.note(&format!(
        "rank correlation of component and slope {:.2} (95 % {:.2} to {:.2}); asymmetry {:.2} at the most noise, {:.2} at the least",
        correlation.mean,
        correlation.low,
        correlation.high,
        found.mean_asymmetry(0),
        found.mean_asymmetry(found.sigmas.len() - 1)
    ));
    let missed = found.not_converged();
    if missed > 0 {
        console.warning(&format!(
            "at {missed} of {} places the basis was full before the tolerance was met; raise `--most-blocks`",
            found.sigmas.len() * args.count
        ));
    }
    run.finish()
}

/// What is known of all trajectories.
struct Found {
    /// Of each level, falling.
    sigmas: Vec<f64>,
    turnings: Vec<Turning>,
}

impl Found {
    fn components(&self) -> usize {
        self.turnings[0].slopes.len()
    }

    fn products(&self) -> usize {
        self.places(|found| found.spectrum.applied_vectors).into_iter().sum()
    }

    fn not_converged(&self) -> usize {
        self.places(|found| usize::from(!found.spectrum.converged)).into_iter().sum()
    }

    fn mean_asymmetry(&self, level: usize) -> f64 {
        let of = |turning: &Turning| turning.found[level].asymmetry;
        self.turnings.iter().map(of).sum::<f64>() / self.turnings.len() as f64
    }

    /// Something of each place, a sample after the other.
    fn places<T>(&self, of: impl Fn(&crate::spectral::arnoldi::NearlySymmetric) -> T) -> Vec<T> {
        self.turnings.iter().flat_map(|turning| &turning.found).map(of).collect()
    }

    /// Something of each component at each place: (samples, levels, k).
    fn by_component(&self, of: impl Fn(&Turning, usize) -> Vec<f64>) -> Vec<f64> {
        let (levels, count) = (self.sigmas.len(), self.components());
        let of_turning = |turning: &Turning| {
            let curves: Vec<Vec<f64>> = (0..count).map(|i| of(turning, i)).collect();
            (0..levels * count).map(|at| curves[at % count][at / count]).collect::<Vec<_>>()
        };
        self.turnings.iter().flat_map(of_turning).collect()
    }

    fn write(&self, folder: &mut Folder, dimension: usize) -> Result<()> {
        let (samples, levels, k) = (self.turnings.len(), self.sigmas.len(), self.components());
        let sines = self.by_component(Turning::sines);
        let values = self.by_component(eigenvalues);
        folder.numbers("sigmas.npy", &[levels], &self.sigmas)?;
        folder.numbers("sines.npy", &[samples, levels, k], &sines)?;
        folder.numbers("shares.npy", &[samples, levels, k], &self.by_component(Turning::shares))?;
        folder.numbers("eigenvalues.npy", &[samples, levels, k], &values)?;
        let vectors = self.places(|found| found.spectrum.vectors.data.clone()).concat();
        folder.array("eigenvectors.npy", &Tensor::new([samples, levels, k, dimension], vectors))?;
        folder.numbers("asymmetry.npy", &[samples, levels], &self.places(|found| found.asymmetry))?;
        let slopes: Vec<f64> = self.turnings.iter().flat_map(|turning| turning.slopes.clone()).collect();
        folder.numbers("slopes.npy", &[samples, k], &slopes)?;
        let mut table = Table::new(&["sample", "sigma", "component", "eigenvalue", "sine"]);
        for at in 0..samples * levels * k {
            let (sample, level, i) = (at / (levels * k), at / k % levels, at % k);
            table.row(&[&sample, &self.sigmas[level], &i, &values[at], &sines[at]]);
        }
        folder.table("angles.csv", &table)
    }

    /// For the report.
    fn json(&self) -> Value {
        let sample = |turning: &Turning| {
            let places = turning.found.iter().zip(&self.sigmas).map(|(found, sigma)| {
                json!({
                    "sigma": sigma,
                    "asymmetry": found.asymmetry,
                    "eigenvalues": found.spectrum.values,
                    "residuals": found.spectrum.residuals,
                    "outside": found.outside,
                    "converged": found.spectrum.converged,
                    "products": found.spectrum.applied_vectors,
                    "solver": found.spectrum.solver,
                })
            });
            let index: Vec<f64> = (0..turning.slopes.len()).map(|at| at as f64).collect();
            json!({
                "slopes": turning.slopes,
                "spearman": spearman(&index, &turning.slopes),
                "kendall": kendall(&index, &turning.slopes),
                "places": places.collect::<Vec<_>>(),
            })
        };
        self.turnings.iter().map(sample).collect()
    }

    /// A panel a sample: sines over sigma, dark to bright by component (figure 7 of the paper, on a logarithmic axis).
    fn angles(&self, name: &str) -> Picture {
        const MOST_PANELS: usize = 6;
        let k = self.components();
        let panel = |(at, turning): (usize, &Turning)| -> Panel {
            let figure =
                Figure::new(&format!("Sample {at}"), Axis::log("σ"), Axis::linear("sin of the angle to the end"));
            let figure = Figure { y: figure.y.clone().over(0.0, 1.03), ..figure };
            (0..k)
                .fold(figure, |figure, i| figure.with(self.curve(&turning.sines(i)).colour(Colour::shade_of(i, k))))
                .with_shades("component i", 0.0, (k.max(2) - 1) as f64)
                .into()
        };
        let panels: Vec<Panel> = self.turnings.iter().take(MOST_PANELS).enumerate().map(panel).collect();
        Picture::new(&format!("Eigenvectors of the Jacobian of {name}"), 2, panels)
    }

    /// Eigenvalues of the first sample, slopes, asymmetry.
    fn spectra(&self, name: &str) -> Picture {
        let k = self.components();
        let first = &self.turnings[0];
        let values = Figure::new("Eigenvalues, sample 0", Axis::log("σ"), Axis::linear("of (J + Jᵀ) / 2"));
        let values = (0..k)
            .fold(values, |figure, i| figure.with(self.curve(&eigenvalues(first, i)).colour(Colour::shade_of(i, k))))
            .with_shades("component i", 0.0, (k.max(2) - 1) as f64);
        let mut slopes = Figure::new("How fast components turn", Axis::linear("component i"), Axis::log("slope, 1/σ"));
        let mut asymmetry = Figure::new("Asymmetry", Axis::log("σ"), Axis::linear("‖J − Jᵀ‖ / ‖J + Jᵀ‖"));
        let mut shares = Figure::new("Within those at the end, sample 0", Axis::log("σ"), Axis::linear("share of u_i"));
        for (at, turning) in self.turnings.iter().enumerate() {
            let name = if self.turnings.len() > 8 { String::new() } else { format!("sample {at}") };
            let points = turning.slopes.iter().enumerate().map(|(i, slope)| (i as f64, *slope)).collect();
            slopes = slopes.with(Series::points(&name, points).colour(Colour::Cycle(at)));
            let curve: Vec<f64> = turning.found.iter().map(|found| found.asymmetry).collect();
            let curve = Series { name, ..self.curve(&curve).colour(Colour::Cycle(at)) };
            asymmetry = asymmetry.with(curve);
        }
        for i in 0..k {
            shares = shares.with(self.curve(&first.shares(i)).colour(Colour::shade_of(i, k)));
        }
        let shares = Figure { y: shares.y.clone().over(0.0, 1.03), ..shares };
        let shares = shares.with_shades("component i", 0.0, (k.max(2) - 1) as f64);
        let panels = vec![values.into(), shares.into(), slopes.into(), asymmetry.into()];
        Picture::new(&format!("Spectra of the Jacobian of {name}"), 2, panels)
    }

    fn curve(&self, values: &[f64]) -> Series {
        Series::line("", self.sigmas.iter().copied().zip(values.iter().copied()).collect())
    }
}

fn eigenvalues(turning: &Turning, i: usize) -> Vec<f64> {
    turning.found.iter().map(|found| found.spectrum.values[i]).collect()
}
