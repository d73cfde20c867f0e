//! Fields that the configurations of diffusers' U-Nets have in common.

use serde::Deserialize;

use crate::error::Result;
use crate::graph::op::Activation;
use crate::nets::fields::Fields;

/// Bounds that no real network comes near; they keep every size derived from a file within range.
pub const MOST_CHANNELS: usize = 1 << 16;
pub const MOST_LAYERS: usize = 256;
pub const MOST_LEVELS: usize = 12;
pub const MOST_ROWS: usize = 1 << 24;
pub const MOST_PIXELS: usize = 1 << 16;

/// The way the time embedding enters a residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeScaleShift {
    /// Added before the second normalisation.
    Default,
    /// Scales and shifts the output of the second normalisation.
    ScaleShift,
}

/// `sample_size`, one number for squares.
#[derive(Deserialize)]
#[serde(untagged)]
enum SampleSize {
    Square(usize),
    Sides([usize; 2]),
}

pub const TIME_SCALE_SHIFTS: [(&str, TimeScaleShift); 2] =
    [("default", TimeScaleShift::Default), ("scale_shift", TimeScaleShift::ScaleShift)];

pub const ACTIVATIONS: [(&str, Activation); 5] = [
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("mish", Activation::Mish),
    ("gelu", Activation::Gelu),
    ("relu", Activation::Relu),
];

/// `sample_size`: height and width, if the file has them.
pub fn sample_size(fields: &mut Fields) -> Result<Option<(usize, usize)>> {
    sample_size_of(fields, "sample_size")
}

/// The same in a field of another name.
pub fn sample_size_of(fields: &mut Fields, field: &'static str) -> Result<Option<(usize, usize)>> {
    let sides = match fields.get(field, None::<SampleSize>)? {
        None => return Ok(None),
        Some(SampleSize::Square(side)) => (side, side),
        Some(SampleSize::Sides([height, width])) => (height, width),
    };
    match sides {
        (1..=MOST_PIXELS, 1..=MOST_PIXELS) => Ok(Some(sides)),
        (height, width) => {
            Err(fields.bad(format!("`{field}` is {height} x {width}, and sides of 1 to {MOST_PIXELS} are allowed")))
        }
    }
}

/// `time_embedding_dim`: null and 0 both mean the default, as in Python's `or`.
pub fn time_embedding_dim(fields: &mut Fields, default: usize) -> Result<usize> {
    match fields.get("time_embedding_dim", None::<usize>)? {
        None | Some(0) => Ok(default),
        Some(dim) if dim > MOST_CHANNELS => {
            Err(fields.bad(format!("`time_embedding_dim` is {dim}, at most {MOST_CHANNELS} is allowed")))
        }
        Some(dim) => Ok(dim),
    }
}

/// `downsample_padding`: 0 or 1.
pub fn downsample_padding(fields: &mut Fields) -> Result<usize> {
    match fields.get("downsample_padding", 1)? {
        padding @ (0 | 1) => Ok(padding),
        padding => Err(fields.unsupported("downsample_padding", &padding.to_string(), "0, 1")),
    }
}

/// Refuses too many levels.
pub fn check_levels(fields: &Fields, block_out_channels: &[usize]) -> Result<()> {
    match block_out_channels.len() {
        levels if levels > MOST_LEVELS => {
            Err(fields.bad(format!("`block_out_channels` has {levels} entries, at most {MOST_LEVELS} are allowed")))
        }
        _ => Ok(()),
    }
}

/// Refuses `groups` that do not divide the channels of these levels.
pub fn check_groups(fields: &Fields, name: &str, groups: usize, levels: &[usize]) -> Result<()> {
    match levels.iter().find(|channels| !channels.is_multiple_of(groups)) {
        Some(channels) => Err(fields.bad(format!(
            "`block_out_channels` has {channels}, which `{name}` {groups} does not divide into equal groups"
        ))),
        None => Ok(()),
    }
}

/// Refuses a negative `norm_eps`.
pub fn check_eps(fields: &Fields, eps: f64) -> Result<()> {
    if eps < 0.0 { Err(fields.bad(format!("`norm_eps` is {eps} and must not be negative"))) } else { Ok(()) }
}

/// Refuses a factor of 0 by which sums are divided.
pub fn check_divisor(fields: &Fields, name: &str, factor: f64) -> Result<()> {
    if factor == 0.0 { Err(fields.bad(format!("`{name}` is 0, and sums are divided by it"))) } else { Ok(()) }
}

/// Refuses a `freq_shift` that leaves no frequencies.
pub fn check_freq_shift(fields: &Fields, freq_shift: f64, first_channels: usize) -> Result<()> {
    let half = first_channels / 2;
    if half as f64 > freq_shift {
        return Ok(());
    }
    Err(fields.bad(format!(
        "`freq_shift` is {freq_shift} and must be less than half of the first of `block_out_channels`, {half}"
    )))
}
