//! Stable Diffusion 1, 2 and XL in the layout of the original code (CompVis/stable-diffusion,
//! Stability-AI/stablediffusion and generative-models): whole models, and a U-Net or an autoencoder alone.
//!
//! Configurations and schedulers are those that diffusers' `from_single_file` gives (`loaders/single_file_utils.py`,
//! 0.42), which takes them from the published models. What only the published models say and shapes do not, such as
//! the number of attention heads, can be stated in the settings beside a file.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::clip::{Form, TextEncoder};
use super::ldm_unet::{Unet, Vector, averaged_name};
use super::ldm_vae::Vae;
use super::{ClipTokens, Layout, Part, Parts, Settings};
use crate::checkpoint::config::ConfigFile;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result, excerpt};

pub(super) static LAYOUT: Layout = Layout { name: "Stable Diffusion's original code", open };

/// The prefixes of the components.
const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const TEXT: (&str, &str) = ("cond_stage_model.transformer.", "cond_stage_model.model.");
const TEXT_XL: (&str, &str) = ("conditioner.embedders.0.transformer.", "conditioner.embedders.0.model.");
const TEXT_XL_2: (&str, &str) = ("conditioner.embedders.1.transformer.", "conditioner.embedders.1.model.");

/// The text encoder of Stable Diffusion 2 has a last layer that is not used: the model was trained on the output of
/// the one before it.
const LAYERS_2: usize = 23;
/// The step of training at which the model of 512 x 512 of Stable Diffusion 2 was saved, which predicts epsilon.
const BASE_2_STEP: f32 = 875_000.0;
/// Tensors that fine-tuned models have to say that they predict v, and that their noise ends without a signal.
const IS_V: &str = "v_pred";
const ENDS_IN_NOISE: &str = "ztsnr";
/// The step of training at which a file was saved.
const STEP: &str = "global_step";

/// Tokens that fill short texts up, by the text encoder: those of OpenAI and of OpenCLIP.
const PAD_OPENAI: &str = "<|endoftext|>";
const PAD_OPEN_CLIP: &str = "!";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    One,
    Two,
    Xl,
}

