use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::graph::op::{Attention, Input, Op};
use crate::nets::feeds::ClassLabels;
use crate::tensor::Tensor;

/// A small network of two levels, with these fields changed.
fn config(changes: Value) -> Result<Config> {
    let mut fields = json!({
        "_class_name": "UNet2DConditionModel",
        "block_out_channels": [8, 16],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "norm_num_groups": 4,
        "cross_attention_dim": 6,
        "attention_head_dim": 2,
    });
    let (Value::Object(fields), Value::Object(changes)) = (&mut fields, changes) else { unreachable!() };
    fields.extend(changes);
    Config::from_map(fields, Path::new("config.json"))
}

fn network(changes: Value) -> UNet2dCondition {
    UNet2dCondition::new(config(changes).unwrap())
}

#[test]
fn published_networks_have_their_published_size() {
    let sd = |changes: Value| {
        let Value::Object(fields) = changes else { unreachable!() };
        UNet2dCondition::new(Config::from_map(&fields, Path::new("config.json")).unwrap())
    };
    let one = sd(json!({"cross_attention_dim": 768, "sample_size": 64}));
    assert_eq!(one.parameters(), 859_520_964);
    // Counted by PyTorch's `FlopCounterMode` on the diffusers network, one image of 64 x 64 with 77 tokens.
    assert_eq!(one.graph(CallSize::images(1, (64, 64)).with_tokens(77)).unwrap().flops(), 803_273_441_280);
    let two =
        sd(json!({"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": true}));
    assert_eq!(two.parameters(), 865_910_724);
    assert_eq!(two.config().heads, [5, 10, 20, 20]);
}

/// The `unet/config.json` of SDXL's base model.
fn sdxl() -> Value {
    serde_json::from_str(
        r#"{
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.19.0.dev0", "act_fn": "silu",
        "addition_embed_type": "text_time", "addition_embed_type_num_heads": 64, "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "center_input_sample": false,
        "class_embed_type": null, "class_embeddings_concat": false, "conv_in_kernel": 3, "conv_out_kernel": 3,
        "cross_attention_dim": 2048, "cross_attention_norm": null, "downsample_padding": 1,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "dual_cross_attention": false, "encoder_hid_dim": null, "encoder_hid_dim_type": null, "flip_sin_to_cos": true,
        "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_only_cross_attention": null,
        "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-05,
        "norm_num_groups": 32, "num_attention_heads": null, "num_class_embeds": null, "only_cross_attention": false,
        "out_channels": 4, "projection_class_embeddings_input_dim": 2816, "resnet_out_scale_factor": 1.0,
        "resnet_skip_time_act": false, "resnet_time_scale_shift": "default", "sample_size": 128,
        "time_cond_proj_dim": null, "time_embedding_act_fn": null, "time_embedding_dim": null,
        "time_embedding_type": "positional", "timestep_post_act": null, "transformer_layers_per_block": [1, 2, 10],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "upcast_attention": null,
        "use_linear_projection": true
    }"#,
    )
    .unwrap()
}

fn of_fields(fields: &Value, changes: Value) -> Result<Config> {
    let (Value::Object(mut all), Value::Object(changes)) = (fields.clone(), changes) else { unreachable!() };
    all.extend(changes);
    Config::from_map(&all, Path::new("config.json"))
}

