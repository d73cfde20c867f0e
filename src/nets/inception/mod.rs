//! InceptionV3 as a network of features: the one of the Frechet Inception distance (Szegedy et al. 2016; Heusel et al.
//! 2017), as pytorch-fid 0.3.0 and torch-fidelity have it.
//!
//! It differs from torchvision's in its means of 3 x 3, which leave out the pixels outside of the map, and in its last
//! block, which takes largest values in place of means. Batch normalisation is merged with the convolution before it as
//! the weights are read ([`weights`]).

pub mod weights;

use crate::graph::op::{Activation, Graph, Pool, Value};
use crate::nets::builder::{Builder, Key, Oblong};
use crate::tensor::Shape;

/// The images, (n, height, width, 3).
pub const X: &str = "x";
/// (n, 1, 1, [`FEATURES`]).
pub const POOLED: &str = "pool_3";
/// Values of a feature vector.
pub const FEATURES: usize = 2048;
/// Rows and columns that images are brought to.
pub const SIDE: usize = 299;

/// The way in which images become the input of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preparation {
    /// As in pytorch-fid: `PyTorch`'s bilinear interpolation with pixels at their centres; -1..1.
    #[default]
    PytorchFid,
    /// As in torch-fidelity and in `TensorFlow`'s graph of 2015: interpolation with pixels at their corners;
    /// (v - 128) / 128 of bytes v.
    TensorFlow,
}

impl Preparation {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 2] =
        [("pytorch-fid", Self::PytorchFid), ("torch-fidelity", Self::TensorFlow)];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PytorchFid => Self::NAMES[0].0,
            Self::TensorFlow => Self::NAMES[1].0,
        }
    }

    /// The value that the network reads for a pixel in -1..1.
    #[must_use]
    pub fn value(self, pixel: f32) -> f32 {
        match self {
            Self::PytorchFid => pixel,
            Self::TensorFlow => ((f64::from(pixel) + 1.0).mul_add(127.5, -128.0) / 128.0) as f32,
        }
    }
}

/// The graph for `batch` images of `size` (height, width), from [`X`] to [`POOLED`], and the keys of its weights.
/// Images are brought to `side` x `side` pixels, [`SIDE`] of them in every published figure.
///
/// # Panics
/// If `side` is below 75, where no pixel is left at the end.
#[must_use]
pub fn graph(batch: usize, (height, width): (usize, usize), side: usize, preparation: Preparation) -> Graph {
    build(batch, (height, width), side, preparation).graph
}

/// The tensors of the layers, a weight and a bias for each.
#[must_use]
pub fn keys() -> Vec<Key> {
    build(1, (SIDE, SIDE), SIDE, Preparation::default()).keys
}

fn build(batch: usize, size: (usize, usize), side: usize, preparation: Preparation) -> Builder {
    let mut b = Builder::new("InceptionV3");
    let x = b.input(X, Shape::new(batch, size.0, size.1, 3));
    let mut x = b.resize_bilinear("resize", x, (side, side), preparation == Preparation::PytorchFid);
    let mut net = Net(&mut b);
    x = net.square("Conv2d_1a_3x3", x, 32, 3, 2, 0);
    x = net.square("Conv2d_2a_3x3", x, 32, 3, 1, 0);
    x = net.square("Conv2d_2b_3x3", x, 64, 3, 1, 1);
    x = net.shrink("maxpool1", x);
    x = net.square("Conv2d_3b_1x1", x, 80, 1, 1, 0);
    x = net.square("Conv2d_4a_3x3", x, 192, 3, 1, 0);
    x = net.shrink("maxpool2", x);
    for (path, channels) in [("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)] {
        x = net.block_a(path, x, channels);
    }
    x = net.block_b("Mixed_6a", x);
    for (path, channels) in [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)] {
        x = net.block_c(path, x, channels);
    }
    x = net.block_d("Mixed_7a", x);
    x = net.block_e("Mixed_7b", x, false);
    x = net.block_e("Mixed_7c", x, true);
    let side = b.graph.shape(x).h;
    let pooled = b.pool("avgpool", Pool { x, side, stride: 1, pad: 0, largest: false });
    b.graph.outputs.push((POOLED.to_owned(), pooled));
    b
}

