//! Networks that look at a context on the device: raw calls against diffusers in float64 (`tests/golden/latent`,
//! `tests/golden/conditioned`), guidance against its formula.

use crate::common::{distance, engines, numbers};
use crate::definition::distance_to_definition;
use crate::goldens::conditioned::{Golden, goldens};
use crate::{by, compilers, forced_compilers, half_compilers};
use downhill::denoise::diffusion::{NoiseTable, PredictionType, alpha_bar_of};
use downhill::denoise::{Condition, Denoiser, Guidance, Level, Network, NetworkDenoiser};
use downhill::error::Error;
use downhill::graph::Compiler;
use downhill::kernels::Engine;
use downhill::nets::{Added, Inputs};
use downhill::tensor::Tensor;

/// max|a-b| / max|b| against float64 that a network may be away; measured up to 2.1e-5, by tiles of 4 x 4 where
/// torch itself is 5e-6 away in float32.
const TOLERANCE: f32 = 5e-5;
/// The same with weights in float16: rounding those of `sd2-like` alone takes diffusers' own answer 4.7e-3 away in
/// float64.
const HALF_TOLERANCE: f32 = 1e-2;

/// The network of a golden, ready for `batch` images.
fn ready<'e>(compiler: Compiler<'e>, golden: &Golden, batch: usize) -> Network<'e> {
    let (component, net) = golden.open();
    Network::new(compiler, net, component.weights, golden.size(batch))
        .unwrap_or_else(|error| panic!("{}: {error}", golden.name))
}

fn call(compiler: Compiler, golden: &Golden, batch: usize) -> Tensor {
    ready(compiler, golden, batch).call(&golden.inputs()).unwrap_or_else(|error| panic!("{}: {error}", golden.name))
}

/// max|a-b| / max|b| of the worst image against float64.
fn apart(compiler: Compiler, golden: &Golden, batch: usize) -> f32 {
    let output = call(compiler, golden, batch);
    assert_eq!(output.shape, golden.eps.shape, "{}", golden.name);
    (0..output.shape[0]).map(|image| distance(output.item(image), golden.eps.item(image))).fold(0.0, f32::max)
}

#[test]
fn networks_agree_with_diffusers_in_both_families_by_every_algorithm() {
    assert!(forced_compilers().len() >= 4, "too few algorithms");
    for compiler in compilers().into_iter().chain(forced_compilers()) {
        let mut worst = 0.0;
        for golden in goldens() {
            let apart = apart(compiler, &golden, 2);
            assert!(apart < TOLERANCE, "{}, {}: {apart:e}", golden.name, by(compiler));
            worst = apart.max(worst);
        }
        println!("{worst:.1e} {}", by(compiler));
    }
}

#[test]
fn networks_with_weights_in_float16_stay_near_diffusers() {
    for compiler in half_compilers() {
        for golden in goldens() {
            let apart = apart(compiler, &golden, 3);
            println!("{apart:.1e} {}", golden.name);
            assert!(apart < HALF_TOLERANCE, "{}, {}: {apart:e}", golden.name, by(compiler));
        }
    }
}

#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    for golden in goldens().into_iter().step_by(2) {
        for engine in engines() {
            assert_eq!(
                call(engine.into(), &golden, 1),
                call(engine.into(), &golden, 4),
                "{}, {:?}",
                golden.name,
                engine.family
            );
        }
    }
}

/// The small latent models that take a context alone.
fn latent() -> impl Iterator<Item = Golden> {
    let names = ["odd-sizes", "sd1-like", "sd2-like"];
    goldens().into_iter().filter(move |golden| names.contains(&golden.name.as_str()))
}

fn sd1_like() -> Golden {
    latent().find(|golden| golden.name == "sd1-like").expect("a golden")
}

fn context(golden: &Golden, image: usize) -> Tensor {
    let [_, tokens, dim] = golden.context.shape[..] else { panic!("{:?}", golden.context.shape) };
    Tensor::new([1, tokens, dim], golden.context.item(image).to_vec())
}

fn guided<'e>(
    engine: &'e Engine,
    golden: &Golden,
    prediction: PredictionType,
    images: usize,
    guidance: Guidance,
) -> Result<NetworkDenoiser<'e>, Error> {
    let (component, net) = golden.open();
    let size = guidance.call_size(images, (golden.x.shape[2], golden.x.shape[3]));
    let network = Network::new(engine, net, component.weights, size)?;
    NetworkDenoiser::new(network, NoiseTable::default(), prediction, guidance)
}

fn condition(golden: &Golden, image: usize) -> Condition {
    Condition::context(context(golden, image))
}

/// Guidance of eps, from raw calls with either context.
fn by_formula(
    engine: &Engine,
    golden: &Golden,
    prediction: PredictionType,
    x: &Tensor,
    sigma: &[f64],
    scale: f64,
) -> Vec<f64> {
    let [conditional, unconditional] = [0, 1].map(|image| {
        let guidance = Guidance::none(condition(golden, image));
        let mut network = guided(engine, golden, prediction, 1, guidance).expect("a denoiser");
        network.eps(x, &Level::each(sigma)).expect("a call")
    });
    let both = unconditional.data.iter().zip(&conditional.data);
    both.map(|(u, c)| f64::from(*u) + scale * (f64::from(*c) - f64::from(*u))).collect()
}

