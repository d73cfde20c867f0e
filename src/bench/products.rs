//! Cases of matrix products and convolutions.

use super::problem::{GraphPart, GraphProblem, KernelPart, KernelProblem, Work, affordable, numbers, spread};
use super::sizes::{MapSize, ProductSize};
use crate::graph::op::{Conv2d, Epilogue, Graph, Input, Weight, WeightForm, WeightSource};
use crate::kernels::Family;
use crate::kernels::matmul::MatMul;
use crate::tensor::{Shape, TEXEL, Tensor, pack_nchw};

/// The seeds of the operands.
const LEFT: u64 = 1;
const RIGHT: u64 = 2;

/// A graph of one convolution without bias, `x` in, `y` out; a matrix product if the kernel is 1 x 1.
fn conv_graph(x: Shape, y: Shape, side: usize, pad: usize, weights: Vec<f32>) -> Graph {
    let mut graph = Graph::default();
    let input = graph.push(Input { name: "x".into() }, x, "x");
    let form = WeightForm::Kernel { out: y.c, input: x.c, height: side, width: side, heads: None };
    let weight = graph.weight(Weight { name: "weights".into(), source: WeightSource::Constant(weights), form });
    let conv = Conv2d { x: input, weight, stride: 1, pad: (pad, pad), epilogue: Epilogue::default() };
    let output = graph.push(conv, y, "y");
    graph.outputs.push(("y".into(), output));
    graph
}

/// Returns numbers of a size that keeps a sum of `terms` products near one.
fn weights(len: usize, terms: usize) -> Vec<f32> {
    let scale = (terms as f32).sqrt().recip();
    numbers(RIGHT, len).iter().map(|value| value * scale).collect()
}

/// The product of data and packed weights, as in linear layers and 1 x 1 convolutions.
pub fn with_weights(size: ProductSize) -> GraphProblem {
    let ProductSize { rows, k, columns } = size;
    // Channels come first on the host: the rows of the first operand are columns there.
    let x = numbers(LEFT, k * rows);
    let matrix = weights(columns * k, k);
    let shapes = |rows: usize| (Shape::new(1, 1, rows, k), Shape::new(1, 1, rows, columns));
    let graph_of = |rows: usize| conv_graph(shapes(rows).0, shapes(rows).1, 1, 0, matrix.clone());
    let input = |rows: usize, values| vec![("x".to_owned(), Tensor::new([1, k, 1, rows], values))];

    let picks = spread(affordable(2 * (k * columns) as u64, rows), rows);
    let picked = (0..k).flat_map(|channel| picks.iter().map(move |row| (channel, *row)));
    let part = GraphPart {
        graph: graph_of(picks.len()),
        inputs: input(picks.len(), picked.map(|(channel, row)| x[channel * rows + row]).collect()),
        places: (0..columns).flat_map(|column| picks.iter().map(move |row| column * rows + row)).collect(),
        name: format!("{} of {rows} rows", picks.len()),
    };
    let graph = graph_of(rows);
    GraphProblem { work: Work::Flops(graph.flops()), graph, inputs: input(rows, x), part }
}

/// The product of two matrices of data, as in attention and covariances.
pub fn with_data(size: ProductSize, family: Family) -> KernelProblem {
    let ProductSize { rows, k, columns } = size;
    let a = pack_nchw(&numbers(LEFT, k * rows), Shape::new(1, 1, rows, k));
    let b = pack_nchw(&weights(columns * k, k), Shape::new(1, 1, k, columns));
    let product = MatMul::plain(1, rows, k, columns);
    let picks = spread(affordable(2 * (k * columns) as u64, rows), rows);
    let (a_row, y_row) = (k.next_multiple_of(TEXEL), columns.next_multiple_of(TEXEL));
    let part = KernelPart {
        dispatch: MatMul::plain(1, picks.len(), k, columns).dispatch(family),
        first: Some(picks.iter().flat_map(|row| a[row * a_row..][..a_row].iter().copied()).collect()),
        places: picks.iter().flat_map(|row| (0..y_row).map(move |column| row * y_row + column)).collect(),
        name: format!("{} of {rows} rows", picks.len()),
    };
    KernelProblem {
        dispatch: product.dispatch(family),
        data: vec![a, b],
        reads: MatMul::reads(0, 1).to_vec(),
        texels: rows * y_row / TEXEL,
        work: Work::Flops(product.flops()),
        part,
    }
}

/// A 3 x 3 convolution that keeps resolution and channels.
pub fn conv(size: MapSize) -> GraphProblem {
    let MapSize { images, channels, height, width } = size;
    let shape = Shape::new(images, height, width, channels);
    let x = Tensor::new([images, channels, height, width], numbers(LEFT, images * channels * height * width));
    let kernel = weights(9 * channels * channels, 9 * channels);
    let part = conv_part(size, &x, &kernel);
    let graph = conv_graph(shape, shape, 3, 1, kernel);
    GraphProblem { work: Work::Flops(graph.flops()), graph, inputs: vec![("x".to_owned(), x)], part }
}

