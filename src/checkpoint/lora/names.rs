//! The names in LoRA files: which module a tensor changes, and which factor of the change it is.
//!
//! * kohya: `lora_unet_down_blocks_0_..._to_q.lora_down.weight`, `.lora_up.weight`, `.alpha`; `lora_te_`, `lora_te1_`,
//!   `lora_te2_` for text encoders (kohya-ss/sd-scripts, `networks/lora.py`).
//! * diffusers: `unet.down_blocks.0...to_q.lora_A.weight` and `.lora_B.weight`; before 0.20 `.lora.down.weight`,
//!   `.processor.to_q_lora.down.weight` and, in text encoders, `.to_q_lora.down.weight`.
//! * PEFT: `base_model.model.down_blocks.0...to_q.lora_A.weight`.

use std::fmt;

/// The tool whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// kohya-ss/sd-scripts and the tools that follow it.
    Kohya,
    /// diffusers.
    Diffusers,
    /// PEFT.
    Peft,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kohya => "kohya",
            Self::Diffusers => "diffusers",
            Self::Peft => "PEFT",
        })
    }
}

/// The part of a model that a change belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The denoising network.
    Network,
    /// The text encoder.
    TextEncoder,
    /// The second text encoder, of models that have two.
    TextEncoder2,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        })
    }
}

/// The role of a tensor in the change of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The factor that is applied first: (rank, inputs).
    Down,
    /// The factor that is applied second: (outputs, rank).
    Up,
    /// The numerator of the scale alpha / rank.
    Alpha,
    /// A part of a method that is not a plain product, by its name.
    Other(&'static str),
}

/// The endings of names, and the role that each stands for.
const ENDINGS: [(&str, Role); 36] = [
    ("lora_down.weight", Role::Down),
    ("lora_up.weight", Role::Up),
    ("lora_A.weight", Role::Down),
    ("lora_B.weight", Role::Up),
    ("lora_A.default.weight", Role::Down),
    ("lora_B.default.weight", Role::Up),
    ("lora_linear_layer.down.weight", Role::Down),
    ("lora_linear_layer.up.weight", Role::Up),
    ("lora.down.weight", Role::Down),
    ("lora.up.weight", Role::Up),
    ("alpha", Role::Alpha),
    ("lora_mid.weight", Role::Other("a Tucker decomposition (`lora_mid`)")),
    ("dora_scale", Role::Other("DoRA (`dora_scale`)")),
    ("lora_magnitude_vector", Role::Other("DoRA (`lora_magnitude_vector`)")),
    ("lora_magnitude_vector.weight", Role::Other("DoRA (`lora_magnitude_vector`)")),
    ("lora_magnitude_vector.default.weight", Role::Other("DoRA (`lora_magnitude_vector`)")),
    ("hada_w1_a", Role::Other("LoHa (`hada_w1_a`)")),
    ("hada_w1_b", Role::Other("LoHa (`hada_w1_b`)")),
    ("hada_w2_a", Role::Other("LoHa (`hada_w2_a`)")),
    ("hada_w2_b", Role::Other("LoHa (`hada_w2_b`)")),
    ("hada_t1", Role::Other("LoHa (`hada_t1`)")),
    ("hada_t2", Role::Other("LoHa (`hada_t2`)")),
    ("lokr_w1", Role::Other("LoKr (`lokr_w1`)")),
    ("lokr_w2", Role::Other("LoKr (`lokr_w2`)")),
    ("lokr_w1_a", Role::Other("LoKr (`lokr_w1_a`)")),
    ("lokr_w1_b", Role::Other("LoKr (`lokr_w1_b`)")),
    ("lokr_w2_a", Role::Other("LoKr (`lokr_w2_a`)")),
    ("lokr_w2_b", Role::Other("LoKr (`lokr_w2_b`)")),
    ("lokr_t2", Role::Other("LoKr (`lokr_t2`)")),
    ("oft_blocks", Role::Other("OFT (`oft_blocks`)")),
    ("oft_diag", Role::Other("OFT (`oft_diag`)")),
    ("on_input", Role::Other("IA3 (`on_input`)")),
    ("lora_A.bias", Role::Other("a LoRA with biases (`lora_A.bias`)")),
    ("lora_B.bias", Role::Other("a LoRA with biases (`lora_B.bias`)")),
    ("diff", Role::Other("whole differences of weights (`diff`)")),
    ("diff_b", Role::Other("whole differences of weights (`diff_b`)")),
];

/// Projections of attention in the names of diffusers before 0.20: their names in the network, and in text encoders.
const PROJECTIONS: [(&str, &str, &str); 4] = [
    ("to_q_lora", "to_q", "q_proj"),
    ("to_k_lora", "to_k", "k_proj"),
    ("to_v_lora", "to_v", "v_proj"),
    ("to_out_lora", "to_out.0", "out_proj"),
];

