//! Models, plans and adapters as JSON for reports, and in words.

use serde_json::{Value, json};

use super::{Algorithms, Kind, LatentModel, Model, NetworkModel, Origin, Source};
use crate::checkpoint::{Component, ConfigFile, Weights};
use crate::gpu::Described;
use crate::graph::Footprint;
use crate::kernels::Family;

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
    let text_encoder = match &latent.source {
        Source::Text(source) => of_files(&source.files),
        Source::Labels => Value::Null,
    };
    json!({
        "name": latent.network.name,
        "class": latent.class,
        latent.component: component(&latent.network.config, &latent.network.weights),
        "text_encoder": text_encoder,
        "vae": of_files(&latent.autoencoder_files),
        "scheduler": latent.network.scheduler.class_name,
    })
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
