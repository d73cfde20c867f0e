//! Checkpoints of ermongroup/ddim without a configuration: it follows from the shapes of the tensors.

use std::path::Path;

use downhill::checkpoint::ConfigFile;
use downhill::model::Model;
use downhill::nets::architecture;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

const LEVELS: usize = 3;

/// The name of a tensor of a `UNet2DModel` in the code of ermongroup/ddim.
fn original(name: &str) -> String {
    let parts = [
        ("time_embedding.linear_1", "temb.dense.0"),
        ("time_embedding.linear_2", "temb.dense.1"),
        ("conv_norm_out", "norm_out"),
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"),
        ("down_blocks", "down"),
        (".resnets.", ".block."),
        (".attentions.", ".attn."),
        ("downsamplers.0.conv", "downsample.conv"),
        ("upsamplers.0.conv", "upsample.conv"),
        ("time_emb_proj", "temb_proj"),
        ("conv_shortcut", "nin_shortcut"),
        ("group_norm", "norm"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("to_out.0", "proj_out"),
    ];
    let renamed = parts.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    match renamed.strip_prefix("up_blocks.").and_then(|rest| rest.split_once('.')) {
        Some((level, rest)) => format!("up.{}.{rest}", LEVELS - 1 - level.parse::<usize>().expect("a level")),
        None => renamed,
    }
}

/// Writes the tensors under their original names, all of them zeros.
fn write(file: &Path, keys: &[(String, Vec<usize>)]) {
    let most = keys.iter().map(|(_, shape)| shape.iter().product::<usize>()).max().unwrap_or(0);
    let zeros = vec![0; 4 * most];
    let views = keys.iter().map(|(name, shape)| {
        let bytes = &zeros[..4 * shape.iter().product::<usize>()];
        (original(name), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    std::fs::write(file, safetensors::serialize(views, None).expect("a file")).expect("a file");
}

#[test]
fn the_configuration_follows_from_shapes() {
    let expected = json!({
        "_class_name": "UNet2DModel", "act_fn": "silu", "attention_head_dim": null,
        "block_out_channels": [32, 64, 96], "downsample_padding": 0, "flip_sin_to_cos": false, "freq_shift": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"], "layers_per_block": 2,
        "norm_eps": 1e-6, "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"], "sample_size": 32,
    });
    let config = ConfigFile { path: "config.json".into(), values: expected.as_object().expect("an object").clone() };
    let net = architecture::read(&config).expect("a network");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ddim.safetensors");
    let mut keys = net.keys();
    write(&file, &keys);
    let name = file.to_str().expect("a path");
    let model = Model::open(name).unwrap_or_else(|error| panic!("{error}"));
    let network = model.network().expect("a network");
    let mut found = network.net.keys();
    keys.sort();
    found.sort();
    assert_eq!(found, keys);
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(network.config.values.get(field), Some(value), "{field}");
    }
    assert_eq!(network.net.sample_size(), Some((32, 32)), "attention at 16 x 16");
    let scheduler = &network.scheduler_file.as_ref().expect("noise levels").values;
    assert_eq!(scheduler["beta_schedule"], "linear");
    let notes: Vec<String> = network.weights.notes().collect();
    assert!(notes.iter().any(|note| note.contains("images of 32 x 32 (attention at 16 x 16)")), "{notes:?}");

    // A statement beside the file, and a configuration.
    std::fs::write(file.with_extension("json"), r#"{"sample_size": 64}"#).expect("settings");
    assert_eq!(Model::open(name).expect("a model").network().expect("a network").net.sample_size(), Some((64, 64)));
    std::fs::remove_file(file.with_extension("json")).expect("settings");
    std::fs::write(folder.path().join("config.json"), expected.to_string()).expect("a configuration");
    let model = Model::open(name).expect("a model");
    assert!(model.network().expect("a network").scheduler_file.is_none(), "as described by its configuration");
}
