//! The U-Nets of openai/guided-diffusion ("ADM", `guided_diffusion/unet.py`) and of its predecessor improved-diffusion,
//! which names its tensors in the same way.
//!
//! Shapes tell channels, levels, attentions, classes and whether a variance is learned. They do not tell the attention
//! heads and their order, the size of the images and the noise levels: these are taken from a JSON of the same name
//! beside the file, with the flags of guided-diffusion as its fields; else they are those of the published network
//! of these channels, and a note says so.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::adm_stated::Stated;
use super::{Layout, Names, Part, Parts, Settings};
use crate::checkpoint::config::ConfigFile;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};

pub(super) static LAYOUT: Layout = Layout { name: "openai/guided-diffusion", open };

/// The tensors that mark the layout. Latent diffusion has the same names behind a prefix, and attends to a context.
const MARKS: [&str; 4] =
    ["time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.2.out_layers.3.weight", "out.2.weight"];
const OF_CONTEXTS: &str = ".transformer_blocks.";
/// The most levels of a network.
const MOST_LEVELS: usize = 12;

/// The flags of guided-diffusion (`script_util.py`) that a JSON beside the file may hold.
const SETTINGS: [&str; 27] = [
    "attention_resolutions",
    "channel_mult",
    "class_cond",
    "conv_resample",
    "diffusion_steps",
    "dropout",
    "image_size",
    "in_channels",
    "learn_sigma",
    "model_channels",
    "noise_schedule",
    "num_channels",
    "num_classes",
    "num_head_channels",
    "num_heads",
    "num_heads_upsample",
    "num_res_blocks",
    "predict_xstart",
    "rescale_learned_sigmas",
    "rescale_timesteps",
    "resblock_updown",
    "timestep_respacing",
    "use_checkpoint",
    "use_fp16",
    "use_kl",
    "use_new_attention_order",
    "use_scale_shift_norm",
];

/// The arguments of a published network that shapes do not tell.
#[derive(Clone, Copy, Debug)]
struct Published {
    /// The names of its files, for the note.
    files: &'static str,
    model_channels: usize,
    /// Channels of each level, in halves of `model_channels`.
    halves: &'static [usize],
    image_size: usize,
    /// `num_heads`, or -1.
    num_heads: i64,
    /// `num_head_channels`, or -1.
    num_head_channels: i64,
    new_order: bool,
    noise_schedule: &'static str,
}

/// The published networks (`README.md` of guided-diffusion).
const PUBLISHED: [Published; 4] = [
    Published {
        files: "64x64_diffusion.pt",
        model_channels: 192,
        halves: &[2, 4, 6, 8],
        image_size: 64,
        num_heads: -1,
        num_head_channels: 64,
        new_order: true,
        noise_schedule: "cosine",
    },
    Published {
        files: "128x128_diffusion.pt",
        model_channels: 256,
        halves: &[2, 2, 4, 6, 8],
        image_size: 128,
        num_heads: 4,
        num_head_channels: -1,
        new_order: false,
        noise_schedule: "linear",
    },
    Published {
        files: "256x256_diffusion.pt` or `lsun_*.pt",
        model_channels: 256,
        halves: &[2, 2, 4, 4, 8, 8],
        image_size: 256,
        num_heads: -1,
        num_head_channels: 64,
        new_order: false,
        noise_schedule: "linear",
    },
    Published {
        files: "512x512_diffusion.pt",
        model_channels: 256,
        halves: &[1, 2, 2, 4, 4, 8, 8],
        image_size: 512,
        num_heads: -1,
        num_head_channels: 64,
        new_order: false,
        noise_schedule: "linear",
    },
];

/// The arguments of a network that shapes tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shapes {
    pub in_channels: usize,
    pub out_channels: usize,
    pub model_channels: usize,
    pub num_classes: Option<usize>,
    pub num_res_blocks: usize,
    /// Channels of each level.
    pub channels: Vec<usize>,
    /// The levels with attentions.
    pub attends: Vec<usize>,
    pub scale_shift: bool,
    pub resblock_updown: bool,
    pub conv_resample: bool,
}

fn open(weights: &Weights, settings: &Settings) -> Result<Option<Parts>> {
    let is_marked = MARKS.iter().all(|mark| weights.shape(mark).is_some());
    if !is_marked || weights.names().any(|name| name.contains(OF_CONTEXTS)) {
        return Ok(None);
    }
    let shapes = Shapes::read(weights).ok_or_else(|| {
        let what = "the layout of openai/guided-diffusion, but its blocks do not make levels as there";
        Error::bad_file_hint(weights.path(), what, "supported: the U-Nets of guided-diffusion and improved-diffusion")
    })?;
    if (shapes.in_channels, shapes.out_channels) == (6, 6) {
        let what = "an upsampler of openai/guided-diffusion, which takes a small image beside the noise";
        return Err(Error::bad_file_hint(weights.path(), what, "supported: its networks that make images from noise"));
    }
    let given = settings.expect(&SETTINGS)?;
    let (config, mut scheduler, note) = configure(&shapes, given)?;
    if let Some(prediction) = settings.prediction {
        scheduler.insert("prediction_type".to_owned(), prediction.into());
    }
    let mut names = Names::default();
    weights.names().for_each(|name| names.add(name, name));
    Ok(Some(Parts {
        family: "ADM U-Net (openai/guided-diffusion)".to_owned(),
        class: None,
        components: vec![Part { name: "unet", config, names }],
        scheduler: Some(scheduler),
        notes: note.into_iter().collect(),
        ..Parts::default()
    }))
}

