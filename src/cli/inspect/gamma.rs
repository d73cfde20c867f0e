//! `downhill inspect gamma`: quality against the weight of the newest eps.

use serde_json::json;

use super::cells::{self, CellArgs};
use crate::cli::args::Global;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::cli::table::Lines;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::quality::moments::of_rows;
use crate::report::Table;
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::report::{Console, print_stdout};
use crate::sample::samplers::Sampler;
use crate::spectral::basis::eigen;
use crate::study::compare::table::Spread;
use crate::study::compare::{Cell, resolve};
use crate::study::gamma::{best_gamma, gaussian_distance, sigmas};

const EXAMPLES: &str = "\
Examples:
  downhill inspect gamma -o gamma
  downhill inspect gamma --steps 10 --gammas 1,1.5,2,2.5,3 -n 1024 --seeds 3 -o gamma
  downhill inspect gamma --gaussian-only -o gamma

On Gaussians (of unit variance, and of the covariance of the data) the samples' distance from them is known exactly, and so
is the best gamma. On the network, images are sampled, kept in DIR/samples and held against the data: a run that is killed goes
on where it stopped. The paper's sweep is 21 values from 1 to 3.

The folder gets gamma.csv, gaussian.csv, gamma.svg and .png, report.json.";

/// Quality against gamma, on a network and on Gaussians where the optimum is known
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    cells: CellArgs,

    /// Network calls, with commas between them
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "5,10,20", value_parser = cells::calls)]
    steps: Vec<usize>,

    /// Weights of the newest eps, with commas between them; 1 is DDIM
    #[arg(
        long,
        value_name = "G",
        value_delimiter = ',',
        default_value = "1,1.4,1.7,2,2.5,3",
        allow_negative_numbers = true
    )]
    gammas: Vec<f64>,

    /// Images of each seed and cell
    #[arg(short = 'n', long, value_name = "N", default_value = "64", value_parser = cells::count)]
    count: usize,

    /// Leave out the network
    #[arg(long)]
    gaussian_only: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// Gammas at which the curves of Gaussians are drawn.
const FINE: usize = 201;

/// The foot of their axis: one direction can be met exactly.
const LEAST: f64 = 1e-6;

/// A Gaussian and what is known of it.
struct Gaussian {
    name: &'static str,
    variances: Vec<f64>,
}

/// Runs `downhill inspect gamma`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    cells::distinct(&args.steps, "steps")?;
    cells::distinct(&args.gammas, "gammas")?;
    if let Some(gamma) = args.gammas.iter().find(|gamma| !(0.0..=10.0).contains(*gamma)) {
        return Err(Error::argument(
            format!("`--gammas` lists {gamma}"),
            "numbers from 0 to 10; the paper tries 1 to 3",
        ));
    }
    let files =
        if args.gaussian_only { &["gaussian.csv", "gamma"][..] } else { &["gamma.csv", "gaussian.csv", "gamma"] };
    let mut run = StudyRun::begin("inspect gamma", &args.output.output, files, global, console)?;
    let cell =
        |calls: usize, gamma: f64, seed: u64| Cell { gamma: Some(gamma), ..Cell::usual(Sampler::Ge, calls, seed) };

    let model = Model::open_or_embedded(args.cells.model.as_deref())?;
    let opened = model.expect_network()?;
    let grids = args
        .steps
        .iter()
        .map(|calls| Ok(sigmas(&resolve(&cell(*calls, 1.0, 0), &opened.scheduler, &opened.table, false)?.schedule)))
        .collect::<Result<Vec<_>>>()?;
    let measured = if args.gaussian_only { None } else { Some(network(&mut run, args, &cell)?) };
    let gaussians = gaussians(args)?;
    run.clock.lap("covariance");

    let range = range(&args.gammas);
    let mut panels: Vec<Panel> = Vec::new();
    let mut said = Lines::default();
    if let Some(sweep) = &measured {
        panels.push(network_panel(args, sweep));
        run.folder.table("gamma.csv", &sweep.table(args))?;
        sweep.say(args, &mut said);
        run.report.set("network", sweep.json(args));
    }
    let mut optima = Vec::new();
    let mut table = Table::new(&["gaussian", "calls", "gamma", "relative_distance"]);
    for gaussian in &gaussians {
        let mut figure = Figure::new(
            &format!("Gaussian of {}", gaussian.name),
            Axis::linear("gamma"),
            Axis::log("Frechet distance / variance").over(LEAST, 1.0),
        );
        for (at, (calls, grid)) in args.steps.iter().zip(&grids).enumerate() {
            let fine = |step: usize| range.0 + (range.1 - range.0) * step as f64 / (FINE - 1) as f64;
            let points: Vec<(f64, f64)> =
                (0..FINE).map(fine).map(|gamma| (gamma, gaussian_distance(&gaussian.variances, grid, gamma))).collect();
            for (gamma, distance) in &points {
                table.row(&[&gaussian.name, calls, gamma, distance]);
            }
            let best = best_gamma(&gaussian.variances, grid, range);
            let at_best = gaussian_distance(&gaussian.variances, grid, best);
            said.add(&format!("Gaussian of {}, {calls} calls", gaussian.name), format!("best gamma {best:.3}"));
            optima.push(
                json!({ "gaussian": gaussian.name, "calls": calls, "best_gamma": best, "relative_distance": at_best }),
            );
            let colour = Colour::Cycle(at);
            figure = figure
                .with(Series::line(&format!("{calls} calls"), points).colour(colour))
                .with(Series::points("", vec![(best, at_best.max(LEAST))]).colour(colour));
        }
        panels.push(figure.into());
    }
    run.folder.table("gaussian.csv", &table)?;
    run.folder
        .picture("gamma", &Picture::new("Quality against gamma: lower is better, 1 is DDIM", panels.len(), panels))?;
    run.report.set("gaussians", json!(optima)).set("levels", json!(grids));
    run.finish()?;
    print_stdout(&said.to_string())
}