#[test]
fn networks_of_sdxl_and_of_its_fast_forms_have_their_published_size() {
    let base = UNet2dCondition::new(of_fields(&sdxl(), json!({})).unwrap());
    assert_eq!(base.parameters(), 2_567_463_684);
    assert_eq!(base.added(), Some(AddedInput { channels: 2816, per_number: 256 }));
    assert_eq!(base.added().unwrap().time_ids(1280), Some(6));
    // SDXL-Turbo: what its file has besides.
    let turbo = json!({"sample_size": 64, "attention_type": "default", "dropout": 0.0,
        "reverse_transformer_layers_per_block": null, "_diffusers_version": "0.24.0.dev0"});
    assert_eq!(UNet2dCondition::new(of_fields(&sdxl(), turbo).unwrap()).parameters(), base.parameters());
    // LCM_Dreamshaper_v7: Stable Diffusion 1.5 and one matrix of 320 x 256.
    let lcm = json!({"time_cond_proj_dim": 256, "cross_attention_dim": 768, "num_attention_heads": null,
        "encoder_hid_dim_type": null, "_name_or_path": "model_weights", "_commit_hash": null, "sample_size": 64});
    let Value::Object(lcm) = lcm else { unreachable!() };
    let lcm = UNet2dCondition::new(Config::from_map(&lcm, Path::new("config.json")).unwrap());
    assert_eq!(lcm.parameters(), 859_520_964 + 320 * 256);
    assert!(lcm.embeds_guidance() && !base.embeds_guidance());
    // Nine channels in, for inpainting.
    let inpainting = UNet2dCondition::new(of_fields(&sdxl(), json!({"in_channels": 9})).unwrap());
    assert_eq!(inpainting.parameters(), base.parameters() + 5 * 320 * 9);
    assert!(!inpainting.is_denoiser());
}

