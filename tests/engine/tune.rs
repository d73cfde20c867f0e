//! Choices of algorithms and tiles: forced ones are followed, measured ones are sound.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::common::{distance, engines, numbers};
use downhill::checkpoint::ModelFiles;
use downhill::graph::choose::distinct_layers;
use downhill::graph::op::Graph;
use downhill::graph::tune::{candidates, tune, tune_tiles, unknown_layers, unknown_products, unknown_products_of};
use downhill::graph::{CompileOptions, Plan, Program, Target};
use downhill::kernels::Family;
use downhill::kernels::choice::{Algorithm, Layer};
use downhill::kernels::tiling::{ProductShape, TileSize};
use downhill::kernels::tuned::Choices;
use downhill::kernels::winograd::Tile;
use downhill::nets::{CallSize, Inputs, open};
use downhill::tensor::{Precision, Tensor};

fn digits() -> Graph {
    let model = ModelFiles::open(None).expect("embedded model");
    open(&model.config, &model.weights).expect("network").graph(CallSize::images(1, (28, 28))).expect("graph")
}

fn plan(family: Family, options: CompileOptions) -> Plan {
    Plan::new(&digits(), &Target::without_device(family), &options)
}

/// The plan with these layers measured.
fn measured(family: Family, measured: &BTreeMap<Layer, Algorithm>) -> Plan {
    let measured = &Choices::of(Precision::Float32, measured.clone());
    Plan::new(&digits(), &Target { measured, ..Target::without_device(family) }, &CompileOptions::default())
}

/// Kernels of more than one tap that the plan computes by `algorithm`.
fn count(plan: &Plan, algorithm: Algorithm) -> usize {
    plan.convolutions().get(&algorithm).copied().unwrap_or(0)
}

#[test]
fn a_forced_algorithm_computes_every_layer_that_it_can() {
    let choosable: usize = distinct_layers(&digits()).values().sum();
    for family in [Family::Tile, Family::Lanes { width: 8 }] {
        let exact = plan(family, CompileOptions::exact());
        let all = count(&exact, Algorithm::Direct);
        assert!(choosable > 20 && all > choosable, "the network has layers with and without a choice");
        assert_eq!(exact.convolutions().len(), 1);
        let winograd =
            |plan: &Plan| plan.steps.iter().any(|step| step.dispatch.shader.kernel.name.contains("winograd"));
        assert!(!winograd(&exact));
        for algorithm in Algorithm::of_family(family).into_iter().skip(1) {
            let forced = plan(family, CompileOptions::forced(algorithm));
            assert_eq!((count(&forced, algorithm), count(&forced, Algorithm::Direct)), (choosable, all - choosable));
            assert!(winograd(&forced) && forced.weight_bytes() > exact.weight_bytes());
        }
    }
}

#[test]
fn a_measured_layer_follows_the_measurement_and_the_others_the_prior() {
    let family = Family::Lanes { width: 8 };
    let prior = plan(family, CompileOptions::default());
    let rows = Algorithm::WinogradRows(Tile::Two);
    assert_eq!(count(&prior, rows), 0, "the prior never means it");
    let (layer, uses) = distinct_layers(&digits()).into_iter().max_by_key(|(layer, _)| layer.size).expect("a layer");
    assert_eq!(count(&measured(family, &[(layer, rows)].into()), rows), uses);
    let direct = distinct_layers(&digits()).into_keys().map(|layer| (layer, Algorithm::Direct)).collect();
    assert_eq!(measured(family, &direct), plan(family, CompileOptions::exact()));
}

#[test]
fn every_layer_is_measured_by_every_algorithm_within_the_time() {
    let subjects = unknown_layers(&digits(), &BTreeMap::new());
    let work: Vec<_> = subjects.iter().map(|subject| subject.layer.flops() * subject.count as u64).collect();
    assert!(work.len() > 5 && work.is_sorted_by(|a, b| a >= b), "the most work comes first");
    for engine in engines() {
        let go_on = || ControlFlow::Continue(());
        assert_eq!(tune(engine, Precision::Float32, &subjects, 1, Duration::ZERO, go_on).expect("nothing"), []);
        let mut told = 0;
        let count = || {
            told += 1;
            ControlFlow::Continue(())
        };
        let time = Duration::from_secs(600);
        let measured = tune(engine, Precision::Float32, &subjects[..3], 2, time, count).expect("measured");
        assert_eq!((measured.len(), told), (3, 3));
        for (one, subject) in measured.iter().zip(&subjects) {
            assert_eq!(one.subject, *subject);
            let algorithms: Vec<_> = one.seconds.iter().map(|(algorithm, _)| *algorithm).collect();
            assert_eq!(algorithms, Algorithm::of_family(engine.family));
            let seconds: BTreeMap<_, _> =
                one.seconds.iter().map(|(algorithm, s)| (*algorithm, s.expect("right, and within memory"))).collect();
            assert!(seconds.values().all(|seconds| *seconds > 0.0 && seconds.is_finite()));
            assert!(seconds[&one.chosen] <= seconds[&Algorithm::Direct]);
        }
        let known = measured.iter().map(|one| (one.subject.layer, one.chosen)).collect();
        assert_eq!(unknown_layers(&digits(), &known), subjects[3..], "what is known is not measured again");
    }
}

