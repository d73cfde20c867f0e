//! `downhill inspect guidance`: gradient estimation with guidance.

use std::path::Path;

use serde_json::json;

use super::cells;
use crate::cli::parts::{ShardArgs, data_settings};
use crate::cli::spinning::spinning;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::data::{Pixels, Source};
use crate::denoise::closed_form::Spec;
use crate::error::{Error, Result};
use crate::graph::{CompileOptions, Compiler};
use crate::model::Model;
use crate::sample::samplers::Sampler;
use crate::study::compare::{Cell, resolve};
use crate::study::gamma::sigmas;
use crate::study::guidance::{FILES, GROUPS, Settings, distances, ends_of, modes, results};
use crate::study::parts::Rows;
use crate::study::results::{File, Results};
use crate::study::subject::Subject;

const HELP: &str = "\
Examples:
  downhill inspect guidance -o guidance
  downhill inspect guidance digits,class=7,of=ideal -n 8 --steps 10 -o guidance
  downhill inspect guidance x.npy,class=2,labels=y.npy --scales 1,2,4 -o guidance
  downhill inspect guidance --closed-form-only -o guidance

The guided denoiser of two closed forms, eps_u + W (eps_c - eps_u), has a probability flow. Gradient estimation from \
the same start states ends elsewhere; the best gamma is that of the least squared distance of the ends. It is exact \
for two Gaussians whose covariances commute, and measured on `guided:` denoisers with Wiener filters, where they \
need not, or ideal denoisers. The noise levels are those of `inspect gamma`. The best gamma of each of 4 groups of \
images is the vertex of a parabola; it is shown with its 95 % interval.";

/// Measure the best weight gamma of gradient estimation against the scale of guidance
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    /// Data and class of a `guided:` denoiser without its scale: `DATA,class=C[,of=wiener|ideal][,labels=FILE.npy]`;
    /// here `of` is `wiener` unless it is given
    #[arg(value_name = "DATA,class=C", default_value = "digits,class=3")]
    denoiser: String,

    /// Scales W of the guidance, separated by commas; 1 is the class alone
    #[arg(long, value_name = "W", value_delimiter = ',', default_value = "1,1.5,2,3,5")]
    scales: Vec<f64>,

    /// Numbers of calls, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "5,10,20", value_parser = cells::calls)]
    steps: Vec<usize>,

    /// Weights of the newest eps that are measured, separated by commas, rising; 1 is DDIM
    #[arg(long, value_name = "G", value_delimiter = ',', default_value = "1,1.25,1.5,1.75,2,2.25,2.5,3")]
    gammas: Vec<f64>,

    /// Images
    #[arg(short = 'n', long, value_name = "N", default_value = "16", value_parser = cells::count)]
    count: usize,

    /// Omit the measurement
    #[arg(long)]
    closed_form_only: bool,

    #[command(flatten)]
    shard: ShardArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    /// The name of the guided denoiser at a scale.
    fn name(&self, scale: f64) -> String {
        let of = if self.denoiser.contains(",of=") { "" } else { ",of=wiener" };
        format!("guided:{}{of},scale={scale}", self.denoiser)
    }
}

impl Study for Args {
    const NAME: &'static str = "inspect guidance";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        cells::distinct(&self.steps, "steps")?;
        if !self.gammas.windows(2).all(|pair| pair[0] < pair[1]) || self.gammas.len() < 3 {
            return Err(Error::argument("`--gammas` are not rising", "give three numbers or more, the least first"));
        }
        if !self.closed_form_only && self.count < 2 * GROUPS {
            let what = format!("`--count` of {} images", self.count);
            return Err(Error::argument(what, format!("give {} or more: {GROUPS} groups are compared", 2 * GROUPS)));
        }
        let Some(Spec::Guided { data, options }) = Spec::parse(&self.name(1.0))? else {
            return Err(Error::argument(format!("`{}` does not name data", self.denoiser), "give DATA,class=C"));
        };
        let data: Source = data;
        let all = data.load(Pixels::Signed)?;
        let class = options.of_class(&all)?;
        let modes = modes(&all, &class)?;
        run.clock.lap("covariances");
        // The noise levels are those of the embedded network's training.
        let model = Model::open_or_embedded(None)?;
        let network = model.expect_network()?;
        let grid = |calls: &usize| {
            let cell = Cell { sampler: Sampler::Ge, ..Cell::ge(*calls, 0) };
            Ok(sigmas(&resolve(&cell, &network.scheduler, &network.table, false)?.schedule))
        };
        let settings = Settings {
            scales: self.scales.clone(),
            steps: self.steps.clone(),
            grids: self.steps.iter().map(grid).collect::<Result<_>>()?,
            gammas: self.gammas.clone(),
            images: self.count,
            seed: self.output.seed,
        };
        run.report.set("class", options.class).set("samples_of_class", class.count());
        let name = self.name(1.0).replace(",scale=1", "");
        if self.closed_form_only {
            return Ok(results(&settings, &modes, &[], &name));
        }
        let engine = run.engine()?;
        let compiler = Compiler::new(&engine, CompileOptions::default());
        let mean = all.mean();
        let mut parts = run.parts(&self.shard, &self.output, Some(&engine), || {
            json!({
                "denoiser": name, "data": data_settings(&all), "scales": self.scales, "steps": self.steps,
                "grids": settings.grids, "gammas": self.gammas, "images": self.count,
            })
        })?;
        let count = self.scales.len() * self.count;
        parts.measure("images", count, |shard| {
            let mut rows = Vec::new();
            for (at, scale) in self.scales.iter().enumerate() {
                let of_scale = shard.items(count).filter(|item| item / self.count == at);
                let images: Vec<usize> = of_scale.map(|item| item % self.count).collect();
                if images.is_empty() {
                    continue;
                }
                let subject = Subject::new(Model::open(&self.name(*scale))?, None)?;
                let ready =
                    subject.ready(compiler, None, images.len(), &mut spinning(run.console, run.clock.observer()))?;
                let (mut denoiser, batch) = (ready.denoiser, ready.facts.batch);
                let calls = settings.calls() * images.len() as u64;
                rows.push(run.timed(&format!("scale {scale}"), calls, "sampling", |advance| {
                    ends_of(denoiser.as_mut(), &mean, &settings, (&images, batch), advance)
                })?);
            }
            Ok(Rows::after_each_other(&rows))
        })?;
        let Some(found) = run.gathered(parts)? else { return Ok(Results::unfinished()) };
        let rows = found.rows("images")?;
        let of_scale = |at: usize| {
            let rows: Vec<&[f64]> = (at * self.count..(at + 1) * self.count).map(|item| rows.row(item)).collect();
            distances(&rows, &mean, &settings)
        };
        let measured: Vec<_> = (0..self.scales.len()).map(of_scale).collect();
        Ok(results(&settings, &modes, &measured, &name))
    }
}
