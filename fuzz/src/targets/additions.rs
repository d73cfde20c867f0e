//! Files and texts that are added to a model of texts: changes of weights, learned tokens, prompts, requests.

use downhill::checkpoint::{Learned, Lora};
use downhill::cli::parsers::{Request, prompts};
use downhill::latent::emphasis::{emphasise, looks_weighted, lora_tag, segments};

use super::said;
use super::scratch::put;
use super::seeds::{Seeds, stored};

/// Changes of weights.
pub fn lora(bytes: &[u8]) {
    let path = put("lora/x.safetensors", bytes);
    let is_lora = Lora::is_at(&path);
    if let Some(lora) = said(Lora::open(&path)) {
        assert!(is_lora, "a file that opens is told as what it is");
        let _ = lora.summary();
    }
}

/// The vectors of a learned token.
pub fn learned(bytes: &[u8]) {
    said(Learned::open(&put("learned/style.safetensors", bytes)));
}

/// A prompt with weights.
pub fn weights(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (looks_weighted(text), lora_tag(text));
    let segments = segments(text);
    assert!(segments.iter().all(|segment| !segment.weight.is_nan()), "a weight is a number");
    let weights: Vec<f64> = segments.iter().map(|segment| segment.weight).collect();
    emphasise(&mut vec![1.0; 4 * weights.len()], &weights);
}

/// A file of prompts.
pub fn prompt_file(bytes: &[u8]) {
    if let Some(lines) = said(prompts(&put("prompts.txt", bytes))) {
        assert!(!lines.is_empty(), "a file without prompts is refused");
    }
}

/// A line for the server.
pub fn request(bytes: &[u8]) {
    if let Some(request) = said(Request::parse(bytes)) {
        said(request.args());
    }
}

pub fn lora_seeds(seeds: &Seeds) -> Vec<Vec<u8>> {
    let mut all = seeds.files("tests/golden/lora", "old.safetensors", 2048);
    all.extend([
        stored(&[("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "F16", &[1, 2], 4)]),
        stored(&[("unet.conv_in.lora_A.weight", "F32", &[1, 2, 1, 1], 8), ("e.alpha", "F32", &[], 4)]),
    ]);
    all
}

pub fn learned_seeds(seeds: &Seeds) -> Vec<Vec<u8>> {
    let mut all = seeds.files("tests/golden/prompts", ".safetensors", 512);
    all.push(stored(&[("clip_l", "F32", &[1, 2], 8), ("clip_g", "F16", &[1, 4], 8)]));
    all
}

pub fn weights_seeds(_: &Seeds) -> Vec<Vec<u8>> {
    let texts = ["a (red:1.3) [door] ((old))", r"a \(b\) (c:0.5", "<lora:style:0.8> (x:-1e9)", "[[[a:2]]]]"];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub fn prompt_file_seeds(_: &Seeds) -> Vec<Vec<u8>> {
    let texts = ["a fox\n\na cat\n", r#"{"prompt":"a","negative":null,"seed":3}"#, "\u{feff}{\"prompt\":\"a\"}\r\nb"];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub fn request_seeds(_: &Seeds) -> Vec<Vec<u8>> {
    let texts = [
        r#"{"id":1,"prompt":"a","n":2,"steps":3,"size":[8,8],"seed":7,"output":"x-%05d.png"}"#,
        r#"{"sampler":"ge","timesteps":"9,5,0","no_clip":true,"cfg_scale":1.5,"save_samples":"x.npy"}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
