//! The files of a hub repository that make up a model.

/// The files of a model with one network, in its folder.
const FLAT: [&str; 3] = ["config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"];
/// The files of a text-to-image pipeline.
const PIPELINE: [&str; 10] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

/// Lists the files needed, in words, for either kind of model: the kind is unknown without the files.
pub(super) fn needed() -> String {
    format!("{} (one network), or {} (text to images)", FLAT.join(", "), PIPELINE.join(", "))
}

/// The folders of the components that are read.
#[cfg(any(feature = "download", test))]
const FOLDERS: [&str; 8] =
    ["", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"];
/// The stems of weight files, in diffusers and in transformers: safetensors, and checkpoints of `PyTorch`.
#[cfg(any(feature = "download", test))]
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "model"];
#[cfg(any(feature = "download", test))]
const PICKLE_STEMS: [&str; 2] = ["diffusion_pytorch_model", "pytorch_model"];

/// Selects the files of a repository to fetch: configurations, vocabularies, and per component the weights in
/// safetensors of the `variant` (`fp16`), or without one the plain weights, as a `.bin` if there are no others, or else
/// any variant that exists.
#[cfg(any(feature = "download", test))]
pub(super) fn chosen(all: &[String], variant: Option<&str>) -> Vec<String> {
    let split =
        |file: &'_ String| file.rsplit_once('/').map_or((String::new(), file.clone()), |(f, n)| (f.into(), n.into()));
    let mut found = Vec::new();
    let is_pipeline = all.iter().any(|file| file == "model_index.json");
    for folder in FOLDERS {
        let inside: Vec<String> = all.iter().map(split).filter(|(of, _)| of == folder).map(|(_, name)| name).collect();
        let path = |name: &String| if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        found.extend(inside.iter().filter(|name| is_text(folder, name)).map(path));
        // The root of a pipeline may hold the same weights again, all in one file.
        if !(is_pipeline && folder.is_empty()) {
            let plain = [(None, SAFETENSORS), (None, BIN), (Some("fp16"), SAFETENSORS), (Some("bf16"), SAFETENSORS)];
            let best = variant.map(|variant| (Some(variant), SAFETENSORS)).into_iter().chain(plain);
            let sets = best.map(|kind| inside.iter().filter(|name| is_weights(name, kind)).map(path).collect());
            found.extend(sets.into_iter().find(|set: &Vec<String>| !set.is_empty()).unwrap_or_default());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Lists the single files of a repository that is not a diffusers model: files of safetensors outside any folder.
#[cfg(any(feature = "download", test))]
pub(super) fn single_files(all: &[String]) -> Vec<String> {
    let mut found: Vec<String> =
        all.iter().filter(|file| !file.contains('/') && file.ends_with(".safetensors")).cloned().collect();
    found.sort();
    found
}

/// Returns `true` for a configuration or a vocabulary.
#[cfg(any(feature = "download", test))]
fn is_text(folder: &str, name: &str) -> bool {
    let of_tokenizer =
        ["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];
    match folder {
        "tokenizer" | "tokenizer_2" => of_tokenizer.contains(&name),
        _ => ["config.json", "scheduler_config.json", "model_index.json"].contains(&name),
    }
}

#[cfg(any(feature = "download", test))]
const SAFETENSORS: &str = ".safetensors";
#[cfg(any(feature = "download", test))]
const BIN: &str = ".bin";

/// Returns `true` for weights of a variant with a suffix: one file, or shards and their index.
#[cfg(any(feature = "download", test))]
fn is_weights(name: &str, (variant, suffix): (Option<&str>, &str)) -> bool {
    let stems = if suffix == BIN { PICKLE_STEMS } else { STEMS };
    let Some(rest) = stems.iter().find_map(|stem| name.strip_prefix(stem)) else { return false };
    let dotted = variant.map_or(String::new(), |variant| format!(".{variant}"));
    let is_shard = || {
        let inner = rest.strip_prefix(&dotted).and_then(|rest| rest.strip_suffix(suffix));
        let numbers = inner.and_then(|inner| inner.strip_prefix('-')).and_then(|inner| inner.split_once("-of-"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        numbers.is_some_and(|(index, count)| is_number(index) && is_number(count))
    };
    rest == format!("{dotted}{suffix}") || rest == format!("{suffix}.index{dotted}.json") || is_shard()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[&str], variant: Option<&str>) -> Vec<String> {
        chosen(&files.iter().map(ToString::to_string).collect::<Vec<_>>(), variant)
    }

    #[test]
    fn a_flat_repository_is_its_three_files() {
        let files =
            [".gitattributes", "README.md", "config.json", "diffusion_pytorch_model.bin", "scheduler_config.json"];
        let with = [&files[..], &["diffusion_pytorch_model.safetensors", "images/a.png"]].concat();
        assert_eq!(of(&with, None), ["config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"]);
        let only_bin = ["config.json", "diffusion_pytorch_model.bin", "scheduler_config.json"];
        assert_eq!(of(&files, None), only_bin);
    }

    #[test]
    fn a_repository_of_single_files_has_no_folders() {
        let files = [".gitattributes", "README.md", "style-v2.safetensors", "lora/a.safetensors", "x.ckpt"];
        assert_eq!(of(&files, None), [] as [&str; 0]);
        assert_eq!(single_files(&files.map(str::to_owned)), ["style-v2.safetensors"]);
    }

    #[test]
    fn a_pipeline_is_one_set_of_weights_a_component() {
        let mut files: Vec<&str> = PIPELINE.to_vec();
        files.extend([
            "v1-5-pruned.safetensors",
            "diffusion_pytorch_model.safetensors",
            "safety_checker/config.json",
            "safety_checker/model.safetensors",
            "tokenizer/special_tokens_map.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/pytorch_model.bin",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "vae/diffusion_pytorch_model.fp16.bin",
        ]);
        let mut expected: Vec<&str> = PIPELINE.to_vec();
        expected.push("tokenizer/special_tokens_map.json");
        expected.sort_unstable();
        assert_eq!(of(&files, None), expected);
        let halves = of(&files, Some("fp16"));
        assert!(halves.contains(&"unet/diffusion_pytorch_model.fp16.safetensors".to_owned()), "{halves:?}");
        assert!(halves.contains(&"vae/diffusion_pytorch_model.safetensors".to_owned()), "the only one there is");
        assert_eq!(halves.len(), expected.len());
    }

    #[test]
    fn sdxl_has_two_text_encoders() {
        let second = ["text_encoder_2/config.json", "text_encoder_2/model.safetensors", "tokenizer_2/merges.txt"];
        let beside = ["text_encoder_2/flax_model.msgpack", "text_encoder_2/model.onnx", "sd_xl_base_1.0.safetensors"];
        let files = [&PIPELINE[..], &second, &beside].concat();
        let mut expected: Vec<&str> = [&PIPELINE[..], &second].concat();
        expected.sort_unstable();
        assert_eq!(of(&files, None), expected);
    }

    #[test]
    fn shards_belong_together() {
        let files = [
            "config.json",
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            "diffusion_pytorch_model-00002-of-00002.safetensors",
            "diffusion_pytorch_model.safetensors.index.json",
            "diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
        ];
        assert_eq!(of(&files, None).len(), 4);
        assert_eq!(of(&files, Some("fp16")), ["config.json", files[4]]);
    }
}
