use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::error::Error;
use crate::graph::op::{self, Op};
use crate::kernels::timestep_embedding::split_in_three;
use crate::nets::feeds::ClassLabels;
use crate::tensor::Tensor;

/// A small network of two levels, with these fields changed.
fn config(changes: Value) -> Result<Config> {
    let mut fields = json!({
        "_class_name": "UNet2DModel",
        "block_out_channels": [8, 16],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4,
    });
    let (Value::Object(fields), Value::Object(changes)) = (&mut fields, changes) else { unreachable!() };
    fields.extend(changes);
    Config::from_map(fields, Path::new("config.json"))
}

fn network(changes: Value) -> UNet2d {
    UNet2d::new(config(changes).unwrap())
}

fn no_weights(key: &str, _: &[usize]) -> Result<Tensor> {
    panic!("`{key}` was asked for")
}

#[test]
fn an_empty_configuration_is_the_class_default() {
    let config = Config::from_map(&serde_json::Map::new(), Path::new("config.json")).unwrap();
    assert_eq!(config.block_out_channels, [224, 448, 672, 896]);
    assert_eq!(config.down_block_types[..2], [BlockType::Plain, BlockType::Attention]);
    assert_eq!(config.up_block_types[2..], [BlockType::Attention, BlockType::Plain]);
    assert_eq!(config.time_embedding_dim, 896);
    assert_eq!(config.attention_head_dim, Some(8));
    // Counted by diffusers 0.42.
    assert_eq!(UNet2d::new(config).parameters(), 274_056_163);
}

#[test]
fn published_networks_have_their_published_size() {
    let ddpm = |letters: &str, channels: &[usize]| {
        let names = |side: &str, letters: &mut dyn Iterator<Item = char>| -> Vec<String> {
            letters.map(|letter| format!("{}{side}Block2D", if letter == 'A' { "Attn" } else { "" })).collect()
        };
        network(json!({
            "block_out_channels": channels,
            "down_block_types": names("Down", &mut letters.chars()),
            "up_block_types": names("Up", &mut letters.chars().rev()),
            "attention_head_dim": null,
            "norm_num_groups": 32,
        }))
    };
    let cifar = ddpm("DADD", &[128, 256, 256, 256]);
    assert_eq!(cifar.parameters(), 35_746_307);
    // Counted by PyTorch's `FlopCounterMode` on the diffusers network.
    assert_eq!(cifar.graph(CallSize::images(1, (32, 32))).unwrap().flops(), 12_443_713_536);
    assert_eq!(ddpm("DDADD", &[128, 256, 256, 256, 512]).parameters(), 78_700_803);
    assert_eq!(ddpm("DDDDAD", &[128, 128, 256, 256, 512, 512]).parameters(), 113_673_219);
    // google/ncsnpp-celebahq-256 and openai/diffusers-cd_imagenet64_l2, counted by diffusers 0.42.
    let skips = |way: &str, attention: usize| -> Vec<String> {
        let name = |level| format!("{}Skip{way}Block2D", if level == attention { "Attn" } else { "" });
        (0..7).map(name).collect()
    };
    let ncsnpp = network(json!({
        "block_out_channels": [128, 128, 256, 256, 256, 256, 256], "down_block_types": skips("Down", 4),
        "up_block_types": skips("Up", 2), "norm_num_groups": null, "time_embedding_type": "fourier",
        "attention_head_dim": null,
    }));
    assert_eq!(ncsnpp.parameters(), 65_574_549);
    let consistency = network(json!({
        "block_out_channels": [192, 384, 576, 768], "layers_per_block": 3, "norm_num_groups": 32,
        "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
        "attn_norm_num_groups": 32, "attention_head_dim": 64, "num_class_embeds": 1000, "downsample_type": "resnet",
        "upsample_type": "resnet", "resnet_time_scale_shift": "scale_shift",
    }));
    assert_eq!(consistency.parameters(), 295_899_267);
}

