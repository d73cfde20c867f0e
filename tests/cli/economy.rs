//! The work that a command repeats: `--verbose` prints the graphs that it built and the plans that it made.

use std::collections::BTreeMap;

use downhill::tensor::Tensor;

use crate::{Folder, downhill};

const PIXELS: &str = "tests/golden/unet/cifar-like";
const TEXT: &str = "tests/golden/latent/sd1-like";
const CLASSES: &str = "tests/golden/dit/pipeline";

/// The graphs of each network, and the plans, of a command.
#[track_caller]
fn counted(arguments: &[&str]) -> (BTreeMap<String, usize>, usize) {
    let run = downhill(&[arguments, &["-v"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let line = run.stderr.lines().find_map(|line| line.strip_prefix("graphs built: ")).expect("the counts");
    let (graphs, plans) = line.split_once("plans made: ").expect("the plans");
    let graph = |part: &str| {
        let (count, name) = part.split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    (graphs.split(", ").filter_map(graph).collect(), plans.parse().expect("a number"))
}

#[test]
fn a_command_builds_each_graph_at_most_twice_and_plans_once_per_batch_size() {
    let folder = Folder::new();
    let (x, out) = (folder.write("x.npy", &Tensor::zeros([3, 3, 8, 8])), folder.at("out.npy"));
    let wide = folder.write("wide.npy", &Tensor::zeros([3, 3, 16, 16]));
    let context = folder.write("context.npy", &Tensor::zeros([1, 5, 16]));
    let text_x = format!("{TEXT}/stages/x.npy");
    let latents = folder.write("latents.npy", &Tensor::zeros([3, 4, 8, 8]));
    let images = folder.write("images.npy", &Tensor::zeros([3, 3, 64, 64]));
    let png = folder.at("x.png");
    let sample = |rest: &[&'static str]| [&["sample", "--steps", "1", "-o", &png], rest].concat();
    let cases: Vec<(Vec<&str>, usize)> = vec![
        (sample(&[PIXELS, "-n", "3"]), 2),
        (sample(&[PIXELS, "-n", "3", "--size", "16x16"]), 2),
        (sample(&[PIXELS, "-n", "3", "-b", "2"]), 1),
        (sample(&[TEXT, "-p", "a cat", "-n", "3"]), 4),
        (sample(&[TEXT, "-p", "a cat", "-n", "3", "--cfg-scale", "1", "--size", "32x32"]), 4),
        (sample(&[TEXT, "-p", "a cat", "-n", "3", "--memory", "1GiB"]), 4),
        (sample(&[CLASSES, "--class-labels", "1,2,3"]), 3),
        (sample(&[CLASSES, "--class-labels", "1,2,3", "--cfg-scale", "1", "-b", "2"]), 2),
        (vec!["denoise", PIXELS, "-i", &x, "-t", "5", "-o", &out], 2),
        (vec!["denoise", PIXELS, "-i", &wide, "-t", "5", "-b", "2", "-o", &out], 1),
        (vec!["denoise", TEXT, "-i", &text_x, "-t", "5", "--context", &context, "-o", &out], 2),
        (vec!["info", PIXELS, "-b", "3"], 1),
        (vec!["info", TEXT, "-b", "3"], 4),
        (vec!["info", CLASSES], 3),
        (vec!["decode", TEXT, "-i", &latents, "-o", &out], 2),
        (vec!["encode", TEXT, "-i", &images, "-o", &out], 2),
        (vec!["encode-text", TEXT, "-p", "a cat", "-o", &out], 1),
    ];
    for (arguments, expected) in cases {
        let (graphs, plans) = counted(&arguments);
        println!("{arguments:?}: {graphs:?}, {plans} plans");
        assert!(graphs.values().all(|count| *count <= 2), "{arguments:?}: {graphs:?}");
        assert_eq!(plans, expected, "{arguments:?}");
    }
}