/// The least and the largest gamma, apart.
fn range(gammas: &[f64]) -> (f64, f64) {
    let low = gammas.iter().copied().fold(f64::INFINITY, f64::min);
    let high = gammas.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low < high { (low, high) } else { (1.0, 3.0) }
}

/// A Gaussian of unit variance, and one of the covariance of the data.
fn gaussians(args: &Args) -> Result<Vec<Gaussian>> {
    let data = crate::data::Source::parse(&args.cells.data)?.load(crate::data::Pixels::Signed)?;
    let covariance = of_rows(&data.samples.data, data.dimension())?.covariance;
    let (values, _) = eigen(covariance.as_ref())?;
    Ok(vec![
        Gaussian { name: "unit variance", variances: vec![1.0] },
        Gaussian { name: "the data's covariance", variances: values.into_iter().map(|value| value.max(0.0)).collect() },
    ])
}

/// What the network's samples score: (calls, gamma) in the order of the flags, over seeds.
struct Sweep {
    frechet: Vec<Vec<Spread>>,
    sliced: Vec<Vec<Spread>>,
    floor: Option<f64>,
}

fn network(run: &mut StudyRun, args: &Args, cell: &dyn Fn(usize, f64, u64) -> Cell) -> Result<Sweep> {
    let seeds = args.output.seed..args.output.seed + args.cells.seeds;
    let mut all = Vec::new();
    for calls in &args.steps {
        for gamma in &args.gammas {
            all.extend(seeds.clone().map(|seed| cell(*calls, *gamma, seed)));
        }
    }
    let measured = cells::measure(run, &args.cells, &args.output, &all, args.count)?;
    let spreads = |figure: &dyn Fn(&crate::study::compare::Score) -> f64| -> Vec<Vec<Spread>> {
        let of_seeds = measured.scores.chunks(args.cells.seeds as usize);
        let flat: Vec<Spread> =
            of_seeds.map(|scores| Spread::of(&scores.iter().map(figure).collect::<Vec<_>>())).collect();
        flat.chunks(args.gammas.len()).map(<[Spread]>::to_vec).collect()
    };
    let floors: Vec<f64> = measured.floor.iter().map(|score| score.frechet).collect();
    Ok(Sweep {
        frechet: spreads(&|score| score.frechet),
        sliced: spreads(&|score| score.sliced_pixels),
        floor: (!floors.is_empty()).then(|| Spread::of(&floors).mean),
    })
}

impl Sweep {
    /// The gamma of the least distance, for each number of calls.
    fn best(&self, args: &Args) -> Vec<f64> {
        let least = |row: &Vec<Spread>| {
            let at = (0..row.len()).min_by(|a, b| row[*a].mean.total_cmp(&row[*b].mean));
            args.gammas[at.unwrap_or(0)]
        };
        self.frechet.iter().map(least).collect()
    }

    fn table(&self, args: &Args) -> Table {
        let mut table = Table::new(&["calls", "gamma", "frechet", "frechet_deviation", "sliced_pixels"]);
        for (at, calls) in args.steps.iter().enumerate() {
            for (column, gamma) in args.gammas.iter().enumerate() {
                let frechet = self.frechet[at][column];
                table.row(&[calls, gamma, &frechet.mean, &frechet.deviation, &self.sliced[at][column].mean]);
            }
        }
        table
    }

    fn say(&self, args: &Args, said: &mut Lines) {
        for ((calls, best), row) in args.steps.iter().zip(self.best(args)).zip(&self.frechet) {
            let figure = |(gamma, spread): (&f64, &Spread)| format!("{gamma}: {:.2}", spread.mean);
            let figures: Vec<_> = args.gammas.iter().zip(row).map(figure).collect();
            let text = format!("best gamma {best}; Frechet distance at {}", figures.join(", "));
            said.add(&format!("network, {calls} calls"), text);
        }
    }

    fn json(&self, args: &Args) -> serde_json::Value {
        let rows = args.steps.iter().zip(self.best(args)).zip(&self.frechet).map(|((calls, best), row)| {
            let means: Vec<f64> = row.iter().map(|spread| spread.mean).collect();
            json!({ "calls": calls, "best_gamma": best, "frechet": means })
        });
        json!({
            "gammas": args.gammas, "images": args.count, "seeds": args.cells.seeds, "floor": self.floor,
            "rows": rows.collect::<Vec<_>>(),
        })
    }
}

fn network_panel(args: &Args, sweep: &Sweep) -> Panel {
    let mut figure = Figure::new(
        &format!("Network, {} images", args.count as u64 * args.cells.seeds),
        Axis::linear("gamma"),
        Axis::log("Frechet distance"),
    );
    for (at, calls) in args.steps.iter().enumerate() {
        let points = args.gammas.iter().zip(&sweep.frechet[at]).map(|(gamma, spread)| (*gamma, spread.mean)).collect();
        let band =
            sweep.frechet[at].iter().map(|spread| (spread.mean - spread.deviation, spread.mean + spread.deviation));
        figure =
            figure.with(Series::line(&format!("{calls} calls"), points).colour(Colour::Cycle(at)).band(band.collect()));
    }
    if let Some(floor) = sweep.floor {
        let (low, high) = range(&args.gammas);
        figure = figure.with(Series::dashed("data", vec![(low, floor), (high, floor)]).colour(Colour::Grey));
    }
    figure.into()
}
