use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::ErrorKind;

/// The `transformer/config.json` of `facebook/DiT-XL-2-256`, without its notes.
fn published() -> Value {
    json!({
        "_class_name": "Transformer2DModel", "activation_fn": "gelu-approximate", "attention_bias": true,
        "attention_head_dim": 72, "cross_attention_dim": null, "dropout": 0.0, "in_channels": 4,
        "norm_elementwise_affine": false, "norm_num_groups": 32, "norm_type": "ada_norm_zero",
        "num_attention_heads": 16, "num_embeds_ada_norm": 1000, "num_layers": 28, "num_vector_embeds": null,
        "only_cross_attention": false, "out_channels": 8, "patch_size": 2, "sample_size": 32,
        "upcast_attention": false, "use_linear_projection": false,
    })
}

fn read(config: &Value) -> Result<DitTransformer2d> {
    DitTransformer2d::read(&ConfigFile::parse("config.json", config.to_string().as_bytes())?)
}

/// A configuration of a small network, with these fields changed.
fn small(changes: Value) -> Result<Config> {
    let mut fields = json!({ "num_attention_heads": 3, "attention_head_dim": 4, "num_layers": 2, "sample_size": 8 });
    let (Value::Object(fields), Value::Object(changes)) = (&mut fields, changes) else { unreachable!() };
    fields.extend(changes);
    Config::from_map(fields, Path::new("config.json"))
}

#[test]
fn the_published_configuration_is_that_of_the_class_defaults() {
    let published = read(&published()).unwrap();
    let defaults = read(&json!({ "_class_name": "DiTTransformer2DModel", "out_channels": 8 })).unwrap();
    assert_eq!(published, defaults);
    assert!(published.learns_variance() && published.is_denoiser());
    // 256 tokens of 1152 channels: 118.6 GFLOP of multiply-adds count two each in "DiT-XL/2, 118.64 Gflops" of the
    // paper.
    let gflop = published.graph(CallSize::images(1, (32, 32))).unwrap().flops() as f64 / 2e9;
    assert!((118.0..120.5).contains(&gflop), "{gflop}");
}

#[test]
fn a_transformer_of_another_form_is_refused_by_its_field() {
    let forms = [
        ("norm_type", json!("layer_norm")),
        ("norm_type", json!("ada_norm_single")),
        ("cross_attention_dim", json!(768)),
        ("num_vector_embeds", json!(4096)),
        ("only_cross_attention", json!(true)),
        ("activation_fn", json!("geglu-approximate")),
        ("caption_channels", json!(4096)),
        ("something_new", json!(1)),
    ];
    for (field, value) in forms {
        let mut config = published();
        config[field] = value;
        match read(&config).unwrap_err() {
            crate::Error::UnsupportedField { field: named, .. } => assert_eq!(named, field),
            other => panic!("{field}: {other}"),
        }
    }
}

#[test]
fn values_that_make_no_network_are_refused() {
    for (changes, named) in [
        (json!({ "attention_head_dim": 3 }), "attention_head_dim"),
        (json!({ "patch_size": 9 }), "patch_size"),
        (json!({ "patch_size": 0 }), "patch_size"),
        (json!({ "norm_eps": -1.0 }), "norm_eps"),
        (json!({ "num_embeds_ada_norm": null }), "num_embeds_ada_norm"),
    ] {
        let error = small(changes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::File);
        assert!(error.to_string().contains(named), "{error}");
    }
    let mut config = published();
    config["patch_size"] = Value::Null;
    assert!(read(&config).unwrap_err().to_string().contains("`patch_size` is not given"));
}

#[test]
fn sides_are_multiples_of_a_patch() {
    let net = DitTransformer2d::new(small(json!({})).unwrap());
    net.graph(CallSize::images(1, (2, 6))).unwrap();
    for size in [(3, 4), (4, 0)] {
        let error = net.graph(CallSize::images(1, size)).unwrap_err();
        assert!(error.hint().unwrap().contains("multiples of 2"), "{error}");
    }
}

#[test]
fn the_position_embedding_is_that_of_diffusers() {
    // Columns first: get_2d_sincos_pos_embed(8, (2, 3), base_size=3)[4], of row 1 and column 1.
    let values = positions::embedding(8, (2, 3), 3);
    let at = |channel: usize| values[channel * 6 + 4];
    let expected = [1f64.sin(), 0.01f64.sin(), 1f64.cos(), 0.01f64.cos(), 1.5f64.sin(), 0.015f64.sin()];
    for (channel, expected) in expected.into_iter().enumerate() {
        assert!((f64::from(at(channel)) - expected).abs() < 1e-7, "channel {channel}");
    }
}
