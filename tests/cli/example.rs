//! The example of the library makes the images of the program.

#[path = "../../examples/sample.rs"]
#[expect(dead_code, reason = "the example's own entry point")]
mod sample;

use crate::{Folder, quietly};

#[test]
fn the_example_makes_the_file_of_the_program() {
    let folder = Folder::new();
    let (by_program, by_library) = (folder.at("program.png"), folder.at("library.png"));
    quietly(&["sample", "-o", &by_program]);
    sample::digits(&by_library).expect("the example runs");
    let bytes = |file: &str| std::fs::read(file).expect("a PNG");
    assert!(bytes(&by_program) == bytes(&by_library), "the pixels or the metadata differ");
}
