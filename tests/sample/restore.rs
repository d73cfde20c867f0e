//! Restorations from linear measurements: operators by inner products, and each method on a Gaussian, whose posterior
//! has a closed form.

use downhill::denoise::vjp::{Pullback, Symmetric};
use downhill::denoise::{Denoiser, Level};
use downhill::noise::philox::normals;
use downhill::restore::{
    Covariance, Measurement, Method, Operator, OperatorSpec, Restoration, psnr, quality, sample, usual_step,
};
use downhill::sample::samplers::Sampler;
use downhill::sample::settings::Settings;
use downhill::study::restorations::baselines::Prior;
use downhill::tensor::Tensor;
use faer::Mat;
use faer::linalg::solvers::Solve;

fn numbers(seed: u64, count: usize) -> Vec<f64> {
    normals(seed, 0, 0, count).into_iter().map(f64::from).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn operators() -> Vec<(&'static str, Operator)> {
    let missing: Vec<bool> = (0..48).map(|at| at % 5 == 0 || at / 8 == 3).collect();
    vec![
        ("mask", Operator::mask([2, 6, 8], &missing).unwrap()),
        ("slight blur", Operator::blur([2, 6, 8], 0.6).unwrap()),
        ("blur beyond its cut", Operator::blur([1, 12, 9], 2.5).unwrap()),
        ("means", Operator::downsample([3, 6, 8], 2).unwrap()),
        ("matrix", Operator::matrix([1, 3, 4], 7, &numbers(5, 84)).unwrap()),
        ("square matrix", Operator::matrix([1, 2, 3], 6, &numbers(6, 36)).unwrap()),
    ]
}

#[test]
fn adjoints_are_transposes() {
    for (name, operator) in operators() {
        let len = operator.image_shape().iter().product();
        let (x, y) = (numbers(1, len), numbers(2, operator.measured_shape().iter().product()));
        let (above, below) = (dot(&operator.apply(&x), &y), dot(&x, &operator.adjoint(&y)));
        assert!((above - below).abs() < 1e-10, "{name}: {above} and {below}");
    }
}

#[test]
fn modes_are_an_orthonormal_basis_in_which_the_operator_is_diagonal() {
    for (name, operator) in operators() {
        let len: usize = operator.image_shape().iter().product();
        let x = numbers(1, len);
        let modes = operator.modes(&x);
        let apart = operator.image(&modes).iter().zip(&x).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-10 && (dot(&modes, &modes) - dot(&x, &x)).abs() < 1e-9, "{name}: {apart:e}");
        let measured = operator.measured_modes(&operator.apply(&x));
        for ((measured, mode), value) in measured.iter().zip(&modes).zip(operator.singular_values()) {
            assert!((measured - value * mode).abs() < 1e-10, "{name}: {measured}, {value} of {mode}");
        }
        // Of what is measured, no mode is cut unless it is small.
        let whole: f64 = dot(&operator.apply(&x), &operator.apply(&x));
        assert!((whole - dot(&measured, &measured)).abs() < 1e-4 * whole, "{name}");
    }
}

#[test]
fn pseudo_inverses_fit_measurements_and_nothing_else() {
    for (name, operator) in operators() {
        let x = numbers(1, operator.image_shape().iter().product());
        let found = operator.pseudo_inverse(&operator.apply(&x));
        let again = operator.pseudo_inverse(&operator.apply(&found));
        let apart = again.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-8, "{name}: {apart:e}");
        assert!(dot(&found, &found) <= dot(&x, &x) + 1e-9, "{name}");
    }
}