impl Shapes {
    /// Reads the levels off the blocks; `None` if they are not those of a `UNetModel`.
    fn read(weights: &Weights) -> Option<Self> {
        let extents = |key: &str| weights.shape(key);
        let [_, model_channels] = *extents("time_embed.0.weight")? else { return None };
        let [first, in_channels, ..] = *extents("input_blocks.0.0.weight")? else { return None };
        let out_channels = *extents("out.2.weight")?.first()?;
        let modules: HashSet<&str> = weights.names().filter_map(module).collect();
        let is_there = |path: &str| modules.contains(path);
        let is_resnet = |path: &str| extents(&format!("{path}.in_layers.2.weight")).is_some();

        // The first block that doubles the resolution ends the lowest level of the way up.
        let ups = (0..).take_while(|index| is_there(&format!("output_blocks.{index}.0")));
        let doubles = |index: &usize| {
            let last = |module: usize| format!("output_blocks.{index}.{module}");
            [1, 2].into_iter().any(|module| is_resnet(&last(module)) || is_there(&format!("{}.conv", last(module))))
        };
        let count = ups.clone().count();
        let resblock_updown =
            ups.clone().any(|index| [1, 2].iter().any(|m| is_resnet(&format!("output_blocks.{index}.{m}"))));
        let ends = ups.clone().find(doubles);
        // Means of 2 x 2 have no tensors: the numbers of blocks skip them.
        let skipped = (1..=count).find(|index| !is_there(&format!("input_blocks.{index}.0")));
        let conv_resample = resblock_updown || ends.is_some() || skipped.is_none_or(|index| index >= count);
        let per_level = match (ends, skipped) {
            (Some(end), _) => end + 1,
            (None, Some(skipped)) if skipped < count => skipped,
            (None, _) => count,
        };
        let (levels, rest) = (count.checked_div(per_level)?, count.checked_rem(per_level)?);
        if rest != 0 || per_level < 2 || levels > MOST_LEVELS {
            return None;
        }
        let num_res_blocks = per_level - 1;
        let (mut channels, mut attends) = (Vec::new(), Vec::new());
        for level in 0..levels {
            let path = format!("input_blocks.{}", 1 + level * per_level);
            channels.push(*extents(&format!("{path}.0.out_layers.3.weight"))?.first()?);
            if is_there(&format!("{path}.1")) {
                attends.push(level);
            }
        }
        let [rows, _] = *extents("middle_block.0.emb_layers.1.weight")? else { return None };
        let sound = channels.first() == Some(&first) && model_channels > 0;
        sound.then_some(Self {
            in_channels,
            out_channels,
            model_channels,
            num_classes: extents("label_emb.weight").and_then(|shape| shape.first().copied()),
            num_res_blocks,
            scale_shift: Some(rows) == channels.last().map(|channels| 2 * channels),
            channels,
            attends,
            resblock_updown,
            conv_resample,
        })
    }

    /// The published network of these channels.
    fn published(&self) -> Option<Published> {
        let fits = |one: &&Published| {
            let channels = one.halves.iter().map(|halves| halves * one.model_channels / 2);
            one.model_channels == self.model_channels && channels.eq(self.channels.iter().copied())
        };
        PUBLISHED.iter().find(fits).copied()
    }
}

/// The module of a tensor in a block: `input_blocks.3.0`, and `output_blocks.2.1.conv` of a convolution.
fn module(name: &str) -> Option<&str> {
    let mut dots = name.match_indices('.').map(|(at, _)| at);
    let end = dots.nth(2)?;
    let rest = &name[end + 1..];
    if rest.starts_with("conv.") { Some(&name[..end + ".conv".len()]) } else { Some(&name[..end]) }
}

/// The configuration, the noise levels, and a note about what was assumed.
type Configured = (Map<String, Value>, Map<String, Value>, Option<String>);

