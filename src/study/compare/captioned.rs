//! Cells of a model of texts: image i follows caption i.

use std::collections::BTreeSet;
use std::ops::Range;

use web_time::Instant;

use super::{Cell, Made, Missing, Store, named, resolve};
use crate::error::{Error, Result};
use crate::model::{Event, Kind, LatentModel, Model, ModelRun, Session, Source};
use crate::sample::settings::{Course, Settings};
use crate::tensor::Tensor;

/// Texts of images, and the guidance by them.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// One per image.
    pub captions: &'a [String],
    /// The scale s in `eps_u + s (eps_c - eps_u)`; `None` for the default of the pipeline.
    pub guidance: Option<f64>,
}

/// The pipeline of a model of texts.
///
/// # Errors
/// [`Error::Argument`] for another model.
pub fn expect_texts(model: &Model) -> Result<&LatentModel> {
    match model.kind() {
        Kind::Latent(latent) if matches!(latent.source, Source::Text(_)) => Ok(latent),
        Kind::Latent(_) | Kind::Network(_) | Kind::ClosedForm(_) => {
            let what = format!("`{}` does not follow texts, and `captions` are given", model.name());
            Err(Error::argument(what, "open a pipeline from text to images, or omit `captions`"))
        }
    }
}

impl Missing<'_> {
    /// As [`Missing::make`], of a model of texts: image i follows caption i, from the noise of image i of the cell's
    /// seed. One image is sampled at a time. Returns the notes of the runs, such as captions that are cut off.
    ///
    /// # Errors
    /// Those of [`Sampling::resolve`](crate::model::Sampling::resolve), of sampling, of [`Store::keep`] and of `step`.
    pub fn make_captioned(
        self,
        session: &mut Session,
        texts: Texts,
        store: &Store,
        step: &dyn Fn() -> Result<()>,
    ) -> Result<BTreeSet<String>> {
        let mut notes = BTreeSet::new();
        for (cell, range) in &self.parts {
            let course = resolve(cell, &self.network.scheduler, &self.network.table, self.clip)?;
            let runs = range.clone().map(|at| run(session.model(), cell, &course, (at, self.clip), texts));
            let runs = runs.collect::<Result<Vec<_>>>()?;
            notes.extend(runs.iter().flat_map(|run| run.notes.clone()));
            let made = make(session, runs, range, step).map_err(|error| named(error, cell))?;
            let steps = course.schedule.steps().len();
            let made = Made { calls: cell.sampler.spec().calls.of_steps(steps), ..made };
            store.keep(cell, range.start, &made)?;
        }
        Ok(notes)
    }
}

/// The run of one image of a cell.
fn run<'a>(
    model: &Model,
    cell: &Cell,
    course: &Course,
    (at, clip): (usize, bool),
    texts: Texts,
) -> Result<ModelRun<'a>> {
    let caption = texts.captions.get(at).ok_or_else(|| {
        let what = format!("{} captions, and image {at} has none", texts.captions.len());
        Error::argument(what, "give a caption for each image")
    })?;
    let settings = Settings { sampler: Some(cell.sampler), clip: Some(clip), ..Settings::default() };
    let mut sampling =
        model.sampling().settings(settings).count(at + 1).images([at]).seed(cell.seed).batch(1).prompt(caption);
    if let Some(scale) = texts.guidance {
        sampling = sampling.guidance_scale(scale);
    }
    let mut run = sampling.resolve()?;
    run.run.schedule = course.schedule.clone();
    run.run.method = course.method.clone();
    Ok(run)
}

/// Samples the images `range`, a run for each; the calls are counted elsewhere.
fn make(
    session: &mut Session,
    runs: Vec<ModelRun>,
    range: &Range<usize>,
    step: &dyn Fn() -> Result<()>,
) -> Result<Made> {
    session.encode(&runs.iter().collect::<Vec<_>>())?;
    let begun = Instant::now();
    let (mut data, mut shape) = (Vec::new(), [range.len(), 0, 0, 0]);
    for run in runs {
        let observed = run.observe(|event| if matches!(event, Event::Step { .. }) { step() } else { Ok(()) });
        let mut images = session.start(observed)?;
        for batch in &mut images {
            let pixels = batch?.pixels;
            shape[1..].copy_from_slice(&pixels.shape[1..]);
            data.extend(pixels.data);
        }
        session.finish(images);
    }
    Ok(Made { images: Tensor::new(shape, data), calls: 0, seconds: begun.elapsed().as_secs_f64() })
}
