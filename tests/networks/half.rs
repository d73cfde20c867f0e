//! Networks with weights in float16: what they take, what the twins make of them, what they refuse.

use std::path::Path;

use crate::common::{distance, engines, numbers};
use crate::{compilers, half_compilers};
use downhill::checkpoint::ModelFiles;
use downhill::graph::lower::{BufferId, Operand};
use downhill::graph::op::WeightForm;
use downhill::graph::{CompileOptions, Compiler, Plan, Target, host};
use downhill::kernels::Family;
use downhill::nets::{CallSize, Inputs, open};
use downhill::tensor::{Precision, Tensor};

/// Holds the operands of a plan against how its weights and values are stored: what reads or writes float16 is bound to
/// float16, and nothing else is.
fn check_operands(plan: &Plan) {
    for step in &plan.steps {
        let of_buffer = |buffer: BufferId| plan.buffers[buffer.0].precision == Precision::Float16;
        let reads = step.reads.iter().map(|read| match read {
            Operand::Weight(id) => {
                plan.precision == Precision::Float16
                    && plan.weights.get(id.0).is_some_and(|w| matches!(w.form, WeightForm::Kernel { .. }))
            }
            Operand::Buffer(buffer, _) => of_buffer(*buffer),
        });
        for (at, is_half) in reads.chain([of_buffer(step.write)]).enumerate() {
            assert_eq!(step.dispatch.shader.halves.contains(&at), is_half, "{}, operand {at}", step.label);
        }
    }
    for (buffer, slot) in plan.buffers.iter().zip(&plan.slot_of) {
        assert_eq!(plan.slots[*slot].precision, buffer.precision, "{}", buffer.label);
    }
}

#[test]
fn half_weights_take_half_the_bytes_and_vectors_stay_as_they_are() {
    let model = ModelFiles::open(None).expect("embedded model");
    let graph =
        open(&model.config, &model.weights).expect("network").graph(CallSize::images(2, (28, 28))).expect("graph");
    for family in [Family::Lanes { width: 8 }, Family::Tile] {
        let [full, half] = [Precision::Float32, Precision::Float16].map(|weights| {
            let options = CompileOptions { weights, ..CompileOptions::exact() };
            Plan::new(&graph, &Target::without_device(family), &options)
        });
        let bytes = |plan: &Plan, precision| {
            let chunks = plan.weight_chunks.iter().filter(|chunk| chunk.precision == precision);
            chunks.map(|chunk| chunk.texels as u64 * precision.texel_bytes()).sum::<u64>()
        };
        let kernels = bytes(&half, Precision::Float16);
        assert_eq!(half.weight_bytes(), kernels + bytes(&half, Precision::Float32));
        assert_eq!(full.weight_bytes(), 2 * kernels + bytes(&half, Precision::Float32));
        assert!(half.weight_bytes() * 100 < full.weight_bytes() * 51, "{} bytes", half.weight_bytes());
        assert_eq!((&half.slots, &half.slot_of), (&full.slots, &full.slot_of));
        check_operands(&half);
        assert!(full.steps.iter().all(|step| step.dispatch.shader.halves.is_empty()));
    }
}

#[test]
fn half_maps_take_half_the_bytes_and_what_is_fed_or_read_back_stays_as_it_is() {
    let model = ModelFiles::open(None).expect("embedded model");
    let graph =
        open(&model.config, &model.weights).expect("network").graph(CallSize::images(2, (28, 28))).expect("graph");
    for (weights, family) in [(Precision::Float32, Family::Tile), (Precision::Float16, Family::Tile)] {
        let [full, half] = [Precision::Float32, Precision::Float16].map(|maps| {
            let options = CompileOptions { weights, maps, ..CompileOptions::exact() };
            Plan::new(&graph, &Target::without_device(family), &options)
        });
        // The scores of attention stay as they are.
        assert!(half.arena_bytes() * 10 < full.arena_bytes() * 7, "{} bytes", half.arena_bytes());
        assert!(half.lower_bound_bytes <= half.arena_bytes());
        let mut ports = half.inputs.iter().chain(&half.outputs).map(|port| half.buffers[port.buffer.0].precision);
        assert!(ports.all(|precision| precision == Precision::Float32));
        [full, half].iter().for_each(check_operands);
    }
    let maps = CompileOptions { maps: Precision::Float16, ..CompileOptions::exact() };
    let lanes = Target::without_device(Family::Lanes { width: 8 });
    let [of_maps, of_none] = [maps, CompileOptions::exact()].map(|options| Plan::new(&graph, &lanes, &options));
    assert_eq!(of_maps, of_none, "maps in textures stay as they are");
}