fn configure(shapes: &Shapes, given: Option<&ConfigFile>) -> Result<Configured> {
    let published = shapes.published();
    let stated = Stated { file: given };
    let mut assumed = Vec::new();
    let mut assume = |field: &str, value: Value| {
        if !stated.has(field) {
            assumed.push(format!("`{field}` {value}"));
        }
        value
    };
    let (num_heads, num_head_channels) = match (published, stated.has("num_heads") || stated.has("num_head_channels")) {
        (_, true) => (stated.integer("num_heads")?, stated.integer("num_head_channels")?),
        (Some(one), false) => (Some(one.num_heads), Some(one.num_head_channels)),
        // The default of guided-diffusion.
        (None, false) => (Some(4), None),
    };
    if !(stated.has("num_heads") || stated.has("num_head_channels")) {
        let dim = num_head_channels.filter(|dim| *dim > 0);
        let _ = match dim {
            Some(dim) => assume("num_head_channels", dim.into()),
            None => assume("num_heads", num_heads.unwrap_or(4).into()),
        };
    }
    let new_order = stated.flag("use_new_attention_order")?;
    let new_order = match new_order {
        Some(order) => order,
        None => assume("use_new_attention_order", published.is_some_and(|one| one.new_order).into()) == true,
    };
    let image_size = match stated.count("image_size")? {
        Some(size) => Some(size),
        None => published.map(|one| one.image_size),
    };
    if let (Some(size), false) = (image_size, stated.has("image_size")) {
        assume("image_size", size.into());
    }
    let schedule = if let Some(schedule) = stated.text("noise_schedule")? {
        schedule
    } else {
        let schedule = published.map_or("linear", |one| one.noise_schedule);
        assume("noise_schedule", schedule.into());
        schedule.to_owned()
    };
    let steps = match stated.count("diffusion_steps")? {
        Some(steps) => steps,
        None => assume("diffusion_steps", 1000.into()).as_u64().map_or(1000, |steps| steps as usize),
    };
    stated.agree(shapes, image_size)?;

    let factors: Vec<Value> = shapes.channels.iter().map(|of| factor(*of, shapes.model_channels)).collect();
    let rates: Vec<usize> = shapes.attends.iter().map(|level| 1 << level).collect();
    let config = json!({
        "_class_name": "AdmUNetModel",
        "image_size": image_size,
        "in_channels": shapes.in_channels,
        "model_channels": shapes.model_channels,
        "out_channels": shapes.out_channels,
        "num_res_blocks": shapes.num_res_blocks,
        "attention_resolutions": rates,
        "channel_mult": factors,
        "conv_resample": shapes.conv_resample,
        "num_classes": shapes.num_classes,
        "num_heads": num_heads.unwrap_or(-1),
        "num_head_channels": num_head_channels.unwrap_or(-1),
        "num_heads_upsample": stated.integer("num_heads_upsample")?.unwrap_or(-1),
        "use_scale_shift_norm": shapes.scale_shift,
        "resblock_updown": shapes.resblock_updown,
        "use_new_attention_order": new_order,
    });
    let scheduler = scheduler(shapes, &stated, (&schedule, steps))?;
    let note = (!assumed.is_empty()).then(|| {
        let source = match published {
            Some(one) => format!("as in `{}` of openai/guided-diffusion", one.files),
            None => "the defaults of openai/guided-diffusion".to_owned(),
        };
        format!(
            "taken without being stated in the file: {}, {source}; a `.json` of the same name beside it states them",
            assumed.join(", ")
        )
    });
    Ok((object(config), scheduler, note))
}

/// `channel_mult` of a level: a whole number where it is one.
fn factor(channels: usize, model_channels: usize) -> Value {
    if channels.is_multiple_of(model_channels) {
        return (channels / model_channels).into();
    }
    (channels as f64 / model_channels as f64).into()
}

/// The noise levels as a configuration of `DDPMScheduler`, whose grid `linspace` is that of `space_timesteps`. Every
/// sampler steps along the list of timesteps, and derives eps again from the clipped image.
fn scheduler(shapes: &Shapes, stated: &Stated, (schedule, steps): (&str, usize)) -> Result<Map<String, Value>> {
    let learns = shapes.out_channels == 2 * shapes.in_channels;
    let scale = 1000.0 / steps.max(1) as f64;
    let mut levels = object(json!({
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": steps,
        "variance_type": if learns { "learned_range" } else { "fixed_large" },
        "clip_sample": true,
        "prediction_type": if stated.flag("predict_xstart")? == Some(true) { "sample" } else { "epsilon" },
        "timestep_spacing": "linspace",
        "respaced": true,
        "use_clipped_model_output": true,
    }));
    match schedule {
        "linear" => levels.extend(object(json!({
            "beta_schedule": "linear", "beta_start": scale * 0.0001, "beta_end": scale * 0.02,
        }))),
        "cosine" => levels.extend(object(json!({ "beta_schedule": "squaredcos_cap_v2" }))),
        _ => return Err(stated.unsupported("noise_schedule", "linear, cosine")),
    }
    if stated.text("timestep_respacing")?.is_some_and(|text| !text.is_empty()) {
        return Err(stated.unsupported("timestep_respacing", "\"\": a run chooses its steps and its schedule"));
    }
    // The network is called at t times 1000 / T there.
    if stated.flag("rescale_timesteps")? == Some(true) && steps != 1000 {
        return Err(stated.unsupported("rescale_timesteps", "true with 1000 `diffusion_steps`, or false"));
    }
    Ok(levels)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
