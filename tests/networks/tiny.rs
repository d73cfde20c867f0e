//! Tiny autoencoders (TAESD) against diffusers in float64 (`tests/golden/tiny`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use downhill::checkpoint::{Component, Pipeline};
use downhill::formats::npy;
use downhill::graph::fuse::fuse;
use downhill::graph::op::Graph;
use downhill::graph::{Compiler, reference};
use downhill::latent::autoencoder::{Decoder, Encoder, Planned, scaled, unscaled};
use downhill::latent::tiles::{Room, Tiling};
use downhill::nets::autoencoder::{self, Autoencoder};
use downhill::tensor::Tensor;

use crate::common::{distance, engines};
use crate::goldens::golden_folders;

/// max|a-b| / max|b| in float64: the goldens are kept in float32.
const REFERENCE_TOLERANCE: f64 = 2e-7;
/// The same on the device.
const TOLERANCE: f32 = 5e-5;

fn component(folder: &Path) -> Component {
    Pipeline::open(folder.to_str().expect("UTF-8")).expect("a folder").component("vae").expect("a component")
}

fn cases() -> Vec<(PathBuf, Component, std::sync::Arc<dyn Autoencoder>)> {
    let folders = golden_folders("tiny");
    assert!(folders.len() >= 2, "the goldens are missing");
    let open = |folder: PathBuf| {
        let component = component(&folder);
        let net = autoencoder::open(&component.config, &component.weights).unwrap_or_else(|error| panic!("{error}"));
        (folder, component, net)
    };
    folders.into_iter().map(open).collect()
}

fn read(folder: &Path, name: &str) -> Tensor {
    npy::read(folder.join(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn size(tensor: &Tensor) -> (usize, usize) {
    (tensor.shape[2], tensor.shape[3])
}

#[test]
fn graphs_are_diffusers_in_float64() {
    for (folder, component, net) in cases() {
        let fetch = |key: &str, shape: &[usize]| component.weights.fetch(key, shape);
        let (latent, image) = (read(&folder, "latent.npy"), read(&folder, "image.npy"));
        // Clamps and ranges are in float32 here, as the inputs of graphs are.
        let each = |tensor: &Tensor, change: &dyn Fn(f64) -> f64| {
            let data = tensor.data.iter().map(|value| change(f64::from(*value)) as f32).collect();
            Tensor::new(tensor.shape.clone(), data)
        };
        let decoder = (net.decoder(2, size(&latent)), "latent", each(&latent, &|v| net.of_latent(v)), "decoded.npy");
        let encoder = (net.encoder(2, size(&image)), "image", each(&image, &|v| net.of_image(v)), "encoded.npy");
        for (graph, name, input, output) in [decoder, encoder] {
            let graph = graph.expect("a graph");
            let expected = read(&folder, output);
            for graph in [Graph::clone(&graph), fuse(&graph)] {
                let feeds = [(name.to_owned(), input.clone())];
                let found = reference::evaluate(&graph, &feeds, &fetch).expect("values")[0].1.to_nchw();
                let found: Vec<f64> =
                    found.into_iter().map(|v| if name == "latent" { net.to_image(v) } else { v }).collect();
                let largest = expected.data.iter().map(|b| f64::from(b.abs())).fold(0.0, f64::max);
                let apart =
                    found.iter().zip(&expected.data).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
                println!("{}: {name} {:.1e}", folder.display(), apart / largest);
                assert_eq!(found.len(), expected.data.len());
                assert!(apart <= 10.0 * REFERENCE_TOLERANCE * largest, "{}: {name} {apart:.1e}", folder.display());
            }
        }
        let ours: BTreeMap<_, _> = net.keys().into_iter().collect();
        assert_eq!(component.weights.names().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
        assert_eq!(net.parameters(), component.weights.parameters());
    }
}

#[test]
fn both_halves_agree_with_diffusers_on_the_device() {
    for engine in engines() {
        let compiler = Compiler::from(engine);
        for (folder, component, net) in cases() {
            let (latent, image) = (read(&folder, "latent.npy"), read(&folder, "image.npy"));
            let room = Room { target: compiler.target(), options: compiler.options, budget: None };
            let planned = |tiling| Planned::new(net.as_ref(), 1, size(&latent), tiling, &room);
            let plan = planned(Tiling::Auto).expect("a plan");
            let decoder = Decoder::new(engine, component.clone(), size(&latent), plan).expect("a decoder");
            let whole = decoder.decode(&latent).expect("images");
            let apart = distance(&whole.data, &read(&folder, "decoded.npy").data);
            assert!(apart < TOLERANCE, "{}: decoded {apart:.1e}", folder.display());
            let refused = planned(Tiling::Rows(4)).expect_err("a decoder without normalisation has no place to cut");
            assert!(refused.to_string().contains("strips"), "{refused}");
            let encoder = Encoder::new(compiler, &component, 2, size(&image)).expect("an encoder");
            let encoded = encoder.encode(&image).expect("latents");
            let apart = distance(&encoded.mean.data, &read(&folder, "encoded.npy").data);
            assert!(apart < TOLERANCE, "{}: encoded {apart:.1e}", folder.display());
            let noise = Tensor::new(encoded.mean.shape.clone(), vec![1.0; encoded.mean.data.len()]);
            assert_eq!(encoded.draw(&noise), encoded.mean, "nothing is random");
        }
    }
}

#[test]
fn latents_are_scaled_as_in_diffusers() {
    let (_, _, net) = &cases()[0];
    let raw = Tensor::new([1, 3, 1, 1], vec![1.0, -2.0, 0.5]);
    let ours = scaled(net.as_ref(), &raw);
    let expected: Vec<f32> = raw.data.iter().map(|value| (value - 0.2) * 0.7).collect();
    assert!(distance(&ours.data, &expected) < 1e-6);
    assert!(distance(&unscaled(net.as_ref(), &ours).data, &raw.data) < 1e-6);
}