fn open(weights: &Weights, settings: &Settings) -> Result<Option<Parts>> {
    let unet = [UNET, "diffusion_model.", ""].into_iter().find_map(|prefix| Unet::find(weights, prefix));
    let vae = [VAE, "vae.", ""].into_iter().find_map(|prefix| Vae::find(weights, prefix));
    let text = find_text(weights, TEXT);
    let (text_xl, text_xl_2) = (find_text(weights, TEXT_XL), find_text(weights, TEXT_XL_2));
    if unet.is_none() && vae.is_none() || is_of_another_layout(weights) {
        return Ok(None);
    }
    let stated = settings.expect(&KNOWN)?;
    let family = match &unet {
        Some(unet) => family(unet, text.as_ref(), weights)?,
        None if text_xl.is_some() => Family::Xl,
        None => Family::One,
    };
    let mut parts = Parts::default();
    let of_file = stated.map_or(Ok(None), |file| file.opt_string("prediction_type", None))?;
    let prediction = settings.prediction.map(str::to_owned).or(of_file);
    let (prediction, sample_size) = match &unet {
        Some(unet) => prediction_of(family, unet, weights, prediction, &mut parts.notes),
        None => ("epsilon".to_owned(), 64),
    };
    if let Some(unet) = &unet {
        let (mut config, mut names) = unet.part()?;
        config.insert("sample_size".to_owned(), sample_size.into());
        if stated.map(|file| file.bool("averaged_weights", false)).transpose()? == Some(true) {
            names = unet.averaged()?;
            parts
                .notes
                .push("the averaged weights (`model_ema`) of the network are used, not the plain ones".to_owned());
        } else if weights.names().any(|name| name.starts_with("model_ema.diffusion_model")) {
            parts.notes.push(
                "the file holds averaged weights (`model_ema`) besides: the plain ones are used, as diffusers does"
                    .to_owned(),
            );
        }
        parts.components.push(Part { name: "unet", config, names });
        parts.scheduler = Some(scheduler(family, &prediction, weights));
    }
    if let Some(vae) = &vae {
        let (config, names) = vae.part(if family == Family::Xl { 0.13025 } else { 0.18215 })?;
        parts.components.push(Part { name: "vae", config, names });
    }
    let pad = |text: &TextEncoder| match text.form {
        Form::Transformers => PAD_OPENAI,
        Form::OpenClip => PAD_OPEN_CLIP,
    };
    let first = if family == Family::Xl { &text_xl } else { &text };
    if let Some(text) = first {
        let (config, names) = text.part(if family == Family::Two { LAYERS_2 } else { usize::MAX }, false)?;
        parts.components.push(Part { name: "text_encoder", config, names });
        parts.tokenizers.push(ClipTokens { component: "tokenizer", pad: pad(text) });
    }
    if let Some(text) = text_xl_2.as_ref().filter(|_| family == Family::Xl) {
        let (config, names) = text.part(usize::MAX, true)?;
        parts.components.push(Part { name: "text_encoder_2", config, names });
        parts.tokenizers.push(ClipTokens { component: "tokenizer_2", pad: pad(text) });
    }
    let inpaints = unet.as_ref().is_some_and(|unet| unet.in_channels == INPAINTING);
    parts.family = name(family, &parts, inpaints);
    let is_whole = parts.components.len() == if family == Family::Xl { 4 } else { 3 };
    parts.class = is_whole.then_some(match (family, inpaints) {
        (Family::Xl, false) => "StableDiffusionXLPipeline",
        (Family::Xl, true) => "StableDiffusionXLInpaintPipeline",
        (Family::One | Family::Two, false) => "StableDiffusionPipeline",
        (Family::One | Family::Two, true) => "StableDiffusionInpaintPipeline",
    });
    for part in &mut parts.components {
        state(stated, part.name, &mut part.config)?;
    }
    if let Some(scheduler) = &mut parts.scheduler {
        state(stated, "scheduler", scheduler)?;
    }
    parts.ignored = ignored(weights, &parts);
    let is_bare = unet.is_some_and(|unet| unet.prefix.is_empty()) || vae.is_some_and(|vae| vae.prefix.is_empty());
    if !is_bare {
        pass_strays_over(weights, &mut parts);
    }
    Ok(Some(parts))
}

/// The settings beside a file: what a network predicts, whether its averaged weights are used, and fields of the
/// configurations of components, which win over those derived from shapes.
const KNOWN: [&str; 7] =
    ["prediction_type", "averaged_weights", "unet", "vae", "text_encoder", "text_encoder_2", "scheduler"];

/// Replaces fields of a configuration by those stated for the component.
fn state(stated: Option<&ConfigFile>, component: &str, config: &mut Map<String, Value>) -> Result<()> {
    match stated.and_then(|file| Some((file, file.values.get(component)?))) {
        None => Ok(()),
        Some((_, Value::Object(fields))) => {
            config.extend(fields.clone());
            Ok(())
        }
        Some((file, _)) => Err(file.wrong_value(component, "an object of fields")),
    }
}

fn find_text<'a>(weights: &'a Weights, prefixes: (&'static str, &'static str)) -> Option<TextEncoder<'a>> {
    TextEncoder::find(weights, prefixes.0, prefixes.1)
}

/// Channels of the input of a network that fills masked parts in.
const INPAINTING: usize = 9;

/// The hint for relatives of these families.
const TEXT_TO_IMAGE: &str = "supported: Stable Diffusion 1, 2 and XL, from text to images";

