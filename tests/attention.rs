//! Attention over more tokens than its scores may have memory for at once.

mod common;

use common::{engines, numbers};
use downhill::graph::op::{Graph, Op};
use downhill::graph::{Aliasing, Program};
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
    let qkv = graph.push(Op::Input { name: "qkv".into() }, Shape::new(1, 1, tokens, 3 * channels), "qkv");
    let parts = [0, 1, 2].map(|part| (qkv, part * channels));
    let attention = Op::Attention { q: parts[0], k: parts[1], v: parts[2], heads, head_dim, scale: 2.0, causal };
    let y = graph.push(attention, Shape::new(1, 1, tokens, channels), "y");
    graph.outputs.push(("y".into(), y));

    let values = numbers(1, 3 * channels * tokens);
    let at =
        |part: usize, channel: usize, token: usize| f64::from(values[(part * channels + channel) * tokens + token]);
    let fetch = |_: &str, _: &[usize]| unreachable!("there are no weights");
    for engine in engines() {
        let program = Program::new(engine, &graph, &fetch, Aliasing::ByLiveness).unwrap();
        let scores = program.plan.slots.iter().max().copied().unwrap_or(0);
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
