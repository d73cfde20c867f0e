//! Single files that hold parts of a model: an autoencoder, or a network without its text encoder.

use std::fmt;

use serde_json::{Value, json};

use super::description::stored;
use crate::checkpoint::{Component, Pipeline};
use crate::error::Result;
use crate::report::columns::Lines;

/// The network that needs a source of contexts and an autoencoder beside it.
const OF_LATENTS: &str = "UNet2DConditionModel";

/// The parts of a model in a single file that is not the whole of it. Its text is one line per fact.
#[derive(Clone, Debug)]
pub struct FileParts {
    /// The name that it was opened by.
    pub name: String,
    /// The parts, by the names that they have in a pipeline.
    pub parts: Vec<(&'static str, Component)>,
}

impl FileParts {
    /// Opens a single file that holds parts of a model: `None` for a whole model, a folder and any other name.
    ///
    /// # Errors
    /// Those of [`Pipeline::find`], but not that nothing has this name.
    pub fn find(name: &str) -> Result<Option<Self>> {
        let Some(pipeline) = Pipeline::find(name)? else { return Ok(None) };
        let parts = pipeline.parts();
        let is_alone = |(name, part): &(&str, Component)| {
            *name == "unet" && part.config.class_name().is_ok_and(|class| class != OF_LATENTS)
        };
        if parts.is_empty() || pipeline.class_name().is_some() || parts.iter().any(is_alone) {
            return Ok(None);
        }
        Ok(Some(Self { name: name.to_owned(), parts }))
    }

    /// The facts for a report.
    #[must_use]
    pub fn json(&self) -> Value {
        let origin = self.parts.first().and_then(|(_, part)| part.weights.origin());
        let of_part = |(name, part): &(&'static str, Component)| {
            let about = json!({
                "class": class(part),
                "parameters": part.weights.parameters(),
                "stored_bytes": part.weights.bytes(),
            });
            ((*name).to_owned(), about)
        };
        json!({
            "name": self.name,
            "family": origin.map(|origin| origin.family.as_str()),
            "layout": origin.map(|origin| origin.layout),
            "parts": self.parts.iter().map(of_part).collect::<serde_json::Map<_, _>>(),
        })
    }
}

impl fmt::Display for FileParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Lines::default();
        lines.add("file", &self.name);
        if let Some(origin) = self.parts.first().and_then(|(_, part)| part.weights.origin()) {
            lines.add("family", &origin.family);
            lines.add("layout", origin.layout);
        }
        for (name, part) in &self.parts {
            lines.add(name, class(part));
            lines.add("  parameters", stored(&part.weights));
        }
        lines.fmt(f)
    }
}

/// The class of a component, in diffusers or in transformers.
fn class(part: &Component) -> &str {
    let of_transformers = || part.config.values.get("architectures")?.get(0)?.as_str();
    part.config.class_name().ok().or_else(of_transformers).unwrap_or("unknown")
}
