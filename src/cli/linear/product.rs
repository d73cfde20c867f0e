//! `downhill linear product`: one chain, its projections and their product.

use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use serde_json::json;

use super::sigmas::{CouplingFlag, StepArgs};
use crate::cli::args::Global;
use crate::cli::study::{DataArgs, OutputArgs, StudyRun, Usual};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::formats::npy;
use crate::report::Console;
use crate::report::plot::{Axis, Colour, Figure, Heat, Panel, Picture, Series};
use crate::study::chain::{Arithmetic, Chain, LevelNoise, Projections, Projector, participation_ratio};
use crate::tensor::Tensor;

const EXAMPLES: &str = "\
Examples:
  downhill linear product --center -o product
  downhill linear product --center --coupling fresh --steps 120 -k 8 -o product
  downhill linear product --data X.npy --noise XI.npy --sigmas 0.5,0.5,1 --coupling nested -k 3 -o product

P = U_0 U_0' U_1 U_1' ... U_T U_T', with the k leading eigenvectors U_t of x_t' x_t / n, x_0 the data.
With standard normals xi_t of the seed, or those of --noise (T,n,p), and s_t^2 = sum of sigma^2 up to t:
  nested  x_t = x_(t-1) + sigma_t xi_t
  fresh   x_t = x_0 + s_t xi_t
  shared  x_t = x_0 + s_t xi_1

The folder gets basis.npy (T+1,k,p), eigenvalues.npy (T+1,k), cos_adjacent.npy (T,k) of each component at
levels t and t+1, cos_to_first.npy (T+1,k), partial.npy (T+1,k,k) with U_0' P_t U_t of Frobenius norm 1,
log_norm.npy (T+1), the natural logarithm of the norm of each P_t, product.npy (p,p) of norm 1; energy.npy
(k) with --eps; partial and cosines as plots. The mean stays in the data unless --center takes it off.";

/// Multiply up the projections of a chain of noise levels
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    steps: StepArgs,

    /// How the noise of different levels hangs together
    #[arg(long, value_enum, value_name = "COUPLING", default_value = "nested")]
    coupling: CouplingFlag,

    /// Standard normals (T,n,p) to use instead of seeded ones
    #[arg(long, value_name = "FILE.npy")]
    noise: Option<PathBuf>,

    /// Draws (m,p): the energy of P eps along each component of level 0 goes to energy.npy
    #[arg(long, value_name = "FILE.npy")]
    eps: Option<PathBuf>,

    /// Components kept at each level
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8", allow_negative_numbers = true,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    components: usize,

    #[command(flatten)]
    output: OutputArgs,
}

const FILES: [&str; 10] = [
    "basis.npy",
    "eigenvalues.npy",
    "cos_adjacent.npy",
    "cos_to_first.npy",
    "partial.npy",
    "log_norm.npy",
    "product.npy",
    "energy.npy",
    "partial",
    "cosines",
];
/// Samples of data of one's own are all used; of the digits, as many as make a chain in seconds.
const USUAL_SAMPLES: usize = 1000;
/// Values of a sample up to which float64 costs next to nothing.
const SMALL: usize = 320;
/// Values of an array that is still written: 1 GiB.
const LARGEST_ARRAY: usize = 1 << 28;

/// Runs `downhill linear product`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut run = StudyRun::begin("linear product", &args.output.output, &FILES, global, console)?;
    let own = args.noise.is_some() || args.data.data != "digits";
    let usual = Usual { samples: if own { usize::MAX } else { USUAL_SAMPLES }, centred: false };
    let data = args.data.load(usual, console)?;
    let (count, dimension) = (data.count(), data.dimension());
    expect_components(args.components, dimension)?;
    let noise = args.noise.as_ref().map(|file| noise_of(file, &data)).transpose()?;
    let eps = args.eps.as_ref().map(|file| draws_of(file, dimension)).transpose()?;
    let sigmas = args.steps.sigmas(noise.as_ref().map(|noise| noise.shape[0]))?;
    expect_writable(sigmas.len() + 1, args.components, dimension)?;
    run.clock.lap("data");
    let engine = run.engine()?;
    // What is given may be held against a reference; what is drawn is one draw of many.
    let precise = noise.is_some() || dimension <= SMALL;
    let projector = Projector::new(&engine, args.components);
    let projector = if precise { projector.with(Arithmetic::Precise) } else { projector };
    let noise = noise.as_ref().map_or(LevelNoise::Seeded(args.output.seed), LevelNoise::Given);
    let chain = Chain { data: &data.samples, sigmas: &sigmas, coupling: args.coupling.into(), noise };
    let bar = run.progress("levels", chain.steps() as u64 + 1);
    let found = chain.run(&projector, true, &|levels| bar.advance(levels))?;
    drop(bar);
    run.clock.lap_with("chain", format!("{} levels", chain.steps() + 1));

    let (steps, k) = (chain.steps(), args.components);
    let folder = &mut run.folder;
    folder.array("basis.npy", &Tensor::new([steps + 1, k, dimension], found.bases.clone()))?;
    folder.numbers("eigenvalues.npy", &[steps + 1, k], &found.values.concat())?;
    folder.numbers("cos_adjacent.npy", &[steps, k], &found.adjacent.concat())?;
    folder.numbers("cos_to_first.npy", &[steps + 1, k], &found.to_first.concat())?;
    folder.numbers("partial.npy", &[steps + 1, k, k], &partials(&found))?;
    folder.numbers("log_norm.npy", &[steps + 1], &found.log_norm)?;
    folder.array("product.npy", &found.product())?;
    let energy = eps.map(|eps| found.energy_of(&eps));
    if let Some(energy) = &energy {
        folder.numbers("energy.npy", &[k], energy)?;
    }
    folder.picture("partial", &partial_picture(&found, &chain.coupling.to_string()))?;
    folder.picture("cosines", &cosine_picture(&found))?;
    let expected = found.expected_energy(steps);
    run.report
        .set("data", args.data.json(&data, usual))
        .set(
            "chain",
            json!({
                "coupling": chain.coupling, "steps": steps, "components": k, "sigmas": sigmas, "samples": count,
                "noise": args.noise.as_ref().map(|file| file.display().to_string()), "seed": args.output.seed,
                "arithmetic": projector.arithmetic(),
            }),
        )
        .set(
            "product",
            json!({
                "log_norm": found.log_norm[steps],
                "expected_energy": expected,
                "participation_ratio": participation_ratio(&expected),
                "energy": energy,
            }),
        );
    run.finish()
}

