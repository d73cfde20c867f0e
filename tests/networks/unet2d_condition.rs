//! `UNet2DConditionModel` graphs, evaluated in float64 on the host, against diffusers' float64 outputs
//! (`tools/make_goldens.py`).

use std::collections::BTreeMap;

use crate::goldens::conditioned::{Golden, goldens};
use downhill::graph::fuse::fuse;
use downhill::graph::op::Graph;
use downhill::graph::reference;

/// Float32 roundings that remain: inputs that a call feeds, and factors such as 1 / sqrt(dim) that a graph holds; the
/// goldens themselves are kept in float32.
const TOLERANCE: f64 = 2e-7;

/// How far the graph of a golden is from diffusers, as it is built or as it is fused: max|a - b| / max|b| of the worst
/// image.
fn evaluate(golden: &Golden, rewrite: fn(&Graph) -> Graph) -> f64 {
    let (component, net) = golden.open();
    let fetch = |key: &str, shape: &[usize]| component.weights.fetch(key, shape);
    let shape = &golden.x.shape;
    let graph = net.graph(golden.size(shape[0])).expect("graph");
    let feeds = net.feeds(&golden.inputs(), &fetch).expect("feeds");
    let outputs = reference::evaluate(&rewrite(&graph), &feeds, &fetch).expect("evaluation");
    let [(output, sample)] = &outputs[..] else { panic!("{} outputs", outputs.len()) };
    assert_eq!(output, "sample");
    let (found, len) = (sample.to_nchw(), golden.eps.stride());
    assert_eq!(found.len(), golden.eps.data.len());
    let image_error = |(a, b): (&[f64], &[f32])| {
        let error = a.iter().zip(b).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
        error / b.iter().map(|b| f64::from(b.abs())).fold(0.0, f64::max)
    };
    found.chunks(len).zip(golden.eps.data.chunks(len)).map(image_error).fold(0.0, f64::max)
}

#[test]
fn outputs_are_those_of_diffusers_in_float64() {
    let mut errors = Vec::new();
    for golden in goldens() {
        for (form, rewrite) in [("built", Graph::clone as fn(&Graph) -> Graph), ("fused", fuse)] {
            let error = evaluate(&golden, rewrite);
            println!("{} {form}: {error:.1e}", golden.name);
            if error.is_nan() || error > TOLERANCE {
                errors.push(format!("{} {form}: {error:e}", golden.name));
            }
        }
    }
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn keys_are_those_of_diffusers() {
    for golden in goldens() {
        let (component, net) = golden.open();
        let (keys, weights) = (net.keys(), &component.weights);
        let ours: BTreeMap<_, _> = keys.iter().cloned().collect();
        assert_eq!(ours.len(), keys.len(), "{}: a key is named twice", golden.name);
        for key in weights.names() {
            assert_eq!(Some(ours[key].as_slice()), weights.shape(key), "{}: {key}", golden.name);
        }
        assert_eq!(weights.names().count(), keys.len(), "{}", golden.name);
        assert_eq!(net.parameters(), weights.parameters(), "{}", golden.name);
    }
}