/// A name of a tensor in a LoRA file, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub dialect: Dialect,
    /// The part that the name states; `None` for names that do not.
    pub part: Option<Part>,
    /// The module without the part: a path, or in kohya's dialect a path with `_` for every `.`.
    pub module: String,
    pub role: Role,
}

/// Takes a name apart; `None` for a name that is not one of a LoRA.
pub(super) fn parse(name: &str) -> Option<Parsed> {
    let (module, role) = role(name)?;
    if module.starts_with("lora_") {
        let parts = [
            ("lora_unet_", Part::Network),
            ("lora_te_", Part::TextEncoder),
            ("lora_te1_", Part::TextEncoder),
            ("lora_te2_", Part::TextEncoder2),
        ];
        let found = parts.iter().find_map(|(prefix, part)| Some((module.strip_prefix(prefix)?, *part)));
        let (module, part) = found.map_or((module.clone(), None), |(rest, part)| (rest.to_owned(), Some(part)));
        return Some(Parsed { dialect: Dialect::Kohya, part, module, role });
    }
    let (dialect, rest) = match module.strip_prefix("base_model.model.") {
        Some(rest) => (Dialect::Peft, rest),
        None => (Dialect::Diffusers, module.as_str()),
    };
    let parts = [
        ("unet.", Part::Network),
        ("transformer.", Part::Network),
        ("diffusion_model.", Part::Network),
        ("text_encoder.", Part::TextEncoder),
        ("text_encoder_2.", Part::TextEncoder2),
    ];
    let found = parts.iter().find_map(|(prefix, part)| Some((rest.strip_prefix(prefix)?, *part)));
    let (module, part) = found.map_or((rest, None), |(rest, part)| (rest, Some(part)));
    Some(Parsed { dialect, part, module: module.to_owned(), role })
}

/// The module that a name belongs to, and the role of the tensor.
fn role(name: &str) -> Option<(String, Role)> {
    if let Some((before, role)) = ENDINGS.iter().find_map(|(ending, role)| Some((stem(name, ending)?, *role))) {
        return Some((before.to_owned(), role));
    }
    // `....processor.to_q_lora.down.weight` and `....self_attn.to_q_lora.down.weight`.
    let (before, role) = [("down.weight", Role::Down), ("up.weight", Role::Up)]
        .iter()
        .find_map(|(ending, role)| Some((stem(name, ending)?, *role)))?;
    let (owner, projection) = before.rsplit_once('.')?;
    let (_, of_network, of_text) = PROJECTIONS.iter().find(|(old, _, _)| *old == projection)?;
    let owner = owner.strip_suffix(".processor").unwrap_or(owner);
    let projection = if owner.ends_with("self_attn") { of_text } else { of_network };
    Some((format!("{owner}.{projection}"), role))
}

/// The part of a name before `.ending`.
fn stem<'n>(name: &'n str, ending: &str) -> Option<&'n str> {
    name.strip_suffix(ending)?.strip_suffix('.').filter(|stem| !stem.is_empty())
}

