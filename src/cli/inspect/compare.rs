//! `downhill inspect compare`: samplers at equal network calls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::captioned::CaptionArgs;
use super::cells::{self, CellArgs, Wanted};
use crate::cli::parts::CellShardArgs;
use crate::cli::stream;
use crate::cli::study::{OutputArgs, Study, StudyRun, help};
use crate::error::{Error, Result};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;
use crate::sample::solvers::analytic::Variances;
use crate::study::compare::Preset;
use crate::study::compare::report::{FILES, Images, Line, ablation, analytic_lines, cells, lines, results};
use crate::study::results::{File, Results};

const HELP: &str = "\
Examples:
  downhill inspect compare -o quality
  downhill inspect compare --samplers ge,ddim --steps 5,10,20 -n 2048 --seeds 3 -o quality
  downhill inspect compare --samplers all --steps 5,10,20,50 -n 10000 --seeds 3 -o quality
  downhill inspect compare DIR --preset permenter-cifar10 --features inception.safetensors \
    --data fid_cifar10_train.npz -o cifar10
  downhill inspect compare PIPELINE --preset permenter-coco --captions captions.txt \
    --features inception.safetensors --data coco.npz --clip-score CLIP -o coco

The third one is the full size: 15 hours and more on a software adapter. A run that is interrupted resumes where it \
stopped, and a larger one starts with the samples of a smaller one, which are kept in DIR/samples. Several runs with \
--shard I/N, or --shard auto under a scheduler of jobs, make the images of one folder together.

With the weights of InceptionV3 (`--features`) images are of any size, and the tables have the Frechet and the kernel \
Inception distance, precision, recall, density and coverage. --data takes statistics, too, as pytorch-fid saves them. \
`docs/fid.md` has the commands of the paper's tables; --preset sets what they set.

--steps counts network calls, which no sampler exceeds: Heun's method has half as many steps. GE uses the paper's \
schedule, DDIM the paper's baseline, PNDM diffusers' `leading` spacing, the others `trailing`; --schedule replaces \
them all. The ablation is the paper's: DDIM in 10 steps on each schedule. Frechet distances are comparable only \
between equal numbers of images; the row `data` is the score of as many real images.";

/// The samplers without a preset.
const USUAL: &str = "ge,ddim,dpm++2m,deis,unipc,pndm";

/// Compare samplers at equal network calls: Frechet distance, sliced Wasserstein distance, time
#[derive(Debug, clap::Args)]
#[command(after_long_help = help(HELP, FILES))]
pub struct Args {
    #[command(flatten)]
    cells: CellArgs,

    /// Names from `downhill sample --sampler list`, separated by commas, or `all`
    ///
    /// Usually ge,ddim,dpm++2m,deis,unipc,pndm, or those of the preset.
    #[arg(long, value_name = "NAMES")]
    samplers: Option<String>,

    /// Numbers of network calls, separated by commas: usually 5,10, or those of the preset
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = cells::calls)]
    steps: Option<Vec<usize>>,

    /// Images per seed and cell: usually 96, or those of the preset
    #[arg(short = 'n', long, value_name = "N", value_parser = cells::count)]
    count: Option<usize>,

    /// The settings of a published table: permenter-cifar10, permenter-celeba, permenter-coco
    #[arg(long, value_name = "NAME", conflicts_with = "schedule")]
    preset: Option<String>,

    #[command(flatten)]
    shard: CellShardArgs,

    /// One schedule for all samplers, instead of the usual one of each
    #[arg(long, value_parser = crate::cli::args::schedule_kind(), value_name = "SCHEDULE")]
    schedule: Option<ScheduleKind>,

    /// Adds Analytic-DDIM, by the variances that `downhill inspect variances` writes
    #[arg(long, value_name = "FILE")]
    variances: Option<PathBuf>,

    /// Omit the ablation of schedules
    #[arg(long)]
    no_ablation: bool,

    #[command(flatten)]
    texts: CaptionArgs,

    #[command(flatten)]
    output: OutputArgs,
}

impl Study for Args {
    const NAME: &'static str = "inspect compare";
    const FILES: &'static [File] = FILES;

    fn folder(&self) -> Option<&Path> {
        Some(&self.output.output)
    }

    fn measure(&self, run: &mut StudyRun) -> Result<Results> {
        let preset = self.preset.as_deref().map(str::parse::<Preset>).transpose()?;
        if preset.is_some() && self.cells.features.file.is_none() {
            let what = "`--preset` needs the features of InceptionV3";
            return Err(Error::argument(what, "give the file of its weights by `--features`"));
        }
        if preset == Some(Preset::Coco) && !self.texts.is_given() {
            let what = "`--preset permenter-coco` is of images from texts";
            return Err(Error::argument(what, "give a caption per line by `--captions FILE`"));
        }
        let samplers = self.samplers(preset)?;
        let steps = self.steps.clone().unwrap_or_else(|| preset.map_or_else(|| vec![5, 10], Preset::calls));
        let count = self.count.unwrap_or_else(|| preset.map_or(96, Preset::images));
        cells::distinct(&samplers, "samplers")?;
        cells::distinct(&steps, "steps")?;
        let lines = self.lines(preset, &samplers, &steps)?;
        let captioned = self.texts.read(count, preset.and_then(Preset::guidance))?;
        for text in preset.iter().flat_map(|preset| preset.says()) {
            run.console.note(&text);
        }
        let images = Images { count, seeds: self.cells.seeds, first_seed: self.output.seed };
        let all = cells(&lines, &images)?;
        let image_shape = preset.and_then(Preset::image_shape);
        let captioned = captioned.as_ref();
        let shard = self.shard.resolve(run)?;
        let wanted = Wanted { cells: &all, count, shard, image_shape, captioned };
        let measured = cells::measure(run, &self.cells, &self.output, wanted)?;
        if let Some(preset) = preset {
            run.report.set("preset", json!({ "name": preset.name(), "settings": preset.says() }));
        }
        Ok(measured.map_or_else(Results::unfinished, |measured| results(&lines, &measured, &images)))
    }
}

impl Args {
    fn samplers(&self, preset: Option<Preset>) -> Result<Vec<Sampler>> {
        let list = match (self.samplers.as_deref(), preset) {
            (None, Some(preset)) => return Ok(preset.samplers()),
            (Some("all"), _) => return Ok(Sampler::ALL.to_vec()),
            (list, _) => list.unwrap_or(USUAL),
        };
        list.split(',')
            .map(|name| cells::sampler(name.trim()))
            .collect::<std::result::Result<_, _>>()
            .map_err(|names| Error::argument(format!("`--samplers {list}`"), names))
    }

    /// The lines of the tables.
    fn lines(&self, preset: Option<Preset>, samplers: &[Sampler], steps: &[usize]) -> Result<Vec<Line>> {
        let mut all = match preset {
            Some(preset) => preset.lines(samplers, steps)?,
            None => lines(samplers, steps, self.schedule),
        };
        if let Some(file) = &self.variances {
            all.extend(analytic_lines(steps, &Arc::new(stream::read(file, Variances::read)?)));
        }
        match preset {
            _ if self.no_ablation => {}
            Some(preset) => all.extend(preset.ablation(steps)?),
            None => all.extend(ablation()),
        }
        Ok(all)
    }
}
