//! One dispatch on a device and through its CPU twin.

use downhill::kernels::{Dispatch, Engine};
use downhill::tensor::{Shape, TEXEL, pack_nchw};

use crate::common::{distance, numbers};

/// A map of this shape in the device layout.
pub fn map(seed: u32, shape: Shape) -> Vec<f32> {
    pack_nchw(&numbers(seed, shape.n * shape.c * shape.pixels()), shape)
}

/// What the CPU twin of a dispatch writes; a value it leaves out is NaN.
pub fn run_twin(dispatch: &Dispatch, reads: &[&[f32]], texels: usize) -> Vec<f32> {
    let mut host = vec![f32::NAN; texels * TEXEL];
    (dispatch.shader.kernel.twin)(&dispatch.params, reads, &mut host);
    host
}

/// What a dispatch writes on the device.
pub fn run_device(engine: &Engine, dispatch: &Dispatch, reads: &[&[f32]], texels: usize) -> Vec<f32> {
    engine.run_once(dispatch, reads, texels).unwrap_or_else(|error| panic!("{}: {error}", dispatch.shader))
}

/// Runs a dispatch on the device and through its twin, compares what they wrote, and answers what the twin wrote.
pub fn check(engine: &Engine, dispatch: &Dispatch, reads: &[&[f32]], texels: usize, what: &str) -> Vec<f32> {
    check_within(engine, dispatch, reads, texels, what, 1e-5)
}

/// As [`check`], with the distance that device and twin may be apart.
pub fn check_within(
    engine: &Engine,
    dispatch: &Dispatch,
    reads: &[&[f32]],
    texels: usize,
    what: &str,
    tolerance: f32,
) -> Vec<f32> {
    let device = run_device(engine, dispatch, reads, texels);
    let host = run_twin(dispatch, reads, texels);
    let apart = distance(&device, &host);
    assert!(apart <= tolerance, "{what}, {}: {apart:e} apart", dispatch.shader);
    host
}

/// Asserts that a tensor in the device layout is zero in the padding channels.
pub fn assert_padding_is_zero(values: &[f32], channels: usize, what: &str) {
    for (pixel, values) in values.chunks(channels.next_multiple_of(TEXEL)).enumerate() {
        assert!(values[channels..].iter().all(|v| *v == 0.0), "{what}: padding of pixel {pixel} is not zero");
    }
}