/// A usage error for more components than values.
pub fn expect_components(components: usize, dimension: usize) -> Result<()> {
    if components <= dimension {
        return Ok(());
    }
    let what = format!("`-k {components}` asks for more components than the {dimension} values of a sample");
    Err(Error::argument(what, format!("give `-k` a number from 1 to {dimension}")))
}

/// A usage error for results that are too large to be kept and written.
fn expect_writable(levels: usize, components: usize, dimension: usize) -> Result<()> {
    if dimension * dimension > LARGEST_ARRAY {
        let what = format!("a product of {dimension} x {dimension} values is not written");
        return Err(Error::argument(what, "give data of fewer values, such as smaller images"));
    }
    if levels * components * dimension > LARGEST_ARRAY {
        let what = format!("{levels} bases of {components} x {dimension} values are not kept");
        return Err(Error::argument(what, "ask for fewer steps or components"));
    }
    Ok(())
}

/// Noise for data (n, p): (T, n, p), or (T, n, ...) with samples of p values.
fn noise_of(file: &Path, data: &Dataset) -> Result<Tensor> {
    let noise = npy::read(file)?;
    let (count, dimension) = (data.count(), data.dimension());
    let fits = matches!(noise.shape.as_slice(), [steps, samples, rest @ ..]
        if *steps > 0 && *samples == count && rest.iter().product::<usize>() == dimension);
    if !fits {
        let what =
            format!("noise of shape {:?} does not fit data of {count} samples of {dimension} values", noise.shape);
        return Err(Error::bad_file_hint(file, what, format!("give an array (T,{count},{dimension})")));
    }
    expect_finite(file, &noise)?;
    Ok(Tensor::new([noise.shape[0], count, dimension], noise.data))
}

/// Draws for data of `dimension` values: (m, p), or one of p.
fn draws_of(file: &Path, dimension: usize) -> Result<Tensor> {
    let draws = npy::read(file)?;
    if draws.data.is_empty() || *draws.shape.last().unwrap_or(&0) != dimension {
        let what = format!("draws of shape {:?} do not fit samples of {dimension} values", draws.shape);
        return Err(Error::bad_file_hint(file, what, format!("give an array (m,{dimension})")));
    }
    expect_finite(file, &draws)?;
    Ok(Tensor::new([draws.data.len() / dimension, dimension], draws.data))
}

fn expect_finite(file: &Path, values: &Tensor) -> Result<()> {
    match values.data.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NonFinite {
            place: format!("`{}`: value {at}", file.display()),
            hint: "give finite numbers".into(),
        }),
    }
}

/// C of every level, row-major.
fn partials(found: &Projections) -> Vec<f64> {
    let rows = found.partial.iter().flat_map(faer::Mat::row_iter);
    rows.flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect()
}

/// `|U_0' P_t U_t|` at six levels from the first to the last (figure 5 of the paper).
fn partial_picture(found: &Projections, coupling: &str) -> Picture {
    let (last, k) = (found.partial.len() - 1, found.count());
    let mut shown: Vec<usize> = (0..6).map(|at| (at * last + 2) / 5).collect();
    shown.dedup();
    let panel = |level: &usize| -> Panel {
        let matrix = &found.partial[*level];
        let largest = matrix.norm_max();
        let values = (0..k * k).map(|at| matrix[(at / k, at % k)].abs() / largest).collect();
        Heat {
            x: Axis::linear("component of level t"),
            y: Axis::linear("component of level 0"),
            colours: Axis::linear("over the largest").over(0.0, 1.0),
            ..Heat::matrix(&format!("t = {level}"), k, k, values)
        }
        .into()
    };
    Picture::new(&format!("|U₀ᵀ P U| of the partial products, {coupling} noise"), 3, shown.iter().map(panel).collect())
}

/// Cosines over levels, dark to bright by component.
fn cosine_picture(found: &Projections) -> Picture {
    let k = found.count();
    let figure = |title: &str, label: &str, rows: &[Vec<f64>]| {
        let shades = Figure::new(title, Axis::linear("level t"), Axis::linear(label));
        let curve = |i: usize| rows.iter().enumerate().map(|(t, row)| (t as f64, row[i])).collect();
        (0..k)
            .fold(shades, |figure, i| figure.with(Series::line("", curve(i)).colour(Colour::shade_of(i, k))))
            .with_shades("component i", 0.0, (k.max(2) - 1) as f64)
    };
    let adjacent = figure("From a level to the next", "|cos| of u_i at t and t + 1", &found.adjacent);
    let first = figure("From the first level", "|cos| of u_i at t and 0", &found.to_first);
    Picture::new("", 2, vec![adjacent.into(), first.into()])
}