/// The family of a network, or the error for one that reads more than noisy latents.
fn family(unet: &Unet, text: Option<&TextEncoder>, weights: &Weights) -> Result<Family> {
    let refuse = |what: &str, hint: &str| {
        Err(Error::bad_file_hint(weights.path(), format!("{what}, which is not supported"), hint))
    };
    if weights.shape("edm_mean").is_some() {
        return refuse("Playground 2.5", TEXT_TO_IMAGE);
    }
    match (unet.in_channels, unet.vector, unet.context) {
        (_, Vector::Label, _) | (7, ..) => return refuse("Stable Diffusion's upscaler", TEXT_TO_IMAGE),
        (8, ..) => return refuse("InstructPix2Pix, a model that edits pictures", TEXT_TO_IMAGE),
        (5, ..) => return refuse("Stable Diffusion 2 with maps of depth", TEXT_TO_IMAGE),
        (_, Vector::Projected(_), 1280) => {
            return refuse("the refiner of Stable Diffusion XL", "use the base model, without the refiner");
        }
        (_, Vector::Projected(_), 1024) => return refuse("Stable Diffusion 2 unCLIP", TEXT_TO_IMAGE),
        (_, Vector::Projected(_), _) => return Ok(Family::Xl),
        _ => {}
    }
    Ok(match text.map(|text| text.form) {
        Some(Form::OpenClip) => Family::Two,
        None if unet.linear => Family::Two,
        Some(Form::Transformers) | None => Family::One,
    })
}

/// Returns the quantity that the network predicts, and the side of its latents in training.
fn prediction_of(
    family: Family,
    unet: &Unet,
    weights: &Weights,
    stated: Option<String>,
    notes: &mut Vec<String>,
) -> (String, usize) {
    let side = |prediction: &str| match family {
        Family::Two if prediction == "v_prediction" && unet.in_channels != INPAINTING => 96,
        Family::One | Family::Two => 64,
        Family::Xl => 128,
    };
    let prediction = if let Some(stated) = stated {
        stated
    } else if weights.shape(IS_V).is_some() {
        "v_prediction".to_owned()
    } else if family != Family::Two || unet.in_channels == INPAINTING || is_base_2(weights) {
        "epsilon".to_owned()
    } else {
        notes.push(
            "the file does not say what its network predicts: it is taken to be v, as diffusers does for Stable \
             Diffusion 2; a model of 512 x 512 predicts epsilon (`prediction_type`)"
                .to_owned(),
        );
        "v_prediction".to_owned()
    };
    let side = side(&prediction);
    (prediction, side)
}

/// Returns `true` for the step of training at which the model of 512 x 512 was saved.
fn is_base_2(weights: &Weights) -> bool {
    let step = weights.shape(STEP).map(<[usize]>::to_vec).and_then(|shape| weights.fetch(STEP, &shape).ok());
    step.is_some_and(|step| step.data == [BASE_2_STEP])
}

/// The scheduler of the published models.
fn scheduler(family: Family, prediction: &str, weights: &Weights) -> Map<String, Value> {
    let class = match (family, prediction) {
        (Family::Xl, _) => "EulerDiscreteScheduler",
        (Family::Two, "v_prediction") => "DDIMScheduler",
        (Family::One | Family::Two, _) => "PNDMScheduler",
    };
    let fields = json!({
        "_class_name": class,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": false,
        "num_train_timesteps": 1000,
        "prediction_type": prediction,
        "set_alpha_to_one": false,
        "skip_prk_steps": true,
        "steps_offset": 1,
        "timestep_spacing": "leading",
    });
    let Value::Object(mut fields) = fields else { unreachable!("an object") };
    if weights.shape(ENDS_IN_NOISE).is_some() {
        fields.insert("rescale_betas_zero_snr".to_owned(), true.into());
        fields.insert("timestep_spacing".to_owned(), "trailing".into());
    }
    fields
}

