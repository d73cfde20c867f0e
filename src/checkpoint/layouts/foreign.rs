//! Files that are not models, or models of families that are not supported: refused by the names that people know.

use crate::checkpoint::keys::TOKEN_TABLE;

/// A kind of file that is refused.
struct Foreign {
    /// The marks of which one tensor's name has to have one.
    marks: &'static [Mark],
    /// The name of the kind.
    what: &'static str,
    /// Advice to the user.
    hint: &'static str,
}

/// A mark of the name of a tensor, without a prefix of whole checkpoints.
enum Mark {
    /// It is this.
    Is(&'static str),
    /// It begins so.
    Begins(&'static str),
    /// It has this anywhere.
    Has(&'static str),
}

use Mark::{Begins, Has, Is};

/// The prefixes of the network in whole checkpoints.
const PREFIXES: [&str; 3] = ["model.diffusion_model.", "diffusion_model.", "net."];

const SUPPORTED: &str = "supported: Stable Diffusion 1, 2 and XL as single files, and diffusers folders of the classes \
                         that the documentation lists";
const NO_TRANSFORMERS: &str = "its network is a transformer over text and image together, which is not supported; \
                               Stable Diffusion 1, 2 and XL are";
const OF_BASE: &str = "name the whole model, a file or a diffusers folder";

/// The prefixes of the components in whole checkpoints.
const PARTS: [&str; 5] =
    ["model.diffusion_model.", "diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner."];

/// The prefixes of text encoders in whole checkpoints.
const TEXT_PARTS: [&str; 2] = ["cond_stage_model.", "conditioner."];

/// The kinds in the order in which they are tried: what changes a model, what belongs to one, other models.
static KINDS: &[Foreign] = &[
    Foreign {
        marks: &[
            Begins("lora_"),
            Has(".lora_A."),
            Has(".lora_B."),
            Has(".lora_down."),
            Has(".lora_up."),
            Has("_lora."),
            Has(".lora.down."),
        ],
        what: "a LoRA, changes to the weights of a model and not a model",
        hint: "name the model that it changes, and give this file as its `lora`",
    },
    Foreign {
        marks: &[Has(".hada_w1_a"), Has(".lokr_w1"), Has(".oft_blocks"), Has("oft_diag")],
        what: "a LyCORIS (LoHa, LoKr or OFT), changes to the weights of a model and not a model",
        hint: "merge it into its base model with the program that trained it",
    },
    Foreign {
        marks: &[Is("emb_params"), Begins("string_to_param"), Is("learned_embeds")],
        what: "an embedding (textual inversion), a word for text encoders and not a model",
        hint: OF_BASE,
    },
    Foreign {
        marks: &[
            Begins("control_model."),
            Begins("controlnet_"),
            Begins("input_hint_block."),
            Has("zero_convs."),
            Begins("control_add_embedding."),
            Begins("control_all_x_embedder"),
            Begins("control_layers."),
        ],
        what: "a ControlNet, which steers a model and is not one, and is not supported",
        hint: OF_BASE,
    },
    Foreign {
        marks: &[Begins("image_proj."), Begins("ip_adapter."), Begins("adapter.body."), Begins("body.0.resnets.")],
        what: "an adapter (IP-Adapter or T2I-Adapter), which steers a model and is not one, and is not supported",
        hint: OF_BASE,
    },
    Foreign {
        marks: &[Has("motion_modules.")],
        what: "a motion module of AnimateDiff, which is not supported",
        hint: OF_BASE,
    },
    Foreign {
        marks: &[Has(".RDB1."), Has(".rdb1."), Begins("conv_first."), Has("residual_group.blocks.")],
        what: "an upscaler of pictures (ESRGAN, SwinIR or the like), not a diffusion model",
        hint: "pictures are upscaled by other programs",
    },
    Foreign { marks: &[Begins("concept_embeds")], what: "a safety checker, not a diffusion model", hint: OF_BASE },
    Foreign {
        marks: &[Begins("vision_model."), Begins("visual.")],
        what: "an encoder of images (CLIP), not a diffusion model",
        hint: OF_BASE,
    },
    Foreign {
        marks: &[
            Is(TOKEN_TABLE),
            Is("token_embedding.weight"),
            Begins("encoder.block.0.layer.0.SelfAttention"),
            Is("model.embed_tokens.weight"),
            Begins("text_encoders."),
        ],
        what: "a text encoder (CLIP, T5 or a language model), or a pipeline around one, not a diffusion model",
        hint: OF_BASE,
    },
    Foreign {
        marks: &[Is("distilled_guidance_layer.in_proj.bias")],
        what: "Chroma, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("double_stream_modulation_"), Begins("single_stream_modulation.")],
        what: "Flux.2, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("txt_in.individual_token_refiner."), Begins("context_embedder.token_refiner.")],
        what: "HunyuanVideo, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("double_blocks.0.img_attn."), Begins("single_transformer_blocks.")],
        what: "Flux, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("joint_blocks."), Has(".attn.add_k_proj.")],
        what: "Stable Diffusion 3, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("double_stream_blocks.")],
        what: "HiDream, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Is("clip_txt_mapper.weight"), Begins("down_blocks.1.0.channelwise."), Begins("effnet_mapper.")],
        what: "Stable Cascade, which is not supported",
        hint: SUPPORTED,
    },
    Foreign {
        marks: &[Begins("mlp_t5."), Begins("text_embedding_padding"), Begins("style_embedder.")],
        what: "Hunyuan-DiT, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("y_embedder.y_proj."), Begins("caption_projection.linear_"), Is("ar_embedder.mlp.0.weight")],
        what: "PixArt, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("blocks.0.cross_attn.q_linear.")],
        what: "PixArt or Sana, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Is("cond_seq_linear.weight"), Begins("double_layers.0.attn.w2q.")],
        what: "AuraFlow, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[
            Begins("head.modulation"),
            Begins("blocks.0.cross_attn.norm_k."),
            Begins("decoder.middle.0.residual."),
        ],
        what: "Wan, a model of videos, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("patchify_proj."), Begins("audio_vae.")],
        what: "LTX-Video, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("blocks.0.attn.qkv_x.")],
        what: "Mochi, a model of videos, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("cap_embedder.0."), Begins("noise_refiner.")],
        what: "Lumina or Z-Image, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("pos_embedder.dim_spatial_range"), Begins("extra_pos_embedder."), Begins("x_embedder.proj.1.")],
        what: "Cosmos, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("transformer_blocks.0.img_mlp."), Begins("txt_norm.")],
        what: "Qwen-Image, which is not supported",
        hint: NO_TRANSFORMERS,
    },
    Foreign {
        marks: &[Begins("encoder.stages.0.op_list."), Begins("decoder.stages.1.op_list.")],
        what: "a deep compression autoencoder (DC-AE), which is not supported",
        hint: SUPPORTED,
    },
    Foreign {
        marks: &[Begins("time_stack"), Has(".time_stack."), Has(".time_mixer.")],
        what: "Stable Video Diffusion, which is not supported",
        hint: SUPPORTED,
    },
];

impl Mark {
    fn is_of(&self, name: &str) -> bool {
        let name = PREFIXES.into_iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        match self {
            Is(text) => name == *text,
            Begins(text) => name.starts_with(text),
            Has(text) => name.contains(text),
        }
    }
}

/// Returns the kind of a file of weights that is not a supported model, by the names of its tensors, and what to do
/// with it. A file of a supported layout must have been told apart before.
pub(in crate::checkpoint) fn foreign<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
) -> Option<(&'static str, &'static str)> {
    let is_of = |kind: &&Foreign| names.clone().any(|name| kind.marks.iter().any(|mark| mark.is_of(name)));
    if let Some(kind) = KINDS.iter().find(is_of) {
        return Some((kind.what, kind.hint));
    }
    let is_text = |name: &str| TEXT_PARTS.iter().any(|prefix| name.starts_with(prefix));
    if names.clone().any(is_text) && names.clone().all(is_text) {
        return Some(("the text encoder of a model, without its network", OF_BASE));
    }
    let is_part = |name: &str| PARTS.iter().any(|prefix| name.starts_with(prefix));
    names.clone().any(is_part).then_some(("a whole checkpoint of a family that is not known", SUPPORTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are those of published files, by diffusers' `loaders/single_file_utils.py` and by what other programs
    /// write.
    #[test]
    fn families_have_the_names_that_people_know() {
        for (name, what) in [
            ("lora_unet_down_blocks_0_attentions_0_proj_in.alpha", "a LoRA"),
            ("unet.up_blocks.0.attentions.0.to_q.lora_A.weight", "a LoRA"),
            ("lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a", "a LoRA"),
            ("unet_layer.lokr_w1", "a LyCORIS"),
            ("emb_params", "an embedding"),
            ("control_model.time_embed.0.weight", "a ControlNet"),
            ("controlnet_cond_embedding.conv_in.weight", "a ControlNet"),
            ("image_proj.latents", "an adapter"),
            ("model.1.sub.0.RDB1.conv1.0.weight", "an upscaler"),
            ("double_blocks.0.img_attn.norm.key_norm.scale", "Flux,"),
            ("model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale", "Flux,"),
            ("single_stream_modulation.lin.weight", "Flux.2"),
            ("model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias", "Stable Diffusion 3"),
            ("clip_txt_mapper.weight", "Stable Cascade"),
            ("caption_projection.linear_1.weight", "PixArt"),
            ("mlp_t5.0.weight", "Hunyuan-DiT"),
            ("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias", "HunyuanVideo"),
            ("model.diffusion_model.head.modulation", "Wan"),
            ("patchify_proj.weight", "LTX-Video"),
            ("blocks.0.attn.qkv_x.weight", "Mochi"),
            ("net.pos_embedder.dim_spatial_range", "Cosmos"),
            ("embeddings.token_embedding.weight", "a text encoder"),
            ("cond_stage_model.transformer.text_model.final_layer_norm.bias", "the text encoder of a model"),
            ("model.diffusion_model.unheard_of", "a whole checkpoint"),
        ] {
            let (found, hint) = foreign([name].into_iter()).unwrap_or_else(|| panic!("{name}"));
            assert!(found.starts_with(what) && !hint.is_empty(), "{name}: {found}");
        }
        let diffusers =
            ["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "mid_block.attentions.0.to_q.weight"];
        assert_eq!(foreign(diffusers.into_iter()), None);
    }
}
