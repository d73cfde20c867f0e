use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn config(fields: Value) -> Result<Config> {
    let Value::Object(fields) = fields else { unreachable!() };
    Config::from_map(&fields, Path::new("config.json"))
}

/// The configuration of madebyollin/taesd.
fn taesd(changes: Value) -> Result<Config> {
    let mut fields = json!({
        "act_fn": "relu", "block_out_channels": [64, 64, 64, 64], "decoder_block_out_channels": [64, 64, 64, 64],
        "encoder_block_out_channels": [64, 64, 64, 64], "force_upcast": false, "in_channels": 3, "latent_channels": 4,
        "latent_magnitude": 3, "latent_shift": 0.5, "num_decoder_blocks": [3, 3, 3, 1],
        "num_encoder_blocks": [1, 3, 3, 3], "out_channels": 3, "scaling_factor": 1.0, "upsampling_scaling_factor": 2,
    });
    let (Value::Object(all), Value::Object(changes)) = (&mut fields, changes) else { unreachable!() };
    all.extend(changes);
    config(fields)
}

#[test]
fn the_published_one_has_its_published_size() {
    let net = AutoencoderTiny::new(taesd(json!({})).unwrap());
    assert_eq!(net.parameters(), 2_445_063);
    assert_eq!((net.factor(), net.raw_of_scaled(0)), (8, (1.0, 0.0)));
    assert_eq!(config(json!({})).unwrap(), taesd(json!({})).unwrap());
    assert!(net.encoder(1, (60, 64)).is_err());
    assert!(net.decoder(1, (0, 8)).is_err());
    assert!((net.of_latent(1e9) - 3.0).abs() < 1e-12 && net.of_latent(-0.0).abs() < 1e-12);
}

#[test]
fn other_values_are_refused_by_name() {
    for (changes, what) in [
        (json!({"upsample_fn": "bilinear"}), "upsample_fn"),
        (json!({"upsampling_scaling_factor": 4}), "upsampling_scaling_factor"),
        (json!({"encoder_block_out_channels": [64, 32, 64, 64]}), "same channels"),
        (json!({"encoder_block_out_channels": []}), "is empty"),
        (json!({"num_decoder_blocks": [3]}), "`num_decoder_blocks` has 1 entries"),
        (json!({"scaling_factor": 0.0}), "above 0"),
        (json!({"act_fn": "tanhshrink"}), "act_fn"),
        (json!({"use_attention": true}), "use_attention"),
    ] {
        let error = taesd(changes).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.kind(), crate::ErrorKind::File);
    }
}
