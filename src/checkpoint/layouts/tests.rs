//! Any layout: what a file is taken apart to, and what is refused.

use super::*;
use crate::checkpoint::take::Take;
use crate::error::Error;
use crate::tensor::Tensor;

/// A network whose queries, keys and values are stored joined, and an autoencoder.
static JOINED: Layout = Layout {
    name: "tests",
    open: |weights, settings| {
        if weights.shape("net.qkv").is_none() {
            return Ok(None);
        }
        let heads = match settings.expect(&["heads"])? {
            Some(file) => file.usize("heads", 1)?,
            None => 1,
        };
        let mut names = Names::default();
        names.split_qkv(["q", "k", "v"].map(str::to_owned), "net.qkv", heads);
        names.take("projection", "net.projection", Take::Transposed);
        let mut decoder = Names::default();
        decoder.add("conv_in.bias", "decoder.bias");
        let config = Map::from_iter([("_class_name".to_owned(), "Tests".into())]);
        let part = |name, names| Part { name, config: config.clone(), names };
        Ok(Some(Parts {
            family: "a family".to_owned(),
            class: Some("TestPipeline"),
            components: vec![part("unet", names), part("vae", decoder)],
            scheduler: Some(Map::new()),
            tokenizers: vec![ClipTokens { component: "tokenizer", pad: "!" }],
            notes: vec!["a note".to_owned()],
            ignored: vec!["step".to_owned()],
        }))
    },
};

fn ramp(shape: &[usize]) -> Tensor {
    Tensor::new(shape, (0..shape.iter().product()).map(|at: usize| at as f32).collect::<Vec<_>>())
}

fn file(more: &[(&str, &[usize])]) -> Weights {
    let sound: [(&str, &[usize]); 4] =
        [("net.qkv", &[12, 1]), ("net.projection", &[2, 3]), ("decoder.bias", &[2]), ("step", &[1])];
    let tensors = sound.iter().chain(more).map(|(name, shape)| ((*name).to_owned(), ramp(shape)));
    Weights::from_tensors(tensors.collect())
}

fn taken(weights: &Weights) -> Result<Opened> {
    let path = Path::new("/no/such/folder/x.safetensors");
    open_by(&[&JOINED], path, weights, &Settings::default()).map(|opened| opened.expect("of this layout"))
}

#[test]
fn components_are_taken_out_under_their_own_names() {
    let opened = taken(&file(&[])).unwrap();
    assert!(["unet", "vae", "tokenizer", "scheduler"].into_iter().all(|name| opened.has(name)));
    assert!(!opened.has("text_encoder"));
    assert_eq!(opened.index.unwrap().class_name().unwrap(), "TestPipeline");
    let [(_, (config, net)), (_, (_, vae))] = &opened.components[..] else { panic!("two components") };
    assert_eq!(config.class_name().unwrap(), "Tests");
    assert_eq!(net.names().collect::<Vec<_>>(), ["k", "projection", "q", "v"]);
    assert_eq!(net.shape("k"), Some(&[4, 1][..]));
    assert_eq!(net.fetch("k", &[4, 1]).unwrap().data, [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(net.fetch("projection", &[3, 2]).unwrap().data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(net.fetch_rows("projection", (3, 2), &[2, 0]).unwrap().data, [2.0, 5.0, 0.0, 3.0]);
    assert_eq!(net.fetch_rows("v", (4, 1), &[1]).unwrap().data, [9.0]);
    assert_eq!((net.parameters(), net.bytes()), (18, 72));
    assert_eq!((vae.parameters(), vae.bytes()), (2, 8));
    assert_eq!(net.notes().collect::<Vec<_>>(), ["a note"]);
    let origin = net.origin().unwrap();
    assert_eq!((origin.layout, origin.family.as_str()), ("tests", "a family"));
}

#[test]
fn a_file_of_another_layout_is_left_alone() {
    let weights = Weights::from_tensors(vec![("conv_in.weight".into(), ramp(&[1]))]);
    assert!(open_by(&[&JOINED], Path::new("x"), &weights, &Settings::default()).unwrap().is_none());
}

#[test]
fn nothing_in_a_file_is_passed_over_in_silence() {
    let error = taken(&file(&[("decoder.biass", &[2])])).unwrap_err();
    assert!(
        matches!(&error, Error::UnexpectedKey { key, nearest: Some(near), .. }
            if key == "decoder.biass" && near == "decoder.bias"),
        "{error:?}"
    );
    let error = taken(&file(&[("net.qkv", &[11, 1])])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "(generated weights): tensor `net.qkv` of shape [11, 1] does not hold `q` as it should"
    );
    let incomplete = Weights::from_tensors(vec![("net.qkv".into(), ramp(&[3]))]);
    let error = taken(&incomplete).unwrap_err();
    assert!(matches!(&error, Error::MissingKey { key, .. } if key == "net.projection"), "{error:?}");
}

#[test]
fn statements_beside_a_file_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let with = |json: &str| {
        std::fs::write(path.with_extension("json"), json).unwrap();
        open_by(&[&JOINED], &path, &file(&[]), &Settings::beside(&path, None).unwrap())
    };
    let opened = with(r#"{"heads": 2}"#).unwrap().unwrap();
    let (_, net) = &opened.components[0].1;
    assert_eq!(net.fetch("k", &[4, 1]).unwrap().data, [2.0, 3.0, 8.0, 9.0]);
    assert_eq!(net.fetch_rows("k", (4, 1), &[2]).unwrap().data, [8.0]);
    let error = with(r#"{"haeds": 2}"#).unwrap_err();
    assert!(error.to_string().contains("the setting `haeds` is not known"), "{error}");
    assert_eq!(error.hint().unwrap(), "known: heads");
}