#[test]
fn a_blur_keeps_constants_and_mirrors_its_edges() {
    let operator = Operator::blur([1, 5, 7], 1.3).unwrap();
    let blurred = operator.apply(&[0.7; 35]);
    assert!(blurred.iter().all(|value| (value - 0.7).abs() < 1e-12));
    // scipy.ndimage.gaussian_filter1d([0, 0, 1, 4, 2, 0], 0.8, mode="reflect", truncate=5)
    let line = Operator::blur([1, 1, 6], 0.8).unwrap().apply(&[0.0, 0.0, 1.0, 4.0, 2.0, 0.0]);
    let expected = [0.024_125_092, 0.316_834_141, 1.455_734_536, 2.679_631_715, 1.933_387_818, 0.590_286_699];
    for (found, expected) in line.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-7, "{line:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(Operator::mask([1, 2, 2], &[true; 4]).is_err());
    assert!(Operator::mask([1, 2, 2], &[false; 3]).is_err());
    assert!(Operator::blur([1, 4, 4], 0.0).is_err());
    assert!(Operator::blur([1, 4, 4], f64::NAN).is_err());
    assert!(Operator::downsample([1, 4, 6], 4).is_err());
    assert!(Operator::matrix([1, 2, 2], 5, &[0.0; 20]).is_err());
    assert!(Operator::matrix([1, 2, 2], 1, &[f64::NAN; 4]).is_err());
    for text in ["", "mask", "mask:", "blur:x", "downsample:-1", "downsample:1.5", "sharpen:2"] {
        assert!(text.parse::<OperatorSpec>().is_err(), "{text}");
    }
    assert_eq!("blur:2".parse::<OperatorSpec>().unwrap().to_string(), "blur:2");
    let operator = Operator::downsample([1, 4, 4], 2).unwrap();
    let refused = |y: Tensor, noise| Measurement::new(operator.clone(), &y, noise).unwrap_err().to_string();
    assert!(refused(Tensor::zeros([1, 1, 4, 4]), 0.0).contains("[1, 2, 2]"));
    assert!(refused(Tensor::zeros([1, 1, 2, 2]), -1.0).contains("noise of -1"));
    for method in [Method::Ddrm { eta: 1.5 }, Method::Dps { step: 0.0 }, isotropic(f64::NAN), by_jacobian(0)] {
        assert!(method.check().is_err(), "{method:?}");
    }
}

#[test]
fn ratios_are_those_of_their_definition() {
    assert!((psnr(&[0.1, -0.1], &[0.0, 0.0], 2.0) - 10.0 * (4.0f64 / 0.01).log10()).abs() < 1e-5);
    let operator = Operator::downsample([1, 2, 2], 2).unwrap();
    let y = Tensor::new([2, 1, 1, 1], vec![0.5, 0.0]);
    let measurement = Measurement::new(operator, &y, 0.0).unwrap();
    let images = Tensor::new([2, 1, 2, 2], vec![0.5, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1]);
    let found = quality(&measurement, &images, Some(&Tensor::zeros([2, 1, 2, 2])), (2.0, Some(0.4)));
    // The one is out of range, the other farther from its measurement of 0 than an image of zeros.
    assert_eq!(found.diverged, [0, 1]);
    // The one mode of a mean of four has the singular value 1/2, and y - A x is as long in it as in y.
    assert!((found.misfit - (0.01f64 / 2.0).sqrt()).abs() < 1e-7, "{}", found.misfit);
    let ratios = found.psnr.unwrap();
    let expected = [10.0 * (4.0f64 / 0.25).log10(), 10.0 * (4.0f64 / 0.01).log10()];
    assert!(ratios.each.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5), "{ratios:?}");
    assert!((ratios.mean - 0.5 * (expected[0] + expected[1])).abs() < 1e-5);
}

/// A Gaussian as data: its posterior mean under noise, in float64.
struct Gaussian {
    mean: Vec<f64>,
    covariance: Mat<f64>,
}

const SIDE: usize = 4;
const LEN: usize = SIDE * SIDE;

impl Gaussian {
    /// Variances from 0.02 to 1.5 along random axes.
    fn new(isotropic: bool) -> Self {
        let values = numbers(21, LEN * LEN);
        let axes = Mat::from_fn(LEN, LEN, |i, j| values[i * LEN + j]).qr().compute_Q();
        let variance =
            |at: usize| if isotropic { 0.5 } else { 1.5 * (0.02f64 / 1.5).powf(at as f64 / (LEN - 1) as f64) };
        let scaled = Mat::from_fn(LEN, LEN, |i, j| axes[(i, j)] * variance(j));
        let covariance = &scaled * axes.transpose();
        Self { mean: numbers(22, LEN).iter().map(|value| 0.3 * value).collect(), covariance }
    }

    /// C (C + sigma^2)^-1.
    fn gain(&self, sigma: f64) -> Mat<f64> {
        let noisy = Mat::from_fn(LEN, LEN, |i, j| self.covariance[(i, j)] + if i == j { sigma * sigma } else { 0.0 });
        noisy.llt(faer::Side::Lower).unwrap().solve(&self.covariance)
    }

