use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::error::{Error, Result};
use crate::graph::fuse::fuse;
use crate::graph::op::{Activation, Attention, Op};

fn config(fields: Value) -> Result<Config> {
    let Value::Object(fields) = fields else { unreachable!() };
    Config::from_map(&fields, Path::new("config.json"))
}

/// The configuration of the text encoder of Stable Diffusion 1.5, with these fields changed.
fn sd1(changes: Value) -> Result<Config> {
    let mut fields = json!({
        "_name_or_path": "openai/clip-vit-large-patch14", "architectures": ["CLIPTextModel"], "attention_dropout": 0.0,
        "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2, "hidden_act": "quick_gelu", "hidden_size": 768,
        "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77, "model_type": "clip_text_model", "num_attention_heads": 12,
        "num_hidden_layers": 12, "pad_token_id": 1, "projection_dim": 768, "torch_dtype": "float32",
        "transformers_version": "4.22.0.dev0", "vocab_size": 49408,
    });
    let (Value::Object(all), Value::Object(changes)) = (&mut fields, changes) else { unreachable!() };
    all.extend(changes);
    config(fields)
}

#[test]
fn an_empty_configuration_is_the_class_default() {
    let config = config(json!({})).unwrap();
    assert_eq!((config.vocab_size, config.hidden_size, config.intermediate_size), (49408, 512, 2048));
    assert_eq!((config.num_hidden_layers, config.num_attention_heads), (12, 8));
    assert_eq!((config.hidden_act, config.layer_norm_eps), (Activation::QuickGelu, 1e-5));
}

#[test]
fn published_encoders_have_their_published_size() {
    let sd1 = ClipText::new(sd1(json!({})).unwrap());
    assert_eq!(sd1.parameters(), 123_060_480);
    let sd2 = json!({"hidden_act": "gelu", "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
        "num_hidden_layers": 23, "projection_dim": 512, "layer_norm_eps": 1e-5});
    let sd2 = ClipText::new(self::sd1(sd2).unwrap());
    assert_eq!(sd2.parameters(), 340_387_840);
    assert_eq!(sd2.config().hidden_act, Activation::Gelu);
    // 77 tokens through 12 layers: four projections, scores and mixing, two layers of four times the width.
    let graph = sd1.graph(1);
    assert_eq!(graph.flops(), 12 * 2 * 77 * (4 * 768 * 768 + 2 * 77 * 768 + 2 * 768 * 3072));
}

#[test]
fn the_second_encoder_of_sdxl_projects_the_end_of_a_text() {
    let second = json!({"architectures": ["CLIPTextModelWithProjection"], "hidden_act": "gelu", "hidden_size": 1280,
        "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280});
    let second = ClipText::new(self::sd1(second).unwrap());
    assert_eq!(second.parameters(), 694_659_840);
    assert_eq!(second.config().projection_dim, Some(1280));
    // `eos_token_id` is 2 in the published files, which stands for the largest id: the end, as often as it comes.
    assert_eq!(second.config().pooled_token, PooledToken::Largest);
    let ids = [49406, 320, 49407, 0, 0];
    assert_eq!(second.config().pooled_token.place(&ids), 2);
    assert_eq!(PooledToken::End(49407).place(&ids), 2);
    assert_eq!(PooledToken::End(5).place(&ids), 0);
    assert_eq!(sd1(json!({"eos_token_id": 49407})).unwrap().pooled_token, PooledToken::End(49407));
    assert_eq!(sd1(json!({})).unwrap().projection_dim, None);
}

#[test]
fn states_before_the_last_block_do_not_need_it() {
    let layers = |readout: Readout| {
        let net = ClipText::new(sd1(json!({"num_hidden_layers": 4})).unwrap());
        let graph = net.graph_of(1, readout);
        let norms = graph.nodes.iter().filter(|node| node.label.starts_with("final_layer_norm")).count();
        (graph.nodes.iter().filter(|node| node.label.ends_with(".mlp.fc1")).count(), norms, graph.outputs.len())
    };
    let readout = Readout { skip: 1, normalised: false, pooled: true };
    assert_eq!(layers(Readout::default()), (4, 1, 1));
    assert_eq!(layers(Readout { skip: 2, ..Readout::default() }), (2, 1, 1));
    // An encoder without a projection has no second output.
    assert_eq!(layers(readout), (3, 0, 1));
    let projecting = json!({"architectures": ["CLIPTextModelWithProjection"], "num_hidden_layers": 4});
    let graph = ClipText::new(sd1(projecting).unwrap()).graph_of(1, readout);
    assert_eq!(graph.nodes.iter().filter(|node| node.label.ends_with(".mlp.fc1")).count(), 4);
    assert_eq!(graph.outputs.len(), 2);
}

#[test]
fn sums_and_nonlinearities_ride_on_the_products() {
    let config = sd1(json!({"num_hidden_layers": 2})).unwrap();
    let fused = fuse(&ClipText::new(config).graph(3));
    let left: Vec<_> = fused.nodes.iter().filter(|node| matches!(node.op, Op::Add(_) | Op::Activate(_))).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fused.shape(fused.outputs[0].1), Shape::new(3, 1, 77, 768));
    let causal = |node: &&crate::graph::op::Node| matches!(node.op, Op::Attention(Attention { causal: true, .. }));
    assert_eq!(fused.nodes.iter().filter(causal).count(), 2);
}

#[test]
fn other_classes_and_fields_are_refused_by_name() {
    let field = |changes: Value| match sd1(changes.clone()).unwrap_err() {
        Error::UnsupportedField { field, value, .. } => (field, value),
        error => panic!("{changes}: {error:?}"),
    };
    let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
    assert_eq!(field(json!({"architectures": ["CLIPModel"]})), pair("architectures", "\"CLIPModel\""));
    assert_eq!(field(json!({"_class_name": "AutoencoderKL"})), pair("_class_name", "\"AutoencoderKL\""));
    assert_eq!(field(json!({"hidden_act": "gelu_new"})), pair("hidden_act", "\"gelu_new\""));
    assert_eq!(field(json!({"use_attention_mask": true})), pair("use_attention_mask", "true"));
    assert_eq!(field(json!({"pruned_heads": {"0": [1]}})).0, "pruned_heads");
    assert_eq!(field(json!({"quantization_config": {}})), pair("quantization_config", "{}"));
    for (changes, what) in [
        (json!({"hidden_size": 770}), "`hidden_size` is 770, not a multiple of the 12 attention heads"),
        (json!({"num_attention_heads": 0}), "`num_attention_heads` is 0"),
        (json!({"layer_norm_eps": 0.0}), "`layer_norm_eps` is 0"),
        (json!({"layer_norm_eps": null}), "`layer_norm_eps` is null"),
        (json!({"vocab_size": "many"}), "`vocab_size` is \"many\""),
    ] {
        let error = sd1(changes).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.kind(), crate::ErrorKind::File);
    }
}
