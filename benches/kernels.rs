//! The work of `downhill bench` under criterion, whose statistics and history are richer:
//!
//! ```sh
//! sh scripts/with-adapter.sh cargo bench                 # everything
//! sh scripts/with-adapter.sh cargo bench -- conv         # what has `conv` in its name
//! ```
//!
//! `downhill bench` checks each case against its CPU twin and knows the roofs; here nothing is checked.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use downhill::bench::case::{Case, Suite};
use downhill::bench::lanczos::Solve;
use downhill::bench::problem::Job;
use downhill::bench::unet::Calls;
use downhill::error::Result;
use downhill::kernels::Engine;

/// A case made ready on a device.
fn prepare<'e>(engine: &'e Engine, case: &Case) -> Result<Box<dyn Job + 'e>> {
    Ok(match case {
        Case::Kernels(operation) => operation.problem(engine)?.prepare(engine.into())?,
        Case::Spectrum(eigenpairs) => Box::new(Solve::new(engine, *eigenpairs)?),
        Case::Call(net) => Box::new(Calls::new(engine, *net)?),
    })
}

fn run(job: &dyn Job, times: u64) -> Result<Duration> {
    let begin = Instant::now();
    job.repeat(times as usize)?;
    Ok(begin.elapsed())
}

fn suites(criterion: &mut Criterion) {
    let engine = match Engine::open(&downhill::Options::default()) {
        Ok(engine) => engine,
        Err(error) => panic!("{error}; run the benchmarks with `sh scripts/with-adapter.sh cargo bench`"),
    };
    for suite in Suite::ALL {
        let mut group = criterion.benchmark_group(suite.name());
        group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(2));
        for case in Case::usual(suite) {
            let mut ready = None;
            group.bench_function(case.to_string(), |bencher| {
                // Only the cases that the filter leaves come here.
                let job = ready
                    .get_or_insert_with(|| prepare(&engine, &case).unwrap_or_else(|error| panic!("{case}: {error}")));
                bencher.iter_custom(|times| run(job.as_ref(), times).unwrap_or_else(|error| panic!("{case}: {error}")));
            });
        }
        group.finish();
    }
}

criterion_group!(kernels, suites);
criterion_main!(kernels);
