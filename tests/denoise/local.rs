//! The local closed form against its definition in float64, pixel by pixel.

use crate::common::{engines, numbers};
use downhill::data::Dataset;
use downhill::denoise::closed_form::ideal::Ideal;
use downhill::denoise::closed_form::local::{Bounds, Local};
use downhill::denoise::closed_form::{Boundary, ClosedForm, LocalOptions};
use downhill::denoise::{Denoiser, Level};
use downhill::tensor::Tensor;

/// Images with parts of one colour, so that patches repeat.
fn data(seed: u32, count: usize, image: [usize; 3]) -> Dataset {
    let len = image.iter().product::<usize>();
    let values = numbers(seed, count * len).into_iter().map(|value| if value < 0.2 { -1.0 } else { value }).collect();
    Dataset::new("data", Tensor::new([count, image[0], image[1], image[2]], values)).unwrap()
}

/// The prediction of the pixel (row, column), by the definition: over all samples and all places whose patches see
/// the same part of the image.
fn reference(
    data: &Dataset,
    image: [usize; 3],
    options: LocalOptions,
    (x, sigma): (&[f32], f64),
    (row, column): (usize, usize),
) -> Vec<f64> {
    let [channels, height, width] = image.map(|extent| extent as isize);
    let reach = (options.patch / 2) as isize;
    let pixel = |image: &[f32], channel: isize, y: isize, x: isize| -> Option<f64> {
        let (y, x) = match options.boundary {
            Boundary::Circular => (y.rem_euclid(height), x.rem_euclid(width)),
            Boundary::Padded | Boundary::Fixed => (y, x),
        };
        let is_inside = (0..height).contains(&y) && (0..width).contains(&x);
        is_inside.then(|| f64::from(image[((channel * height + y) * width + x) as usize]))
    };
    let mut weighted: Vec<(f64, Vec<f64>)> = Vec::new();
    for sample in 0..data.count() {
        let k = data.samples.item(sample);
        for (other_row, other_column) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let (row, column) = (row as isize, column as isize);
            if options.boundary == Boundary::Fixed && (row, column) != (other_row, other_column) {
                continue;
            }
            let mut square = 0.0;
            let mut is_alike = true;
            for (down, right) in (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| (y, x))) {
                for channel in 0..channels {
                    match (
                        pixel(x, channel, row + down, column + right),
                        pixel(k, channel, other_row + down, other_column + right),
                    ) {
                        (Some(a), Some(b)) => square += (a - b).powi(2),
                        (None, None) => {}
                        _ => is_alike = false,
                    }
                }
            }
            if is_alike {
                let centre = (0..channels).map(|channel| pixel(k, channel, other_row, other_column).unwrap());
                weighted.push((-0.5 * square / (sigma * sigma), centre.collect()));
            }
        }
    }
    let most = weighted.iter().map(|(log, _)| *log).fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = weighted.iter().map(|(log, _)| (log - most).exp()).sum();
    let mean =
        |channel: usize| weighted.iter().map(|(log, centre)| (log - most).exp() / total * centre[channel]).sum::<f64>();
    (0..image[0]).map(mean).collect()
}

#[test]
fn the_local_denoiser_is_that_of_float64_at_every_level() {
    for (image, patch, count) in [([1, 7, 6], 3, 40), ([3, 5, 5], 3, 20), ([1, 6, 9], 5, 12), ([2, 4, 4], 1, 9)] {
        let data = data(3, count, image);
        let len = data.dimension();
        for boundary in Boundary::ALL {
            if boundary == Boundary::Circular && patch > image[1].min(image[2]) {
                continue;
            }
            let options = LocalOptions { patch, boundary, samples: None };
            for engine in engines() {
                let mut local = Local::new(engine, data.clone(), &options, image).unwrap();
                let sigmas = [0.01, 0.1, 0.4, 1.0, 3.0, 30.0];
                let noise = numbers(8, sigmas.len() * len);
                let x = sigmas.iter().enumerate().flat_map(|(at, sigma)| {
                    let noise = &noise[at * len..][..len];
                    let clean = data.samples.item(at);
                    clean.iter().zip(noise).map(move |(k, w)| (f64::from(*k) + 1.7 * sigma * f64::from(*w)) as f32)
                });
                let shape = [sigmas.len(), image[0], image[1], image[2]];
                let x = Tensor::new(shape, x.collect());
                let eps = local.eps(&x, &Level::each(&sigmas)).unwrap();
                for (at, sigma) in sigmas.iter().enumerate() {
                    for place in [(0, 0), (1, 1), (image[1] / 2, image[2] / 2), (image[1] - 1, 2), (2, image[2] - 1)] {
                        let expected = reference(&data, image, options, (x.item(at), *sigma), place);
                        for (channel, expected) in expected.into_iter().enumerate() {
                            let index = (channel * image[1] + place.0) * image[2] + place.1;
                            let found = f64::from(x.item(at)[index]) - sigma * f64::from(eps.item(at)[index]);
                            let tolerance = 2e-5 + 2e-7 * sigma;
                            assert!(
                                (found - expected).abs() < tolerance,
                                "{image:?}, patch {patch}, {}, sigma {sigma}, {place:?}: {found}, {expected}",
                                boundary.name()
                            );
                        }
                    }
                }
                // The same bits in any batch.
                let one = local.eps(&x.slice(3..4), &Level::each(&sigmas[3..4])).unwrap();
                assert_eq!(one.data, eps.item(3));
            }
        }
    }
}

