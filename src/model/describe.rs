//! Models, plans and adapters as JSON for reports, and in words.

use serde_json::{Map, Value, json};

use super::{Algorithms, Embedding, Facts, Kind, LatentModel, Model, ModelRun, NETWORK, NetworkModel, Origin, Source};
use crate::checkpoint::{Component, ConfigFile, Merged, Weights};
use crate::denoise::{Evaluations, GuidanceRule};
use crate::gpu::Described;
use crate::graph::Footprint;
use crate::kernels::Family;
use crate::sample::schedule::Level;
use crate::sample::walk::{Bound, Clip};

/// Returns a model for a report.
#[must_use]
pub fn model_json(model: &Model) -> Value {
    match model.kind() {
        Kind::Network(network) => network_json(network),
        Kind::Latent(latent) => latent_json(latent),
        Kind::ClosedForm(form) => form.json(),
    }
}

/// Returns a network for a report.
#[must_use]
pub fn network_json(network: &NetworkModel) -> Value {
    json!({
        "name": network.name,
        "class": network.config.class_name().ok(),
        "config": network.config.path.display().to_string(),
        "weights": network.weights.path().display().to_string(),
        "family": network.weights.origin().map(|origin| origin.family.as_str()),
        "parameters": network.weights.parameters(),
        "stored_bytes": network.weights.bytes(),
        "scheduler": network.scheduler_file.as_ref().map(|file| file.path.display().to_string()),
    })
}

fn latent_json(latent: &LatentModel) -> Value {
    let component = |config: &ConfigFile, weights: &Weights| {
        json!({
            "config": config.path.display().to_string(),
            "weights": weights.path().display().to_string(),
            "parameters": weights.parameters(),
            "stored_bytes": weights.bytes(),
        })
    };
    let of_files = |files: &Component| component(&files.config, &files.weights);
    let mut about = json!({
        "name": latent.network.name,
        "class": latent.class,
        "family": latent.network.weights.origin().map(|origin| origin.family.as_str()),
        latent.component: component(&latent.network.config, &latent.network.weights),
        "text_encoder": null,
        "vae": of_files(&latent.autoencoder_files),
        "preview_vae": latent.preview.as_ref().map(|(_, files)| of_files(files)),
        "scheduler": latent.network.scheduler.class_name,
    });
    if let Source::Text(source) = &latent.source {
        source.parts.iter().for_each(|part| about[part.name] = of_files(&part.files));
    }
    about
}

/// Returns a run for a report, by section.
#[must_use]
pub fn run_sections(model_run: &ModelRun) -> Vec<(&'static str, Value)> {
    let run = &model_run.run;
    let level = |level: &Level| json!({ "timestep": level.timestep, "sigma": level.sigma });
    let levels: Vec<Value> = run.schedule.levels().iter().map(level).collect();
    let clip = run.method.clip.map(|Clip { bound, rederive_eps }| match bound {
        Bound::Range(range) => json!({ "range": range, "rederive_eps": rederive_eps }),
        Bound::Quantile { share, most } => json!({ "quantile": share, "most": most, "rederive_eps": rederive_eps }),
    });
    // Numbers as numbers: `1`, `0.5`, `true` are JSON as they stand.
    let value = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
    let settings = run.method.solver.settings().into_iter();
    let mut method: Map<String, Value> = settings.map(|(name, text)| (name.to_owned(), value(text))).collect();
    method.insert("sampler".to_owned(), model_run.sampler.name().into());
    method.insert("clip".to_owned(), json!(clip));
    let schedule = json!({
        "name": model_run.schedule_name(),
        "steps": run.schedule.steps().len(),
        "scale": run.schedule.scale(),
        "levels": levels,
    });
    let mut sections = vec![
        ("model", model_json(&model_run.model)),
        ("seed", run.seed.into()),
        ("rng", run.generator.to_string().into()),
        ("count", run.count.into()),
        ("size", json!([model_run.size.0, model_run.size.1])),
        ("asked", json!(model_run.settings)),
        ("method", method.into()),
        ("schedule", schedule),
    ];
    if let Some(picture) = &model_run.options.picture {
        let (height, width) = picture.size();
        let file = picture.file().display().to_string();
        sections.push(("init_image", json!({ "file": file, "sha256": picture.sha256(), "size": [height, width] })));
    }
    sections.extend(model_run.masking.as_ref().map(|masking| ("mask", masking.json())));
    if !model_run.model.loras().is_empty() {
        sections.push(("loras", model_run.model.loras().iter().map(lora_json).collect()));
    }
    if !model_run.model.embeddings().is_empty() {
        let one = |embedding: &Embedding| {
            json!({
                "file": embedding.path.display().to_string(),
                "token": embedding.token,
                "vectors": embedding.vectors,
                "sha256": embedding.sha256,
            })
        };
        sections.push(("embeddings", model_run.model.embeddings().iter().map(one).collect()));
    }
    if let Some(labels) = &model_run.labels {
        sections.push(("class_labels", json!({ "labels": labels.labels, "guidance_scale": labels.scale })));
    }
    sections.extend(model_run.classifier.as_ref().map(|guidance| ("classifier", guidance.json())));
    sections.extend(guidance_json(model_run.rule, None).map(|guidance| ("guidance", guidance)));
    sections
}

