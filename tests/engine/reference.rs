//! The float64 evaluation of a graph against values worked out by hand, for what the networks' goldens do not reach.

use downhill::graph::op::{
    Activate, Activation, Affine, Attention, AveragePool, Combine, Conv2d, Epilogue, Fir, Gate, Graph, GroupNorm,
    Input, LayerNorm, Pool, ResizeBilinear, UpsampleNearest, Value, Weight, WeightForm, WeightSource,
};
use downhill::graph::reference;
use downhill::tensor::{Shape, Tensor};

fn input(graph: &mut Graph, name: &str, shape: Shape) -> Value {
    graph.push(Input { name: name.into() }, shape, name)
}

fn constant(graph: &mut Graph, form: WeightForm, values: &[f32]) -> downhill::graph::op::WeightId {
    graph.weight(Weight { name: "constant".into(), source: WeightSource::Constant(values.to_vec()), form })
}

/// The output of the last node, as (n, c, h, w).
fn evaluate(mut graph: Graph, inputs: &[(&str, [usize; 4], &[f32])]) -> Vec<f64> {
    graph.outputs.push(("y".into(), Value(graph.nodes.len() - 1)));
    let inputs: Vec<_> =
        inputs.iter().map(|(name, shape, data)| ((*name).to_owned(), Tensor::new(*shape, data.to_vec()))).collect();
    let outputs = reference::evaluate(&graph, &inputs, &|key, _| panic!("`{key}` was asked for")).unwrap();
    outputs[0].1.to_nchw()
}

fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }
}

#[test]
fn an_epilogue_activates_before_the_residual_and_scales_last() {
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", Shape::new(2, 1, 1, 2));
    let vector = input(&mut graph, "vector", Shape::vector(2, 1));
    let residual = input(&mut graph, "residual", Shape::new(2, 1, 1, 1));
    let weight =
        constant(&mut graph, WeightForm::Kernel { out: 1, input: 2, height: 1, width: 1, heads: None }, &[1.0, -2.0]);
    let bias = constant(&mut graph, WeightForm::Vector { len: 1, heads: None }, &[0.5]);
    let epilogue = Epilogue {
        bias: Some(bias),
        per_image: Some((vector, 0)),
        activation: Some(Activation::Relu),
        residual: Some(residual),
        scale: 0.5,
    };
    graph.push(Conv2d { x, weight, stride: 1, pad: (0, 0), epilogue }, Shape::new(2, 1, 1, 1), "y");
    let found = evaluate(
        graph,
        &[
            ("x", [2, 2, 1, 1], &[3.0, 1.0, 1.0, 3.0]),
            ("vector", [2, 1, 1, 1], &[10.0, 1.0]),
            ("residual", [2, 1, 1, 1], &[-4.0, -4.0]),
        ],
    );
    // 3 - 2 + 0.5 + 10 = 11.5 stays, 1 - 6 + 0.5 + 1 = -3.5 becomes 0.
    assert_close(&found, &[(11.5 - 4.0) / 2.0, -2.0]);
}

#[test]
fn a_combination_clips_its_first_term_and_has_coefficients_an_image() {
    let mut graph = Graph::default();
    let coefficients = input(&mut graph, "coefficients", Shape::vector(2, 2));
    let terms = vec![input(&mut graph, "a", Shape::new(2, 1, 2, 1)), input(&mut graph, "b", Shape::new(2, 1, 2, 1))];
    let op = Combine { coefficients, terms, clip: Some(1.0), offset: 0.25 };
    graph.push(op, Shape::new(2, 1, 2, 1), "y");
    let found = evaluate(
        graph,
        &[
            ("coefficients", [2, 2, 1, 1], &[2.0, 1.0, 3.0, -1.0]),
            ("a", [2, 1, 1, 2], &[5.0, -0.5, -5.0, 0.5]),
            ("b", [2, 1, 1, 2], &[10.0, 20.0, 30.0, 40.0]),
        ],
    );
    assert_close(&found, &[2.0 + 10.25, -1.0 + 20.25, -3.0 - 29.75, 1.5 - 39.75]);
}