#[test]
fn guidance_leads_away_from_the_unconditional_answer() {
    let predictions = [PredictionType::Epsilon, PredictionType::VPrediction, PredictionType::Sample];
    for (golden, prediction) in latent().zip(predictions) {
        let sigma = [9.0, 0.7, 2.5];
        let mut x = golden.x.clone();
        let stride = x.stride();
        x.data.iter_mut().enumerate().for_each(|(at, value)| *value *= sigma[at / stride] as f32);
        for engine in engines() {
            let guidance = |scale| Guidance {
                conditional: condition(&golden, 0),
                unconditional: Some(condition(&golden, 1)),
                scale,
                ..Guidance::default()
            };
            let mut bits = Vec::new();
            for images in [1, 2, 3] {
                let mut network = guided(engine, &golden, prediction, images, guidance(7.5)).expect("a denoiser");
                bits.push(network.eps(&x, &Level::each(&sigma)).expect("a call"));
            }
            assert!(bits.iter().all(|one| *one == bits[0]), "{}: the batch shows", golden.name);
            let expected = by_formula(engine, &golden, prediction, &x, &sigma, 7.5);
            let apart = distance_to_definition(&bits[0].data, &expected);
            println!("{apart:.1e} {} {prediction:?}", golden.name);
            assert!(apart < 1e-5, "{}: {apart:e} from the formula", golden.name);

            // Scale 1 is the conditional answer, with the other half or without it.
            let alone = Guidance { unconditional: None, ..guidance(1.0) };
            let [with, without] = [guidance(1.0), alone].map(|guidance| {
                let mut network = guided(engine, &golden, prediction, 2, guidance).expect("a denoiser");
                network.eps(&x, &Level::each(&sigma)).expect("a call")
            });
            assert!(distance(&with.data, &without.data) < 1e-6, "{}", golden.name);
            assert!(distance(&without.data, &bits[0].data) > 1e-2, "{}: guidance does nothing", golden.name);
        }
    }
}

#[test]
fn a_timestep_that_is_given_is_the_one_called() {
    let golden = sd1_like();
    let sigma = NoiseTable::default().sigma(400.0);
    let x = Tensor::new(golden.x.shape.clone(), numbers(3, golden.x.data.len()));
    let guidance = Guidance::none(condition(&golden, 0));
    let mut network = guided(&engines()[0], &golden, PredictionType::Epsilon, 3, guidance).expect("a denoiser");
    let at =
        |network: &mut NetworkDenoiser, timestep| network.eps(&x, &[Level { sigma, timestep }; 3]).expect("a call");
    let known = at(&mut network, None);
    assert_eq!(known, at(&mut network, Some(NoiseTable::default().timestep(sigma))));
    let other = at(&mut network, Some(40.0));
    assert!(distance(&known.data, &other.data) > 1e-3);
    let raw = ready(compilers()[0], &golden, 3);
    let mut z = x.clone();
    z.data.iter_mut().for_each(|value| *value = (f64::from(*value) * alpha_bar_of(sigma).sqrt()) as f32);
    assert_eq!(other, raw.call(&Inputs::new(&z, &[40.0; 3]).with_context(Some(&context(&golden, 0)))).expect("a call"));
}

#[test]
fn the_plan_is_known_before_the_device() {
    let golden = sd1_like();
    let engine = &engines()[0];
    let (_, net) = golden.open();
    let [conditional, unconditional] = [0, 1].map(|image| condition(&golden, image));
    let guidance = Guidance { unconditional: Some(unconditional), conditional, scale: 2.0, ..Guidance::default() };
    let graph = net.graph(guidance.call_size(2, (8, 8))).expect("graph");
    let planned = Compiler::from(engine).plan(&graph);
    let network = guided(engine, &golden, PredictionType::Epsilon, 2, guidance).expect("a denoiser");
    assert_eq!(network.network().program().plan.arena_bytes(), planned.arena_bytes());
    assert_eq!(network.network().program().plan.weight_bytes(), planned.weight_bytes());
    assert!(network.profile().expect("profile").len() > 100);
}

