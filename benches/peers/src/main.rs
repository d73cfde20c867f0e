//! Times burn at matrix products and convolutions, each held against plain sums on the host before; JSON on stdout.

mod host;
mod size;

use std::process::ExitCode;
use std::time::Instant;

use burn_tensor::backend::Backend;
use burn_tensor::ops::ConvOptions;
use burn_tensor::{Tensor, TensorData, module};
use burn_wgpu::{RuntimeOptions, Wgpu, WgpuDevice, graphics, init_setup};
use clap::Parser;
use serde_json::{Value, json};
use size::{Case, Suite};

type Burn = Wgpu<f32, i32>;

/// Answers further from the host's than this are wrong.
const TOLERANCE: f64 = 1e-4;
/// A sample lasts as long at least, in seconds.
const SAMPLE_SECONDS: f64 = 0.05;
/// Seeds of the operands.
const LEFT: u64 = 1;
const RIGHT: u64 = 2;

/// Time burn on a Vulkan adapter
#[derive(Debug, Parser)]
struct Args {
    /// What is timed
    #[arg(value_enum, default_value = "all")]
    work: Suite,

    /// Sizes in place of the usual ones: `MxKxN` or one number for matmul, `CxHxW` or `NxCxHxW` for conv
    #[arg(long)]
    sizes: Option<String>,

    /// Samples a case
    #[arg(short = 'r', long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    repeats: u16,

    /// The adapter, as burn counts them
    #[arg(long, value_enum, default_value = "default")]
    device: Sort,
}

/// Sorts of adapters; of several of a sort, the first.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sort {
    /// What burn prefers
    Default,
    /// A software adapter
    Cpu,
    /// A graphics card
    Discrete,
    /// A GPU beside the processor
    Integrated,
}

impl Sort {
    fn device(self) -> WgpuDevice {
        match self {
            Self::Default => WgpuDevice::DefaultDevice,
            Self::Cpu => WgpuDevice::Cpu,
            Self::Discrete => WgpuDevice::DiscreteGpu(0),
            Self::Integrated => WgpuDevice::IntegratedGpu(0),
        }
    }
}

/// Operands on the device.
enum Ready {
    Matmul(Tensor<Burn, 2>, Tensor<Burn, 2>),
    Conv(Tensor<Burn, 4>, Tensor<Burn, 4>),
}

impl Ready {
    fn new(case: Case, x: &[f32], weights: &[f32], device: &WgpuDevice) -> Self {
        match case {
            Case::Matmul { rows, k, columns } => {
                Self::Matmul(upload(x, [rows, k], device), upload(weights, [k, columns], device))
            }
            Case::Conv { images, channels, height, width } => Self::Conv(
                upload(x, [images, channels, height, width], device),
                upload(weights, [channels, channels, 3, 3], device),
            ),
        }
    }

    /// One call, queued.
    fn call(&self) -> Tensor<Burn, 1> {
        match self {
            Self::Matmul(a, b) => a.clone().matmul(b.clone()).flatten(0, 1),
            Self::Conv(x, weights) => {
                let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
                module::conv2d(x.clone(), weights.clone(), None, options).flatten(0, 3)
            }
        }
    }

    /// Seconds of a call, of `calls` that are queued one after the other and waited for.
    fn time(&self, calls: usize, device: &WgpuDevice) -> Result<f64, String> {
        let begin = Instant::now();
        for _ in 0..calls {
            drop(self.call());
        }
        Burn::sync(device).map_err(|error| format!("{error:?}"))?;
        Ok(begin.elapsed().as_secs_f64() / calls as f64)
    }
}

fn upload<const D: usize>(values: &[f32], shape: [usize; D], device: &WgpuDevice) -> Tensor<Burn, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// The row of a case: tuned and compiled by a first call, checked, called once more, then sampled.
fn measure(case: Case, repeats: usize, device: &WgpuDevice) -> Result<Value, String> {
    let (x_len, weights_len) = match case {
        Case::Matmul { rows, k, columns } => (rows * k, k * columns),
        Case::Conv { images, channels, height, width } => (images * channels * height * width, 9 * channels * channels),
    };
    let (x, weights) = (host::numbers(LEFT, x_len, 1), host::numbers(RIGHT, weights_len, case.terms()));
    let ready = Ready::new(case, &x, &weights, device);
    let first_seconds = ready.time(1, device)?;
    let answer = ready.call().into_data().into_vec::<f32>().map_err(|error| format!("{error:?}"))?;
    let error = host::error(case, &x, &weights, &answer);
    if error > TOLERANCE {
        return Err(format!("wrong: {error:.1e} away from the host's answer"));
    }
    let calls = (SAMPLE_SECONDS / ready.time(1, device)?).ceil().max(1.0) as usize;
    let samples = (0..repeats).map(|_| ready.time(calls, device)).collect::<Result<Vec<f64>, String>>()?;
    let median = median(&samples);
    Ok(json!({
        "suite": case.suite(),
        "case": case.to_string(),
        "status": "measured",
        "check": { "error": error },
        "first_seconds": first_seconds,
        "timing": { "samples": samples, "calls": calls, "median": median },
        "rate": { "work": case.flops(), "value": case.flops() as f64 / median * 1e-9, "unit": "GFLOP/s" },
    }))
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

fn main() -> ExitCode {
    let args = Args::parse();
    let cases = match args.work.cases(args.sizes.as_deref()) {
        Ok(cases) => cases,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    let device = args.device.device();
    let adapter = init_setup::<graphics::Vulkan>(&device, RuntimeOptions::default()).adapter.get_info();

    let mut failed = false;
    let row = |case: Case| {
        eprintln!("burn: {} {case}", case.suite());
        measure(case, args.repeats.into(), &device).unwrap_or_else(|reason| {
            failed = true;
            json!({ "suite": case.suite(), "case": case.to_string(), "status": "failed", "reason": reason })
        })
    };
    let rows: Vec<Value> = cases.into_iter().map(row).collect();
    let report = json!({
        "burn": "0.21.0",
        "compiler": if cfg!(feature = "spirv") { "SPIR-V" } else { "WGSL" },
        "autotune": cfg!(feature = "autotune"),
        "fusion": false,
        "adapter": adapter.name,
        "driver": format!("{} {}", adapter.driver, adapter.driver_info),
        "rows": rows,
    });
    println!("{report:#}");
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