#[test]
fn a_normalisation_is_modulated_and_then_activated() {
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", Shape::new(1, 1, 2, 2));
    let modulation = input(&mut graph, "modulation", Shape::vector(1, 4));
    let weight = constant(&mut graph, WeightForm::Vector { len: 2, heads: None }, &[1.0, 2.0]);
    let bias = constant(&mut graph, WeightForm::Vector { len: 2, heads: None }, &[0.0, 1.0]);
    let op = GroupNorm {
        x,
        weight,
        bias,
        groups: 2,
        eps: 0.0,
        modulation: Some((modulation, 0)),
        activation: Some(Activation::Relu),
    };
    graph.push(op, Shape::new(1, 1, 2, 2), "y");
    let found = evaluate(
        graph,
        &[("x", [1, 2, 1, 2], &[4.0, 8.0, -3.0, 5.0]), ("modulation", [1, 4, 1, 1], &[1.0, -0.5, 0.5, 3.0])],
    );
    // Normalised to -1 and 1; channel 0: * 2 + 0.5; channel 1: (2 x + 1) / 2 + 3.
    assert_close(&found, &[0.0, 2.5, 2.5, 4.5]);
}

#[test]
fn the_channels_of_each_pixel_are_normalised_together() {
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", Shape::new(1, 1, 2, 3));
    let weight = constant(&mut graph, WeightForm::Vector { len: 3, heads: None }, &[1.0, 2.0, 4.0]);
    let bias = constant(&mut graph, WeightForm::Vector { len: 3, heads: None }, &[0.5, 0.0, -1.0]);
    graph.push(LayerNorm { x, weight, bias, eps: 3.0 }, Shape::new(1, 1, 2, 3), "y");
    // The first pixel is (-1, 2, 5) with variance 6, the other zero throughout.
    let found = evaluate(graph, &[("x", [1, 3, 1, 2], &[-1.0, 0.0, 2.0, 0.0, 5.0, 0.0])]);
    let expected = [-1.0 + 0.5, 0.5, 0.0, 0.0, 4.0 - 1.0, -1.0];
    assert_close(&found, &expected);
}

#[test]
fn a_mean_of_two_by_two_drops_the_last_odd_row_and_column() {
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", Shape::new(1, 3, 3, 1));
    graph.push(AveragePool { x }, Shape::new(1, 1, 1, 1), "y");
    let found = evaluate(graph, &[("x", [1, 1, 3, 3], &[1.0, 2.0, 90.0, 3.0, 6.0, 90.0, 90.0, 90.0, 90.0])]);
    assert_close(&found, &[3.0]);
}

#[test]
fn a_window_leaves_out_what_is_outside_of_the_map() {
    let with = |largest: bool, expected: &[f64]| {
        let mut graph = Graph::default();
        let x = input(&mut graph, "x", Shape::new(1, 2, 3, 1));
        let pool = Pool { x, side: 3, stride: 1, pad: 1, largest };
        graph.push(pool, Shape::new(1, 2, 3, 1), "y");
        assert_close(&evaluate(graph, &[("x", [1, 1, 2, 3], &[-1.0, -2.0, -3.0, -4.0, -5.0, -12.0])]), expected);
    };
    let (left, middle, right) = (-3.0, -27.0 / 6.0, -22.0 / 4.0);
    with(false, &[left, middle, right, left, middle, right]);
    with(true, &[-1.0, -1.0, -2.0, -1.0, -1.0, -2.0]);
}