    /// The mean and the covariance given a measurement.
    fn posterior(&self, operator: &Operator, y: &[f64], noise: f64) -> (Vec<f64>, Mat<f64>) {
        let rows = y.len();
        let unit = |at: usize| (0..LEN).map(|i| f64::from(u8::from(i == at))).collect::<Vec<_>>();
        let columns: Vec<Vec<f64>> = (0..LEN).map(|at| operator.apply(&unit(at))).collect();
        // Rows of a mask that measure nothing are left out.
        let kept: Vec<usize> = (0..rows).filter(|row| columns.iter().any(|column| column[*row] != 0.0)).collect();
        let a = Mat::from_fn(kept.len(), LEN, |row, column| columns[column][kept[row]]);
        let seen = &a * &self.covariance;
        let spread = &seen * a.transpose();
        let noise = noise.max(1e-7);
        let spread =
            Mat::from_fn(kept.len(), kept.len(), |i, j| spread[(i, j)] + if i == j { noise * noise } else { 0.0 });
        let gain = spread.llt(faer::Side::Lower).unwrap().solve(&seen);
        let expected = operator.apply(&self.mean);
        let apart = Mat::from_fn(kept.len(), 1, |row, _| y[kept[row]] - expected[kept[row]]);
        let moved = gain.transpose() * &apart;
        let mean = self.mean.iter().enumerate().map(|(at, mean)| mean + moved[(at, 0)]).collect();
        (mean, &self.covariance - gain.transpose() * &seen)
    }
}

impl Gaussian {
    fn x0(&self, x: &[f32], sigma: f64, centred: bool) -> Vec<f32> {
        let gain = self.gain(sigma);
        let centre = |at: usize| if centred { self.mean[at] } else { 0.0 };
        let apart = Mat::from_fn(x.len() / LEN, LEN, |row, at| f64::from(x[row * LEN + at]) - centre(at));
        let moved = apart * gain;
        (0..x.len()).map(|at| (centre(at % LEN) + moved[(at / LEN, at % LEN)]) as f32).collect()
    }
}

impl Denoiser for Gaussian {
    fn image_shape(&self) -> [usize; 3] {
        [1, SIDE, SIDE]
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> downhill::Result<Tensor> {
        let sigma = levels[0].sigma;
        let x0 = self.x0(&x.data, sigma, true);
        let eps = x.data.iter().zip(x0).map(|(x, x0)| ((f64::from(*x) - f64::from(x0)) / sigma) as f32).collect();
        Ok(Tensor::new(x.shape.clone(), eps))
    }
}

/// Its Jacobian, which is symmetric.
struct Exact(Gaussian);

impl Pullback for Exact {
    fn transposed(
        &mut self,
        _: &mut dyn Denoiser,
        x: &Tensor,
        levels: &[Level],
        vectors: &Tensor,
    ) -> downhill::Result<Tensor> {
        Ok(Tensor::new(x.shape.clone(), self.0.x0(&vectors.data, levels[0].sigma, false)))
    }
}

const START: f64 = 30.0;

/// A restoration of a Gaussian.
struct Problem {
    isotropic: bool,
    operator: Operator,
    y: Vec<f64>,
    noise: f64,
}

impl Problem {
    fn new(isotropic: bool, operator: Operator, noise: f64) -> Self {
        let exact = operator.apply(&numbers(33, LEN).iter().map(|value| 0.8 * value).collect::<Vec<_>>());
        let normals = numbers(34, exact.len());
        let y = exact.iter().zip(normals).map(|(value, normal)| f64::from((value + noise * normal) as f32)).collect();
        Self { isotropic, operator, y, noise }
    }

    fn measurement(&self) -> Measurement {
        let shape = [&[1], &self.operator.measured_shape()[..]].concat();
        let y = Tensor::new(shape, self.y.iter().map(|value| *value as f32).collect::<Vec<_>>());
        Measurement::new(self.operator.clone(), &y, self.noise).unwrap()
    }

    /// Restores from these start states, with the noise of a seed.
    fn restored(&self, method: Method, settings: &Settings, x: Tensor) -> Tensor {
        let (mut denoiser, mut pullback) = (Gaussian::new(self.isotropic), Exact(Gaussian::new(self.isotropic)));
        let course = settings.on_sigmas((START, 0.003)).unwrap();
        let measurement = self.measurement();
        let mean = denoiser.mean.clone();
        let restoration = Restoration { measurement: &measurement, method, mean: Some(&mean) };
        let count = x.shape[0];
        let mut noise = |update: u32| {
            let values = (0..count).flat_map(|image| normals(7, image as u64, update, LEN)).collect::<Vec<_>>();
            Ok(Tensor::new([count, 1, SIDE, SIDE], values))
        };
        let which = vec![0; count];
        let pullback: Option<&mut dyn Pullback> = Some(&mut pullback);
        let part = (&restoration, &which[..]);
        sample(&mut denoiser, pullback, &course.schedule, &course.method, part, x, &mut noise, &mut |_| Ok(())).unwrap()
    }

