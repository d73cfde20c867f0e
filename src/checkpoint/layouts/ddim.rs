//! The U-Nets of ermongroup/ddim and luping-liu/PNDM (`models/diffusion.py`), which are `UNet2DModel`s by other names
//! ([`keys`](crate::checkpoint) translates them). Their checkpoints come without a configuration.
//!
//! Shapes tell all but the size of the images, which follows from the level with attentions: it has maps of 16 x 16 in
//! every published configuration. The noise levels are those of the code.

use serde_json::{Map, Value, json};

use super::{Layout, Names, Part, Parts, Settings};
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};
use crate::held;

pub(super) static LAYOUT: Layout = Layout { name: "ermongroup/ddim", open };

/// The tensor that marks the layout, as it is stored.
const MARK: &str = "temb.dense.0.weight";
/// The side of the maps with attentions (`attn_resolutions` of every published configuration).
const ATTENTION_SIDE: usize = 16;
const MOST_LEVELS: usize = 12;

fn open(weights: &Weights, settings: &Settings) -> Result<Option<Parts>> {
    // A file beside a configuration is described by it.
    let described = held::is_file(&weights.path().with_file_name("config.json"));
    if described || !weights.places().any(|(stored, _)| stored == MARK) {
        return Ok(None);
    }
    let given = settings.expect(&["sample_size"])?;
    let stated = given.map_or(Ok(None), |file| file.opt_usize("sample_size", None))?;
    let Some((mut config, guessed)) = configuration(weights) else {
        let what = "the layout of ermongroup/ddim, but its blocks do not make levels as there";
        return Err(Error::bad_file_hint(weights.path(), what, "give a `config.json` of a `UNet2DModel` beside it"));
    };
    let side = stated.or(guessed);
    config.insert("sample_size".to_owned(), side.into());
    let mut names = Names::default();
    weights.names().for_each(|name| names.add(name, name));
    let sides = side.map_or_else(String::new, |side| format!("images of {side} x {side} (attention at 16 x 16), "));
    let note = format!(
        "taken without being stated in the file: {sides}betas linear from 0.0001 to 0.02 over 1000 steps, as in \
         ermongroup/ddim"
    );
    Ok(Some(Parts {
        family: "U-Net of ermongroup/ddim".to_owned(),
        class: None,
        components: vec![Part { name: "unet", config, names }],
        scheduler: Some(object(json!({
            "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear",
            "beta_start": 0.0001, "beta_end": 0.02, "clip_sample": false, "set_alpha_to_one": true,
            "steps_offset": 0, "timestep_spacing": "leading",
            "prediction_type": settings.prediction.unwrap_or("epsilon"),
        }))),
        notes: vec![note],
        ..Parts::default()
    }))
}

/// The configuration of a `UNet2DModel`, and the side of its images; `None` if the blocks are not those of one.
fn configuration(weights: &Weights) -> Option<(Map<String, Value>, Option<usize>)> {
    let first = |key: &str| weights.shape(key).and_then(|shape| shape.first().copied());
    let is_there = |key: String| weights.shape(&key).is_some();
    let of_level = |level: usize| first(&format!("down_blocks.{level}.resnets.0.conv1.bias"));
    let channels: Vec<usize> = (0..MOST_LEVELS).map_while(of_level).collect();
    let layers =
        (0..super::MOST).take_while(|layer| is_there(format!("down_blocks.0.resnets.{layer}.conv1.bias"))).count();
    let levels = channels.len();
    let attends = |way: &str, level: usize| is_there(format!("{way}_blocks.{level}.attentions.0.to_q.weight"));
    let kinds = |way: &str, names: [&'static str; 2]| -> Vec<&str> {
        (0..levels).map(|level| names[usize::from(attends(way, level))]).collect()
    };
    let deepest = (0..levels).find(|level| attends("down", *level));
    let in_channels = *weights.shape("conv_in.weight")?.get(1)?;
    let config = json!({
        "_class_name": "UNet2DModel",
        "act_fn": "silu",
        "add_attention": is_there("mid_block.attentions.0.to_q.weight".to_owned()),
        "attention_head_dim": null,
        "block_out_channels": channels,
        "center_input_sample": false,
        "down_block_types": kinds("down", ["DownBlock2D", "AttnDownBlock2D"]),
        "downsample_padding": 0,
        "flip_sin_to_cos": false,
        "freq_shift": 1,
        "in_channels": in_channels,
        "layers_per_block": layers,
        "norm_eps": 1e-6,
        "norm_num_groups": 32,
        "out_channels": first("conv_out.bias")?,
        "time_embedding_type": "positional",
        "up_block_types": kinds("up", ["UpBlock2D", "AttnUpBlock2D"]),
    });
    let side = deepest.map(|level| ATTENTION_SIDE << level);
    (levels > 0 && layers > 0).then(|| (object(config), side))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