/// The name of a module of diffusers' `UNet2DConditionModel` in the layout of the original authors, with `layers`
/// residual blocks per level: `down_blocks.1.attentions.0.proj_in` is `input_blocks.4.1.proj_in`.
pub(super) fn original(module: &str, layers: usize) -> Option<String> {
    let parts: Vec<&str> = module.split('.').collect();
    let number = |text: &str| text.parse::<usize>().ok();
    let joined = |block: String, rest: &[&str]| {
        if rest.is_empty() { block } else { format!("{block}.{}", rest.join(".")) }
    };
    Some(match parts.as_slice() {
        ["conv_in"] => "input_blocks.0.0".to_owned(),
        ["conv_out"] => "out.2".to_owned(),
        ["time_embedding", "linear_1"] => "time_embed.0".to_owned(),
        ["time_embedding", "linear_2"] => "time_embed.2".to_owned(),
        ["add_embedding", "linear_1"] => "label_emb.0.0".to_owned(),
        ["add_embedding", "linear_2"] => "label_emb.0.2".to_owned(),
        ["mid_block", "attentions", "0", rest @ ..] => joined("middle_block.1".to_owned(), rest),
        ["mid_block", "resnets", at, rest @ ..] => {
            joined(format!("middle_block.{}", number(at)?.checked_mul(2)?), &resnet(rest)?)
        }
        ["down_blocks", level, kind, at, rest @ ..] => {
            let first = number(level)?.checked_mul(layers + 1)?.checked_add(1)?;
            let place = |at: &str| first.checked_add(number(at)?);
            match *kind {
                "resnets" => joined(format!("input_blocks.{}.0", place(at)?), &resnet(rest)?),
                "attentions" => joined(format!("input_blocks.{}.1", place(at)?), rest),
                "downsamplers" if rest == ["conv"] => format!("input_blocks.{}.0.op", first.checked_add(layers)?),
                _ => return None,
            }
        }
        ["up_blocks", level, kind, at, rest @ ..] => {
            let first = number(level)?.checked_mul(layers + 1)?;
            let place = |at: &str| first.checked_add(number(at)?);
            match *kind {
                "resnets" => joined(format!("output_blocks.{}.0", place(at)?), &resnet(rest)?),
                "attentions" => joined(format!("output_blocks.{}.1", place(at)?), rest),
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// The name of an upsampler in the layout of the original authors: after the attention of its level, if there is one.
pub(super) fn original_upsampler(level: usize, layers: usize, has_attention: bool) -> Option<String> {
    let last = level.checked_mul(layers + 1)?.checked_add(layers)?;
    Some(format!("output_blocks.{last}.{}.conv", if has_attention { 2 } else { 1 }))
}

/// The parts of a residual block.
fn resnet<'p>(rest: &[&'p str]) -> Option<Vec<&'p str>> {
    Some(match rest {
        ["conv1"] => vec!["in_layers", "2"],
        ["time_emb_proj"] => vec!["emb_layers", "1"],
        ["conv2"] => vec!["out_layers", "3"],
        ["conv_shortcut"] => vec!["skip_connection"],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_taken_apart() {
        use Dialect::{Diffusers, Kohya, Peft};
        let network = Some(Part::Network);
        for (name, dialect, part, module, role) in [
            ("lora_unet_mid_block_x.lora_down.weight", Kohya, network, "mid_block_x", Role::Down),
            ("lora_te_text_model_x.alpha", Kohya, Some(Part::TextEncoder), "text_model_x", Role::Alpha),
            ("lora_te1_x.lora_up.weight", Kohya, Some(Part::TextEncoder), "x", Role::Up),
            ("lora_te2_x.lora_up.weight", Kohya, Some(Part::TextEncoder2), "x", Role::Up),
            ("lora_transformer_x.lora_up.weight", Kohya, None, "lora_transformer_x", Role::Up),
            ("unet.a.to_q.lora_A.weight", Diffusers, network, "a.to_q", Role::Down),
            ("unet.a.to_q.lora.up.weight", Diffusers, network, "a.to_q", Role::Up),
            ("unet.a.attn1.processor.to_out_lora.up.weight", Diffusers, network, "a.attn1.to_out.0", Role::Up),
            ("a.attn1.processor.to_k_lora.down.weight", Diffusers, None, "a.attn1.to_k", Role::Down),
            (
                "text_encoder.text_model.a.self_attn.to_out_lora.down.weight",
                Diffusers,
                Some(Part::TextEncoder),
                "text_model.a.self_attn.out_proj",
                Role::Down,
            ),
            ("base_model.model.a.to_q.lora_B.weight", Peft, None, "a.to_q", Role::Up),
            ("base_model.model.a.to_q.lora_A.default.weight", Peft, None, "a.to_q", Role::Down),
        ] {
            let expected = Parsed { dialect, part, module: module.to_owned(), role };
            assert_eq!(parse(name), Some(expected), "{name}");
        }
        for name in ["conv_in.weight", "alpha", ".alpha", "a.to_x_lora.down.weight", "emb_params", ""] {
            assert_eq!(parse(name), None, "{name}");
        }
        assert!(matches!(parse("lora_unet_x.hada_w1_a").unwrap().role, Role::Other(_)));
    }

    #[test]
    fn modules_have_names_of_the_original_layout() {
        for (module, expected) in [
            ("conv_in", "input_blocks.0.0"),
            ("down_blocks.0.resnets.0.conv1", "input_blocks.1.0.in_layers.2"),
            ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
            ("down_blocks.1.attentions.1.proj_in", "input_blocks.5.1.proj_in"),
            ("mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"),
            ("mid_block.attentions.0.proj_out", "middle_block.1.proj_out"),
            ("up_blocks.0.resnets.2.conv_shortcut", "output_blocks.2.0.skip_connection"),
            (
                "up_blocks.1.attentions.0.transformer_blocks.1.ff.net.2",
                "output_blocks.3.1.transformer_blocks.1.ff.net.2",
            ),
        ] {
            assert_eq!(original(module, 2).as_deref(), Some(expected), "{module}");
        }
        for module in
            ["encoder.layers.0", "down_blocks.x.resnets.0.conv1", "down_blocks.18446744073709551615.resnets.0.conv1"]
        {
            assert_eq!(original(module, 2), None, "{module}");
        }
        assert_eq!(original_upsampler(0, 2, true).as_deref(), Some("output_blocks.2.2.conv"));
        assert_eq!(original_upsampler(0, 2, false).as_deref(), Some("output_blocks.2.1.conv"));
    }
}