    /// Start states around the mean.
    fn starts(&self, count: usize) -> Tensor {
        let mean = Gaussian::new(self.isotropic).mean;
        let of = |image: usize| normals(3, image as u64, 0, LEN).into_iter().zip(mean.clone());
        let values = (0..count).flat_map(|image| of(image).map(|(n, mean)| (mean + START * f64::from(n)) as f32));
        Tensor::new([count, 1, SIDE, SIDE], values.collect::<Vec<_>>())
    }

    /// The mean and the covariance of restorations: (bias of the mean in units of the posterior's standard deviation,
    /// root mean square over directions; share of the posterior's variance).
    fn bias(&self, method: Method, settings: &Settings, count: usize) -> (f64, f64) {
        let images = self.restored(method, settings, self.starts(count));
        let mean: Vec<f64> = (0..LEN)
            .map(|at| images.data.iter().skip(at).step_by(LEN).map(|v| f64::from(*v)).sum::<f64>() / count as f64)
            .collect();
        let variance = images
            .data
            .chunks(LEN)
            .map(|image| image.iter().zip(&mean).map(|(value, mean)| (f64::from(*value) - mean).powi(2)).sum::<f64>());
        let variance = variance.sum::<f64>() / (count - 1) as f64;
        let (exact, covariance) = Gaussian::new(self.isotropic).posterior(&self.operator, &self.y, self.noise);
        let trace: f64 = (0..LEN).map(|at| covariance[(at, at)]).sum();
        let apart: f64 = mean.iter().zip(&exact).map(|(a, b)| (a - b).powi(2)).sum();
        ((apart / trace).sqrt(), variance / trace)
    }
}

/// Pi-GDM as published, and with products with the Jacobian.
fn isotropic(variance: f64) -> Method {
    Method::PiGdm { covariance: Covariance::Isotropic(variance) }
}

fn by_jacobian(products: usize) -> Method {
    Method::PiGdm { covariance: Covariance::Jacobian(products) }
}

fn steps(steps: usize, eta: f64) -> Settings {
    Settings { sampler: Some(Sampler::Ddim), steps: Some(steps), eta: Some(eta), ..Settings::default() }
}

fn problems(noise: f64) -> Vec<(&'static str, Problem)> {
    let missing: Vec<bool> = (0..LEN).map(|at| at % 3 == 0 || at / SIDE == 2).collect();
    let image = [1, SIDE, SIDE];
    vec![
        ("mask", Problem::new(false, Operator::mask(image, &missing).unwrap(), noise)),
        ("blur", Problem::new(false, Operator::blur(image, 0.7).unwrap(), noise)),
        ("means", Problem::new(false, Operator::downsample(image, 2).unwrap(), noise)),
        ("matrix", Problem::new(false, Operator::matrix(image, 6, &numbers(9, 6 * LEN)).unwrap(), noise)),
    ]
}

#[test]
fn pseudo_inverse_guidance_of_isotropic_data_samples_the_posterior() {
    // r^2 is then the variance of x0, and the score is exact: nothing is left but the steps.
    let missing: Vec<bool> = (0..LEN).map(|at| at % 3 == 0).collect();
    for operator in [
        Operator::mask([1, SIDE, SIDE], &missing).unwrap(),
        Operator::downsample([1, SIDE, SIDE], 2).unwrap(),
        Operator::matrix([1, SIDE, SIDE], 6, &numbers(9, 6 * LEN)).unwrap(),
    ] {
        let problem = Problem::new(true, operator, 0.2);
        let (centre, found) = ends(&problem, isotropic(0.5), &steps(400, 0.0));
        let (exact, covariance) = Gaussian::new(true).posterior(&problem.operator, &problem.y, 0.2);
        let apart = centre.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let of_covariance = (0..LEN).flat_map(|i| (0..LEN).map(move |j| (i, j)));
        let of_covariance = of_covariance.map(|at| (found[at] - covariance[at]).abs()).fold(0.0, f64::max);
        println!("mean {apart:.1e}, covariance {of_covariance:.1e}");
        assert!(apart < 1e-2 && of_covariance < 1.5e-2, "{apart} and {of_covariance}");
    }
}

/// The mean and the covariance of the ends of a walk that is affine in its start: its images of the mean and of each
/// axis are all there is to know.
fn ends(problem: &Problem, method: Method, settings: &Settings) -> (Vec<f64>, Mat<f64>) {
    let mean = Gaussian::new(problem.isotropic).mean;
    let axis = |of: usize| (0..LEN).map(move |at| if of == at + 1 { START } else { 0.0 });
    let starts =
        (0..=LEN).flat_map(|of| mean.iter().zip(axis(of)).map(|(mean, step)| (mean + step) as f32).collect::<Vec<_>>());
    let starts = Tensor::new([LEN + 1, 1, SIDE, SIDE], starts.collect::<Vec<_>>());
    let ends = problem.restored(method, settings, starts);
    let centre: Vec<f64> = ends.item(0).iter().map(|value| f64::from(*value)).collect();
    let columns = Mat::from_fn(LEN, LEN, |at, of| f64::from(ends.item(of + 1)[at]) - centre[at]);
    (centre, &columns * columns.transpose())
}

#[test]
fn guidance_by_the_jacobian_samples_the_posterior_of_any_gaussian() {
    // With a product for each direction, the conjugate gradients have solved their equations, and the walk is affine.
    for (name, problem) in problems(0.2) {
        let (mean, covariance) = ends(&problem, by_jacobian(LEN), &steps(400, 0.0));
        let (exact, expected) = Gaussian::new(false).posterior(&problem.operator, &problem.y, 0.2);
        let apart = mean.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let places = (0..LEN).flat_map(|i| (0..LEN).map(move |j| (i, j)));
        let of_covariance = places.map(|at| (covariance[at] - expected[at]).abs()).fold(0.0, f64::max);
        println!("{name}: mean {apart:.1e}, covariance {of_covariance:.1e}");
        assert!(apart < 2e-2 && of_covariance < 3e-2, "{name}: {apart} and {of_covariance}");
    }
}

#[test]
fn units_of_a_measurement_do_not_matter() {
    let numbers = numbers(9, 6 * LEN);
    let images = [1.0, 40.0].map(|unit| {
        let scaled: Vec<f64> = numbers.iter().map(|number| unit * number).collect();
        let mut problem = Problem::new(false, Operator::matrix([1, SIDE, SIDE], 6, &numbers).unwrap(), 0.2);
        problem.operator = Operator::matrix([1, SIDE, SIDE], 6, &scaled).unwrap();
        problem.y.iter_mut().for_each(|value| *value *= unit);
        problem.noise *= unit;
        let methods =
            [Method::Project { variance: 1.0 }, Method::Ddrm { eta: 0.85 }, Method::Dps { step: 2.0 }, Method::PI_GDM];
        methods.map(|method| problem.restored(method, &steps(20, 0.0), problem.starts(3)))
    });
    for (one, other) in images[0].iter().zip(&images[1]) {
        let apart = one.data.iter().zip(&other.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 2e-3, "{apart:e}");
    }
}

#[test]
fn fewer_steps_of_dps_go_as_far() {
    for (name, problem) in problems(0.2) {
        let [few, many] =
            [50, 200].map(|count| problem.bias(Method::Dps { step: usual_step(count) }, &steps(count, 0.0), 100).0);
        println!("{name}: {few:.2} in 50 steps, {many:.2} in 200");
        assert!((few - many).abs() < 0.25 * many, "{name}: {few} and {many}");
    }
}

#[test]
fn the_posterior_mean_of_a_prior_is_that_of_its_moments() {
    let images =
        Tensor::new([60, 1, SIDE, SIDE], normals(51, 0, 0, 60 * LEN).iter().map(|n| 0.7 * n).collect::<Vec<_>>());
    let mean: Vec<f64> =
        (0..LEN).map(|at| (0..60).map(|image| f64::from(images.item(image)[at])).sum::<f64>() / 60.0).collect();
    let centred = Mat::from_fn(60, LEN, |image, at| f64::from(images.item(image)[at]) - mean[at]);
    let covariance = centred.transpose() * &centred;
    let gaussian = Gaussian { covariance: Mat::from_fn(LEN, LEN, |i, j| covariance[(i, j)] / 60.0), mean };
    for (name, problem) in problems(0.2) {
        let measurement = problem.measurement();
        let found = Prior::new(&images).restorations(&measurement).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["mean of the data", "Wiener filter"]);
        let (exact, _) = gaussian.posterior(&problem.operator, &problem.y, 0.2);
        let apart = |at: usize, of: &[f64]| {
            let values = found[at].1.data.iter().zip(of);
            values.map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
        };
        assert!(apart(0, &gaussian.mean) < 1e-6 && apart(1, &exact) < 1e-5, "{name}: {}", apart(1, &exact));
    }
}

