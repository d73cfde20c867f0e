//! Autoencoders against diffusers in float64 (`tests/golden/latent`, `tests/golden/autoencoder`): as graphs on the host
//! and on the device, whole and in strips.

use std::collections::BTreeMap;

use crate::common::{distance, engines, numbers};
use crate::goldens::autoencoder::{Golden, goldens};
use crate::{by, half_compilers};
use downhill::error::Error;
use downhill::graph::fuse::fuse;
use downhill::graph::op::Graph;
use downhill::graph::options::StorageLimits;
use downhill::graph::{CompileOptions, Compiler, Target, reference};
use downhill::latent::autoencoder::{Decoder, Encoder, Planned, scaled, unscaled};
use downhill::latent::tiles::{Room, Tiling};
use downhill::tensor::Tensor;

/// max|a-b| / max|b| of the worst image in float64: the goldens are kept in float32.
const REFERENCE_TOLERANCE: f64 = 2e-7;
/// The same on the device, in float32.
const TOLERANCE: f32 = 5e-5;
/// The same with weights in float16, in which those of the goldens are stored, but for one in bfloat16 and one in
/// float32.
const HALF_TOLERANCE: f32 = 1e-2;

fn worst(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.shape, expected.shape);
    (0..found.shape[0]).map(|at| distance(found.item(at), expected.item(at))).fold(0.0, f32::max)
}

