//! The measurement of a case, from its check to its figures.

use web_time::Instant;

use super::problem::{Expected, Problem};
use super::report::{Check, Roofs, Row};
use super::statistics::Timing;
use crate::error::{Error, Result};
use crate::gpu::Kind;
use crate::graph::Compiler;
use crate::kernels::{Engine, Shader};

/// The largest distance between device and twin, max |a - b| / max |b|: a third of the budget of a whole network.
pub const TOLERANCE: f64 = 1e-4;

/// The least duration of a sample in seconds. Calls are repeated within a submission until they take that long, so that
/// the cost of the submission itself is negligible.
const SAMPLE_SECONDS: f64 = 0.05;

/// The largest number of calls per sample.
const MOST_CALLS: f64 = 10_000.0;

/// Returns the duration of `work` in seconds.
pub fn clock(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Returns the number of calls per sample, if one call takes `once` seconds.
fn calls_of_sample(once: f64) -> usize {
    (SAMPLE_SECONDS / once.max(f64::MIN_POSITIVE)).ceil().clamp(1.0, MOST_CALLS) as usize
}

/// Times `calls`, which runs a call a given number of times, on an adapter of `kind`: `repeats` samples of at least
/// `SAMPLE_SECONDS` each. The work has been warmed up before.
pub fn steady(kind: Kind, repeats: usize, mut calls: impl FnMut(usize) -> Result<()>) -> Result<Timing> {
    let count = wake(kind, &mut calls)?;
    let samples =
        (0..repeats.max(1)).map(|_| Ok(clock(|| calls(count))? / count as f64)).collect::<Result<Vec<_>>>()?;
    Ok(Timing::new(samples, count))
}

/// Runs discarded samples for as long as they get faster. A GPU that has waited for the host, for instance during a
/// check, has lowered its clock to a fraction, and raises it in steps of up to half a second. Returns the number of
/// calls per sample, which a single call, dominated by the round trip to a GPU, does not determine.
pub fn wake(kind: Kind, calls: &mut dyn FnMut(usize) -> Result<()>) -> Result<usize> {
    const FASTER: f64 = 0.95;
    const MOST_SECONDS: f64 = 10.0;
    // Seconds without progress after which none is expected.
    let patience = if kind == Kind::Software { 0.0 } else { 1.0 };
    let mut count = 1;
    let begin = Instant::now();
    let mut best = clock(|| calls(count))?;
    let mut progress = Instant::now();
    while begin.elapsed().as_secs_f64() < MOST_SECONDS {
        count = calls_of_sample(best);
        let now = clock(|| calls(count))? / count as f64;
        if now <= FASTER * best {
            best = now;
            progress = Instant::now();
        } else if progress.elapsed().as_secs_f64() >= patience {
            break;
        }
    }
    Ok(count)
}

/// Compiles the shaders that are not compiled yet, and returns the seconds it took.
pub fn compile(engine: &Engine, shaders: &[Shader]) -> Result<f64> {
    clock(|| engine.pipelines(&shaders.iter().collect::<Vec<_>>()).map(drop))
}

/// Compares a part of an output with its expected values.
///
/// # Errors
/// [`Error::Device`] if they are further apart than [`TOLERANCE`], or not finite.
pub fn check(answer: &[f32], expected: &Expected) -> Result<Check> {
    check_within(answer, expected, TOLERANCE)
}

/// As [`check`], with another tolerance.
pub fn check_within(answer: &[f32], expected: &Expected, tolerance: f64) -> Result<Check> {
    let Expected { places, values, part } = expected;
    let largest = values.iter().fold(0.0f64, |most, value| most.max(f64::from(value.abs())));
    let mut apart = 0.0f64;
    for (place, value) in places.iter().zip(values) {
        let found = answer.get(*place).copied().unwrap_or(f32::NAN);
        let distance = f64::from((found - value).abs());
        apart = if distance.is_finite() { apart.max(distance) } else { f64::INFINITY };
    }
    let error = apart / largest.max(f64::from(f32::MIN_POSITIVE));
    if error <= tolerance {
        return Ok(Check { error, part: part.clone() });
    }
    Err(Error::Device {
        what: format!("it is {error:.1e} from its CPU twin, over {tolerance:.0e} ({part})"),
        hint: Some("choose another `adapter`, and see `downhill selftest`".into()),
    })
}

/// Measures a problem: compiles, runs, checks, then times it.
///
/// # Errors
/// Those of the problem, of the device and of [`check`].
pub fn measure(compiler: Compiler, row: Row, problem: &dyn Problem, roofs: &Roofs, repeats: usize) -> Result<Row> {
    let mut row = row;
    let engine = compiler.engine;
    let shaders = problem.shaders(compiler);
    row.kernels = shaders.iter().map(ToString::to_string).collect();
    let pipelines = compile(engine, &shaders)?;
    let job = problem.prepare(compiler)?;
    // A driver may defer the compilation until a shader runs.
    let first = clock(|| job.repeat(1))?;
    row.check = Some(check(&job.answer()?, &problem.expected(engine.family)?)?);
    let timing = steady(engine.gpu.adapter.kind, repeats, |times| job.repeat(times))?;
    row.compile_seconds = Some(pipelines + (first - timing.median).max(0.0));
    Ok(row.timed(timing, problem.work(), roofs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(values: &[f32]) -> Expected {
        Expected { places: vec![2, 0], values: values.to_vec(), part: "two of three".to_owned() }
    }

    #[test]
    fn a_wrong_answer_is_no_measurement() {
        let answer = [1.0, f32::NAN, -2.0];
        let sound = check(&answer, &expected(&[-2.0, 1.0])).unwrap();
        assert_eq!((sound.error, sound.part.as_str()), (0.0, "two of three"));
        let near = check(&answer, &expected(&[-2.0, 1.000_1])).unwrap();
        assert!((4e-5..6e-5).contains(&near.error));
        for values in [[-2.0, 1.001], [f32::NAN, 1.0], [-2.0, f32::INFINITY]] {
            let error = check(&answer, &expected(&values)).unwrap_err();
            assert!(error.to_string().contains("two of three"), "{error}");
        }
        let missing = Expected { places: vec![3], values: vec![0.0], part: String::new() };
        check(&answer, &missing).unwrap_err();
    }

    #[test]
    fn short_calls_are_repeated_within_a_sample() {
        let mut asked = Vec::new();
        let timing = steady(Kind::Software, 3, |times| {
            asked.push(times);
            Ok(())
        })
        .unwrap();
        assert_eq!(asked[0], 1);
        assert_eq!(asked[asked.len() - 3..], [timing.calls; 3]);
        assert!(timing.calls > 1 && timing.samples.len() == 3);
    }
}
