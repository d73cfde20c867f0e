//! The metadata of a PNG: everything that determines its pixels, and nothing else, so that the same image is the same
//! file in any batch and shard.

use super::job::Job;
use crate::cli::args::Dtype;
use crate::noise::Generator;
use crate::sample::schedule::{Level, Schedule};

/// Keyword and text of each chunk.
pub type Metadata = Vec<(String, String)>;

/// Returns what all images of a run share.
pub fn of_run(job: &Job) -> Metadata {
    let (model_run, run) = (&job.run, &job.run.run);
    let mut pairs = vec![
        ("Software", format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))),
        ("model", job.name.clone()),
        ("size", format!("{}x{}", model_run.size.0, model_run.size.1)),
        ("seed", run.seed.to_string()),
        ("rng", run.generator.to_string()),
        ("start", job.start.to_string()),
        ("sampler", model_run.sampler.name().to_owned()),
    ];
    if let Some(text) = &model_run.text {
        pairs.extend([
            ("prompt", text.prompt.text.clone()),
            ("negative prompt", text.prompt.negative.clone()),
            ("guidance scale", text.scale.to_string()),
        ]);
    }
    if let Some(labels) = &model_run.labels {
        let list: Vec<String> = labels.labels.iter().map(ToString::to_string).collect();
        pairs.extend([("class labels", list.join(",")), ("guidance scale", labels.scale.to_string())]);
    }
    pairs.extend(model_run.settings.strength.map(|strength| ("strength", strength.to_string())));
    pairs.extend(run.method.solver.settings());
    pairs.extend([
        ("clip", run.method.clip.map_or("none".to_owned(), |clip| clip.range.to_string())),
        ("schedule", schedule_name(job)),
        ("steps", run.schedule.steps().len().to_string()),
        ("sigmas", list(&run.schedule, |level| Some(level.sigma))),
    ]);
    let timesteps = list(&run.schedule, |level| level.timestep);
    if !timesteps.is_empty() {
        pairs.push(("timesteps", timesteps));
    }
    if job.dtype != Dtype::F32 {
        pairs.push(("dtype", name_of(&job.dtype)));
    }
    pairs.extend(job.arithmetic.iter().map(|(keyword, text)| (*keyword, (*text).to_owned())));
    if run.generator == Generator::Torch {
        // Torch draws all images at once, so their number decides what each gets.
        pairs.push(("count", run.count.to_string()));
    }
    pairs.into_iter().map(|(keyword, text)| (keyword.to_owned(), text)).collect()
}

/// Adds the index of one image.
pub fn of_image(shared: &Metadata, index: usize) -> Metadata {
    with(shared, "image", index.to_string())
}

/// Adds the indices of the images in a grid.
pub fn of_grid(shared: &Metadata, images: &[usize]) -> Metadata {
    let text = match images {
        [] => String::new(),
        [one] => one.to_string(),
        [first, second, ..] => match (images[images.len() - 1], second - first) {
            (last, 1) => format!("{first} to {last}"),
            (last, stride) => format!("{first} to {last}, every {stride}"),
        },
    };
    with(shared, "images", text)
}

/// `shared` and one more.
pub fn with(shared: &Metadata, keyword: &str, text: String) -> Metadata {
    let mut pairs = shared.clone();
    pairs.push((keyword.to_owned(), text));
    pairs
}

/// The kind of schedule by its name on the command line.
pub fn schedule_name(job: &Job) -> String {
    match (&job.run.settings.timesteps, job.run.kind) {
        (_, Some(kind)) => kind.name().to_owned(),
        (Some(_), None) => "explicit timesteps".to_owned(),
        (None, None) => "explicit sigmas".to_owned(),
    }
}

/// The name of a value as the command line has it.
fn name_of(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn list(schedule: &Schedule, number: impl Fn(&Level) -> Option<f64>) -> String {
    let numbers: Vec<String> = schedule.levels().iter().filter_map(number).map(|number| number.to_string()).collect();
    numbers.join(",")
}
