//! The recipes in `deploy/`: numbers that must agree, and the golden picture is one that the program makes.

use std::path::Path;

use downhill::data::picture::Picture;

use crate::{Folder, quietly};

#[test]
fn the_pods_are_as_many_as_the_shards() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/moments.yaml"));
    let text = text.expect("the manifest");
    let after = |key: &str| {
        let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("no {key}"));
        rest.lines().next().expect("a line").trim().trim_matches('"').to_owned()
    };
    let completions = after("\n  completions:");
    assert!(completions.parse::<usize>().is_ok_and(|count| count > 1), "{completions}");
    assert_eq!(after("\n  parallelism:"), completions);
    assert_eq!(after("DOWNHILL_SHARDS\n              value:"), completions);
}

#[test]
fn the_golden_picture_is_that_of_the_workflow() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ci");
    let workflow = std::fs::read_to_string(place.join("samples.yml")).expect("the workflow");
    let sample = "sample -n 16 --seed 0 --steps 10 -o";
    assert!(workflow.contains(sample), "the workflow samples otherwise");

    let folder = Folder::new();
    let arguments: Vec<&str> = sample.split(' ').collect();
    quietly(&[&arguments[..], &[&folder.at("samples.png")]].concat());
    let read = |file: &Path| {
        let picture = Picture::read(file).expect("a picture");
        picture.at(1, picture.size()).expect("memory")
    };
    let (made, golden) = (read(&folder.path("samples.png")), read(&place.join("golden.png")));
    assert_eq!(made.shape, golden.shape);
    // As golden.py compares: 1 of 255 between processors and drivers.
    let largest = made.data.iter().zip(&golden.data).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(largest * 127.5 < 1.5, "a pixel differs by {}", largest * 127.5);
}