/// Patches that pass through the device in chunks, and places in several dispatches, give the same predictions.
#[test]
fn bounds_do_not_change_predictions() {
    let image = [3, 6, 5];
    let data = data(4, 40, image);
    let options = LocalOptions { patch: 3, boundary: Boundary::Padded, samples: None };
    let x = Tensor::new([4, 3, 6, 5], numbers(2, 4 * 90));
    let levels = Level::each(&[0.05, 0.3, 1.0, 8.0]);
    for engine in engines() {
        let expected = Local::new(engine, data.clone(), &options, image).unwrap().eps(&x, &levels).unwrap();
        for bounds in [
            Bounds { chunk: 1, kept: 0, queries: 37, per_part: 1 },
            Bounds { chunk: 500, kept: usize::MAX, queries: 30, per_part: 2 },
        ] {
            let mut local = Local::bounded(engine, data.clone(), &options, image, bounds).unwrap();
            let found = local.eps(&x, &levels).unwrap();
            for (at, (found, expected)) in found.data.iter().zip(&expected.data).enumerate() {
                let tolerance = 2e-5 / levels[at / 90].sigma as f32 + 1e-6;
                assert!((found - expected).abs() < tolerance, "{bounds:?}, value {at}: {found}, {expected}");
            }
        }
    }
}

/// A patch that covers the image from everywhere leaves the ideal denoiser.
#[test]
fn the_largest_patch_is_the_ideal_denoiser() {
    let image = [1, 4, 5];
    let data = data(5, 30, image);
    let engine = &engines()[0];
    let mut ideal = Ideal::new(engine, data.clone(), data.mean(), image).unwrap();
    let x = Tensor::new([3, 1, 4, 5], numbers(4, 60));
    let levels = Level::each(&[0.1, 0.5, 2.0]);
    let expected = ideal.eps(&x, &levels).unwrap();
    for boundary in [Boundary::Padded, Boundary::Fixed] {
        let options = LocalOptions { patch: 9, boundary, samples: None };
        let found = Local::new(engine, data.clone(), &options, image).unwrap().eps(&x, &levels).unwrap();
        let apart = found.data.iter().zip(&expected.data).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(apart < 2e-4, "{}: {apart:e}", boundary.name());
    }
}

/// Shifted around, an image is denoised to the shifted prediction.
#[test]
fn circular_patches_are_equivariant() {
    let image = [1, 6, 6];
    let data = data(6, 25, image);
    let options = LocalOptions { patch: 3, boundary: Boundary::Circular, samples: None };
    let mut local = Local::new(&engines()[0], data, &options, image).unwrap();
    let x = numbers(9, 36);
    let shift =
        |values: &[f32]| -> Vec<f32> { (0..36).map(|at| values[(at / 6 + 2) % 6 * 6 + (at % 6 + 1) % 6]).collect() };
    let both = Tensor::new([2, 1, 6, 6], [x.clone(), shift(&x)].concat());
    let eps = local.eps(&both, &Level::each(&[0.7, 0.7])).unwrap();
    assert_eq!(shift(eps.item(0)), eps.item(1));
}

#[test]
fn names_open_local_denoisers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.npy").display().to_string();
    let samples = data(7, 20, [1, 5, 6]);
    let shape = [20, 5, 6];
    downhill::formats::npy::write(&file, &Tensor::new(shape, samples.samples.data.clone())).unwrap();
    let text = format!("local:{file},patch=3,boundary=circular,n=12");
    let form = ClosedForm::open(&text).unwrap().unwrap();
    let json = form.json();
    assert_eq!((&json["closed_form"], &json["samples"]), (&"local".into(), &12.into()));
    assert_eq!((&json["local"]["patch"], &json["local"]["boundary"]), (&3.into(), &"circular".into()));
    let engine = &engines()[0];
    let x = Tensor::new([1, 1, 5, 6], numbers(1, 30));
    let found = form.ready(engine).unwrap().eps(&x, &Level::each(&[0.5])).unwrap();
    let first = Dataset { samples: samples.samples.slice(0..12), ..samples };
    let options = LocalOptions { patch: 3, boundary: Boundary::Circular, samples: None };
    let mut local = Local::new(engine, first, &options, [1, 5, 6]).unwrap();
    assert_eq!(found, local.eps(&x, &Level::each(&[0.5])).unwrap());
    let flat = folder.path().join("flat.npy").display().to_string();
    downhill::formats::npy::write(&flat, &Tensor::new([4, 9], numbers(1, 36))).unwrap();
    for (text, part) in [
        (format!("local:{file},patch=7,boundary=circular"), "`patch=7` reaches beyond images of 5 x 6"),
        (format!("local:{file},patch=13"), "`patch=13` reaches beyond"),
        (format!("local:{file},patch=3,n=21"), "more samples than the 20"),
        (format!("local:{flat},patch=1"), "are not images"),
    ] {
        let error = ClosedForm::open(&text).err().unwrap();
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}