#[test]
fn values_without_an_implementation_are_named() {
    let cases = [
        (json!({"down_block_types": ["KDownBlock2D", "DownBlock2D"]}), "down_block_types", "\"KDownBlock2D\""),
        (json!({"up_block_types": ["UpBlock2D", "DownBlock2D"]}), "up_block_types", "\"DownBlock2D\""),
        (json!({"mid_block_type": "UNetMidBlock2DCrossAttn"}), "mid_block_type", "\"UNetMidBlock2DCrossAttn\""),
        (json!({"act_fn": "tanh"}), "act_fn", "\"tanh\""),
        (json!({"act_fn": null}), "act_fn", "null"),
        (json!({"time_embedding_type": "sinusoidal"}), "time_embedding_type", "\"sinusoidal\""),
        (json!({"resnet_time_scale_shift": "spatial"}), "resnet_time_scale_shift", "\"spatial\""),
        (json!({"resnet_time_scale_shift": "ada_group"}), "resnet_time_scale_shift", "\"ada_group\""),
        (json!({"class_embed_type": "projection"}), "class_embed_type", "\"projection\""),
        (json!({"downsample_type": "kdown"}), "downsample_type", "\"kdown\""),
        (json!({"downsample_padding": 2}), "downsample_padding", "2"),
        (json!({"cross_attention_dim": 768}), "cross_attention_dim", "768"),
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
    let skips = |letter: &str| json!([format!("Skip{letter}Block2D"), format!("Skip{letter}Block2D")]);
    let cases: [(Value, &[&str]); 19] = [
        (json!({"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}), &["down_block_types"]),
        (json!({"norm_num_groups": null}), &["norm_num_groups", "down_block_types"]),
        (json!({"norm_num_groups": null, "down_block_types": skips("Down")}), &["norm_num_groups", "up_block_types"]),
        (json!({"in_channels": 1, "down_block_types": skips("Down")}), &["in_channels", "down_block_types"]),
        (
            json!({"block_out_channels": [8, 18], "norm_num_groups": 2, "down_block_types": skips("Down")}),
            &["block_out_channels"],
        ),
        (json!({"down_block_types": ["DownBlock2D"]}), &["down_block_types", "block_out_channels"]),
        (json!({"up_block_types": ["UpBlock2D"]}), &["up_block_types", "block_out_channels"]),
        (json!({"norm_num_groups": 3}), &["norm_num_groups", "block_out_channels"]),
        (json!({"attn_norm_num_groups": 5}), &["attn_norm_num_groups", "block_out_channels"]),
        (json!({"attention_head_dim": 17}), &["attention_head_dim", "block_out_channels"]),
        (json!({"time_embedding_type": "learned"}), &["time_embedding_type", "num_train_timesteps"]),
        (json!({"freq_shift": 4}), &["freq_shift", "block_out_channels"]),
        (json!({"block_out_channels": []}), &["block_out_channels"]),
        (json!({"block_out_channels": [8, 0]}), &["block_out_channels"]),
        (json!({"in_channels": "three"}), &["in_channels", "three"]),
        (json!({"layers_per_block": 1_000_000_000}), &["layers_per_block"]),
        (json!({"layers_per_block": -1}), &["layers_per_block"]),
        (json!({"sample_size": [32, 0]}), &["sample_size"]),
        (json!({"mid_block_scale_factor": 0}), &["mid_block_scale_factor"]),
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
fn head_dim_matters_only_where_there_is_attention() {
    let plain = json!({
        "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "attention_head_dim": 17,
        "add_attention": false,
    });
    config(plain).unwrap();
}

#[test]
fn a_size_that_cannot_be_halved_is_refused() {
    let network = network(json!({}));
    network.graph(CallSize::images(1, (6, 10))).unwrap();
    for (height, width) in [(7, 8), (8, 7), (0, 8)] {
        let error = network.graph(CallSize::images(1, (height, width))).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Argument);
        assert!(error.hint().unwrap().contains("multiples of 2"));
    }
}

#[test]
fn inputs_of_the_graph_are_what_is_fed() {
    let rows = |shape: &[usize]| Tensor::zeros(shape);
    let variants = [
        json!({}),
        json!({"center_input_sample": true, "class_embed_type": "timestep"}),
        json!({"time_embedding_type": "fourier", "class_embed_type": "timestep"}),
        json!({"time_embedding_type": "learned", "num_train_timesteps": 9, "num_class_embeds": 9}),
    ];
    for changes in variants {
        let network = network(changes);
        let graph = network.graph(CallSize::images(2, (4, 6))).unwrap();
        let labels = network.config.class_embedding.map(|_| ClassLabels::Numbers(vec![3.0, 8.0]));
        let weights = |_: &str, shape: &[usize]| Ok(rows(shape));
        let feeds = network
            .feeds(&Inputs::new(&rows(&[2, 3, 4, 6]), &[1.0, 2.0]).with_labels(labels.as_ref()), &weights)
            .unwrap();
        let mut fed: Vec<_> = feeds.into_iter().map(|(name, tensor)| (name, tensor.shape)).collect();
        let inputs = graph.nodes.iter().filter_map(|node| match &node.op {
            Op::Input(op::Input { name }) => {
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
    let images = Tensor::zeros([2, 3, 4, 4]);
    let labels = ClassLabels::Numbers(vec![1.0, 2.0]);
    let refused = |network: &UNet2d, x: &Tensor, t: &[f64], labels: Option<&ClassLabels>, remedy: &str| {
        let table = |_: &str, shape: &[usize]| Ok(Tensor::zeros(shape));
        let error = network.feeds(&Inputs::new(x, t).with_labels(labels), &table).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Argument);
        assert!(error.hint().unwrap().contains(remedy), "{error}: {:?}", error.hint());
    };
    refused(&plain, &Tensor::zeros([2, 4, 4, 4]), &[1.0, 2.0], None, "[n, 3, height, width]");
    refused(&plain, &Tensor::zeros([2]), &[1.0, 2.0], None, "[n, 3, height, width]");
    refused(&plain, &images, &[1.0], None, "one timestep per image");
    refused(&plain, &images, &[1.0, f64::NAN], None, "finite");
    refused(&plain, &images, &[1.0, 2.0], Some(&labels), "omit");
    let table = network(json!({"num_class_embeds": 2}));
    refused(&table, &images, &[1.0, 2.0], None, "one class label per image");
    refused(&table, &images, &[1.0, 2.0], Some(&labels), "from 0 to 1");
    refused(&table, &images, &[1.0, 2.0], Some(&ClassLabels::Numbers(vec![1.0])), "one number per image");
    let identity = network(json!({"class_embed_type": "identity"}));
    refused(&identity, &images, &[1.0, 2.0], Some(&labels), "[2, 32]");
    let learned = network(json!({"time_embedding_type": "learned", "num_train_timesteps": 5}));
    refused(&learned, &images, &[1.0, 1.5], None, "from 0 to 4");
    refused(&learned, &images, &[1.0, 5.0], None, "from 0 to 4");
    let fourier = network(json!({"time_embedding_type": "fourier"}));
    refused(&fourier, &images, &[1.0, 0.0], None, "above 0");
}

#[test]
fn a_positional_network_needs_no_table() {
    let feeds = network(json!({})).feeds(&Inputs::new(&Tensor::zeros([1, 3, 2, 2]), &[0.1]), &no_weights).unwrap();
    let [_, (name, parts)] = &feeds[..] else { panic!("{} feeds", feeds.len()) };
    assert_eq!((name.as_str(), &parts.data[..]), (names::TIMESTEP, &split_in_three(0.1)[..]));
}

#[test]
fn timesteps_split_into_short_parts() {
    for t in [0.0, 1.0, 999.0, 4095.0, -0.3, 998.75, 0.1, std::f64::consts::PI * 1e5, 1.234_567_890_123e-7] {
        let [first, second, third] = split_in_three(t);
        for part in [first, second] {
            assert_eq!(part.to_bits() & 0xfff, 0, "{part} of {t} has more than 12 significant bits");
        }
        let sum = f64::from(first) + f64::from(second) + f64::from(third);
        assert!((sum - t).abs() <= t.abs() * 2f64.powi(-46), "{t} became {sum}");
        if t.fract() == 0.0 && t.abs() < 4096.0 {
            assert_eq!([second, third], [0.0; 2], "{t} fits in the first part");
        }
    }
}

#[test]
fn one_graph_serves_attention_of_several_heads_from_one_map() {
    let graph = network(json!({"attention_head_dim": 6})).graph(CallSize::images(2, (4, 4))).unwrap();
    let middle = |label: &str| graph.nodes.iter().find(|node| node.label == format!("mid_block.attentions.0.{label}"));
    // 16 channels hold two heads of 6, each padded to 8.
    assert_eq!(middle("to_qkv").unwrap().shape, Shape::new(2, 2, 2, 3 * 2 * 8));
    let attention = middle("attention").unwrap();
    let Op::Attention(op::Attention { q, k, v, heads, head_dim, .. }) = &attention.op else {
        panic!("{:?}", attention.op)
    };
    assert_eq!((q.1, k.1, v.1, *heads, *head_dim), (0, 16, 32, 2, 6));
    assert_eq!((q.0, k.0), (v.0, v.0));
    assert_eq!(middle("to_out.0").unwrap().shape.c, 16);
}
