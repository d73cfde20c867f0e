//! Checkpoints of `PyTorch`, as torch writes them, against the same tensors as safetensors
//! (`tools/goldens/pickles.py`).

use std::path::{Path, PathBuf};

use downhill::checkpoint::{ModelFiles, Weights};
use downhill::model::Model;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pickle").join(name)
}

/// Compares every tensor of `found` that `expected` has, bit for bit, and returns their number.
fn compare(found: &Weights, expected: &Weights) -> usize {
    let names: Vec<&str> = expected.names().filter(|name| found.shape(name).is_some()).collect();
    for name in &names {
        let shape = expected.shape(name).unwrap();
        assert_eq!(found.shape(name), Some(shape), "{name}");
        assert_eq!(found.dtype(name), expected.dtype(name), "{name}");
        let (found, expected) = (found.fetch(name, shape).unwrap(), expected.fetch(name, shape).unwrap());
        let bits = |data: &[f32]| data.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found.data), bits(&expected.data), "{name}");
    }
    names.len()
}

#[test]
fn every_layout_of_a_tensor_is_that_of_torch() {
    let expected = Weights::open(&golden("expected.safetensors")).unwrap();
    for (file, count, others) in
        [("zip.pt", 13, 2), ("legacy.pt", 13, 2), ("protocol5.pt", 13, 0), ("big_endian.pt", 9, 0)]
    {
        let found = Weights::open(&golden(file)).unwrap();
        assert_eq!(compare(&found, &expected), count, "{file}");
        assert_eq!(found.names().count(), count + others, "{file}");
        assert_eq!(found.notes().count(), 0, "{file}");
        if let [rows, columns] = *found.shape("transposed").unwrap() {
            let picks = [columns, 0, 2];
            let whole = expected.fetch("transposed", &[rows, columns]).unwrap();
            let some = found.fetch_rows("transposed", (rows, columns), &picks).unwrap();
            let rows: Vec<f32> = picks.iter().flat_map(|row| whole.item(*row).to_vec()).collect();
            assert_eq!(some.data, rows, "{file}");
        }
    }
}

#[test]
fn tensors_that_are_no_weights_are_refused_when_they_are_fetched() {
    let error = Weights::open(&golden("zip.pt")).unwrap().fetch("steps", &[2]).unwrap_err();
    assert!(error.to_string().contains("tensor `steps` is of dtype I64, which weights cannot have"), "{error}");
}

#[test]
fn the_state_dict_of_a_training_checkpoint_is_found_and_named() {
    let weights = Weights::open(&golden("ermongroup.ckpt")).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["bias", "weight"]);
    assert_eq!(weights.fetch("weight", &[2, 3]).unwrap().data, [0.5; 6], "the averaged weights");
    let notes: Vec<String> = weights.notes().collect();
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert!(note.ends_with("ermongroup.ckpt` are those of `[4]`; it also holds `[0]`"), "{note}");

    let weights = Weights::open(&golden("nested.ckpt")).unwrap();
    assert_eq!(weights.fetch("weight", &[2, 3]).unwrap().data, [2.0; 6]);
    let notes: Vec<String> = weights.notes().collect();
    assert!(notes[0].ends_with("are those of `state_dict`"), "{notes:?}");
}

#[test]
fn a_folder_with_a_bin_alone_is_a_model() {
    let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/sound");
    let expected = ModelFiles::open(sound.to_str()).unwrap().weights;
    let old = golden("only-bin");
    let found = ModelFiles::open(old.to_str()).unwrap().weights;
    assert_eq!(compare(&found, &expected), expected.names().count());
    Model::open(old.to_str().unwrap()).unwrap();
    let file = old.join("diffusion_pytorch_model.bin");
    assert_eq!(compare(&ModelFiles::open(file.to_str()).unwrap().weights, &expected), expected.names().count());
}

#[test]
fn every_beginning_of_a_file_is_refused_or_whole() {
    for file in ["zip.pt", "legacy.pt", "ermongroup.ckpt"] {
        let bytes = std::fs::read(golden(file)).unwrap();
        for end in 0..bytes.len() {
            let error = Weights::from_bytes("x.pt", bytes[..end].to_vec()).map(drop);
            assert_eq!(error.unwrap_err().kind(), downhill::ErrorKind::File, "{file} up to {end}");
        }
    }
}