#[test]
fn interpolation_takes_pixels_at_their_centres_or_their_corners() {
    let with = |centred: bool, expected: &[f64]| {
        let mut graph = Graph::default();
        let x = input(&mut graph, "x", Shape::new(1, 1, 2, 1));
        graph.push(ResizeBilinear { x, centred }, Shape::new(1, 2, 4, 1), "y");
        assert_close(&evaluate(graph, &[("x", [1, 1, 1, 2], &[0.0, 8.0])]), expected);
    };
    with(true, &[0.0, 2.0, 6.0, 8.0, 0.0, 2.0, 6.0, 8.0]);
    with(false, &[0.0, 4.0, 8.0, 8.0, 0.0, 4.0, 8.0, 8.0]);
}

#[test]
fn a_filter_halves_and_doubles() {
    let with = |op: fn(Value) -> Fir, width: usize, expected: &[f64]| {
        let mut graph = Graph::default();
        let x = input(&mut graph, "x", Shape::new(1, 2, 4, 1));
        graph.push(op(x), Shape::new(1, 2 * width / 4, width, 1), "y");
        let found = evaluate(graph, &[("x", [1, 1, 2, 4], &[64.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 64.0])]);
        assert_close(&found, expected);
    };
    // The corners are read by taps 1 and 2, in rows and in columns.
    with(|x| Fir { x, doubles: false, pad: 1 }, 2, &[9.0, 9.0]);
    let rows = [
        [36.0, 36.0, 12.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [36.0, 36.0, 12.0, 0.0, 0.0, 4.0, 12.0, 12.0],
        [12.0, 12.0, 4.0, 0.0, 0.0, 12.0, 36.0, 36.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 12.0, 36.0, 36.0],
    ];
    with(|x| Fir { x, doubles: true, pad: 0 }, 8, &rows.concat());
}

#[test]
fn a_gate_reads_halves_padded_to_whole_texels() {
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", Shape::new(1, 1, 1, 16));
    graph.push(Gate { x, activation: Activation::Relu }, Shape::new(1, 1, 1, 5), "y");
    let (hidden, gate) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, -1.0, 0.5, 0.0, 3.0]);
    let mut channels = [0.0; 16];
    channels[..5].copy_from_slice(&hidden);
    channels[8..13].copy_from_slice(&gate);
    assert_close(&evaluate(graph, &[("x", [1, 16, 1, 1], &channels)]), &[2.0, 0.0, 1.5, 0.0, 15.0]);
}