/// The blocks of torchvision's `inception.py`, with pytorch-fid's changes.
struct Net<'b>(&'b mut Builder);

impl Net<'_> {
    /// `BasicConv2d`: convolution, batch normalisation, `ReLU`.
    fn conv(&mut self, path: &str, x: Value, out: usize, window: Oblong) -> Value {
        let x = self.0.conv_oblong(path, x, out, window);
        self.0.activation(&format!("{path}.relu"), x, Activation::Relu)
    }

    fn square(&mut self, path: &str, x: Value, out: usize, side: usize, stride: usize, pad: usize) -> Value {
        self.conv(path, x, out, Oblong { kernel: (side, side), stride, pad: (pad, pad) })
    }

    /// A row or a column of taps that keeps the resolution.
    fn line(&mut self, path: &str, x: Value, out: usize, kernel: (usize, usize)) -> Value {
        self.conv(path, x, out, Oblong { kernel, stride: 1, pad: (kernel.0 / 2, kernel.1 / 2) })
    }

    /// The largest values of 3 x 3 pixels, stride 2.
    fn shrink(&mut self, label: &str, x: Value) -> Value {
        self.0.pool(label, Pool { x, side: 3, stride: 2, pad: 0, largest: true })
    }

    /// The means, or the largest values, of 3 x 3 pixels around each.
    fn around(&mut self, label: &str, x: Value, largest: bool) -> Value {
        self.0.pool(label, Pool { x, side: 3, stride: 1, pad: 1, largest })
    }

    /// `FIDInceptionA`.
    fn block_a(&mut self, path: &str, x: Value, pool_features: usize) -> Value {
        let at = |part: &str| format!("{path}.{part}");
        let one = self.square(&at("branch1x1"), x, 64, 1, 1, 0);
        let five = self.square(&at("branch5x5_1"), x, 48, 1, 1, 0);
        let five = self.square(&at("branch5x5_2"), five, 64, 5, 1, 2);
        let three = self.square(&at("branch3x3dbl_1"), x, 64, 1, 1, 0);
        let three = self.square(&at("branch3x3dbl_2"), three, 96, 3, 1, 1);
        let three = self.square(&at("branch3x3dbl_3"), three, 96, 3, 1, 1);
        let pool = self.around(&at("pool"), x, false);
        let pool = self.square(&at("branch_pool"), pool, pool_features, 1, 1, 0);
        self.0.concat_all(path, vec![one, five, three, pool])
    }

    /// `InceptionB`.
    fn block_b(&mut self, path: &str, x: Value) -> Value {
        let at = |part: &str| format!("{path}.{part}");
        let three = self.square(&at("branch3x3"), x, 384, 3, 2, 0);
        let double = self.square(&at("branch3x3dbl_1"), x, 64, 1, 1, 0);
        let double = self.square(&at("branch3x3dbl_2"), double, 96, 3, 1, 1);
        let double = self.square(&at("branch3x3dbl_3"), double, 96, 3, 2, 0);
        let pool = self.shrink(&at("pool"), x);
        self.0.concat_all(path, vec![three, double, pool])
    }

    /// `FIDInceptionC`.
    fn block_c(&mut self, path: &str, x: Value, channels: usize) -> Value {
        const ROW: (usize, usize) = (1, 7);
        const COLUMN: (usize, usize) = (7, 1);
        let at = |part: &str| format!("{path}.{part}");
        let one = self.square(&at("branch1x1"), x, 192, 1, 1, 0);
        let seven = self.square(&at("branch7x7_1"), x, channels, 1, 1, 0);
        let seven = self.line(&at("branch7x7_2"), seven, channels, ROW);
        let seven = self.line(&at("branch7x7_3"), seven, 192, COLUMN);
        let mut double = self.square(&at("branch7x7dbl_1"), x, channels, 1, 1, 0);
        let lines = [(2, COLUMN, channels), (3, ROW, channels), (4, COLUMN, channels), (5, ROW, 192)];
        for (number, kernel, out) in lines {
            double = self.line(&at(&format!("branch7x7dbl_{number}")), double, out, kernel);
        }
        let pool = self.around(&at("pool"), x, false);
        let pool = self.square(&at("branch_pool"), pool, 192, 1, 1, 0);
        self.0.concat_all(path, vec![one, seven, double, pool])
    }

    /// `InceptionD`.
    fn block_d(&mut self, path: &str, x: Value) -> Value {
        let at = |part: &str| format!("{path}.{part}");
        let three = self.square(&at("branch3x3_1"), x, 192, 1, 1, 0);
        let three = self.square(&at("branch3x3_2"), three, 320, 3, 2, 0);
        let seven = self.square(&at("branch7x7x3_1"), x, 192, 1, 1, 0);
        let seven = self.line(&at("branch7x7x3_2"), seven, 192, (1, 7));
        let seven = self.line(&at("branch7x7x3_3"), seven, 192, (7, 1));
        let seven = self.square(&at("branch7x7x3_4"), seven, 192, 3, 2, 0);
        let pool = self.shrink(&at("pool"), x);
        self.0.concat_all(path, vec![three, seven, pool])
    }

    /// `FIDInceptionE_1`, and `FIDInceptionE_2` with the largest values in its branch of pooling.
    fn block_e(&mut self, path: &str, x: Value, largest: bool) -> Value {
        let at = |part: &str| format!("{path}.{part}");
        let one = self.square(&at("branch1x1"), x, 320, 1, 1, 0);
        let three = self.square(&at("branch3x3_1"), x, 384, 1, 1, 0);
        let three_a = self.line(&at("branch3x3_2a"), three, 384, (1, 3));
        let three_b = self.line(&at("branch3x3_2b"), three, 384, (3, 1));
        let double = self.square(&at("branch3x3dbl_1"), x, 448, 1, 1, 0);
        let double = self.square(&at("branch3x3dbl_2"), double, 384, 3, 1, 1);
        let double_a = self.line(&at("branch3x3dbl_3a"), double, 384, (1, 3));
        let double_b = self.line(&at("branch3x3dbl_3b"), double, 384, (3, 1));
        let pool = self.around(&at("pool"), x, largest);
        let pool = self.square(&at("branch_pool"), pool, 192, 1, 1, 0);
        self.0.concat_all(path, vec![one, three_a, three_b, double_a, double_b, pool])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_the_size_of_the_published_one() {
        let graph = graph(2, (32, 32), SIDE, Preparation::PytorchFid);
        let (_, pooled) = graph.outputs[0];
        assert_eq!(graph.shape(pooled), Shape::vector(2, FEATURES));
        let last = graph.nodes.iter().find(|node| node.label == "Mixed_7c").unwrap();
        assert_eq!(last.shape, Shape::new(2, 8, 8, FEATURES));
        // torchvision's 27,161,264 parameters less 2,049,000 of its last layer and 3,326,696 of its second head.
        let of = |part: &str| -> usize {
            keys().iter().filter(|(key, _)| key.rsplit('.').next() == Some(part)).map(size).sum()
        };
        let (kernels, biases) = (of("weight"), of("bias"));
        // Each normalisation has a weight and a bias; convolutions have no bias.
        assert_eq!(kernels + 2 * biases, 21_785_568);
    }

    fn size((_, shape): &Key) -> usize {
        shape.iter().product()
    }

    #[test]
    fn bytes_are_the_middle_of_both_ranges() {
        let byte = |value: f32| value / 127.5 - 1.0;
        assert!((Preparation::TensorFlow.value(byte(128.0))).abs() < 1e-6);
        assert!((Preparation::TensorFlow.value(byte(0.0)) + 1.0).abs() < 1e-6);
        assert_eq!(Preparation::PytorchFid.value(byte(255.0)), 1.0);
    }
}