#[test]
fn measurements_without_noise_are_met() {
    for (name, problem) in problems(0.0) {
        let measurement = problem.measurement();
        for (method, settings) in [
            (Method::Project { variance: 1.0 }, steps(20, 0.0)),
            (Method::Project { variance: 1.0 }, steps(20, 1.0)),
            (Method::Project { variance: 1.0 }, Settings { sampler: Some(Sampler::Ge), ..steps(20, 0.0) }),
            (Method::Ddrm { eta: 0.85 }, steps(20, 0.0)),
        ] {
            let settings =
                Settings { eta: settings.eta.filter(|_| settings.sampler == Some(Sampler::Ddim)), ..settings };
            let images = problem.restored(method, &settings, problem.starts(5));
            let worst = (0..5).map(|at| measurement.misfit(0, images.item(at))).fold(0.0, f64::max);
            assert!(worst < 2e-6, "{name} by {method:?}: {worst:e}");
        }
    }
}

#[test]
fn each_method_has_its_bias() {
    // The bias of the mean and the share of the variance, over four operators (docs/inverse-problems.md).
    let cases = [
        (Method::Project { variance: 1.0 }, 0.0, 0.1..0.8, 0.85..1.5),
        (Method::Project { variance: 1.0 }, 1.0, 0.1..0.6, 0.8..1.25),
        (isotropic(1.0), 0.0, 0.1..0.5, 0.95..1.35),
        (isotropic(1.0), 1.0, 0.05..0.4, 0.85..1.05),
        (Method::PI_GDM, 0.0, 0.0..0.4, 0.8..1.2),
        (Method::PI_GDM, 1.0, 0.0..0.25, 0.7..1.05),
        (by_jacobian(1), 0.0, 0.03..0.8, 0.5..1.2),
        (by_jacobian(1), 1.0, 0.03..0.5, 0.5..1.05),
        // Without eta, nothing is left of the noise of modes that are measured.
        (Method::Ddrm { eta: 0.0 }, 0.0, 0.2..1.2, -1e-6..1.4),
        (Method::Ddrm { eta: 0.85 }, 0.0, 0.05..0.8, 0.1..0.9),
        (Method::Dps { step: 1.0 }, 1.0, 0.05..1.5, 0.2..1.5),
        // As far as the paper's 1000 steps go.
        (Method::Dps { step: usual_step(60) }, 1.0, 0.02..3.0, 0.1..1.5),
    ];
    for (name, problem) in problems(0.2) {
        let mut means = Vec::new();
        for (method, eta, of_mean, of_variance) in cases.clone() {
            let (mean, variance) = problem.bias(method, &steps(60, eta), 400);
            println!("{name:8} eta {eta} {method:?}: mean {mean:.3}, variance {variance:.3}");
            assert!(of_mean.contains(&mean) && of_variance.contains(&variance), "{name} by {method:?}, eta {eta}");
            means.push(mean);
        }
        // Products with the Jacobian are worth something, and so is its covariance.
        assert!(means[3] < means[1] && means[5] < means[3], "{name}: {means:?}");
    }
}

#[test]
fn symmetric_jacobians_are_taken_by_differences() {
    let mut gaussian = Gaussian::new(false);
    let step = |sigma: f64| sigma;
    let x = Tensor::new([3, 1, SIDE, SIDE], normals(1, 0, 0, 3 * LEN));
    let vectors = Tensor::new([3, 1, SIDE, SIDE], normals(2, 0, 0, 3 * LEN));
    let levels = [0.7; 3].map(Level::at_sigma);
    let found = Symmetric::new(&step).transposed(&mut gaussian, &x, &levels, &vectors).unwrap();
    let exact = Exact(Gaussian::new(false)).transposed(&mut gaussian, &x, &levels, &vectors).unwrap();
    let apart = found.data.iter().zip(&exact.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-4, "{apart:e}");
    let infinite = [f64::INFINITY; 3].map(Level::at_sigma);
    assert!(Symmetric::new(&step).transposed(&mut gaussian, &x, &infinite, &vectors).is_err());
}
