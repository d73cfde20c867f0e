//! Single files in the layout of the original Stable Diffusion code, put together from diffusers folders by the tables
//! of `tests/golden/single_files`, which diffusers itself has checked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use downhill::checkpoint::{Pipeline, Weights};
use flate2::read::GzDecoder;
use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

/// The golden of that name.
pub fn golden(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/single_files").join(format!("{name}.json.gz"));
    let mut text = String::new();
    GzDecoder::new(File::open(file).expect("a golden")).read_to_string(&mut text).expect("a text");
    serde_json::from_str(&text).expect("JSON")
}

/// The tensors of a file: name, dtype as safetensors has it, shape, bytes.
pub type Tensors = Vec<(String, &'static str, Vec<usize>, Vec<u8>)>;

fn shape_of(entry: &Value) -> Vec<usize> {
    let shape = entry["shape"].as_array().expect("a shape");
    shape.iter().map(|extent| usize::try_from(extent.as_u64().expect("an extent")).expect("small")).collect()
}

fn stored(weights: &Weights, key: &str) -> (&'static str, Vec<f32>) {
    let shape = weights.shape(key).unwrap_or_else(|| panic!("no {key}")).to_vec();
    let dtype = match weights.dtype(key).expect("a dtype") {
        Dtype::F16 => "F16",
        Dtype::BF16 => "BF16",
        _ => "F32",
    };
    (dtype, weights.fetch(key, &shape).expect("a tensor").data)
}

/// Values in a dtype of a file.
pub fn encoded(dtype: &str, values: &[f32]) -> Vec<u8> {
    match dtype {
        "F16" => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        "BF16" => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// The diffusers folder of a small model.
pub fn folder(name: &str) -> PathBuf {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let places = ["latent", "inpaint"].map(|place| goldens.join(place).join(name));
    places.into_iter().find(|place| place.is_dir()).unwrap_or_else(|| panic!("no folder `{name}`"))
}

/// The tensors of a single file with the weights of a small model's folder.
pub fn tensors(name: &str) -> Tensors {
    let folder = folder(name);
    let pipeline = Pipeline::open(folder.to_str().expect("a path")).expect("a pipeline");
    let golden = golden(name);
    let mut components: BTreeMap<String, Weights> = BTreeMap::new();
    let make = |(stored_name, entry): (&String, &Value)| {
        let sources = entry["from"].as_array().expect("sources").iter();
        let parts: Vec<(&str, Vec<f32>)> = sources
            .map(|source| {
                let (component, key) = (source[0].as_str().expect("a component"), source[1].as_str().expect("a key"));
                // Old text encoders begin every name with a prefix that is dropped when they are read.
                let key = key.strip_prefix("text_model.").unwrap_or(key);
                let open = || pipeline.component(component).expect("a component").weights;
                stored(components.entry(component.to_owned()).or_insert_with(open), key)
            })
            .collect();
        let (dtype, shape) = (parts[0].0, shape_of(entry));
        let mut values: Vec<f32> = parts.into_iter().flat_map(|(_, values)| values).collect();
        if entry["how"] == "transposed" {
            let [columns, rows] = shape[..] else { panic!("a matrix") };
            values = (0..columns * rows).map(|at| values[at % rows * columns + at / rows]).collect();
        }
        (stored_name.clone(), dtype, shape, encoded(dtype, &values))
    };
    golden["tensors"].as_object().expect("tensors").iter().map(make).collect()
}

/// Writes a safetensors file.
pub fn write(file: &Path, tensors: &Tensors) {
    let (mut header, mut at) = (Map::new(), 0);
    for (name, dtype, shape, bytes) in tensors {
        let end = at + bytes.len();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] }));
        at = end;
    }
    let header = serde_json::to_vec(&header).expect("JSON");
    let data = tensors.iter().flat_map(|(.., bytes)| bytes.iter().copied());
    let bytes: Vec<u8> = (header.len() as u64).to_le_bytes().into_iter().chain(header).chain(data).collect();
    fs::write(file, bytes).expect("written");
}

/// Writes the single file of a small model into `folder`: with the settings that its shapes do not say, and its
/// tokenizer.
pub fn small(name: &str, folder: &Path) -> PathBuf {
    let file = folder.join(format!("{name}.safetensors"));
    write(&file, &tensors(name));
    fs::write(file.with_extension("json"), golden(name)["settings"].to_string()).expect("written");
    let latent = self::folder(name);
    for tokenizer in ["tokenizer", "tokenizer_2"].into_iter().filter(|tokenizer| latent.join(tokenizer).is_dir()) {
        fs::create_dir(folder.join(tokenizer)).expect("a folder");
        for entry in fs::read_dir(latent.join(tokenizer)).expect("a folder") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), folder.join(tokenizer).join(entry.file_name())).expect("copied");
        }
    }
    file
}

/// Writes a file of float16 with the names and shapes of a published model, and no values: a file without blocks on the
/// disk, as long as the model.
#[allow(dead_code, reason = "only one of the test binaries opens published models")]
pub fn published(name: &str, folder: &Path) -> PathBuf {
    let golden = golden(name);
    let (mut header, mut at) = (Map::new(), 0u64);
    for (name, entry) in golden["tensors"].as_object().expect("tensors") {
        let shape = shape_of(entry);
        let end = at + 2 * shape.iter().product::<usize>() as u64;
        header.insert(name.clone(), json!({ "dtype": "F16", "shape": shape, "data_offsets": [at, end] }));
        at = end;
    }
    let header = serde_json::to_vec(&header).expect("JSON");
    let path = folder.join(format!("{name}.safetensors"));
    let start: Vec<u8> = (header.len() as u64).to_le_bytes().into_iter().chain(header).collect();
    fs::write(&path, &start).expect("written");
    let file = File::options().write(true).open(&path).expect("opened");
    file.set_len(start.len() as u64 + at).expect("a sparse file");
    path
}
