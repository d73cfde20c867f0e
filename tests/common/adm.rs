//! Single files in the original layout of openai/guided-diffusion, of the networks of `tests/golden/adm` and the
//! classifiers of `tests/golden/adm_classifier`, whose weights are drawn.

use std::path::{Path, PathBuf};

use downhill::checkpoint::ConfigFile;
use downhill::nets::adm::{AdmClassifier, AdmUNet};
use downhill::nets::architecture::Architecture;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use crate::drawn;

/// The arguments that shapes do not tell.
const UNTOLD: [&str; 5] =
    ["image_size", "num_heads", "num_heads_upsample", "num_head_channels", "use_new_attention_order"];
/// The ends of names of kernels that the original stores with an extent of 1 at the end.
const OF_ONE_PIXEL: [&str; 4] = ["qkv.weight", "proj_out.weight", "qkv_proj.weight", "c_proj.weight"];

fn golden(kind: &str, name: &str) -> ConfigFile {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    ConfigFile::read(&root.join(kind).join(name).join("golden.json")).expect("golden.json")
}

/// Writes drawn weights of these names and shapes, and what shapes do not tell in a `.json` of the same name.
pub fn write(file: &Path, keys: Vec<(String, Vec<usize>)>, stated: &Value) {
    let tensors = drawn::tensors(keys);
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, tensor)| tensor.data.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        let mut shape = tensor.shape.clone();
        if OF_ONE_PIXEL.iter().any(|end| name.ends_with(end)) {
            shape.push(1);
        }
        (name.clone(), TensorView::new(safetensors::Dtype::F32, shape, bytes).expect("a tensor"))
    });
    std::fs::write(file, safetensors::serialize(views, None).expect("a file")).expect("a file");
    std::fs::write(file.with_extension("json"), stated.to_string()).expect("settings");
}

/// The fields of a model that shapes do not tell, and those of `more`.
pub fn stated(model: &Value, more: Map<String, Value>) -> Value {
    let fields = UNTOLD.iter().filter_map(|field| Some(((*field).to_owned(), model.get(field)?.clone())));
    Value::Object(more.into_iter().chain(fields).collect())
}

/// Writes a network of `tests/golden/adm`.
pub fn network(folder: &Path, name: &str) -> PathBuf {
    let ConfigFile { path, values } = golden("adm", name);
    let model = values["model"].as_object().expect("arguments").clone();
    let net = AdmUNet::read(&ConfigFile { path, values: with_class(model) }).expect("a network");
    let file = folder.join(format!("{name}.safetensors"));
    write(&file, net.keys(), &stated(&values["model"], values["process"].as_object().expect("a process").clone()));
    file
}

fn with_class(mut model: Map<String, Value>) -> Map<String, Value> {
    model.insert("_class_name".to_owned(), json!(AdmUNet::CLASS));
    model
}

/// Writes a classifier of `tests/golden/adm_classifier`.
pub fn classifier(folder: &Path, name: &str) -> PathBuf {
    let ConfigFile { path, values } = golden("adm_classifier", name);
    let model = values["model"].as_object().expect("arguments").clone();
    let net = AdmClassifier::read(&ConfigFile { path, values: model }).expect("a classifier");
    let file = folder.join(format!("classifier-{name}.safetensors"));
    write(&file, net.keys(), &stated(&values["model"], Map::new()));
    file
}
