//! The three ways to run a plan agree bit for bit: slots shared by liveness, a slot for every buffer, and slots that
//! begin full of NaN; on the device and, among themselves, by the CPU twins.

use std::path::Path;

use crate::common::{distance, engines, numbers};
use downhill::checkpoint::ModelFiles;
use downhill::graph::{CompileOptions, Compiler, Plan, Target, host};
use downhill::kernels::{Engine, Family, FamilyName};
use downhill::nets::{CallSize, Inputs, open};
use downhill::tensor::Tensor;

fn cases() -> Vec<(ModelFiles, [usize; 4])> {
    let golden = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/unet").join(name);
        ModelFiles::open(folder.to_str()).expect("golden")
    };
    vec![
        (golden("scale-shift"), [2, 0, 12, 20]),
        (golden("head-dim-remainder"), [1, 0, 16, 8]),
        (golden("resnet-blocks"), [3, 0, 8, 8]),
    ]
}

#[test]
fn aliased_unaliased_and_nan_filled_runs_agree_bit_for_bit() {
    for (model, [n, _, h, w]) in cases() {
        let net = open(&model.config, &model.weights).expect("network");
        let graph = net.graph(CallSize::images(n, (h, w))).expect("graph");
        let x = Tensor::new([n, net.in_channels(), h, w], numbers(1, n * net.in_channels() * h * w));
        let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
        let feeds = net.feeds(&Inputs::new(&x, &vec![321.0; n]), &fetch).expect("feeds");
        let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        for engine in engines() {
            let shared = Compiler::from(engine).program(&graph, &fetch).expect("program");
            let apart = Compiler::new(engine, CompileOptions::default().without_aliasing())
                .program(&graph, &fetch)
                .expect("program");
            assert!(shared.plan.arena_bytes() < apart.plan.arena_bytes(), "sharing must save something");
            assert!(shared.plan.arena_bytes() >= shared.plan.lower_bound_bytes);
            let first = shared.run(&inputs).expect("run");
            assert!(first[0].is_finite());
            assert_eq!(first, apart.run(&inputs).expect("run"), "{}: slots are shared wrongly", model.name);
            for program in [&shared, &apart] {
                program.fill_slots(f32::NAN).expect("fill");
                assert_eq!(first, program.run(&inputs).expect("run"), "{}: something unwritten is read", model.name);
            }
            assert_eq!(first, shared.run(&inputs).expect("run"), "{}: a second run differs", model.name);

            let on_host = |plan: &Plan, fill: f32| host::run(plan, &fetch, &inputs, fill).expect("host");
            let twins = on_host(&shared.plan, 0.0);
            assert_eq!(twins, on_host(&shared.plan, f32::NAN), "{}", model.name);
            assert_eq!(twins, on_host(&apart.plan, f32::NAN), "{}", model.name);
            let difference = distance(&first[0].data, &twins[0].data);
            assert!(difference < 2e-5, "{}: device and twins are {difference:e} apart", model.name);
        }
    }
}

#[test]
fn a_plan_prints_as_what_it_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/unet/one-level");
    let model = ModelFiles::open(folder.to_str()).expect("golden");
    let graph =
        open(&model.config, &model.weights).expect("network").graph(CallSize::images(1, (5, 7))).expect("graph");
    for (name, family) in [("lanes", Family::Lanes { width: 8 }), ("tile", Family::Tile)] {
        insta::assert_snapshot!(
            name,
            Plan::new(&graph, &Target::without_device(family), &CompileOptions::default()).to_string()
        );
    }
}

#[test]
fn fusion_leaves_no_activation_or_sum_of_a_product_alone() {
    let model = ModelFiles::open(None).expect("embedded model");
    let graph =
        open(&model.config, &model.weights).expect("network").graph(CallSize::images(4, (28, 28))).expect("graph");
    let plan = Plan::new(&graph, &Target::without_device(Family::Lanes { width: 8 }), &CompileOptions::default());
    let alone: Vec<_> = plan
        .steps
        .iter()
        .filter(|step| ["activate", "add"].contains(&step.dispatch.shader.kernel.name))
        .map(|step| step.label.as_str())
        .collect();
    // The time embedding's own activation is read by every block, so it rides on the layer before it.
    assert_eq!(alone, Vec::<&str>::new());
}

#[test]
fn projections_of_the_time_embedding_are_one_product() {
    let model = ModelFiles::open(None).expect("embedded model");
    let graph =
        open(&model.config, &model.weights).expect("network").graph(CallSize::images(4, (28, 28))).expect("graph");
    let plan = Plan::new(&graph, &Target::without_device(Family::Tile), &CompileOptions::default());
    let projections: Vec<_> = plan.steps.iter().filter(|step| step.label.contains("time_emb_proj")).collect();
    let [stacked] = projections[..] else { panic!("{} projections", projections.len()) };
    assert!(stacked.label.ends_with("and 10 more"), "{}", stacked.label);
}

#[test]
fn a_checked_device_computes_the_same_bits() {
    let (model, [n, _, h, w]) = cases().swap_remove(0);
    let net = open(&model.config, &model.weights).expect("network");
    let graph = net.graph(CallSize::images(n, (h, w))).expect("graph");
    let x = Tensor::new([n, net.in_channels(), h, w], numbers(1, n * net.in_channels() * h * w));
    let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
    let feeds = net.feeds(&Inputs::new(&x, &vec![321.0; n]), &fetch).expect("feeds");
    let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for (trusted, name) in engines().iter().zip([FamilyName::Lanes, FamilyName::Tile]) {
        let options = downhill::Options { checked: true, family: Some(name), ..downhill::Options::default() };
        let checked = Engine::open(&options).expect("device");
        let run = |engine: &Engine| Compiler::from(engine).program(&graph, &fetch)?.run(&inputs);
        assert_eq!(run(trusted).expect("trusted"), run(&checked).expect("checked"));
    }
}