#[test]
fn what_is_added_needs_its_sizes() {
    let refused = |changes: Value, what: &str| match of_fields(&sdxl(), changes) {
        Err(Error::BadFile { what: found, .. }) => assert!(found.contains(what), "{found}"),
        other => panic!("{other:?}"),
    };
    refused(json!({"addition_time_embed_dim": null}), "`addition_time_embed_dim` is not given");
    refused(json!({"projection_class_embeddings_input_dim": null}), "`projection_class_embeddings_input_dim`");
    refused(json!({"addition_time_embed_dim": 2, "freq_shift": 1}), "`addition_time_embed_dim` is 2");
    refused(json!({"time_cond_proj_dim": 3}), "`time_cond_proj_dim` is 3");
    match of_fields(&sdxl(), json!({"addition_embed_type": "image"})) {
        Err(Error::UnsupportedField { field, supported, .. }) => {
            assert_eq!((field.as_str(), supported.as_str()), ("addition_embed_type", "null, text_time"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_without_an_implementation_are_named() {
    let cases = [
        (json!({"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]}), "down_block_types", "\"AttnDownBlock2D\""),
        (
            json!({"up_block_types": ["UpBlock2D", "SimpleCrossAttnUpBlock2D"]}),
            "up_block_types",
            "\"SimpleCrossAttnUpBlock2D\"",
        ),
        (
            json!({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}),
            "mid_block_type",
            "\"UNetMidBlock2DSimpleCrossAttn\"",
        ),
        (json!({"num_attention_heads": 4}), "num_attention_heads", "4"),
        (json!({"encoder_hid_dim": 32}), "encoder_hid_dim", "32"),
        (json!({"encoder_hid_dim_type": "text_proj"}), "encoder_hid_dim_type", "\"text_proj\""),
        (json!({"addition_embed_type": "text_image"}), "addition_embed_type", "\"text_image\""),
        (json!({"dual_cross_attention": true}), "dual_cross_attention", "true"),
        (json!({"class_embeddings_concat": true}), "class_embeddings_concat", "true"),
        (json!({"attention_type": "gated"}), "attention_type", "\"gated\""),
        (json!({"time_embedding_type": "fourier"}), "time_embedding_type", "\"fourier\""),
        (json!({"cross_attention_dim": [6, 8]}), "cross_attention_dim", "[6, 8]"),
        (json!({"conv_in_kernel": 4}), "conv_in_kernel", "4"),
        (json!({"act_fn": "tanh"}), "act_fn", "\"tanh\""),
        (json!({"timestep_post_act": "tanh"}), "timestep_post_act", "\"tanh\""),
        (json!({"resnet_time_scale_shift": "spatial"}), "resnet_time_scale_shift", "\"spatial\""),
        (json!({"class_embed_type": "text"}), "class_embed_type", "\"text\""),
        (json!({"downsample_padding": 2}), "downsample_padding", "2"),
        (json!({"add_attention": true}), "add_attention", "true"),
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
    let cases: [(Value, &[&str]); 17] = [
        (json!({"down_block_types": ["DownBlock2D"]}), &["down_block_types", "block_out_channels"]),
        (json!({"up_block_types": ["UpBlock2D"]}), &["up_block_types", "block_out_channels"]),
        (json!({"attention_head_dim": [2, 2, 2]}), &["attention_head_dim", "block_out_channels"]),
        (json!({"attention_head_dim": 9}), &["attention_head_dim", "9 heads", "8 channels"]),
        (json!({"attention_head_dim": null}), &["attention_head_dim"]),
        (json!({"attention_head_dim": [2, 0]}), &["attention_head_dim"]),
        (json!({"layers_per_block": [1]}), &["layers_per_block", "block_out_channels"]),
        (json!({"layers_per_block": 1_000_000_000}), &["layers_per_block"]),
        (json!({"only_cross_attention": [true]}), &["only_cross_attention", "block_out_channels"]),
        (json!({"transformer_layers_per_block": [1, 2, 3]}), &["transformer_layers_per_block", "block_out_channels"]),
        (
            json!({"transformer_layers_per_block": [[1, 1], 1]}),
            &["transformer_layers_per_block", "reverse_transformer_layers_per_block"],
        ),
        (
            json!({"transformer_layers_per_block": 1, "reverse_transformer_layers_per_block": [[1, 1], 1]}),
            &["reverse_transformer_layers_per_block", "2 entries", "3 layers"],
        ),
        (json!({"transformer_layers_per_block": 100_000}), &["transformer_layers_per_block"]),
        (
            json!({"layers_per_block": 200, "transformer_layers_per_block": 200}),
            &["transformer_layers_per_block", "4096"],
        ),
        (json!({"class_embed_type": "projection"}), &["class_embed_type", "projection_class_embeddings_input_dim"]),
        (json!({"norm_num_groups": null}), &["norm_num_groups"]),
        (json!({"freq_shift": 4}), &["freq_shift", "block_out_channels"]),
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
fn heads_matter_only_where_there_is_attention() {
    let plain = json!({
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "mid_block_type": "UNetMidBlock2D",
        "attention_head_dim": 100,
    });
    assert!(!config(plain).unwrap().has_cross_attention());
    assert!(config(json!({"attention_head_dim": [2, 16]})).unwrap().has_cross_attention());
}

#[test]
fn sizes_are_refused_only_where_nothing_would_be_left() {
    let padded = network(json!({}));
    padded.graph(CallSize::images(1, (1, 1)).with_tokens(1)).unwrap();
    padded.graph(CallSize::images(2, (5, 8)).with_tokens(77)).unwrap();
    let unpadded = network(json!({"downsample_padding": 0}));
    unpadded.graph(CallSize::images(1, (2, 3)).with_tokens(1)).unwrap();
    let refused = [
        (padded.graph(CallSize::images(1, (0, 8)).with_tokens(1)), "at least 1"),
        (unpadded.graph(CallSize::images(1, (8, 1)).with_tokens(1)), "at least 2"),
        (padded.graph(CallSize::images(0, (8, 8)).with_tokens(1)), "one image"),
        (padded.graph(CallSize::images(1, (8, 8)).with_tokens(0)), "one token"),
    ];
    for (result, remedy) in refused {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Argument);
        assert!(error.hint().unwrap().contains(remedy), "{error}");
    }
}

#[test]
fn keys_and_values_of_the_context_are_one_product() {
    let graph = network(json!({})).graph(CallSize::images(3, (4, 5)).with_tokens(7)).unwrap();
    let block = "down_blocks.0.attentions.0.transformer_blocks.0";
    let node = |label: &str| graph.nodes.iter().find(|node| node.label == format!("{block}.{label}")).unwrap();
    assert_eq!(node("attn1.to_qkv").shape, Shape::new(3, 4, 5, 3 * 8));
    assert_eq!(node("attn2.to_kv").shape, Shape::new(3, 1, 7, 2 * 8));
    let Op::Attention(Attention { q, k, v, heads, head_dim, .. }) = node("attn2.attention").op else { panic!() };
    assert_eq!((k.0, v.0), (k.0, k.0));
    assert_eq!((q.1, k.1, v.1, heads, head_dim), (0, 0, 8, 2, 4));
    // Halves of 4 x 8 channels each.
    assert_eq!(node("ff.net.0.proj").shape, Shape::new(3, 4, 5, 64));
    assert_eq!(node("ff.net.0.gate").shape, Shape::new(3, 4, 5, 32));
}

#[test]
fn inputs_of_the_graph_are_what_is_fed() {
    let variants = [
        json!({}),
        json!({"center_input_sample": true, "class_embed_type": "timestep"}),
        json!({"num_class_embeds": 9}),
    ];
    for changes in variants {
        let network = network(changes);
        let graph = network.graph(CallSize::images(2, (4, 6)).with_tokens(5)).unwrap();
        let labels = network.config.class_embedding.map(|_| ClassLabels::Numbers(vec![3.0, 8.0]));
        let weights = |_: &str, shape: &[usize]| Ok(Tensor::zeros(shape));
        let (x, context) = (Tensor::zeros([2, 4, 4, 6]), Tensor::zeros([2, 5, 6]));
        let feeds = network
            .feeds(&Inputs::new(&x, &[1.0, 2.0]).with_context(Some(&context)).with_labels(labels.as_ref()), &weights)
            .unwrap();
        let mut fed: Vec<_> = feeds.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect();
        let inputs = graph.nodes.iter().filter_map(|node| match &node.op {
            Op::Input(Input { name }) => {
                Some((name.clone(), vec![node.shape.n, node.shape.c, node.shape.h, node.shape.w]))
            }
            _ => None,
        });
        let mut inputs: Vec<_> = inputs.collect();
        fed.sort();
        inputs.sort();
        assert_eq!(fed, inputs);
    }
}

#[test]
fn feeds_that_do_not_fit_are_refused() {
    let plain = network(json!({}));
    let (x, context) = (Tensor::zeros([2, 4, 4, 4]), Tensor::zeros([2, 3, 6]));
    let none = |key: &str, _: &[usize]| -> Result<Tensor> { panic!("`{key}` was asked for") };
    let refused = |x: &Tensor, t: &[f64], context: &Tensor, labels: Option<&ClassLabels>, remedy: &str| {
        let error = plain.feeds(&Inputs::new(x, t).with_context(Some(context)).with_labels(labels), &none).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Argument);
        assert!(error.hint().unwrap().contains(remedy), "{error}: {:?}", error.hint());
    };
    refused(&Tensor::zeros([2, 3, 4, 4]), &[1.0, 2.0], &context, None, "[n, 4, height, width]");
    refused(&x, &[1.0], &context, None, "one timestep per image");
    refused(&x, &[1.0, f64::INFINITY], &context, None, "finite");
    refused(&x, &[1.0, 2.0], &Tensor::zeros([1, 3, 6]), None, "[2, tokens, 6]");
    refused(&x, &[1.0, 2.0], &Tensor::zeros([2, 3, 5]), None, "[2, tokens, 6]");
    refused(&x, &[1.0, 2.0], &Tensor::zeros([2, 6]), None, "[2, tokens, 6]");
    refused(&x, &[1.0, 2.0], &context, Some(&ClassLabels::Numbers(vec![0.0, 1.0])), "omit");
}