/// Rounded weights are transformed by small tiles, which each agree with the definition.
#[test]
fn layers_with_weights_in_float16_are_measured_with_these() {
    let subjects = unknown_layers(&digits(), &BTreeMap::new());
    for engine in engines() {
        let go_on = || ControlFlow::Continue(());
        let time = Duration::from_secs(600);
        let measured = tune(engine, Precision::Float16, &subjects[..1], 1, time, go_on).expect("measured");
        let [one] = measured.as_slice() else { panic!("{measured:?}") };
        let algorithms: Vec<_> = one.seconds.iter().map(|(algorithm, _)| *algorithm).collect();
        assert_eq!(algorithms, candidates(engine.family, Precision::Float16));
        assert!(one.seconds.iter().all(|(_, seconds)| seconds.is_some_and(|seconds| seconds > 0.0)), "{one:?}");

        let chosen = Choices::of(Precision::Float16, [(one.subject.layer, Algorithm::Direct)].into());
        let target = Target { measured: &chosen, ..Target::of(engine) };
        let half = CompileOptions { weights: Precision::Float16, ..CompileOptions::default() };
        let direct = |options| count(&Plan::new(&digits(), &target, &options), Algorithm::Direct);
        let untuned = |options| count(&Plan::new(&digits(), &Target::of(engine), &options), Algorithm::Direct);
        assert_eq!(direct(half), untuned(half) + one.subject.count);
        assert_eq!(direct(CompileOptions::default()), untuned(CompileOptions::default()));
    }
}

/// The choices are about time alone: an image is the same up to rounding, and has the bits of the definition where
/// asked.
#[test]
fn algorithms_agree_and_exact_ones_have_the_bits_of_the_definition() {
    let model = ModelFiles::open(None).expect("embedded model");
    let net = open(&model.config, &model.weights).expect("network");
    let graph = net.graph(CallSize::images(2, (28, 28))).expect("graph");
    let x = Tensor::new([2, 1, 28, 28], numbers(1, 2 * 28 * 28));
    let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
    let feeds = net.feeds(&Inputs::new(&x, &[321.0; 2]), &fetch).expect("feeds");
    let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for engine in engines() {
        let answer = |target: &Target, options: CompileOptions| {
            let program = Program::new(engine, Plan::new(&graph, target, &options), &fetch);
            program.expect("program").run(&inputs).expect("run").remove(0)
        };
        let target = Target::of(engine);
        let exact = answer(&target, CompileOptions::exact());
        let direct = distinct_layers(&graph).into_keys().map(|layer| (layer, Algorithm::Direct)).collect();
        let direct = Choices::of(Precision::Float32, direct);
        assert_eq!(exact, answer(&Target { measured: &direct, ..target }, CompileOptions::default()));
        for algorithm in Algorithm::of_family(engine.family).into_iter().skip(1) {
            let other = answer(&target, CompileOptions::forced(algorithm));
            let apart = distance(&other.data, &exact.data);
            assert!(apart > 0.0, "{algorithm} is not what ran");
            assert!(apart < 2e-5, "{algorithm}, {:?}: {apart:e} from the definition", engine.family);
        }
    }
}

/// The tiles of a plan's products, by their shapes.
fn tiles(plan: &Plan) -> BTreeMap<ProductShape, TileSize> {
    let products = plan.steps.iter().filter_map(|step| step.product.as_ref());
    products.map(|product| (product.shape(), product.tile_size(plan.family).expect("a choice"))).collect()
}