#[test]
fn half_maps_agree_with_the_twins_that_round_them() {
    let full = engines().iter().find(|engine| engine.family == Family::Tile).expect("an engine of storage buffers");
    let half = CompileOptions { maps: Precision::Float16, ..CompileOptions::default() };
    for name in ["one-level", "cifar-like", "scale-shift", "resnet-sampling"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/unet").join(name);
        let model = ModelFiles::open(folder.to_str()).expect("golden");
        let net = open(&model.config, &model.weights).expect("network");
        let (n, side) = (2, 2 * net.size_multiple());
        let graph = net.graph(CallSize::images(n, (side, side))).expect("graph");
        let channels = net.in_channels();
        let x = Tensor::new([n, channels, side, side], numbers(1, n * channels * side * side));
        let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
        let feeds = net.feeds(&Inputs::new(&x, &vec![321.0; n]), &fetch).expect("feeds");
        let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let program = Compiler::new(full, half).program(&graph, &fetch).expect("program");
        let made = program.run(&inputs).expect("a run").remove(0);
        let twin = host::run(&program.plan, &fetch, &inputs, f32::NAN).expect("twins").remove(0);
        let exact = Compiler::from(full).program(&graph, &fetch).expect("program");
        let exact = exact.run(&inputs).expect("a run").remove(0);
        let (apart, rounding) = (distance(&made.data, &twin.data), distance(&made.data, &exact.data));
        println!("{name}: {apart:.1e} from the twins, {rounding:.1e} from float32");
        // A map may be rounded the other way where device and twin differ in the last bit.
        assert!(apart < 2e-3, "{name}: {apart:e} from the twins");
        assert!((1e-5..6e-3).contains(&rounding), "{name}: {rounding:e} from float32");
    }
}

#[test]
fn half_weights_agree_with_the_twins_that_round_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/unet/one-level");
    let (model, [n, h, w]) = (ModelFiles::open(folder.to_str()).expect("golden"), [2, 5, 7]);
    let net = open(&model.config, &model.weights).expect("network");
    let graph = net.graph(CallSize::images(n, (h, w))).expect("graph");
    let x = Tensor::new([n, net.in_channels(), h, w], numbers(1, n * net.in_channels() * h * w));
    let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
    let feeds = net.feeds(&Inputs::new(&x, &vec![321.0; n]), &fetch).expect("feeds");
    let inputs: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    for (half, full) in half_compilers().into_iter().zip(engines()) {
        let program = half.program(&graph, &fetch).expect("program");
        let made = program.run(&inputs).expect("a run").remove(0);
        let twin = host::run(&program.plan, &fetch, &inputs, f32::NAN).expect("twins").remove(0);
        let apart = distance(&made.data, &twin.data);
        assert!(apart < 1e-5, "{:?}: {apart:e} from the twins", full.family);
        let exact = Compiler::from(full).program(&graph, &fetch).expect("program");
        let exact = exact.run(&inputs).expect("a run").remove(0);
        let rounding = distance(&made.data, &exact.data);
        assert!((1e-5..3e-3).contains(&rounding), "{:?}: {rounding:e} from float32", full.family);
    }
}

#[test]
fn a_weight_beyond_float16_is_refused_by_name() {
    let model = ModelFiles::open(None).expect("embedded model");
    let net = open(&model.config, &model.weights).expect("network");
    let graph = net.graph(CallSize::images(1, (28, 28))).expect("graph");
    let (key, _) = net
        .keys()
        .into_iter()
        .find(|(key, _)| key.contains("mid_block") && key.contains("to_k.weight"))
        .expect("an attention layer");
    let fetch_with = |value: f32| {
        let (weights, key) = (&model.weights, key.as_str());
        move |asked: &str, shape: &[usize]| {
            let mut tensor = weights.fetch(asked, shape)?;
            if asked == key {
                tensor.data[3] = value;
            }
            Ok(tensor)
        }
    };
    let made =
        |compiler: Compiler, value| compiler.program(&graph, &fetch_with(value)).map(|program| program.plan.precision);
    for (half, full) in half_compilers().into_iter().zip(compilers()) {
        let error = made(half, -65505.0).expect_err("it is too large");
        assert_eq!(error.kind(), downhill::ErrorKind::File);
        assert_eq!(error.to_string(), format!("`{key}` holds -6.5505e4, beyond the range of float16 (65504)"));
        assert_eq!(error.hint().as_deref(), Some("choose float32 for `dtype`"));
        assert_eq!(made(half, 65504.0).expect("the largest of all"), Precision::Float16);
        assert_eq!(made(full, -65505.0).expect("float32 holds it"), Precision::Float32);
    }
}
