//! What a PNG tells about how it was made: everything that its pixels follow from, and nothing else, so that the same
//! image is the same file in any batch and shard.

use super::job::{Job, Subject};
use super::start::Start;
use crate::cli::args::Dtype;
use crate::noise::Generator;
use crate::sample::schedule::{Level, Schedule};

/// Keyword and text of each chunk.
pub type Metadata = Vec<(String, String)>;

/// What all images of a run share.
pub fn of_run(job: &Job) -> Metadata {
    let mut pairs = vec![
        ("Software", format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))),
        ("model", job.name().to_owned()),
        ("size", format!("{}x{}", job.size.height, job.size.width)),
        ("seed", job.seed.to_string()),
        ("rng", job.generator.to_string()),
        ("start", start_text(&job.start)),
        ("sampler", job.sampler.name().to_owned()),
    ];
    if let Subject::Text { prompt, .. } = &job.subject {
        pairs.extend([
            ("prompt", prompt.text.clone()),
            ("negative prompt", prompt.negative.clone()),
            ("guidance scale", prompt.scale.to_string()),
        ]);
    }
    pairs.extend(job.settings.strength.map(|strength| ("strength", strength.to_string())));
    pairs.extend(job.method.solver.settings());
    pairs.extend([
        ("clip", job.method.clip.map_or("none".to_owned(), |clip| clip.range.to_string())),
        ("schedule", schedule_name(job)),
        ("steps", job.schedule.steps().len().to_string()),
        ("sigmas", list(&job.schedule, |level| Some(level.sigma))),
    ]);
    let timesteps = list(&job.schedule, |level| level.timestep);
    if !timesteps.is_empty() {
        pairs.push(("timesteps", timesteps));
    }
    if job.dtype != Dtype::F32 {
        pairs.push(("dtype", name_of(&job.dtype)));
    }
    pairs.extend(job.arithmetic.iter().map(|(keyword, text)| (*keyword, (*text).to_owned())));
    if job.generator == Generator::Torch {
        // Torch draws all images at once: their number decides what each gets.
        pairs.push(("count", job.count.to_string()));
    }
    pairs.into_iter().map(|(keyword, text)| (keyword.to_owned(), text)).collect()
}

/// What one image adds.
pub fn of_image(shared: &Metadata, index: usize) -> Metadata {
    with(shared, "image", index.to_string())
}

/// What a grid of `images` adds.
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
    let settings = &job.settings;
    match (&settings.timesteps, job.kind) {
        (_, Some(kind)) => kind.name().to_owned(),
        (Some(_), None) => "explicit timesteps".to_owned(),
        (None, None) => "explicit sigmas".to_owned(),
    }
}

fn start_text(start: &Start) -> String {
    let name =
        |file: &std::path::Path| file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match start {
        Start::Seeded => "seeded noise".to_owned(),
        Start::Noise(file, _) => format!("noise from {}", name(file)),
        Start::State(file, _) => format!("state from {}", name(file)),
        Start::Image(file, _, None) => format!("seeded noise over {}", name(file)),
        Start::Image(file, _, Some((noise, _))) => format!("noise from {} over {}", name(noise), name(file)),
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