#[test]
fn a_measured_product_follows_the_measurement_and_the_others_the_rule() {
    for (family, another) in [
        (Family::Lanes { width: 8 }, TileSize { rows: 8, columns: 32 }),
        (Family::Tile, TileSize { rows: 64, columns: 64 }),
    ] {
        let by_rule = plan(family, CompileOptions::default());
        let rule = tiles(&by_rule);
        let (product, size) = rule.iter().find(|(_, size)| **size != another).expect("a product");
        let planned = |choices| {
            let target = Target { measured: &choices, ..Target::without_device(family) };
            Plan::new(&digits(), &target, &CompileOptions::default())
        };
        let changed = planned(Choices::of_tiles(Precision::Float32, [(*product, another)].into()));
        let wanted = rule.iter().map(|(shape, size)| (*shape, if shape == product { another } else { *size }));
        assert_eq!(tiles(&changed), wanted.collect());
        let kept = planned(Choices::of_tiles(Precision::Float32, [(*product, *size)].into()));
        let dispatches = |plan: &Plan| plan.steps.iter().map(|step| step.dispatch.clone()).collect::<Vec<_>>();
        assert_eq!(dispatches(&kept), dispatches(&by_rule));
        assert_ne!(dispatches(&changed), dispatches(&by_rule));
        let half = planned(Choices::of_tiles(Precision::Float16, [(*product, another)].into()));
        assert_eq!(half, by_rule, "choices for weights of another precision");
        let unknown = TileSize { rows: 5, columns: 7 };
        let ignored = planned(Choices::of_tiles(Precision::Float32, [(*product, unknown)].into()));
        assert_eq!(dispatches(&ignored), dispatches(&by_rule), "there are no such tiles");
    }
}

#[test]
fn products_are_measured_by_their_tiles_within_the_time() {
    let time = Duration::from_secs(600);
    for engine in engines() {
        let of = |options| Plan::new(&digits(), &Target::of(engine), &options);
        let network = of(CompileOptions::default());
        let subjects = unknown_products(&network, &BTreeMap::new());
        let work: Vec<_> = subjects.iter().map(|subject| subject.product.flops() * subject.count as u64).collect();
        assert!(work.len() > 5 && work.is_sorted_by(|a, b| a >= b), "the most work comes first");
        let twice = unknown_products_of([&network, &network], &BTreeMap::new());
        assert!(twice.iter().zip(&subjects).all(|(two, one)| two.count == 2 * one.count));

        let go_on = || ControlFlow::Continue(());
        assert_eq!(tune_tiles(engine, &subjects, Duration::ZERO, go_on).expect("nothing"), []);
        assert_eq!(tune_tiles(engine, &subjects, time, || ControlFlow::Break(())).expect("one").len(), 1);
        let measured = tune_tiles(engine, &subjects[..3], time, go_on).expect("measured");
        for (one, subject) in measured.iter().zip(&subjects) {
            assert_eq!((one.shape, one.count), (subject.product.shape(), subject.count));
            assert!(one.seconds.len() > 1, "{}: no choice", one.shape);
            for (size, seconds) in &one.seconds {
                assert!(seconds.is_some_and(|seconds| seconds > 0.0), "{}: other bits by tiles of {size}", one.shape);
            }
            assert!(one.seconds_of(one.rule).is_some() && one.seconds_of(one.chosen).is_some());
        }
        let known = measured.iter().map(|one| (one.shape, one.chosen)).collect();
        assert_eq!(unknown_products(&network, &known), subjects[3..], "what is known is not measured again");
        // Weights in float16 are measured as such.
        let half = of(CompileOptions { weights: Precision::Float16, ..CompileOptions::default() });
        let measured = tune_tiles(engine, &unknown_products(&half, &BTreeMap::new())[..1], time, go_on);
        assert!(measured.expect("measured")[0].seconds.iter().all(|(_, seconds)| seconds.is_some()));
    }
}

#[test]
fn a_network_has_the_same_bits_by_every_tile() {
    let model = ModelFiles::open(None).expect("embedded model");
    let net = open(&model.config, &model.weights).expect("network");
    let graph = net.graph(CallSize::images(2, (28, 28))).expect("graph");
    let x = Tensor::new([2, 1, 28, 28], numbers(1, 2 * 28 * 28));
    let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
    let feeds = net.feeds(&Inputs::new(&x, &[321.0; 2]), &fetch).expect("feeds");
    let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for engine in engines() {
        let output = |options: CompileOptions| {
            let plan = Plan::new(&graph, &Target::of(engine), &options);
            let shaders: Vec<_> = plan.steps.iter().map(|step| step.dispatch.shader.clone()).collect();
            let program = Program::new(engine, plan, &fetch).expect("program");
            (shaders, program.run(&inputs).expect("run").remove(0))
        };
        let sizes = match engine.family {
            Family::Lanes { width } => [4, 8].map(|rows| TileSize { rows, columns: 4 * width as usize }),
            _ => [(32, 32), (128, 128)].map(|(rows, columns)| TileSize { rows, columns }),
        };
        let (shaders, wanted) = output(CompileOptions::default());
        for size in sizes {
            let (others, other) = output(CompileOptions::default().with_tile_size(size));
            assert!(others != shaders, "{size} is not what ran");
            assert_eq!(other, wanted, "{size}, {:?}", engine.family);
        }
    }
}
