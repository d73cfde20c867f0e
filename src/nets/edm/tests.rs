use serde_json::{Value, json};

use super::*;
use crate::error::Error;

fn read(fields: Value) -> Result<EdmNetwork> {
    let Value::Object(map) = fields else { panic!("an object") };
    Config::from_map(&map, "config.json".as_ref()).map(EdmNetwork::new)
}

/// The networks that `NVlabs` publish for CIFAR-10, and the one for `ImageNet` at 64 x 64.
fn published(name: &str) -> Value {
    let song = |fields: Value| {
        let mut all = json!({
            "_class_name": "EDMPrecond", "model_type": "SongUNet", "img_resolution": 32, "img_channels": 3,
            "label_dim": 0, "use_fp16": false, "augment_dim": 9, "dropout": 0.13, "model_channels": 128,
            "channel_mult": [2, 2, 2],
        });
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        all
    };
    match name {
        "ddpmpp" => song(json!({
            "embedding_type": "positional", "encoder_type": "standard", "decoder_type": "standard",
            "channel_mult_noise": 1, "resample_filter": [1, 1],
        })),
        "ncsnpp" => song(json!({
            "embedding_type": "fourier", "encoder_type": "residual", "decoder_type": "standard",
            "channel_mult_noise": 2, "resample_filter": [1, 3, 3, 1], "label_dim": 10,
        })),
        "adm" => json!({
            "_class_name": "EDMPrecond", "model_type": "DhariwalUNet", "img_resolution": 64, "img_channels": 3,
            "label_dim": 1000, "use_fp16": true, "model_channels": 192, "channel_mult": [1, 2, 3, 4],
        }),
        _ => panic!("{name}"),
    }
}

#[test]
fn published_networks_have_their_sizes() {
    // Counted by NVlabs' code, without the filters that follow from the configuration.
    for (name, parameters) in [("ddpmpp", 55_733_891), ("ncsnpp", 56_400_771), ("adm", 295_899_267)] {
        let net = read(published(name)).unwrap();
        assert_eq!(net.parameters(), parameters, "{name}");
        assert!(net.is_denoiser() && net.preconditioning().unwrap().sigma_data == 0.5);
    }
    let net = read(published("ncsnpp")).unwrap();
    assert_eq!(net.labels(), LabelInput::Numbers { classes: Some(10), null: None });
    assert!(net.graph(CallSize::images(1, (30, 32))).is_err());
    assert!(net.graph(CallSize::images(2, (36, 40))).is_ok());
}

#[test]
fn other_values_are_refused_by_name() {
    let with = |name: &str, field: &str, value: Value| {
        let mut fields = published(name);
        fields[field] = value;
        read(fields)
    };
    for (name, field, value) in [
        ("ddpmpp", "model_type", json!("UNet")),
        ("ddpmpp", "embedding_type", json!("learned")),
        ("ddpmpp", "encoder_type", json!("wide")),
        ("ncsnpp", "resample_filter", json!([1, 2, 1])),
        ("ncsnpp", "attention_type", json!("linear")),
        // Of `SongUNet` alone.
        ("adm", "encoder_type", json!("standard")),
    ] {
        let error = with(name, field, value).unwrap_err();
        assert!(matches!(&error, Error::UnsupportedField { field: found, .. } if found == field), "{field}: {error}");
    }
    for (field, value, part) in [
        ("img_resolution", json!(30), "multiple of 4"),
        ("model_channels", json!(6), "channels"),
        ("model_channels", json!(1), "channels"),
        ("channel_mult", json!([]), "0 entries"),
        ("channel_mult", json!([1000, 1000]), "at most"),
        ("sigma_data", json!(0.0), "`sigma_data` is 0"),
        ("sigma_max", json!(-1.0), "`sigma_max`"),
        ("label_dim", json!(1_u64 << 40), "at most"),
        ("num_blocks", json!(0), "at least 1"),
    ] {
        let error = with("ddpmpp", field, value.clone()).unwrap_err();
        assert!(matches!(error, Error::BadFile { .. }) && error.to_string().contains(part), "{field} {value}: {error}");
    }
}
