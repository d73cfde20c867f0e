//! `downhill inspect compare`: samplers at equal network calls.

use serde_json::json;

use super::cells::{self, CellArgs, Measured};
use crate::cli::args::Global;
use crate::cli::study::{OutputArgs, StudyRun};
use crate::error::Result;
use crate::report::plot::{Axis, Colour, Figure, Picture, Series};
use crate::report::{Console, print_stdout};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::study::compare::table::{Row, Spread, csv, grid};
use crate::study::compare::{Cell, Score};

const EXAMPLES: &str = "\
Examples:
  downhill inspect compare -o quality
  downhill inspect compare --samplers ge,ddim --steps 5,10,20 -n 2048 --seeds 3 -o quality
  downhill inspect compare --samplers all --steps 5,10,20,50 -n 10000 --seeds 3 -o quality

The last one is the full size: 15 hours and more on a software adapter. A run that is killed goes on where it stopped, and
a larger one begins with the samples of a smaller one, which DIR/samples keeps.

--steps counts network calls, which no sampler exceeds: Heun's method has half as many steps. GE walks the paper's schedule,
DDIM the paper's baseline, PNDM diffusers' `leading` spacing, the others `trailing`, or all of them the one of --schedule. The ablation is
the paper's: DDIM in 10 steps on each schedule. Frechet distances compare only at one number of images; `data` is what as
many real ones score.

The folder gets compare.md, compare.csv, compare.svg and .png, report.json.";

/// Compare samplers at equal network calls: Frechet distance, sliced Wasserstein distance, time
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    cells: CellArgs,

    /// Names of `downhill sample --sampler list` with commas between them, or `all`
    #[arg(long, value_name = "NAMES", default_value = "ge,ddim,dpm++2m,deis,unipc,pndm")]
    samplers: String,

    /// Network calls, with commas between them
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "5,10", value_parser = cells::calls)]
    steps: Vec<usize>,

    /// Images of each seed and cell
    #[arg(short = 'n', long, value_name = "N", default_value = "96", value_parser = cells::count)]
    count: usize,

    /// One schedule for all samplers, instead of the one usual with each
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "SCHEDULE")]
    schedule: Option<ScheduleKind>,

    /// Leave out the ablation of schedules
    #[arg(long)]
    no_ablation: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// Steps of the ablation, as in the paper.
const ABLATION_CALLS: usize = 10;
/// Where the paper's own schedule begins, and its "offset" one.
const OFFSET_SIGMA: f64 = 40.0;

/// A line of a table: its cells are those of its seeds.
struct Line {
    label: String,
    cell: Cell,
    is_ablation: bool,
}

/// Runs `downhill inspect compare`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let files = ["compare.md", "compare.csv", "compare"];
    let lines = lines(args)?;
    let mut run = StudyRun::begin("inspect compare", &args.output.output, &files, global, console)?;
    let seeds = args.output.seed..args.output.seed + args.cells.seeds;
    let all: Vec<Cell> =
        lines.iter().flat_map(|line| seeds.clone().map(|seed| Cell { seed, ..line.cell.clone() })).collect();
    let measured = cells::measure(&mut run, &args.cells, &args.output, &all, args.count)?;

    let (mut rows, mut ablation) = (Vec::new(), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let range = at * args.cells.seeds as usize..(at + 1) * args.cells.seeds as usize;
        let mut row = Row::new(&line.label, &line.cell, args.count);
        row.scores = measured.scores[range.clone()].to_vec();
        let costs: Vec<(usize, f64)> = measured.costs[range].iter().copied().flatten().collect();
        row.made_calls = costs.first().map(|cost| cost.0);
        row.seconds =
            (!costs.is_empty()).then(|| Spread::of(&costs.iter().map(|cost| cost.1).collect::<Vec<_>>()).mean);
        if line.is_ablation { ablation.push(row) } else { rows.push(row) }
    }
    let text = markdown(&rows, &ablation, &measured, args);
    run.folder.text("compare.md", &text)?;
    run.folder.table("compare.csv", &csv(&[rows.clone(), ablation.clone()].concat()))?;
    run.folder.picture("compare", &picture(&rows, &measured))?;
    run.report
        .set("samples", json!({ "images": args.count, "seeds": args.cells.seeds, "first_seed": args.output.seed }))
        .set("rows", json!(rows))
        .set("ablation", json!(ablation))
        .set("floor", json!(measured.floor));
    run.finish()?;
    print_stdout(&text)
}

