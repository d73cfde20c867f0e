//! Samplers and schedules by name, and images in 8 bits.

use downhill::formats::images::quantise;
use downhill::sample::samplers::Sampler;
use downhill::sample::schedule::ScheduleKind;
use downhill::{Model, Settings, Tensor};
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::value::{JsResult, object, thrown};

/// A row of the table of samplers.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    order: usize,
    calls: String,
    stochastic: bool,
    settings: &'static [&'static str],
    source: &'static str,
    /// `true` if it samples the embedded digits.
    digits: bool,
}

/// Returns the table of samplers.
///
/// # Errors
/// None in practice.
#[wasm_bindgen]
pub fn samplers() -> JsResult<JsValue> {
    let digits = Model::embedded().map_err(thrown)?;
    let row = |sampler: Sampler| {
        let spec = sampler.spec();
        let settings = Settings { sampler: Some(sampler), steps: Some(4), ..Settings::default() };
        let course = digits.course(&settings);
        let unit = if spec.calls.per_step == 1 { "call per step" } else { "calls per step" };
        Row {
            name: spec.name,
            order: spec.order,
            calls: format!("{} {unit}", spec.calls.per_step),
            stochastic: course.as_ref().is_ok_and(|course| course.method.solver.is_stochastic()),
            settings: spec.parameters,
            source: spec.source,
            digits: course.is_ok(),
        }
    };
    object(&Sampler::ALL.map(row).into_iter().collect::<Vec<_>>())
}

/// Returns the names of the schedules.
#[wasm_bindgen]
pub fn schedules() -> Vec<String> {
    ScheduleKind::ALL.iter().map(|kind| kind.name().to_owned()).collect()
}

/// Returns images as RGBA in 8 bits, as the PNG files of the program have them.
///
/// # Errors
/// Those of [`quantise`], and one for values that are not whole images.
#[wasm_bindgen]
pub fn pixels(values: &[f32], channels: usize, height: usize, width: usize) -> JsResult<Vec<u8>> {
    let image = channels * height * width;
    if image == 0 || !values.len().is_multiple_of(image) {
        let what = format!("{} values are not images of {channels} x {height} x {width}", values.len());
        return Err(thrown(downhill::Error::argument(what, "give (n, channels, height, width)")));
    }
    let images = quantise(&Tensor::new([values.len() / image, channels, height, width], values.to_vec()));
    let mut rgba = Vec::with_capacity(values.len() / channels * 4);
    for image in images.map_err(thrown)? {
        for pixel in image.pixels.chunks_exact(channels) {
            rgba.extend(match *pixel {
                [grey] => [grey, grey, grey, 255],
                [red, green, blue] => [red, green, blue, 255],
                [red, green, blue, alpha, ..] => [red, green, blue, alpha],
                _ => [0, 0, 0, 255],
            });
        }
    }
    Ok(rgba)
}
