//! Bases of the Jacobian and loops of eps, where everything is known: Wiener filters, projections, rotations; and a
//! small network against its whole Jacobian in float64.

use std::f64::consts::PI;
use std::path::Path;

use crate::common::{engines, numbers};
use downhill::checkpoint::ModelFiles;
use downhill::denoise::closed_form::linear::Linear;
use downhill::denoise::diffusion::{NoiseTable, PredictionType};
use downhill::denoise::jacobian::{Differences, JacobianSettings, NetworkJacobian, Place};
use downhill::denoise::vjp::{NetworkVjp, VjpSettings};
use downhill::denoise::{Condition, Denoiser, Guidance, Level};
use downhill::graph::reference;
use downhill::graph::tangent::{tangent_name, tangents};
use downhill::nets::{CallSize, Inputs, open};
use downhill::spectral::Settings;
use downhill::spectral::basis::eigen;
use downhill::study::basis::control::{NoNoise, Rotated};
use downhill::study::basis::loops::around;
use downhill::study::basis::{Basis, Finder, Kind, Plane, Rounds, bases, centred, nonlinearity};
use downhill::study::environments::predictions;
use downhill::study::jacobian::{Solver, USUAL_FLOOR};
use downhill::tensor::Tensor;
use faer::Mat;

/// Values of an image.
const SIZE: usize = 12;

fn place(sigma: f64, shape: [usize; 3]) -> Place {
    let [c, h, w] = shape;
    let x = numbers(7, c * h * w).into_iter().map(|value| (2.0 * sigma.hypot(0.5) * f64::from(value)) as f32);
    Place { x: Tensor::new([1, c, h, w], x.collect()), level: Level::at_sigma(sigma) }
}

fn solver(components: usize, is_whole: bool) -> Solver {
    let settings = Settings { tolerance: 1e-4, block: Some(8), most_applications: 24, ..Settings::new(components) };
    Solver { components, settings, is_whole, floor: USUAL_FLOOR }
}

fn rounds(radii: &[f64]) -> Rounds {
    Rounds { radii: radii.to_vec(), points: 16, batch: 5 }
}

/// The basis of a denoiser that is linear in x.
fn of_linear(denoiser: &mut dyn Denoiser, place: &Place, expanded: &[Vec<f64>]) -> Basis {
    let step = |sigma: f64| 1.0 + sigma;
    let jacobian = Differences::new(denoiser, &step);
    let finder = Finder { jacobian: &jacobian, transposed: None, solver: solver(4, true), random_planes: 3 };
    finder.basis(place, expanded, 0, 0).unwrap()
}

