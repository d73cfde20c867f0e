//! Published configurations, and what is refused.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn read_json(value: Value) -> Result<(crate::nets::clip_text::Config, Config)> {
    let Value::Object(map) = value else { panic!("an object") };
    read(&map, Path::new("config.json"))
}

#[test]
fn defaults_are_those_of_the_base_network() {
    let (text, vision) = read_json(json!({})).unwrap();
    assert_eq!((text.hidden_size, text.projection_dim), (512, Some(512)));
    assert_eq!((vision.hidden_size, vision.tokens(), vision.projection_dim), (768, 50, 512));
    // openai/clip-vit-base-patch32 has 151,277,313 parameters, one of them the scale of the logits.
    let keys = [ClipText::new(text).keys(), ClipVision::new(vision).keys()].concat();
    assert_eq!(crate::nets::builder::parameters(&keys), 151_277_312);
}

#[test]
fn fields_that_are_said_twice_are_those_of_the_second() {
    let large = json!({
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 768,
        "text_config": {"hidden_size": 512, "eos_token_id": 2},
        "text_config_dict": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
        "vision_config": {"model_type": "clip_vision_model", "dropout": 0.0},
        "vision_config_dict": {
            "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24,
            "patch_size": 14
        },
    });
    let (text, vision) = read_json(large).unwrap();
    assert_eq!((text.hidden_size, vision.hidden_size, vision.tokens()), (768, 1024, 257));
    let keys = [ClipText::new(text).keys(), ClipVision::new(vision).keys()].concat();
    // openai/clip-vit-large-patch14
    assert_eq!(crate::nets::builder::parameters(&keys), 427_616_512);
}

#[test]
fn other_configurations_are_refused_by_name() {
    for (value, expected) in [
        (json!({"architectures": ["SiglipModel"]}), "architectures"),
        (json!({"model_type": "siglip"}), "model_type"),
        (json!({"depth": 3}), "depth"),
        (json!({"vision_config": {"num_channels": 4}}), "num_channels"),
        (json!({"vision_config": {"patch_size": 300}}), "patch_size"),
        (json!({"vision_config": {"num_attention_heads": 7}}), "hidden_size"),
        (json!({"vision_config": {"depth": 7}}), "depth"),
    ] {
        let error = read_json(value.clone()).unwrap_err();
        assert!(error.to_string().contains(expected), "{value}: {error}");
    }
}

#[test]
fn patches_have_the_order_of_a_kernel() {
    let (_, config) = read_json(json!({
        "vision_config": {"image_size": 4, "patch_size": 2, "hidden_size": 4, "num_attention_heads": 1}
    }))
    .unwrap();
    let net = ClipVision::new(config);
    let images = Tensor::new([1, 3, 4, 4], (0..48u8).map(f32::from).collect());
    let patches = net.patches(&images);
    assert_eq!(patches.shape, [1, 12, 1, 5]);
    // Values down, tokens across: the first pixel of each patch, then the one to its right.
    assert_eq!(patches.data[..10], [0.0, 0.0, 2.0, 8.0, 10.0, 0.0, 1.0, 3.0, 9.0, 11.0]);
    assert_eq!(patches.data[4 * 5..4 * 5 + 2], [0.0, 16.0]);
}
