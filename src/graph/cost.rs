//! What a graph costs, counted from its shapes alone.

use super::op::{Graph, Node, Op, WeightForm};

impl Graph {
    /// Floating-point operations of the matrix products and convolutions (also those within attention), two for each
    /// multiply-add over real channels: neither padding to texels nor an algorithm that saves products is counted.
    #[must_use]
    pub fn flops(&self) -> u64 {
        self.nodes.iter().map(|node| self.node_flops(node)).sum()
    }

    /// The share of one node in [`Graph::flops`].
    #[must_use]
    pub fn node_flops(&self, node: &Node) -> u64 {
        let multiply_adds = match &node.op {
            Op::Conv { weight, .. } => node.shape.rows() * form_len(self.weights[weight.0].form),
            Op::Attention { k, heads, head_dim, .. } => {
                2 * node.shape.rows() * self.shape(k.0).pixels() * heads * head_dim
            }
            // The scores themselves, a product for each tangent, and one of the shares' tangent with the values.
            Op::AttentionTangent { q, k, tangents, heads, head_dim, .. } => {
                let products =
                    tangents.iter().flatten().count() + usize::from(tangents[..2].iter().any(Option::is_some));
                let rows = self.shape(q.0).rows() + products * node.shape.rows();
                rows * self.shape(k.0).pixels() * heads * head_dim
            }
            Op::Input { .. }
            | Op::GroupNorm { .. }
            | Op::Affine { .. }
            | Op::LayerNorm { .. }
            | Op::Activation { .. }
            | Op::Gate { .. }
            | Op::Add { .. }
            | Op::Concat { .. }
            | Op::UpsampleNearest { .. }
            | Op::AveragePool { .. }
            | Op::TimestepEmbedding { .. }
            | Op::Combine { .. }
            | Op::ActivationTangent { .. }
            | Op::GroupNormTangent { .. } => 0,
        };
        2 * multiply_adds as u64
    }

    /// Numbers in the weights of the graph.
    #[must_use]
    pub fn weight_count(&self) -> u64 {
        self.weights.iter().map(|weight| form_len(weight.form) as u64).sum()
    }
}

const fn form_len(form: WeightForm) -> usize {
    match form {
        WeightForm::Kernel { out, input, height, width, .. } => out * input * height * width,
        WeightForm::Vector { len, .. } => len,
    }
}

#[cfg(test)]
mod tests {
    use crate::nets::blocks::Attention;
    use crate::nets::builder::{Builder, Window};
    use crate::tensor::Shape;

    #[test]
    fn products_are_counted_over_real_channels() {
        let mut b = Builder::default();
        let x = b.input("x", Shape::new(2, 4, 6, 5));
        let y = b.conv("conv", x, 10, Window { side: 3, stride: 2, pad_before: 1, pad_after: 1 });
        let conv = 2 * (2 * 2 * 3) * 10 * 5 * 9;
        assert_eq!(b.graph.flops(), conv);
        assert_eq!(b.graph.weight_count(), 10 * 5 * 9 + 10);

        Attention { path: "attention", norm: None, head_dim: 5, rescale_output_factor: 1.0 }.build(&mut b, y);
        let projections = 2 * (2 * 2 * 3) * 4 * 10 * 10;
        let scores_and_values = 2 * 2 * (2 * 6 * 6) * 10;
        assert_eq!(b.graph.flops(), conv + projections + scores_and_values);
    }
}