#[test]
fn the_first_value_that_is_not_finite_is_traced() {
    let golden = sd1_like();
    let conditional = context(&golden, 0);
    let mut unconditional = conditional.clone();
    unconditional.data[5] = f32::NAN;
    let [conditional, unconditional] = [conditional, unconditional].map(Condition::context);
    let guidance = Guidance { conditional, unconditional: Some(unconditional), scale: 2.0, ..Guidance::default() };
    for engine in engines() {
        let mut network = guided(engine, &golden, PredictionType::Epsilon, 2, guidance.clone()).expect("a denoiser");
        match network.trace_nonfinite(&golden.x, &[Level::at_sigma(1.0); 3]) {
            Err(Error::NonFinite { place, .. }) => assert!(place.contains("attn2.to_k"), "{place}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn contexts_that_do_not_fit_are_refused() {
    let golden = sd1_like();
    let engine = &engines()[0];
    let good = context(&golden, 0);
    let refused = |golden: &Golden, guidance| {
        guided(engine, golden, PredictionType::Epsilon, 1, guidance).map(|_| ()).expect_err("a bad condition")
    };
    let alone = |context| Guidance::none(Condition::context(context));
    let error = refused(&golden, alone(Tensor::zeros([1, 77, 24])));
    assert_eq!(error.kind(), downhill::ErrorKind::Argument);
    assert!(error.to_string().contains("24 channels for a network with `cross_attention_dim` 16"), "{error}");
    let unconditional = Some(Condition::context(Tensor::zeros([1, 5, 16])));
    let error = refused(&golden, Guidance { unconditional, ..alone(good.clone()) });
    assert_eq!((error.kind(), error.hint().is_some()), (downhill::ErrorKind::Argument, true));
    let error = refused(&golden, Guidance::default());
    assert!(error.to_string().contains("a context of no tokens"), "{error}");
    let network = ready(engine.into(), &golden, 1);
    for shape in [[2, 77, 16], [3, 76, 16], [3, 77, 15]] {
        let wrong = Tensor::zeros(shape);
        let error = network.call(&golden.inputs().with_context(Some(&wrong))).expect_err("a context");
        assert!(error.hint().expect("a hint").contains("[3, 77, 16], or [1, 77, 16]"), "{error}");
    }
    let mut two = guided(engine, &golden, PredictionType::Epsilon, 1, alone(Tensor::zeros([2, 77, 16]))).expect("two");
    assert_eq!(
        two.eps(&golden.x, &[Level::at_sigma(1.0); 3]).expect_err("three images").kind(),
        downhill::ErrorKind::Argument
    );
    let labelled = goldens().into_iter().find(|golden| golden.name == "class-identity").expect("a golden");
    let error = refused(&labelled, alone(context(&labelled, 0)));
    assert!(error.to_string().contains("needs class labels"), "{error}");
}

/// The goldens whose networks take more than a context.
fn named(name: &str) -> Golden {
    goldens().into_iter().find(|golden| golden.name == name).unwrap_or_else(|| panic!("no golden {name}"))
}

#[test]
fn what_is_added_and_the_scale_of_guidance_change_the_output() {
    let (xl, lcm) = (named("sdxl-like"), named("lcm-like"));
    let engine = &engines()[0];
    let network = ready(engine.into(), &xl, 3);
    let whole = network.call(&xl.inputs()).expect("a call");
    let added = xl.added.clone().expect("added");
    // A row for all images, as the first image has it.
    let first = Added { pooled: added.pooled.slice(0..1), numbers: added.numbers.slice(0..1) };
    let shared = network.call(&xl.inputs().with_added(Some(&first))).expect("a call");
    assert_eq!(shared.item(0), whole.item(0));
    assert!(distance(shared.item(1), whole.item(1)) > 1e-3);
    let network = ready(engine.into(), &lcm, 3);
    let [scaled, other, none] =
        [lcm.guidance, Some(3.0), None].map(|scale| network.call(&lcm.inputs().with_guidance(scale)).expect("a call"));
    assert!(distance(&scaled.data, &other.data) > 1e-3 && distance(&scaled.data, &none.data) > 1e-3);
}

#[test]
fn vectors_and_scales_that_do_not_fit_are_refused() {
    let (xl, lcm, plain) = (named("sdxl-like"), named("lcm-like"), named("sd1-like"));
    let engine = &engines()[0];
    let added = |pooled: [usize; 2], numbers: [usize; 2]| Added {
        pooled: Tensor::zeros(pooled),
        numbers: Tensor::zeros(numbers),
    };
    let refused = |golden: &Golden, added: Option<&Added>, scale: Option<f64>| {
        let network = ready(engine.into(), golden, 3);
        let error = network.call(&golden.inputs().with_added(added).with_guidance(scale)).expect_err("refused");
        assert_eq!(error.kind(), downhill::ErrorKind::Argument);
        assert!(error.hint().is_some());
        error.to_string()
    };
    assert!(refused(&xl, None, None).contains("needs the embedding of a whole text"));
    for (pooled, numbers) in [([3, 13], [3, 6]), ([3, 14], [3, 5])] {
        assert!(refused(&xl, Some(&added(pooled, numbers)), None).contains("do not fit this network"));
    }
    assert!(refused(&xl, Some(&added([2, 14], [2, 6])), None).contains("`pooled` and `time_ids` for 3 images"));
    assert!(refused(&plain, Some(&added([3, 14], [3, 6])), None).contains("does not take the embedding"));
    assert!(refused(&plain, None, Some(7.5)).contains("does not take a scale of guidance"));
    assert!(refused(&lcm, None, Some(f64::INFINITY)).contains("out of range"));
}
