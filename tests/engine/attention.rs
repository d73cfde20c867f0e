//! Attention over more tokens than its scores may have memory for at once.

use crate::check::check;
use crate::common::{engines, numbers};
use downhill::graph::Compiler;
use downhill::graph::op::{self, Graph, Input};
use downhill::kernels::Family;
use downhill::kernels::attention::Attention;
use downhill::kernels::matmul::Strides;
use downhill::tensor::{Shape, TEXEL, Tensor};

#[test]
fn many_tokens_are_attended_to_a_part_of_the_queries_at_a_time() {
    check_many_tokens(false);
}

#[test]
fn many_tokens_see_no_later_ones_also_where_the_queries_come_in_parts() {
    check_many_tokens(true);
}

fn check_many_tokens(causal: bool) {
    let (tokens, heads, head_dim) = (3001, 1, 8);
    let channels = heads * head_dim;
    let mut graph = Graph::default();
    let qkv = graph.push(Input { name: "qkv".into() }, Shape::new(1, 1, tokens, 3 * channels), "qkv");
    let parts = [0, 1, 2].map(|part| (qkv, part * channels));
    let attention = op::Attention { q: parts[0], k: parts[1], v: parts[2], heads, head_dim, scale: 2.0, causal };
    let y = graph.push(attention, Shape::new(1, 1, tokens, channels), "y");
    graph.outputs.push(("y".into(), y));

    let values = numbers(1, 3 * channels * tokens);
    let at =
        |part: usize, channel: usize, token: usize| f64::from(values[(part * channels + channel) * tokens + token]);
    let fetch = |_: &str, _: &[usize]| unreachable!("there are no weights");
    for engine in engines() {
        let program = Compiler::from(engine).program(&graph, &fetch).unwrap();
        let scores = program.plan.slots.iter().map(|slot| slot.texels).max().unwrap_or(0);
        assert!(scores < tokens * tokens / TEXEL, "all scores at once take {scores} texels");
        let input = Tensor::new([1, 3 * channels, 1, tokens], values.clone());
        let found = program.run(&[("qkv", &input)]).unwrap().remove(0);
        program.trace_nonfinite(&[("qkv", &input)]).unwrap();
        // Queries of the first and the last part, and at the seam between two.
        for query in [0, 1, 1567, 2783, 2784, 2785, 3000] {
            let score = |key: usize| 2.0 * (0..channels).map(|c| at(0, c, query) * at(1, c, key)).sum::<f64>();
            let seen = if causal { query + 1 } else { tokens };
            let shares: Vec<f64> = (0..seen).map(|key| score(key).exp()).collect();
            let total: f64 = shares.iter().sum();
            for channel in 0..channels {
                let wanted: f64 = (0..seen).map(|key| shares[key] * at(2, channel, key)).sum::<f64>() / total;
                let found = f64::from(found.data[channel * tokens + query]);
                assert!((found - wanted).abs() < 2e-6, "query {query}: {found} instead of {wanted}");
            }
        }
    }
}

/// The kernel of software adapters, over one texel of channels a head and over as many as it takes, whole tiles and
/// not.
#[test]
fn attention_in_one_dispatch_agrees_with_its_twin_and_the_definition() {
    let engine = &engines()[0];
    let Family::Lanes { width } = engine.family else { panic!("{:?}", engine.family) };
    let most = 2 * width as usize;
    let shapes = [
        (1, 1, 1, 256, 1),
        (2, 3, 33, 257, 2),
        (1, 2, 64, 300, width as usize),
        (2, 1, 31, 299, width as usize + 1),
        (1, 1, 70, 1030, most),
    ];
    for (images, heads, queries, keys, texels) in shapes {
        let what = format!("{images} images, {heads} heads, {queries} queries, {keys} keys, {texels} texels");
        let row = heads * texels;
        let strides = |tokens: usize, row: usize| Strides { row, image: tokens * row, head: texels };
        // Keys and values lie in one map.
        let attention = Attention {
            batch: (images, heads),
            queries,
            keys,
            texels,
            strides: [strides(queries, row), strides(keys, 2 * row), strides(keys, row), strides(queries, row)],
            scale: 0.7,
        };
        let dispatch = attention.dispatch(engine.family).expect("a kernel");
        let q: Vec<f32> = numbers(1, images * queries * row * TEXEL).iter().map(|v| 3.0 * v).collect();
        let (k, v) = (numbers(2, images * keys * 2 * row * TEXEL), numbers(3, images * keys * row * TEXEL));
        let host = check(engine, &dispatch, &[&q, &k, &v], images * queries * row, &what);
        for (image, head, query) in [(0, 0, 0), (images - 1, heads - 1, queries - 1)] {
            let at = |tokens: usize, row: usize, token: usize| ((image * tokens + token) * row + head * texels) * TEXEL;
            let channels = texels * TEXEL;
            let score = |key: usize| {
                let (q, k) = (&q[at(queries, row, query)..][..channels], &k[at(keys, 2 * row, key)..][..channels]);
                0.7 * q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>()
            };
            let shares: Vec<f64> = (0..keys).map(|key| score(key).exp()).collect();
            let total: f64 = shares.iter().sum();
            for channel in 0..channels {
                let value = |key: usize| f64::from(v[at(keys, row, key) + channel]);
                let wanted: f64 = (0..keys).map(|key| shares[key] * value(key)).sum::<f64>() / total;
                let found = f64::from(host[at(queries, row, query) + channel]);
                assert!((found - wanted).abs() < 1e-5, "{what}: {found} instead of {wanted}");
            }
        }
    }
    let few = |keys: usize, texels: usize| {
        let strides = [Strides { row: texels, image: keys * texels, head: texels }; 4];
        let attention = Attention { batch: (1, 1), queries: 4, keys, texels, strides, scale: 1.0 };
        attention.dispatch(engine.family).is_some()
    };
    assert!(few(256, 1) && !few(255, 1) && !few(256, most + 1) && !few(1 << 20, 1));
    assert!(Attention::variants(engines()[1].family).is_empty());
}