fn close(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

/// Keeps the first values, and makes the others 0.
struct Projection {
    kept: usize,
}

impl Denoiser for Projection {
    fn image_shape(&self) -> [usize; 3] {
        [SIZE, 1, 1]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> downhill::Result<Tensor> {
        let mut eps = x.clone();
        for (eps, level) in eps.data.chunks_mut(SIZE).zip(levels) {
            eps[..self.kept].fill(0.0);
            for value in eps.iter_mut() {
                *value = (f64::from(*value) / level.sigma) as f32;
            }
        }
        Ok(eps)
    }
}

fn wiener() -> (Linear, Vec<f64>) {
    // Not in order: the directions are the axes.
    let variances: Vec<f64> = (0..SIZE).map(|at| 4.0 * 0.5f64.powi((at * 5 % SIZE) as i32)).collect();
    let covariance = Mat::from_fn(SIZE, SIZE, |i, j| if i == j { variances[i] } else { 0.0 });
    (Linear::of_moments(&[0.0; SIZE], &covariance, [SIZE, 1, 1]).unwrap(), variances)
}

#[test]
fn a_wiener_filter_shrinks_by_its_gains_along_its_components() {
    let (mut filter, variances) = wiener();
    for sigma in [0.1, 0.7, 3.0] {
        let place = place(sigma, [SIZE, 1, 1]);
        let axis: Vec<f64> = (0..SIZE).map(|at| f64::from(u8::from(at * 5 % SIZE == 1))).collect();
        let basis = of_linear(&mut filter, &place, &[axis]);
        let mut gains: Vec<f64> = variances.iter().map(|v| v / (v + sigma * sigma)).collect();
        gains.sort_by(|a, b| b.total_cmp(a));
        for (found, expected) in basis.values.iter().zip(&gains) {
            close(*found, *expected, 2e-6);
        }
        let (sum, squares) = (gains.iter().sum::<f64>(), gains.iter().map(|gain| gain * gain).sum::<f64>());
        close(basis.freedom.value, sum, 1e-5);
        assert_eq!(basis.freedom.half_width, 0.0);
        close(basis.participation(), sum * sum / squares, 1e-4);
        assert!(basis.asymmetry < 1e-5, "{}", basis.asymmetry);
        // The second component is an axis: it holds all of it, and no other anything.
        close(basis.energy[0][0], 0.0, 1e-6);
        close(basis.energy[0][1], 1.0, 1e-6);
        assert_eq!((basis.holding(0, 0.9), basis.held(0, 1.2)), (Some(2), Some(basis.energy[0][1])));
        for vector in 0..4 {
            let axis = (0..SIZE).find(|at| at * 5 % SIZE == vector).unwrap();
            close(f64::from(basis.vectors.item(vector)[axis]), 1.0, 1e-5);
        }
        // A gradient has no circulation, but that of rounding.
        let loops = around(&mut filter, &place, &basis.planes, &rounds(&[0.1, 1.0])).unwrap();
        assert_eq!(loops.len(), 8);
        for each in loops {
            assert!(each.ratio().abs() < 1e-6 && each.quadrature() < 1e-6, "{each:?}");
            assert!(each.field > 0.0 && each.gross > 0.0 && each.over(each.linear).abs() < 1e-5, "{each:?}");
        }
    }
}

#[test]
fn a_projection_has_its_rank() {
    let place = place(0.5, [SIZE, 1, 1]);
    for kept in [1, 5, SIZE] {
        let basis = of_linear(&mut Projection { kept }, &place, &[]);
        for (at, value) in basis.values.iter().enumerate() {
            close(*value, f64::from(u8::from(at < kept)), 1e-6);
        }
        close(basis.freedom.value, kept as f64, 1e-5);
        close(basis.participation(), kept as f64, 1e-4);
        assert!(basis.asymmetry < 1e-6, "{}", basis.asymmetry);
    }
}

/// eps = omega / sigma (-y, x) in each pair of values: the circulation is twice the area times omega over sigma.
#[test]
fn a_rotation_has_twice_its_area() {
    let (sigma, omega, p) = (0.8, 0.3, SIZE as f64);
    let place = place(sigma, [SIZE, 1, 1]);
    let axis = |at: usize| (0..SIZE).map(|i| f64::from(u8::from(i == at))).collect::<Vec<f64>>();
    let planes = [(0, 1), (1, 0), (0, 2), (4, 5)].map(|(a, b)| Plane::spanned(Kind::Random, axis(a), &axis(b)));
    let mut rotation = Rotated::new(Box::new(NoNoise { image: [SIZE, 1, 1] }), omega);
    let loops = around(&mut rotation, &place, &planes, &rounds(&[0.25])).unwrap();
    let area = PI * 0.25 * 0.25 * sigma * sigma * p;
    for ((each, plane), turns) in loops.iter().zip(&planes).zip([1.0, -1.0, 0.0, 1.0]) {
        close(each.circulation, turns * 2.0 * area * omega / sigma, 1e-5);
        close(rotation.circulation(plane, 0.25, sigma), turns * 2.0 * area * omega / sigma, 1e-12);
        close(each.circulation, each.coarse, 1e-5);
        assert!(each.ratio().abs() <= 1.0 && each.net().abs() <= 1.0 + 1e-9, "{each:?}");
    }
    // Around the origin the field is along the circle.
    let centre = Place { x: Tensor::zeros([1, SIZE, 1, 1]), ..place.clone() };
    let around_origin = around(&mut rotation, &centre, &planes[..1], &rounds(&[0.25])).unwrap();
    close(around_origin[0].ratio(), 1.0, 1e-5);
    close(around_origin[0].net(), 1.0, 1e-5);
    // J = I + omega R, of which R is the asymmetric part and as long as I.
    let basis = of_linear(&mut rotation, &place, &[]);
    close(basis.asymmetry, omega, 1e-5);
    for plane in &basis.planes {
        close(plane.curl, rotation.curl(plane), 1e-5);
    }
    // By Stokes, for a field that is linear exactly.
    for each in around(&mut rotation, &place, &basis.planes, &rounds(&[0.1, 1.0])).unwrap() {
        close(each.over(each.linear), each.ratio(), 1e-5);
    }
}

#[test]
fn a_linear_denoiser_is_its_jacobian_around_the_mean() {
    let (mut filter, _) = wiener();
    let paths = vec![vec![place(2.0, [SIZE, 1, 1]), place(0.3, [SIZE, 1, 1])]; 2];
    let x0 = centred(predictions(&mut filter, &paths, 4).unwrap(), &[0.0; SIZE]);
    let step = |sigma: f64| 1.0 + sigma;
    let jacobian = Differences::new(&mut filter, &step);
    let missed = nonlinearity(&jacobian, &paths, &x0, &[0.0; SIZE]).unwrap();
    assert!(missed.iter().flatten().all(|missed| *missed < 1e-5), "{missed:?}");
    let finder = Finder { jacobian: &jacobian, transposed: None, solver: solver(2, true), random_planes: 0 };
    let found = bases(&finder, &paths, &x0, &|_| {}).unwrap();
    // The image itself and the next one, which is the same here.
    assert!(found.iter().flatten().all(|basis| basis.energy.len() == 2 && basis.energy[0] == basis.energy[1]));
    assert!(found[0][0].energy[0][SIZE - 1] > 1.0 - 1e-5);
}

#[test]
fn loops_that_are_none_are_refused() {
    for (radii, points) in [(vec![0.0], 16), (vec![f64::NAN], 16), (vec![0.1], 6), (vec![0.1], 17)] {
        let error = Rounds { radii, points, batch: 1 }.check().unwrap_err();
        assert_eq!(error.kind(), downhill::ErrorKind::Argument);
        assert!(error.hint().is_some());
    }
}

/// The Jacobian of x0 of a golden network, in float64 on the host, with its settings.
fn dense(place: &Place, table: &NoiseTable, model: &ModelFiles) -> Mat<f64> {
    let net = open(&model.config, &model.weights).unwrap();
    let [_, c, h, w] = place.x.shape[..] else { panic!() };
    let (p, sigma) = (c * h * w, place.level.sigma);
    let scale = (1.0 + sigma * sigma).sqrt().recip();
    let z: Vec<f32> = place.x.data.iter().map(|x| (f64::from(*x) * scale) as f32).collect();
    let fetch = |key: &str, shape: &[usize]| model.weights.fetch(key, shape);
    let z = Tensor::new([1, c, h, w], z);
    let feeds = net.feeds(&Inputs::new(&z, &[place.level.called_at(table)]), &fetch).unwrap();
    let graph = tangents(&net.graph(CallSize::images(1, (h, w))).unwrap(), "x", p).unwrap();
    let units: Vec<f32> = (0..p * p).map(|at| f32::from(u8::from(at / p == at % p))).collect();
    let feeds = [feeds.as_slice(), &[(tangent_name("x"), Tensor::new([p, c, h, w], units))]].concat();
    let outputs = reference::evaluate(&graph, &feeds, &fetch).unwrap();
    let columns = outputs[1].1.to_nchw();
    // eps is the output, and z = x scale.
    Mat::from_fn(p, p, |i, j| f64::from(u8::from(i == j)) - sigma * scale * columns[j * p + i])
}

#[test]
fn a_network_has_the_basis_of_its_jacobian_in_float64() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/unet/one-pixel");
    let model = ModelFiles::open(folder.to_str()).unwrap();
    let table = NoiseTable::default();
    let place = Place { level: Level::at_timestep(&table, 400.0), ..place(1.5, [3, 4, 4]) };
    let exact = dense(&place, &table, &model);
    let p = exact.nrows();
    let part = |sign: f64| Mat::from_fn(p, p, |i, j| 0.5 * (exact[(i, j)] + sign * exact[(j, i)]));
    let (symmetric, other) = (part(1.0), part(-1.0));
    let (values, vectors) = eigen(symmetric.as_ref()).unwrap();
    let freedom: f64 = (0..p).map(|at| exact[(at, at)]).sum();
    let asymmetry = other.norm_l2() / symmetric.norm_l2();
    assert!(asymmetry > 0.01, "{asymmetry}");
    for engine in engines() {
        let net = open(&model.config, &model.weights).unwrap();
        let (prediction, size) = (PredictionType::Epsilon, (4, 4));
        let settings =
            JacobianSettings { table: table.clone(), prediction, condition: Condition::default(), size, block: 16 };
        let jacobian = NetworkJacobian::new(engine, net.clone(), model.weights.clone(), settings).unwrap();
        let settings =
            VjpSettings { table: table.clone(), prediction, guidance: Guidance::default(), size, images: 16 };
        let transposed = NetworkVjp::new(engine, net, model.weights.clone(), settings).unwrap();
        for is_whole in [true, false] {
            let finder = Finder {
                jacobian: &jacobian,
                transposed: Some(&transposed),
                solver: solver(3, is_whole),
                random_planes: 2,
            };
            let expanded: Vec<f64> = numbers(3, p).into_iter().map(f64::from).collect();
            let basis = finder.basis(&place, std::slice::from_ref(&expanded), 0, 0).unwrap();
            assert!(basis.converged);
            for at in 0..3 {
                close(basis.values[at], values[at], 2e-4 * values[0]);
                let cosine: f64 =
                    basis.vectors.item(at).iter().enumerate().map(|(i, v)| f64::from(*v) * vectors[(i, at)]).sum();
                close(cosine.abs(), 1.0, 1e-3);
            }
            let whole: f64 = expanded.iter().map(|value| value * value).sum();
            let first: f64 = expanded.iter().enumerate().map(|(i, value)| value * vectors[(i, 0)]).sum();
            close(basis.energy[0][0], first * first / whole, 1e-3);
            // Estimates are within three half widths; whole matrices are exact.
            let tolerance = if is_whole { 1e-4 * freedom.abs() } else { 3.0 * basis.freedom.half_width };
            close(basis.freedom.value, freedom, tolerance);
            close(basis.squares.value, symmetric.squared_norm_l2(), 1e-4 + 3.0 * basis.squares.half_width);
            close(basis.asymmetry, asymmetry, if is_whole { 1e-4 } else { 0.3 * asymmetry });
            for plane in &basis.planes {
                let image = |v: &[f64], at: usize| (0..p).map(|j| exact[(at, j)] * v[j]).sum::<f64>();
                let along = |u: &[f64], v: &[f64]| (0..p).map(|i| u[i] * image(v, i)).sum::<f64>();
                close(plane.curl, along(&plane.a, &plane.b) - along(&plane.b, &plane.a), 1e-4);
            }
        }
    }
}
