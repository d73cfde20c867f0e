//! The files of models: weights, configurations and indices; and the local cache of the hub.

use std::ffi::OsString;
use std::io::{Cursor, Write};

use downhill::checkpoint::{ConfigFile, ModelFiles, Pipeline, Weights};

use super::said;
use super::scratch::{at, put};

pub fn safetensors(bytes: &[u8]) {
    weights("x.safetensors", bytes);
}

/// A checkpoint of `PyTorch`.
pub fn pickle(bytes: &[u8]) {
    weights("x.pt", bytes);
}

/// A pickle in an archive with storages that it may name.
pub fn opcodes(bytes: &[u8]) {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let entries: [(&str, &[u8]); 3] = [("x/data.pkl", bytes), ("x/data/0", &[1; 64]), ("x/data/1", &[0; 16])];
    for (name, bytes) in entries {
        archive.start_file(name, options).expect("an entry in memory");
        archive.write_all(bytes).expect("an entry in memory");
    }
    weights("x.pt", &archive.finish().expect("an archive in memory").into_inner());
}

/// Opens weights and fetches every tensor.
fn weights(name: &str, bytes: &[u8]) {
    let Some(weights) = said(Weights::from_bytes(name, bytes.to_vec())) else { return };
    let _ = (weights.parameters(), weights.bytes(), weights.notes().count());
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    for name in &names {
        let shape = weights.shape(name).expect("a tensor that is listed").to_vec();
        if let Some(tensor) = said(weights.fetch(name, &shape)) {
            assert_eq!(tensor.data.len(), shape.iter().product::<usize>());
            assert!(tensor.data.iter().all(|value| value.is_finite()));
        }
        if let [rows, columns] = shape[..]
            && rows > 0
        {
            said(weights.fetch_rows(name, (rows, columns), &[0, rows - 1]));
        }
    }
    said(weights.check_complete(&names[..names.len() / 2]));
    said(weights.fetch("conv_in.weight", &[1, 2]));
}

/// The accessors of a configuration, by fields that the seeds have.
pub fn config(bytes: &[u8]) {
    let Some(file) = said(ConfigFile::parse("config.json", bytes)) else { return };
    said(file.class_name().map(str::to_owned));
    said(file.expect_class(&["UNet2DModel"]).map(str::to_owned));
    said(file.usize("number", 1));
    said(file.opt_usize("number", None));
    said(file.i64("number", 1));
    said(file.opt_f64("number", None));
    said(file.opt_bool("flag", None));
    said(file.opt_string("word", None));
    said(file.usize_list("list", &[]));
    said(file.opt_usize_or_list("list", None));
    said(file.opt_f64_list("list", None));
    said(file.string_list("words", &[]));
    for field in file.values.keys() {
        assert!(!file.unsupported(field, "nothing").to_string().is_empty());
    }
}

/// An index of shards, of which one exists.
pub fn shard_index(bytes: &[u8]) {
    let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let shard = [&(header.len() as u64).to_le_bytes(), &header[..], &[0; 4]].concat();
    once("sharded/config.json", br#"{"_class_name":"UNet2DModel"}"#);
    once("sharded/s1.safetensors", &shard);
    once("outside.safetensors", &shard);
    put("sharded/diffusion_pytorch_model.safetensors.index.json", bytes);
    if let Some(model) = said(ModelFiles::open_in(at("sharded").to_str(), &|_| None)) {
        assert!(model.weights.names().all(|name| name == "a"), "a shard outside the folder");
    }
}

pub fn model_index(bytes: &[u8]) {
    once("pipeline/unet/config.json", b"{}");
    put("pipeline/model_index.json", bytes);
    let Some(pipeline) = said(Pipeline::open_in(&at("pipeline").display().to_string(), &|_| None)) else { return };
    let _ = pipeline.class_name();
    for component in ["unet", "vae", "text_encoder", "scheduler", "transformer"] {
        let _ = pipeline.has(component);
        said(pipeline.folder(component));
        said(pipeline.expect(component));
    }
    said(pipeline.config("unet"));
    said(pipeline.scheduler());
}

/// A single file by the names and shapes of its tensors, `name 2 3` per line, taken apart by its layout.
pub fn single_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (mut header, mut end) = (serde_json::Map::new(), 0usize);
    for line in text.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let shape: Vec<usize> = words.map_while(|word| word.parse().ok()).collect();
        let values = shape.iter().try_fold(1usize, |all, extent| all.checked_mul(*extent));
        let Some(values) = values.filter(|values| *values <= 1 << 12) else { continue };
        let offsets = [end, end + 2 * values];
        if header.contains_key(name) {
            continue;
        }
        header.insert(name.to_owned(), serde_json::json!({ "dtype": "F16", "shape": shape, "data_offsets": offsets }));
        end = offsets[1];
    }
    let header = serde_json::Value::Object(header).to_string();
    put("single/x.safetensors", &[&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; end]].concat());
    let name = at("single/x.safetensors").display().to_string();
    said(ModelFiles::open_in(Some(&name), &|_| None));
    let Some(pipeline) = said(Pipeline::open_in(&name, &|_| None)) else { return };
    said(pipeline.scheduler());
    for (_, part) in pipeline.parts() {
        for key in part.weights.names() {
            let shape = part.weights.shape(key).expect("a tensor that is listed").to_vec();
            let tensor = part.weights.fetch(key, &shape).expect("a tensor that was taken out");
            assert_eq!(tensor.data.len(), shape.iter().product::<usize>());
        }
    }
}

/// The commit of a branch in the cache, then a revision of the same text.
pub fn hub_ref(bytes: &[u8]) {
    once("hub/models--a--b/snapshots/beef/config.json", br#"{"_class_name":"UNet2DModel"}"#);
    put("hub/models--a--b/refs/main", bytes);
    let cache = at("hub").into_os_string();
    let environment = |name: &str| -> Option<OsString> { (name == "HF_HUB_CACHE").then(|| cache.clone()) };
    let open = |name: &str| said(ModelFiles::open_in(Some(name), &environment));
    assert!(open("a/b").is_none(), "there are no weights");
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(open(&format!("a/b@{text}")).is_none(), "there are no weights");
    }
}

/// Writes a file that stays the same.
fn once(name: &str, bytes: &[u8]) {
    if !at(name).exists() {
        put(name, bytes);
    }
}