/// Selects windows of the output across the map, as a batch of small images with their surroundings.
fn conv_part(size: MapSize, x: &Tensor, kernel: &[f32]) -> GraphPart {
    let MapSize { images, channels, height, width } = size;
    let (rows, columns) = (height.min(2), width.min(4));
    let (tall, wide) = (height.div_ceil(rows), width.div_ceil(columns));
    let total = images * tall * wide;
    let picks = spread(affordable(18 * (rows * columns * channels * channels) as u64, total), total);
    let (surrounded_rows, surrounded_columns) = (rows + 2, columns + 2);
    let mut values = Vec::with_capacity(picks.len() * channels * surrounded_rows * surrounded_columns);
    let mut places = Vec::with_capacity(picks.len() * channels * rows * columns);
    for pick in &picks {
        let image = pick / (tall * wide);
        let top = (pick / wide % tall * rows).min(height - rows);
        let left = (pick % wide * columns).min(width - columns);
        for channel in 0..channels {
            let plane = (image * channels + channel) * height * width;
            for (i, j) in (0..surrounded_rows).flat_map(|i| (0..surrounded_columns).map(move |j| (i, j))) {
                let (row, column) = ((top + i).wrapping_sub(1), (left + j).wrapping_sub(1));
                let inside = row < height && column < width;
                values.push(if inside { x.data[plane + row * width + column] } else { 0.0 });
            }
            let window = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
            places.extend(window.map(|(i, j)| plane + (top + i) * width + left + j));
        }
    }
    let from = Shape::new(picks.len(), surrounded_rows, surrounded_columns, channels);
    let to = Shape::new(picks.len(), rows, columns, channels);
    let input = Tensor::new([picks.len(), channels, surrounded_rows, surrounded_columns], values);
    GraphPart {
        graph: conv_graph(from, to, 3, 0, kernel.to_vec()),
        inputs: vec![("x".to_owned(), input)],
        places,
        name: format!("{} of {total} windows of {rows} x {columns}", picks.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::problem::Problem;
    use crate::graph::{CompileOptions, Plan, Target, host};

    /// Returns the output of the twins for the whole work, from which the part is taken.
    fn whole(problem: &GraphProblem, family: Family) -> Vec<f32> {
        let plan =
            Plan::new(&problem.graph, &Target::without_device(family), &CompileOptions::exact().without_aliasing());
        let inputs: Vec<_> = problem.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let fetch = |_: &str, _: &[usize]| unreachable!("all weights are constants");
        host::run(&plan, &fetch, &inputs, 0.0).unwrap().remove(0).data
    }

    #[test]
    fn a_part_of_a_graph_is_a_part_of_the_whole() {
        let maps = ["2x8x5x7", "5x1x1", "3x4x2x9", "1x128x6x6"];
        let products = ["3x5x7", "40x6x9", "1x1x1"];
        for family in [Family::Tile, Family::Lanes { width: 8 }] {
            let problems = maps.iter().map(|size| conv(size.parse().unwrap()));
            let problems = problems.chain(products.iter().map(|size| with_weights(size.parse().unwrap())));
            for problem in problems {
                let (whole, part) = (whole(&problem, family), problem.expected(family).unwrap());
                assert_eq!(part.places.len(), part.values.len());
                for (place, value) in part.places.iter().zip(&part.values) {
                    assert!((whole[*place] - value).abs() < 1e-5, "{}: {} is not {value}", part.part, whole[*place]);
                }
            }
        }
    }

    #[test]
    fn parts_shrink_as_work_grows() {
        let rows = |size: &str| with_weights(size.parse().unwrap()).part.name;
        assert_eq!(rows("64x16x16"), "64 of 64 rows");
        assert_eq!(rows("512x4096x4096"), "8 of 512 rows");
        let windows = |size: &str| conv(size.parse().unwrap()).part.name;
        assert_eq!(windows("2x4x8x8"), "16 of 16 windows of 2 x 4");
        assert_eq!(windows("1x1024x8x8"), "1 of 8 windows of 2 x 4");
    }

    #[test]
    fn a_part_of_a_data_product_is_a_part_of_the_whole() {
        let family = Family::Lanes { width: 8 };
        let problem = with_data("9x6x5".parse().unwrap(), family);
        let reads: Vec<&[f32]> = problem.reads.iter().map(|read| problem.data[*read].as_slice()).collect();
        let mut whole = vec![f32::NAN; problem.texels * TEXEL];
        (problem.dispatch.shader.kernel.twin)(&problem.dispatch.params, &reads, &mut whole);
        let part = problem.expected(family).unwrap();
        assert_eq!(part.places.len(), 9 * 8);
        part.places.iter().zip(&part.values).for_each(|(place, value)| assert_eq!(whole[*place], *value));
    }
}
