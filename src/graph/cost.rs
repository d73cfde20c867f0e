//! The cost of a graph, counted from its shapes alone.

use super::op::{Graph, Value};

impl Graph {
    /// Floating-point operations of the matrix products and convolutions (also those within attention), two for each
    /// multiply-add over real channels: neither padding to texels nor an algorithm that saves products is counted.
    #[must_use]
    pub fn flops(&self) -> u64 {
        let of = |at: usize| 2 * self.nodes[at].op.operator().multiply_adds(&self.at(Value(at))) as u64;
        (0..self.nodes.len()).map(of).sum()
    }

    /// Numbers in the weights of the graph.
    #[must_use]
    pub fn weight_count(&self) -> u64 {
        self.weights.iter().map(|weight| weight.form.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::nets::blocks::Attention;
    use crate::nets::builder::{Builder, Window};
    use crate::tensor::Shape;

    #[test]
    fn products_are_counted_over_real_channels() {
        let mut b = Builder::new("test");
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
