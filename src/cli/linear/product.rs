//! `downhill linear product`: one chain, its projections and their product.

use std::path::{Path, PathBuf};

use super::sigmas::{CouplingFlag, StepArgs, expect_components};
use crate::cli::numbers::whole;
use crate::cli::parts::{Refused, refused};
use crate::cli::stream;
use crate::cli::study::{DataArgs, OutputArgs, Study, StudyRun, Usual, help};
use crate::error::Result;
use crate::study::chain::{Arithmetic, Chain, LevelNoise, Projector};
use crate::study::product::{FILES, expect_writable, read_draws, read_noise, results};
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill linear product --center -o product
  downhill linear product --center --coupling fresh --steps 120 -k 8 -o product
  downhill linear product --data X.npy --noise XI.npy --sigmas 0.5,0.5,1 --coupling nested -k 3 -o product

P = U_0 U_0' U_1 U_1' ... U_T U_T', with the k leading eigenvectors U_t of x_t' x_t / n, x_0 the data. With standard \
normals xi_t of the seed, or those of --noise (T,n,p), and s_t^2 = sum of sigma^2 up to t:
  nested  x_t = x_(t-1) + sigma_t xi_t
  fresh   x_t = x_0 + s_t xi_t
  shared  x_t = x_0 + s_t xi_1

The mean stays in the data unless --center subtracts it.";

/// Multiply the projections of a chain of noise levels
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    steps: StepArgs,

    /// Coupling of the noise of different levels
    #[arg(long, value_enum, value_name = "COUPLING", default_value = "nested")]
    coupling: CouplingFlag,

    /// Standard normals (T,n,p) to use instead of seeded ones
    #[arg(long, value_name = "FILE.npy")]
    noise: Option<PathBuf>,

    /// Draws (m,p): the energy of P eps along each component of level 0 goes to energy.npy
    #[arg(long, value_name = "FILE.npy")]
    eps: Option<PathBuf>,

    /// Number of components kept per level
    #[arg(short = 'k', long = "components", value_name = "K", default_value = "8",
        value_parser = whole::<usize>(1..=10_000))]
    components: usize,

    #[command(flatten)]
    output: OutputArgs,

    #[arg(long = "shard", id = "shard", hide = true, value_name = "I/N|auto",
        value_parser = refused("each level of its chain follows from the one before"))]
    _shard: Option<Refused>,
}

/// The default number of samples of the digits: a chain in seconds. Other data are used whole.
const USUAL_SAMPLES: usize = 1000;
/// The number of values per sample up to which float64 costs next to nothing.
const SMALL: usize = 320;

impl Study for Args {
    const NAME: &'static str = "linear product";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let own = self.noise.is_some() || self.data.data != "digits";
        let usual = Usual { samples: if own { usize::MAX } else { USUAL_SAMPLES }, centred: false };
        let data = self.data.load(usual, run)?;
        let dimension = data.dimension();
        expect_components(self.components, dimension)?;
        let noise = self.noise.as_ref().map(|file| stream::read(file, |file| read_noise(file, &data))).transpose()?;
        let eps = self.eps.as_ref().map(|file| stream::read(file, |file| read_draws(file, dimension))).transpose()?;
        let sigmas = self.steps.sigmas(noise.as_ref().map(|noise| noise.shape[0]))?;
        expect_writable(sigmas.len() + 1, self.components, dimension)?;
        let engine = run.engine()?;
        // Given noise may be compared with a reference; seeded noise is one draw of many.
        let precise = noise.is_some() || dimension <= SMALL;
        let projector = Projector::new(&engine, self.components);
        let projector = if precise { projector.with(Arithmetic::Precise) } else { projector };
        let seed = self.output.seed;
        let level_noise = noise.as_ref().map_or(LevelNoise::Seeded(seed), LevelNoise::Given);
        let chain = Chain { data: &data.samples, sigmas: &sigmas, coupling: self.coupling.into(), noise: level_noise };
        let work = chain.steps() as u64 + 1;
        let found = run.timed("levels", work, "chain", |advance| chain.run(&projector, true, advance))?;
        let file = self.noise.as_ref().map(|file| file.display().to_string());
        Ok(results(&chain, &found, eps.as_ref(), (file.as_deref(), seed), projector.arithmetic()))
    }
}
