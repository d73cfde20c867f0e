//! What is added to a model: LoRA files, learned tokens, other autoencoders; and several or weighted prompts.

use crate::{Folder, downhill, quietly};

const TEXT: &str = "tests/golden/latent/sd1-like";
const LORA: &str = "tests/golden/lora/kohya.safetensors";
const TOKEN: &str = "tests/golden/prompts/toy-style.safetensors";
const WEB_UI: &str = "tests/golden/prompts/toy-web-ui.pt";
const TINY: &str = "tests/golden/tiny/taesd-like";

/// Samples two steps of one image and returns its file with what the run said.
fn sampled(folder: &Folder, name: &str, more: &[&str]) -> (Vec<u8>, String) {
    let run = downhill(&[&["sample", TEXT, "--steps", "2", "-o", &folder.at(name)], more].concat());
    assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{}", run.stderr);
    (folder.bytes(name), run.stderr)
}

#[test]
fn loras_change_images_and_stand_in_notes_reports_and_metadata() {
    let folder = Folder::new();
    let (plain, _) = sampled(&folder, "a.png", &["-p", "a cat"]);
    let report = folder.at("run.json");
    let lora = format!("{LORA}:0.7");
    let (changed, said) = sampled(&folder, "b.png", &["-p", "a cat", "--lora", &lora, "--json", &report]);
    assert_ne!(plain, changed);
    let note = "note: LoRA `kohya.safetensors` with weight 0.7: 11 layers of `network`, 3 layers of `text_encoder`";
    assert!(said.contains(note), "{said}");
    let info = downhill(&["info", &folder.at("b.png")]).stdout;
    let entry = &folder.json("run.json")["loras"][0];
    let hash = entry["sha256"].as_str().expect("a hash");
    assert!(info.contains(&format!("kohya.safetensors:0.7 sha256:{hash}")), "{info}");
    assert_eq!((&entry["weight"], &entry["modules"]["network"]), (&0.7.into(), &11.into()));
    let both = ["-p", "a cat", "--lora", LORA, "--lora", "tests/golden/lora/diffusers.safetensors:0.5"];
    assert_ne!(sampled(&folder, "c.png", &both).0, changed);
    let nothing = format!("{LORA}:0");
    let (none, _) = sampled(&folder, "d.png", &["-p", "a cat", "--lora", &nothing]);
    let pixels = |bytes: &[u8]| image::load_from_memory(bytes).expect("a PNG").into_rgb8();
    assert_eq!(pixels(&none), pixels(&plain), "a weight of 0 changes nothing");
    downhill(&["sample", "--lora", LORA, "-o", &folder.at("e.png")])
        .expect_error(4, "10 of its 14 changes have no place in `digits`");
    downhill(&["sample", TEXT, "-p", "x", "--lora", "none.safetensors"]).expect_error(2, "does not exist");
    assert!(downhill(&["info", LORA]).stdout.contains("a LoRA with the names of kohya"));
    downhill(&["info", LORA, "-b", "2"]).expect_error(2, "no meaning for a LoRA");
    downhill(&["sample", LORA]).expect_error(4, "give this file as its `lora`");
}

#[test]
fn learned_tokens_are_named() {
    let folder = Folder::new();
    let (plain, _) = sampled(&folder, "a.png", &["-p", "a <toy> cat"]);
    let file = format!("{TOKEN}:<toy>");
    let (changed, said) = sampled(&folder, "b.png", &["-p", "a <toy> cat", "--embedding", &file]);
    assert_ne!(plain, changed);
    assert!(said.contains("the token `<toy>` stands for 3 vectors of"), "{said}");
    assert!(downhill(&["info", &folder.at("b.png")]).stdout.contains("<toy> from toy-style.safetensors sha256:"));
    downhill(&["sample", "--embedding", TOKEN]).expect_error(2, "does not take texts");
}

/// The web UI of AUTOMATIC1111 saves a pickle, in which `*` stands for the name of the file.
#[test]
fn learned_tokens_of_the_web_ui_are_those_of_safetensors() {
    let folder = Folder::new();
    let prompt = ["-p", "a toy-web-ui cat"];
    let samples = |more: &[&str]| {
        let file = folder.at("x.npy");
        let saved = [&prompt[..], &["--save-samples", &file], more].concat();
        let (_, said) = sampled(&folder, "x.png", &saved);
        (folder.bytes("x.npy"), said)
    };
    let (plain, _) = samples(&[]);
    let (of_safetensors, _) = samples(&["--embedding", &format!("{TOKEN}:toy-web-ui")]);
    let (of_pickle, said) = samples(&["--embedding", WEB_UI]);
    assert!(plain != of_pickle && of_pickle == of_safetensors);
    assert!(said.contains("the token `toy-web-ui` stands for 3 vectors of"), "{said}");
}

#[test]
fn long_texts_are_quoted_by_their_beginning() {
    let folder = Folder::new();
    let (_, said) = sampled(&folder, "a.png", &["-p", &"astronaut ".repeat(2000)]);
    assert!(said.contains("is cut off") && said.len() < 1000, "{} bytes", said.len());
}

#[test]
fn notes_about_the_model_are_said_once_for_all_prompts() {
    let folder = Folder::new();
    let more = ["--lora", LORA, "--embedding", TOKEN, "-p", "a cat", "-p", "a dog"];
    let said = downhill(&[&["sample", TEXT, "--steps", "1", "-n", "1", "-o", &folder.at("x.png")], &more[..]].concat());
    for note in ["note: LoRA `kohya.safetensors`", "note: the token `toy-style`"] {
        assert_eq!(said.stderr.matches(note).count(), 1, "{}", said.stderr);
    }
}

