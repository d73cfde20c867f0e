//! The example of the library makes the images of the program.

#[path = "../../examples/sample.rs"]
#[expect(dead_code, reason = "the example's own entry point")]
mod sample;

use crate::{Folder, quietly};

#[test]
fn the_example_makes_the_digits_of_the_program() {
    let folder = Folder::new();
    let (by_program, by_library) = (folder.at("program.png"), folder.at("library.png"));
    quietly(&["sample", "-o", &by_program]);
    sample::digits(&by_library).expect("the example runs");
    let pixels = |file: &str| image::open(file).expect("a PNG").to_luma8().into_raw();
    assert_eq!(pixels(&by_program), pixels(&by_library));
}