fn name(family: Family, parts: &Parts, inpaints: bool) -> String {
    let of = match family {
        Family::One => "Stable Diffusion 1",
        Family::Two => "Stable Diffusion 2",
        Family::Xl => "Stable Diffusion XL",
    };
    match &parts.components[..] {
        [part] if part.name == "vae" => "the autoencoder of Stable Diffusion".to_owned(),
        [part] if part.name == "unet" => format!("the network of {of}{}", if inpaints { ", inpainting" } else { "" }),
        _ => format!("{of}{}", if inpaints { ", inpainting" } else { "" }),
    }
}

/// The tensors that are known to be without effect on images: schedules and counters of training, averages (or the
/// plain weights beside those), the loss, the last layer of a text encoder that is not used, and what lies beside text
/// encoders.
fn ignored(weights: &Weights, parts: &Parts) -> Vec<String> {
    let names = parts.components.iter().flat_map(|part| part.names.iter());
    let used: HashSet<&str> = names.map(|named| named.stored.as_str()).collect();
    let is_averaged = |name: &str| name.starts_with(UNET) && used.contains(averaged_name(name).as_str());
    let is_idle = |name: &&str| is_of_training(name) || is_of_text(name) || is_averaged(name);
    weights.names().filter(|name| !used.contains(name)).filter(is_idle).map(str::to_owned).collect()
}

/// Passes tensors over that belong to no component by their names, with a note: merged files often hold some.
fn pass_strays_over(weights: &Weights, parts: &mut Parts) {
    let components =
        [UNET, "diffusion_model.", VAE, "vae.", TEXT.0, TEXT.1, TEXT_XL.0, TEXT_XL.1, TEXT_XL_2.0, TEXT_XL_2.1];
    let passed: HashSet<&str> = parts.ignored.iter().map(String::as_str).collect();
    let is_stray =
        |name: &&str| !passed.contains(name) && !components.iter().any(|component| name.starts_with(component));
    let strays: Vec<String> = weights.names().filter(is_stray).map(str::to_owned).collect();
    let Some(first) = strays.first() else { return };
    let (count, first) = (strays.len(), excerpt(first));
    parts.notes.push(format!("tensors of no component are passed over ({count}), such as `{first}`"));
    parts.ignored.extend(strays);
}

fn is_of_training(name: &str) -> bool {
    const TABLES: [&str; 22] = [
        "betas",
        "alphas_cumprod",
        "alphas_cumprod_prev",
        "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod",
        "sqrt_recipm1_alphas_cumprod",
        "posterior_variance",
        "posterior_log_variance_clipped",
        "posterior_mean_coef1",
        "posterior_mean_coef2",
        "logvar",
        "lvlb_weights",
        "scale_factor",
        "denoiser.sigmas",
        "denoiser.log_sigmas",
        "model_ema.decay",
        "model_ema.num_updates",
        STEP,
        IS_V,
        ENDS_IN_NOISE,
    ];
    let name = name.strip_prefix(VAE).unwrap_or(name);
    TABLES.contains(&name) || name.starts_with("loss.") || name.starts_with("model_ema.")
}

fn is_of_text(name: &str) -> bool {
    const IDLE: [&str; 6] = [
        "embeddings.position_ids",
        "text_model.embeddings.position_ids",
        "logit_scale",
        "text_projection",
        "text_projection.weight",
        "attn_mask",
    ];
    let beside = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            IDLE.contains(&rest)
                || rest.starts_with("vision_model.")
                || rest.starts_with("visual_projection.")
                || rest.starts_with("transformer.resblocks.23.")
        })
    };
    name == "cond_stage_model.logit_scale"
        || [TEXT, TEXT_XL, TEXT_XL_2].iter().any(|(first, second)| beside(first) || beside(second))
}

/// Returns `true` for files that only look alike: control networks and adapters hold parts of such a U-Net.
fn is_of_another_layout(weights: &Weights) -> bool {
    weights.names().any(|name| {
        name.starts_with("control_model.") || name.starts_with("input_hint_block.") || name.contains("zero_convs.")
    })
}