/// What is compared, in the order of the table.
fn lines(args: &Args) -> Result<Vec<Line>> {
    let samplers: Vec<Sampler> = match args.samplers.as_str() {
        "all" => Sampler::ALL.to_vec(),
        list => list
            .split(',')
            .map(|name| cells::sampler(name.trim()))
            .collect::<std::result::Result<_, _>>()
            .map_err(|names| crate::Error::argument(format!("`--samplers {list}`"), names))?,
    };
    cells::distinct(&samplers, "samplers")?;
    cells::distinct(&args.steps, "steps")?;
    let mut lines = Vec::new();
    for sampler in samplers {
        for calls in &args.steps {
            let usual = Cell::usual(sampler, *calls, 0);
            let cell = Cell { schedule: args.schedule.unwrap_or(usual.schedule), ..usual };
            lines.push(Line { label: sampler.name().to_owned(), cell, is_ablation: false });
        }
    }
    if !args.no_ablation {
        let schedules = [
            ("DDIM (from 157)", ScheduleKind::Ddim, None),
            ("DDIM offset (from 40)", ScheduleKind::Ddim, Some(OFFSET_SIGMA)),
            ("EDM (80 to 0.002)", ScheduleKind::Edm, None),
            ("paper (from 40)", ScheduleKind::Paper, None),
        ];
        lines.extend(schedules.map(|(label, schedule, sigma_max)| {
            let cell = Cell { schedule, sigma_max, ..Cell::usual(Sampler::Ddim, ABLATION_CALLS, 0) };
            Line { label: label.to_owned(), cell, is_ablation: true }
        }));
    }
    Ok(lines)
}

/// A figure of a score.
type Figures<'a> = &'a dyn Fn(&Score) -> f64;

fn markdown(rows: &[Row], ablation: &[Row], measured: &Measured, args: &Args) -> String {
    let floor = |figure: Figures| {
        let of_sets: Vec<f64> = measured.floor.iter().map(figure).collect();
        (!of_sets.is_empty()).then(|| Spread::of(&of_sets))
    };
    let seeds = args.cells.seeds;
    let of_seeds = if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds, ± their standard deviation") };
    let mut text =
        format!("{} images a cell, {of_seeds}; held against {} images.\n\n", args.count, measured.data.count());
    let figures: [(&str, usize, Figures); 3] = [
        ("Frechet distance", 2, &|score| score.frechet),
        ("sliced Wasserstein, features", 3, &|score| score.sliced_features),
        ("sliced Wasserstein, pixels", 4, &|score| score.sliced_pixels),
    ];
    for (title, digits, figure) in figures {
        text += &grid(rows, title, digits, floor(figure), |row| Some(row.spread(figure)));
        text += "\n";
    }
    text += &grid(rows, "milliseconds an image", 0, None, |row| {
        row.seconds.map(|seconds| Spread { mean: 1e3 * seconds, deviation: 0.0 })
    });
    if !ablation.is_empty() {
        text += "\n";
        text += &grid(ablation, "DDIM on the schedule, Frechet distance", 2, floor(&|score| score.frechet), |row| {
            Some(row.spread(|score| score.frechet))
        });
    }
    text
}

fn picture(rows: &[Row], measured: &Measured) -> Picture {
    let panel = |title: &str, label: &str, figure: Figures| {
        let mut plot = Figure::new(title, Axis::log("network calls"), Axis::log(label));
        let mut names: Vec<&str> = Vec::new();
        for row in rows {
            if !names.contains(&row.label.as_str()) {
                names.push(&row.label);
            }
        }
        for (at, name) in names.iter().enumerate() {
            let mut of_name: Vec<&Row> = rows.iter().filter(|row| row.label == **name).collect();
            of_name.sort_by_key(|row| row.calls);
            let spreads: Vec<Spread> = of_name.iter().map(|row| row.spread(figure)).collect();
            let points = of_name.iter().zip(&spreads).map(|(row, spread)| (row.calls as f64, spread.mean)).collect();
            let band = spreads.iter().map(|spread| (spread.mean - spread.deviation, spread.mean + spread.deviation));
            plot = plot.with(Series::line(name, points).colour(Colour::Cycle(at)).band(band.collect()));
        }
        let calls = || rows.iter().map(|row| row.calls as f64);
        let (least, most) = (calls().fold(f64::INFINITY, f64::min), calls().fold(0.0, f64::max));
        if !measured.floor.is_empty() {
            let floor = Spread::of(&measured.floor.iter().map(figure).collect::<Vec<_>>()).mean;
            plot = plot.with(Series::dashed("data", vec![(least, floor), (most, floor)]).colour(Colour::Grey));
        }
        plot.into()
    };
    let panels = vec![
        panel("Features of the classifier", "Frechet distance", &|score| score.frechet),
        panel("Pixels", "sliced Wasserstein distance", &|score| score.sliced_pixels),
    ];
    Picture::new("Quality against network calls: lower is better", 2, panels)
}