#[test]
fn an_upsampled_map_may_have_an_odd_size() {
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", Shape::new(1, 2, 2, 1));
    graph.push(UpsampleNearest { x }, Shape::new(1, 3, 3, 1), "y");
    let found = evaluate(graph, &[("x", [1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0])]);
    assert_close(&found, &[1.0, 1.0, 2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 4.0]);
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", Shape::new(1, 1, 3, 1));
    graph.push(UpsampleNearest { x }, Shape::new(1, 1, 7, 1), "y");
    // As torch.nn.functional.interpolate(size=(1, 7)) answers.
    assert_close(&evaluate(graph, &[("x", [1, 1, 1, 3], &[1.0, 2.0, 3.0])]), &[1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
}

#[test]
fn attention_reads_queries_and_keys_of_other_lengths_from_their_channels() {
    let mut graph = Graph::default();
    let query = input(&mut graph, "query", Shape::new(1, 1, 1, 4));
    let context = input(&mut graph, "context", Shape::new(1, 1, 2, 8));
    let (q, k, v) = ((query, 0), (context, 0), (context, 4));
    let op = Attention { q, k, v, heads: 1, head_dim: 1, scale: 0.5, causal: false };
    graph.push(op, Shape::new(1, 1, 1, 4), "y");
    let ln_3 = 3f32.ln();
    let mut keys_and_values = [0.0; 16];
    // Channel 0 holds the keys, channel 4 the values of the two tokens.
    keys_and_values[0..2].copy_from_slice(&[0.0, 2.0]);
    keys_and_values[8..10].copy_from_slice(&[10.0, 20.0]);
    let found = evaluate(
        graph,
        &[("query", [1, 4, 1, 1], &[ln_3, 7.0, 7.0, 7.0]), ("context", [1, 8, 1, 2], &keys_and_values)],
    );
    let odds = f64::from(ln_3).exp();
    assert_close(&found, &[(10.0 + 20.0 * odds) / (1.0 + odds), 0.0, 0.0, 0.0]);
}

#[test]
fn a_query_of_causal_attention_sees_no_later_key() {
    let mut graph = Graph::default();
    let map = input(&mut graph, "map", Shape::new(2, 1, 2, 12));
    let (q, k, v) = ((map, 0), (map, 4), (map, 8));
    let op = Attention { q, k, v, heads: 1, head_dim: 1, scale: 1.0, causal: true };
    graph.push(op, Shape::new(2, 1, 2, 4), "y");
    let ln_3 = 3f32.ln();
    let mut values = [0.0; 48];
    for image in 0..2 {
        let channel = |channel: usize| (image * 12 + channel) * 2;
        values[channel(0)..][..2].copy_from_slice(&[ln_3, ln_3]);
        values[channel(4)..][..2].copy_from_slice(&[0.0, 1.0]);
        values[channel(8)..][..2].copy_from_slice(&[10.0, 20.0]);
    }
    let found = evaluate(graph, &[("map", [2, 12, 1, 2], &values)]);
    let odds = f64::from(ln_3).exp();
    let image = [10.0, (10.0 + 20.0 * odds) / (1.0 + odds), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_close(&found, &[image, image].concat());
}

#[test]
fn activations_have_their_textbook_values() {
    let cases = [
        (Activation::Silu, 0.731_058_578_630_004_9),
        (Activation::Mish, 0.865_098_388_267_310_4),
        (Activation::Gelu, 0.841_344_746_068_542_9),
        (Activation::Relu, 1.0),
        (Activation::QuickGelu, 0.845_795_765_932_821_2),
        (Activation::GeluTanh, 0.841_191_990_608_276_8),
    ];
    for (activation, at_one) in cases {
        let mut graph = Graph::default();
        let x = input(&mut graph, "x", Shape::vector(1, 4));
        graph.push(Activate { x, activation }, Shape::vector(1, 4), "y");
        let found = evaluate(graph, &[("x", [1, 4, 1, 1], &[1.0, 0.0, 1000.0, -1000.0])]);
        assert_close(&found, &[at_one, 0.0, 1000.0, 0.0]);
    }
}

#[test]
fn an_input_that_is_missing_or_misshapen_is_named() {
    let mut graph = Graph::default();
    input(&mut graph, "x", Shape::new(1, 2, 3, 4));
    let weights = |_: &str, _: &[usize]| Ok(Tensor::zeros([1]));
    let missing = reference::evaluate(&graph, &[], &weights).unwrap_err();
    assert_eq!(missing.to_string(), "input `x` is missing");
    let misshapen = [("x".to_owned(), Tensor::zeros([1, 2, 3, 4]))];
    let error = reference::evaluate(&graph, &misshapen, &weights).unwrap_err();
    assert_eq!(error.to_string(), "input `x` has shape [1, 2, 3, 4], expected [1, 4, 2, 3]");
}

#[test]
fn factors_are_two_pixels_of_each_image() {
    let mut graph = Graph::default();
    let x = input(&mut graph, "x", Shape::new(2, 1, 2, 2));
    let factors = input(&mut graph, "factors", Shape::new(2, 1, 2, 2));
    graph.push(Affine { x, factors, activation: Some(Activation::Relu) }, Shape::new(2, 1, 2, 2), "y");
    let found = evaluate(
        graph,
        &[
            ("x", [2, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]),
            // Channel by channel a and b: 2 x + 1 and -x + 3.5, then x - 1.5 and 10.
            ("factors", [2, 2, 1, 2], &[2.0, 1.0, -1.0, 3.5, 1.0, -1.5, 0.0, 10.0]),
        ],
    );
    assert_close(&found, &[3.0, 5.0, 0.5, 0.0, 0.0, 0.5, 10.0, 10.0]);
}