#[test]
fn sheets_and_animations_with_names_of_other_formats_are_refused() {
    for flag in ["--steps-sheet", "--steps-animation"] {
        downhill(&["sample", flag, "x.jpg"]).expect_error(2, &format!("`{flag}` writes a PNG"));
    }
}

#[test]
fn what_is_not_an_autoencoder_or_a_lora_is_named() {
    downhill(&["sample", TEXT, "-p", "x", "--vae", LORA]).expect_error(4, "a LoRA, changes to the weights");
    downhill(&["sample", TEXT, "-p", "x", "--lora", TEXT])
        .expect_error(4, "a folder without `adapter_model.safetensors`");
}

#[test]
fn other_autoencoders_decode_images_or_previews() {
    let folder = Folder::new();
    let steps = folder.at("steps");
    let (sheet, animation) = (folder.at("sheet.png"), folder.at("animation.png"));
    let all = ["-p", "a cat", "--save-steps", &steps, "--steps-sheet", &sheet, "--steps-animation", &animation];
    let (plain, _) = sampled(&folder, "a.png", &all);
    let last = |folder: &Folder| std::fs::read(folder.path("steps").join("step-002.png")).expect("a step");
    let usual = last(&folder);
    let pixels = |path: &str| image::open(path).expect("a PNG").into_rgb8();
    let one = pixels(&folder.at("a.png"));
    assert_eq!(pixels(&sheet).width(), 2 * one.width() + 2, "two steps and the gap between them");
    assert_eq!(pixels(&animation).dimensions(), one.dimensions(), "its first frame");
    let (previewed, said) = sampled(&folder, "b.png", &[&all[..], &["--preview-vae", TINY]].concat());
    assert_eq!(previewed, plain, "the image is that of its own autoencoder");
    assert_ne!(last(&folder), usual);
    assert!(said.contains("previews are decoded by"), "{said}");
    let (tiny, said) = sampled(&folder, "c.png", &["-p", "a cat", "--vae", TINY]);
    assert_ne!(tiny, plain);
    assert!(said.contains("images are decoded by `tests/golden/tiny/taesd-like` (AutoencoderTiny)"), "{said}");
    assert!(downhill(&["info", &folder.at("c.png")]).stdout.contains("taesd-like"));
    downhill(&["sample", TEXT, "-p", "x", "--vae", "tests/golden/tiny/other-fields"])
        .expect_error(4, "latents of 3 channels, 2 pixels per latent");
    downhill(&["sample", "--vae", TINY]).expect_error(2, "no meaning for `digits`");
}

#[test]
fn several_prompts_are_as_many_runs() {
    let folder = Folder::new();
    let report = folder.at("run.json");
    let two = ["-p", "a cat", "-p", "a large dog", "-n", "2", "--json", &report];
    let run = downhill(&[&["sample", TEXT, "--steps", "2", "-o", &folder.at("x.png")], &two[..]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    for (name, prompt) in [("x-000.png", "a cat"), ("x-001.png", "a large dog")] {
        quietly(&["sample", TEXT, "--steps", "2", "-n", "2", "-p", prompt, "-o", &folder.at("one.png")]);
        assert_eq!(folder.bytes(name), folder.bytes("one.png"), "{name}");
    }
    let prompts = folder.json("run.json")["prompts"].clone();
    assert_eq!(prompts[1]["prompt"], "a large dog");
    assert_eq!(prompts[1]["outputs"][0], folder.at("x-001.png"));

    let lines = "a cat\n{\"prompt\": \"a dog\", \"negative\": \"blurry\", \"seed\": 5}\n";
    std::fs::write(folder.path("prompts.jsonl"), lines).expect("written");
    let file = folder.at("prompts.jsonl");
    quietly(&["sample", TEXT, "--steps", "2", "--prompts", &file, "-s", "3", "-o", &folder.at("d/%02d.png")]);
    let alone = ["-p", "a dog", "--negative", "blurry", "-s", "5", "-o", &folder.at("e/%02d.png")];
    quietly(&[&["sample", TEXT, "--steps", "2"], &alone[..]].concat());
    let read = |name: &str| std::fs::read(folder.path(name)).expect("an image");
    assert_eq!(read("d/001-00.png"), read("e/00.png"));
    assert!(folder.path("d/000-00.png").is_file());
    downhill(&["sample", TEXT, "--prompts", "Cargo.toml", "-p", "x"]).expect_error(2, "cannot be used with");
    downhill(&["sample", TEXT, "-p", "x", "-p", "y", "-o", "-"]).expect_error(2, "standard output");
}

#[test]
fn weights_and_long_texts_are_followed_on_request_and_named_otherwise() {
    let folder = Folder::new();
    let weighted = "a (red:1.5) house <lora:style:0.8>";
    let (plain, said) = sampled(&folder, "a.png", &["-p", weighted]);
    assert!(said.contains("\"(red:1.5)\", which is read as text; `--prompt-weights` makes it a weight"), "{said}");
    assert!(said.contains("\"<lora:style:0.8>\", which is read as text; give the file as `--lora`"), "{said}");
    let (followed, said) = sampled(&folder, "b.png", &["-p", weighted, "--prompt-weights"]);
    assert!(plain != followed && !said.contains("(red:1.5)"), "{said}");
    assert!(downhill(&["info", &folder.at("b.png")]).stdout.contains("prompt weights"));
    let long = "astronaut ".repeat(90);
    let (cut, said) = sampled(&folder, "c.png", &["-p", &long]);
    assert!(said.contains("is cut off; `--long-prompts` keeps it"), "{said}");
    let (whole, said) = sampled(&folder, "d.png", &["-p", &long, "--long-prompts"]);
    assert!(cut != whole && !said.contains("cut off"), "{said}");
    downhill(&["sample", "--long-prompts"]).expect_error(2, "--prompt");
}
