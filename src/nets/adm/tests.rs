//! Published configurations, refused fields, refused sizes.

use std::path::Path;

use serde_json::{Value, json};

use super::{AdmUNet, Config};
use crate::error::Result;
use crate::nets::architecture::{Architecture, CallSize, LabelInput};

fn read(config: &Value) -> Result<AdmUNet> {
    let map = config.as_object().expect("an object");
    Config::from_map(map, Path::new("config.json")).map(AdmUNet::new)
}

/// The network of `ImageNet` at 256 x 256 (README.md of openai/guided-diffusion).
fn imagenet_256() -> Value {
    json!({
        "_class_name": "AdmUNetModel", "image_size": 256, "in_channels": 3, "out_channels": 6, "model_channels": 256,
        "num_res_blocks": 2, "attention_resolutions": [8, 16, 32], "channel_mult": [1, 1, 2, 2, 4, 4],
        "num_classes": 1000, "num_head_channels": 64, "use_scale_shift_norm": true, "resblock_updown": true
    })
}

#[test]
fn published_networks_have_their_parameters() {
    // The sizes in appendix A of the paper: 296 M at 64, 422 M at 128, 554 M at 256, 559 M at 512.
    let net = read(&imagenet_256()).unwrap();
    assert_eq!(net.parameters() / 1_000_000, 553);
    assert!(net.learns_variance() && net.is_denoiser());
    assert_eq!((net.sample_size(), net.size_multiple()), (Some((256, 256)), 32));
    assert_eq!(net.labels(), LabelInput::Numbers { classes: Some(1000), null: None });
    let others = [
        (json!({ "channel_mult": [0.5, 1, 1, 2, 2, 4, 4], "attention_resolutions": [16, 32, 64] }), 558),
        (json!({ "channel_mult": [1, 1, 2, 3, 4], "attention_resolutions": [4, 8, 16] }), 421),
        (
            json!({
                "channel_mult": [1, 2, 3, 4], "attention_resolutions": [2, 4, 8], "model_channels": 192,
                "num_res_blocks": 3, "use_new_attention_order": true
            }),
            295,
        ),
    ];
    for (changes, millions) in others {
        let mut config = imagenet_256();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_eq!(read(&config).unwrap().parameters() / 1_000_000, millions, "{changes}");
    }
}

#[test]
fn fields_that_do_not_fit_are_refused_by_name() {
    let cases = [
        (json!({ "channel_mult": [] }), "`channel_mult` has 0 entries"),
        (json!({ "channel_mult": [1e9] }), "`channel_mult` has 1000000000"),
        (json!({ "channel_mult": [0.3] }), "not 32 equal groups"),
        (json!({ "model_channels": 255 }), "`model_channels` is 255, and must be even"),
        (json!({ "num_head_channels": 48 }), "do not divide"),
        (json!({ "num_head_channels": 0 }), "`num_head_channels` is 0"),
        (json!({ "num_head_channels": -1, "num_heads": 3 }), "do not divide"),
        (json!({ "dims": 3 }), "`dims` is 3"),
        (json!({ "use_spatial_transformer": true }), "`use_spatial_transformer` is true"),
    ];
    for (changes, message) in cases {
        let mut config = imagenet_256();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let error = read(&config).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn sizes_are_multiples_of_what_the_levels_halve() {
    let net = read(&imagenet_256()).unwrap();
    assert!(net.check(CallSize::images(1, (64, 96))).is_ok());
    assert!(net.check(CallSize::images(1, (64, 80))).is_err());
    assert!(net.check(CallSize::images(0, (64, 64))).is_err());
}
