use std::path::Path;

use serde_json::{Value as Json, json};

use super::*;
use crate::error::Error;
use crate::graph::op::{Attention, Op};

/// A small network of two levels, with these fields changed.
fn config(changes: Json) -> Result<Config> {
    let mut fields = json!({
        "_class_name": "AutoencoderKL",
        "block_out_channels": [4, 8],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        "norm_num_groups": 2,
    });
    let (Json::Object(fields), Json::Object(changes)) = (&mut fields, changes) else { unreachable!() };
    fields.extend(changes);
    Config::from_map(fields, Path::new("config.json"))
}

fn network(changes: Json) -> AutoencoderKl {
    AutoencoderKl::new(config(changes).unwrap())
}

/// The autoencoder of Stable Diffusion 1 and 2.
fn published() -> AutoencoderKl {
    network(json!({
        "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 512,
        "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
    }))
}

#[test]
fn an_empty_configuration_is_the_class_default() {
    let config = Config::from_map(&serde_json::Map::new(), Path::new("config.json")).unwrap();
    assert_eq!((config.factor(), config.block_out_channels.as_slice()), (1, [64].as_slice()));
    assert_eq!(config.raw_of_scaled(0), (1.0 / 0.18215, 0.0));
    let config = self::config(json!({
        "scaling_factor": 0.5, "shift_factor": 0.25, "latent_channels": 2,
        "latents_mean": [1.0, 2.0], "latents_std": [3.0, 4.0],
    }))
    .unwrap();
    assert_eq!(config.raw_of_scaled(1), (8.0, 2.25));
}

#[test]
fn the_published_network_has_its_published_size() {
    let network = published();
    assert_eq!(network.parameters(), 83_653_863);
    assert_eq!(network.config().factor(), 8);
    let decoder = network.decoder(1, (64, 64)).unwrap();
    assert_eq!(decoder.shape(decoder.outputs[0].1), Shape::new(1, 512, 512, 3));
    let encoder = network.encoder(2, (512, 256)).unwrap();
    assert_eq!(encoder.shape(encoder.outputs[0].1), Shape::new(2, 64, 32, 8));
    // Counted by PyTorch's `FlopCounterMode` on the diffusers network.
    assert_eq!(decoder.flops(), 2_514_518_933_504);
    assert_eq!(network.encoder(1, (512, 512)).unwrap().flops(), 1_116_658_466_816);
}

#[test]
fn attention_has_one_head_over_all_channels() {
    let graph = network(json!({})).decoder(1, (3, 5)).unwrap();
    let heads = graph.nodes.iter().filter_map(|node| match node.op {
        Op::Attention(Attention { heads, head_dim, .. }) => Some((heads, head_dim)),
        _ => None,
    });
    assert_eq!(heads.collect::<Vec<_>>(), [(1, 8)]);
    let plain = network(json!({"mid_block_add_attention": false})).decoder(1, (3, 5)).unwrap();
    assert!(!plain.nodes.iter().any(|node| matches!(node.op, Op::Attention(_))));
}

#[test]
fn values_without_an_implementation_are_named() {
    let cases = [
        (json!({"down_block_types": ["DownEncoderBlock2D", "DownBlock2D"]}), "down_block_types", "\"DownBlock2D\""),
        (json!({"up_block_types": ["MidBlock2D", "UpDecoderBlock2D"]}), "up_block_types", "\"MidBlock2D\""),
        (json!({"act_fn": "tanh"}), "act_fn", "\"tanh\""),
        (json!({"norm_type": "spatial"}), "norm_type", "\"spatial\""),
    ];
    for (changes, field, value) in cases {
        match config(changes) {
            Err(Error::UnsupportedField { file, field: named, value: found, supported }) => {
                assert_eq!((file.as_path(), named.as_str(), found.as_str()), (Path::new("config.json"), field, value));
                assert!(!supported.is_empty());
            }
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn contradictions_name_the_fields() {
    let cases: [(Json, &[&str]); 10] = [
        (json!({"down_block_types": ["DownEncoderBlock2D"]}), &["down_block_types", "block_out_channels"]),
        (json!({"up_block_types": ["UpDecoderBlock2D"]}), &["up_block_types", "block_out_channels"]),
        (json!({"norm_num_groups": 3}), &["norm_num_groups", "block_out_channels"]),
        (json!({"block_out_channels": []}), &["block_out_channels"]),
        (json!({"latent_channels": 0}), &["latent_channels"]),
        (json!({"scaling_factor": 0}), &["scaling_factor"]),
        (json!({"latents_mean": [1.0]}), &["latents_mean", "latent_channels"]),
        (json!({"latents_std": [1.0, 1.0, 0.0, 1.0]}), &["latents_std"]),
        (json!({"use_quant_conv": "yes"}), &["use_quant_conv"]),
        (json!({"sample_size": [512, 0]}), &["sample_size"]),
    ];
    for (changes, fields) in cases {
        match config(changes) {
            Err(Error::BadFile { file, what, .. }) => {
                assert_eq!(file, Path::new("config.json"));
                for field in fields {
                    assert!(what.contains(field), "`{field}` is not in: {what}");
                }
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    }
}

#[test]
fn sizes_that_cannot_be_halved_are_refused() {
    let network = network(json!({}));
    network.encoder(1, (6, 10)).unwrap();
    for size in [(7, 8), (8, 7), (0, 8)] {
        let error = network.encoder(1, size).unwrap_err();
        assert_eq!(
            (error.kind(), error.hint().as_deref()),
            (crate::ErrorKind::Argument, Some("height and width must be multiples of 2"))
        );
    }
    assert_eq!(network.decoder(1, (0, 3)).unwrap_err().kind(), crate::ErrorKind::Argument);
    assert_eq!(network.decoder(0, (3, 3)).unwrap_err().kind(), crate::ErrorKind::Argument);
}