#[test]
fn graphs_are_diffusers_in_float64() {
    let mut errors = Vec::new();
    for golden in goldens() {
        let (component, net) = golden.open();
        let fetch = |key: &str, shape: &[usize]| component.weights.fetch(key, shape);
        let batch = golden.latent.shape[0];
        let both: Vec<f32> =
            (0..batch).flat_map(|at| [golden.mean.item(at), golden.logvar.item(at)].concat()).collect();
        let image_size = (golden.image.shape[2], golden.image.shape[3]);
        let cases = [
            (net.decoder(batch, golden.size()), "latent", &golden.latent, golden.decoded.data.clone()),
            (net.encoder(batch, image_size), "image", &golden.image, both),
        ];
        for (graph, name, input, expected) in cases {
            let graph = graph.expect("graph");
            for (form, graph) in [("built", Graph::clone(&graph)), ("fused", fuse(&graph))] {
                let feeds = [(name.to_owned(), input.clone())];
                let outputs = reference::evaluate(&graph, &feeds, &fetch).expect("evaluation");
                let found = outputs[0].1.to_nchw();
                let largest = expected.iter().map(|b| f64::from(b.abs())).fold(0.0, f64::max);
                let apart = found.iter().zip(&expected).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
                println!("{} from {name}, {form}: {:.1e}", golden.name, apart / largest);
                if found.len() != expected.len() || apart.is_nan() || apart > REFERENCE_TOLERANCE * largest {
                    errors.push(format!("{} from {name}, {form}: {:e}", golden.name, apart / largest));
                }
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
        assert_eq!(weights.names().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{}", golden.name);
        assert_eq!(net.parameters(), weights.parameters(), "{}", golden.name);
    }
}

/// A decoder for `batch` latents of `size` at a call.
fn decoder<'e>(
    compiler: impl Into<Compiler<'e>>,
    golden: &Golden,
    batch: usize,
    size: (usize, usize),
    tiling: Tiling,
) -> Decoder<'e> {
    let compiler = compiler.into();
    let room = Room { target: compiler.target(), options: compiler.options, budget: None };
    let planned = Planned::new(&golden.open().1, batch, size, tiling, &room).expect("plan");
    Decoder::new(compiler.engine, golden.component(), size, planned).expect("decoder")
}

/// How far decoder and encoder are from float64.
fn apart(compiler: Compiler, golden: &Golden, batch: usize) -> [f32; 3] {
    let decoder = decoder(compiler, golden, batch, golden.size(), Tiling::Auto);
    assert_eq!(decoder.strips(), 1);
    let decoded = decoder.decode(&golden.latent).expect("decode");
    let size = (golden.image.shape[2], golden.image.shape[3]);
    let posterior = Encoder::new(compiler, &golden.component(), batch, size)
        .expect("encoder")
        .encode(&golden.image)
        .expect("encode");
    [worst(&decoded, &golden.decoded), worst(&posterior.mean, &golden.mean), worst(&posterior.logvar, &golden.logvar)]
}

#[test]
fn both_halves_agree_with_diffusers_in_both_families() {
    for engine in engines() {
        for golden in goldens() {
            for batch in [1, 3] {
                let apart = apart(engine.into(), &golden, batch);
                println!("{apart:?} {}, {:?}, batch {batch}", golden.name, engine.family);
                assert!(
                    apart.iter().all(|apart| *apart < TOLERANCE),
                    "{}, {:?}: {apart:?}",
                    golden.name,
                    engine.family
                );
            }
        }
    }
}

#[test]
fn weights_in_float16_stay_near() {
    for compiler in half_compilers() {
        for golden in goldens() {
            let apart = apart(compiler, &golden, 2);
            println!("{apart:?} {}, {:?}", golden.name, compiler.engine.family);
            let stored_as_halves = !["sd2-like", "odd-sizes"].contains(&golden.name.as_str());
            let tolerance = if stored_as_halves { 5e-4 } else { HALF_TOLERANCE };
            assert!(apart.iter().all(|apart| *apart < tolerance), "{}, {}: {apart:?}", golden.name, by(compiler));
        }
    }
}

/// Larger latents than the goldens have.
fn latents(golden: &Golden, (height, width): (usize, usize)) -> Tensor {
    let channels = golden.latent.shape[1];
    let data = numbers(5, 2 * channels * height * width).into_iter().map(|value| 2.0 * value).collect();
    Tensor::new([2, channels, height, width], data)
}

fn of(golden: &str) -> Golden {
    goldens().into_iter().find(|one| one.name == golden).expect("a golden")
}

#[test]
fn strips_of_any_height_are_the_whole() {
    let cases = [("sd1-like", (9, 6)), ("odd-sizes", (7, 5)), ("no-attention", (6, 5)), ("old-names", (11, 4))];
    for (name, size) in cases {
        let golden = of(name);
        let latent = latents(&golden, size);
        for engine in engines() {
            let whole = decoder(engine, &golden, 2, size, Tiling::Auto).decode(&latent).expect("whole");
            for rows in [1, 5, 16, 1000] {
                let decoder = decoder(engine, &golden, 2, size, Tiling::Rows(rows));
                let found = decoder.decode(&latent).expect("strips");
                let largest = whole.shape[2];
                assert_eq!(decoder.strips() > 1, rows < largest, "{name}, {rows} rows: {} strips", decoder.strips());
                let apart = worst(&found, &whole);
                println!("{apart:.1e} {name}, {:?}, {} strips", engine.family, decoder.strips());
                assert!(apart < 2e-5, "{name}, {:?}, {rows} rows: {apart:e}", engine.family);
            }
        }
    }
}

/// max |a - b| of neighbouring rows of the difference between two images, for each pair of rows.
fn steps(found: &Tensor, whole: &Tensor) -> Vec<f32> {
    let [_, channels, height, width] = whole.shape[..] else { panic!("no images") };
    let difference: Vec<f32> = found.data.iter().zip(&whole.data).map(|(a, b)| a - b).collect();
    let at = |channel: usize, row: usize, x: usize| difference[(channel * height + row) * width + x];
    let step = |row: usize| {
        let pixels = (0..channels).flat_map(|channel| (0..width).map(move |x| (channel, x)));
        pixels.map(|(channel, x)| (at(channel, row + 1, x) - at(channel, row, x)).abs()).fold(0.0, f32::max)
    };
    (0..height - 1).map(step).collect()
}

#[test]
fn no_seam_shows_between_strips() {
    let golden = of("sd1-like");
    let (size, rows) = ((16, 8), 24);
    let latent = latents(&golden, size).slice(0..1);
    for engine in engines() {
        let whole = decoder(engine, &golden, 1, size, Tiling::Auto).decode(&latent).expect("whole");
        let decoder = decoder(engine, &golden, 1, size, Tiling::Rows(rows));
        assert!(decoder.strips() >= 5);
        let found = decoder.decode(&latent).expect("strips");
        let largest = found.data.iter().zip(&whole.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let mut steps = steps(&found, &whole);
        let at = steps.iter().position(|step| *step == steps.iter().copied().fold(0.0, f32::max));
        println!("{largest:.1e} apart, largest step {:.1e} at row {at:?}", steps[at.unwrap_or(0)]);
        // A step of a hundredth of what one of 255 levels is cannot be seen.
        assert!(largest < 0.01 / 255.0, "{largest:e}");
        steps.sort_by(f32::total_cmp);
        let median = steps[steps.len() / 2];
        assert!(
            steps[steps.len() - 1] < 10.0 * median + 1e-6,
            "a seam of {:e}, median {median:e}",
            steps[steps.len() - 1]
        );
    }
}

#[test]
fn strips_are_chosen_when_a_map_does_not_fit() {
    let golden = of("no-attention");
    let (_, net) = golden.open();
    let size = (40, 40);
    let latent = latents(&golden, size).slice(0..1);
    for engine in engines() {
        let target = Target::of(engine);
        let room =
            |limits, budget| Room { target: Target { limits, ..target }, options: CompileOptions::default(), budget };
        let planned = |room: &Room| Planned::new(&net, 1, size, Tiling::Auto, room).expect("plan");
        let whole = planned(&room(target.limits, None));
        assert!(!whole.in_strips());
        // The largest map has 160 x 160 pixels of 6 channels, 51200 texels; less than half of it is enough for strips.
        let small = room(StorageLimits { float32: 24_576, ..StorageLimits::UNLIMITED }, None);
        let strips = planned(&small);
        assert!(strips.in_strips());
        assert!(strips.plans().iter().all(|plan| small.holds(plan)));
        assert!(planned(&room(StorageLimits::UNLIMITED, Some(whole.plans()[0].arena_bytes()))).in_strips());
        let decoder = Decoder::new(engine, golden.component(), size, strips).expect("decoder");
        assert!(decoder.strips() > 1);
        let whole = self::decoder(engine, &golden, 1, size, Tiling::Auto).decode(&latent).expect("whole");
        assert!(worst(&decoder.decode(&latent).expect("strips"), &whole) < 2e-5);
    }
}

#[test]
fn a_decoder_with_attention_at_the_end_has_no_strips() {
    let golden = of("attention-everywhere");
    let (_, net) = golden.open();
    let engine = &engines()[0];
    let room = Room { target: Target::without_device(engine.family), options: CompileOptions::default(), budget: None };
    let result = Planned::new(&net, 1, (4, 4), Tiling::Rows(1), &room);
    // After the last attention only the last convolution is left, which can be cut.
    match result {
        Ok(planned) => assert_eq!(planned.plans().len(), 2),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn scaling_is_that_of_diffusers() {
    let (_, net) = of("attention-everywhere").open();
    let raw = Tensor::new([1, 5, 1, 2], numbers(1, 10));
    let ours = scaled(&net, &raw);
    for channel in 0..5 {
        let (mean, deviation) = (0.1 * (channel + 1) as f64 + 0.1, [1.0, 1.5, 2.0, 0.5, 3.0][channel]);
        let expected = (f64::from(raw.data[channel * 2]) - mean) / deviation * 0.7;
        assert!((f64::from(ours.data[channel * 2]) - expected).abs() < 1e-6);
    }
    assert!(distance(&unscaled(&net, &ours).data, &raw.data) < 1e-6);
    let (_, plain) = of("sd1-like").open();
    let raw = Tensor::new([1, 4, 1, 1], vec![1.0; 4]);
    assert_eq!(scaled(&plain, &raw).data, [0.18215; 4]);
}

#[test]
fn a_draw_has_the_posteriors_deviation() {
    let golden = of("sd2-like");
    let engine = &engines()[0];
    let size = (golden.image.shape[2], golden.image.shape[3]);
    let encoder = Encoder::new(engine, &golden.component(), 1, size).expect("encoder");
    let posterior = encoder.encode(&golden.image).expect("encode");
    let noise = Tensor::new(golden.mean.shape.clone(), numbers(7, golden.mean.data.len()));
    let drawn = posterior.draw(&noise);
    for (at, value) in drawn.data.iter().enumerate() {
        let expected = golden.mean.data[at] + (0.5 * golden.logvar.data[at]).exp() * noise.data[at];
        assert!((value - expected).abs() < 1e-3, "{value} is not {expected}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let golden = of("sd1-like");
    let engine = &engines()[0];
    let decoder = decoder(engine, &golden, 1, golden.size(), Tiling::Auto);
    for shape in [vec![1, 3, 8, 8], vec![1, 4, 8, 7], vec![4, 8, 8], vec![0, 4, 8, 8]] {
        let error = decoder.decode(&Tensor::zeros(shape)).expect_err("a shape");
        assert_eq!(error.kind(), downhill::ErrorKind::Argument);
        assert!(error.hint().expect("a hint").contains("[n, 4, 8, 8]"), "{error}");
    }
    let error = Encoder::new(engine, &golden.component(), 1, (60, 64)).map(|_| ()).expect_err("60 rows");
    assert!(error.hint().expect("a hint").contains("multiples of 8"), "{error}");
    let mut latent = golden.latent.clone();
    latent.data[3] = f32::NAN;
    match decoder.trace_nonfinite(&latent) {
        Err(Error::NonFinite { place, .. }) => assert!(place.contains("post_quant_conv"), "{place}"),
        other => panic!("{other:?}"),
    }
}