/// Returns a form of guidance for a report, with the images that a network was called on; `None` for plain guidance.
#[must_use]
pub fn guidance_json(rule: GuidanceRule, evaluations: Option<Evaluations>) -> Option<Value> {
    let mut about = (!rule.is_plain()).then(|| rule.json())?;
    about["evaluations"] = json!(evaluations);
    Some(about)
}

/// Returns a LoRA that was merged for a report.
fn lora_json(lora: &Merged) -> Value {
    let modules = lora.modules.iter().map(|(part, count)| (part.to_string(), (*count).into()));
    json!({
        "file": lora.path.display().to_string(),
        "weight": lora.weight,
        "sha256": lora.sha256,
        "modules": modules.collect::<Map<String, Value>>(),
    })
}

/// Returns the footprints of a run for a report: that of its network, or one per component of a pipeline; `peak` is the
/// most memory that the device held.
#[must_use]
pub fn memory_json(facts: &Facts, peak: u64) -> Value {
    let mut memory = match &facts.parts[..] {
        [network] if network.name == NETWORK => footprint_json(&network.footprint, Some(peak)),
        parts => parts.iter().map(|part| (part.name.to_owned(), footprint_json(&part.footprint, None))).collect(),
    };
    memory["peak_bytes"] = peak.into();
    memory
}

/// Returns algorithms for a report.
#[must_use]
pub fn algorithms_json(algorithms: &Algorithms) -> Value {
    let counts: serde_json::Map<_, _> =
        algorithms.convolutions.iter().map(|(algorithm, count)| (algorithm.to_string(), (*count).into())).collect();
    match algorithms.origin {
        Origin::Forced => json!({ "origin": "exact", "convolutions": counts }),
        Origin::Prior => json!({ "origin": "prior", "convolutions": counts }),
        Origin::Measured { measured, layers } => json!({
            "origin": "cache", "measured_layers": measured, "layers": layers, "convolutions": counts,
        }),
    }
}

/// Returns a footprint for a report; `peak` is the most memory that the device held, if one was used.
#[must_use]
pub fn footprint_json(footprint: &Footprint, peak: Option<u64>) -> Value {
    json!({
        "dtype": footprint.dtype.to_string(),
        "weights_bytes": footprint.weights,
        "arena_bytes": footprint.arena,
        "arena_lower_bound_bytes": footprint.lower_bound,
        "planned_bytes": footprint.allocated,
        "peak_bytes": peak,
        "peak_over_lower_bound": footprint.over_least(peak.unwrap_or(footprint.allocated)),
    })
}

/// Returns the kernels in words.
#[must_use]
pub fn family_text(family: Family) -> String {
    match family {
        Family::Tile => "tile kernels".to_owned(),
        Family::Lanes { width } => format!("lanes kernels, {width} wide"),
        Family::Matrix { width, side } => format!("matrix kernels, tiles of {side} x {side}, subgroups of {width}"),
    }
}

/// Returns an adapter for a report.
#[must_use]
pub fn adapter_json(adapter: &Described) -> Value {
    json!({
        "index": adapter.index,
        "name": adapter.name,
        "backend": adapter.backend,
        "type": adapter.kind.to_string(),
        "driver": adapter.driver,
        "max_binding_bytes": adapter.max_binding_bytes,
        "max_buffer_bytes": adapter.max_buffer_bytes,
        "max_texture_side": adapter.max_texture_side,
        "workgroup_bytes": adapter.workgroup_bytes,
        "subgroup": adapter.subgroup.map(|(least, most)| [least, most]),
        "f16": adapter.f16,
        "matrix": adapter.matrix,
    })
}
