//! The metadata of an image: everything that determines its pixels, and nothing else, so that the same image is the
//! same file in any batch and shard.

use super::open::Kind;
use super::resolve::ModelRun;
use super::text_run::TextGuidance;
use crate::noise::Generator;
use crate::sample::schedule::{Level, Schedule};

/// Pairs of a keyword and a text, one for each chunk of a PNG.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(Vec<(String, String)>);

impl Metadata {
    /// The pairs.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The same and one more pair.
    #[must_use]
    pub fn with(&self, keyword: &str, text: impl Into<String>) -> Self {
        let mut pairs = self.0.clone();
        pairs.push((keyword.to_owned(), text.into()));
        Self(pairs)
    }

    /// The same with another text for a keyword that is there.
    #[must_use]
    pub fn replaced(&self, keyword: &str, text: impl Into<String>) -> Self {
        let mut pairs = self.0.clone();
        let text = text.into();
        pairs.iter_mut().filter(|(known, _)| known == keyword).for_each(|(_, old)| old.clone_from(&text));
        Self(pairs)
    }

    /// Adds the index of an image.
    #[must_use]
    pub fn of_image(&self, index: usize) -> Self {
        self.with("image", index.to_string())
    }

    /// Adds the indices of the images in a grid.
    #[must_use]
    pub fn of_grid(&self, images: &[usize]) -> Self {
        let text = match images {
            [] => String::new(),
            [one] => one.to_string(),
            [first, second, ..] => match (images[images.len() - 1], second - first) {
                (last, 1) => format!("{first} to {last}"),
                (last, stride) => format!("{first} to {last}, every {stride}"),
            },
        };
        self.with("images", text)
    }
}

impl ModelRun<'_> {
    /// The metadata that all images of the run share. `start` is the start in words; `arithmetic` says by keyword how
    /// the network is computed, where that is not as usual.
    #[must_use]
    pub fn metadata(&self, start: &str, arithmetic: &[(&str, String)]) -> Metadata {
        let run = &self.run;
        let mut pairs = vec![
            ("Software", format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))),
            ("model", self.model.name().to_owned()),
            ("size", format!("{}x{}", self.size.0, self.size.1)),
            ("seed", run.seed.to_string()),
            ("rng", run.generator.to_string()),
            ("start", start.to_owned()),
            ("sampler", self.sampler.name().to_owned()),
        ];
        pairs.extend(self.model.loras().iter().map(|lora| ("lora", format!("{lora} sha256:{}", lora.sha256))));
        for embedding in self.model.embeddings() {
            let name = embedding.path.file_name().unwrap_or_default().to_string_lossy();
            pairs.push(("embedding", format!("{} from {name} sha256:{}", embedding.token, embedding.sha256)));
        }
        if let Kind::Latent(latent) = self.model.kind() {
            pairs.extend(latent.replaced.0.clone().map(|name| ("vae", name)));
        }
        if let Some(text) = &self.text {
            pairs.extend([
                ("prompt", text.prompt.text.clone()),
                ("negative prompt", text.prompt.negative.clone().unwrap_or_default()),
                ("guidance scale", text.scale.to_string()),
            ]);
            let styles = [("prompt weights", text.style.weights), ("long prompts", text.style.long)];
            pairs.extend(styles.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| (name, "on".to_owned())));
            if text.guidance == TextGuidance::Both && text.tokens.negative.is_none() {
                pairs.push(("negative embeddings", "zeros".to_owned()));
            }
            if text.clip_skip > 0 {
                pairs.push(("clip skip", text.clip_skip.to_string()));
            }
            if let Some([height, width, top, left, target_height, target_width]) = text.time_ids {
                pairs.extend([
                    ("original size", format!("{height}x{width}")),
                    ("crop", format!("{top},{left}")),
                    ("target size", format!("{target_height}x{target_width}")),
                ]);
            }
        }
        if let Some(labels) = &self.labels {
            let list: Vec<String> = labels.labels.iter().map(ToString::to_string).collect();
            pairs.extend([("class labels", list.join(",")), ("guidance scale", labels.scale.to_string())]);
        }
        if let Some(guidance) = &self.classifier {
            if self.labels.is_none() {
                let list: Vec<String> = guidance.labels.labels.iter().map(ToString::to_string).collect();
                pairs.push(("class labels", list.join(",")));
            }
            pairs.extend(guidance.pairs());
        }
        pairs.extend(self.rule.pairs());
        pairs.extend(self.settings.strength.map(|strength| ("strength", strength.to_string())));
        if let (Some(sigma), Some(jump)) = (self.settings.analytic_start, &run.jump) {
            pairs.extend([("analytic start", sigma.to_string()), ("analytic data", jump.data.clone())]);
        }
        if let Some(picture) = &self.options.picture {
            pairs.push(("init image sha256", picture.sha256().to_owned()));
        }
        if let Some(masking) = &self.masking {
            pairs.extend(masking.pairs(matches!(self.model.kind(), Kind::Latent(_))));
        }
        pairs.extend(run.method.solver.settings());
        // With a strength, the number that gives the same levels again: `strength` takes its share of it.
        let steps = if self.settings.strength.is_some() { self.asked } else { run.schedule.steps().len() };
        pairs.extend([
            ("clip", run.method.clip.map_or("none".to_owned(), |clip| clip.bound.to_string())),
            ("schedule", self.schedule_name().to_owned()),
            ("steps", steps.to_string()),
            ("sigmas", list(&run.schedule, |level| Some(level.sigma))),
        ]);
        let timesteps = list(&run.schedule, |level| level.timestep);
        if !timesteps.is_empty() {
            pairs.push(("timesteps", timesteps));
        }
        pairs.extend_from_slice(arithmetic);
        if run.generator == Generator::Torch {
            // Torch draws all images at once, so their number decides what each gets.
            pairs.push(("count", run.count.to_string()));
        }
        Metadata(pairs.into_iter().map(|(keyword, text)| (keyword.to_owned(), text)).collect())
    }

    /// The kind of the schedule by name, or the kind of levels that were listed.
    #[must_use]
    pub fn schedule_name(&self) -> &'static str {
        match (&self.settings.timesteps, self.kind) {
            (_, Some(kind)) => kind.name(),
            (Some(_), None) => "explicit timesteps",
            (None, None) => "explicit sigmas",
        }
    }
}

fn list(schedule: &Schedule, number: impl Fn(&Level) -> Option<f64>) -> String {
    let numbers: Vec<String> = schedule.levels().iter().filter_map(number).map(|number| number.to_string()).collect();
    numbers.join(",")
}
