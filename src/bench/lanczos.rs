//! Principal components of generated data. Their eigenpairs are checked against the host twin before they are timed.

use std::fmt::{self, Display, Formatter};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, get_global_parallelism};

use super::measure::{clock, steady};
use super::problem::{Job, Work, numbers};
use super::report::{Check, Roofs, Row};
use super::sizes::DataSize;
use crate::error::{Error, Result};
use crate::gpu::StorageKind;
use crate::kernels::Engine;
use crate::noise::Purpose;
use crate::spectral::host::HostCovariance;
use crate::spectral::operator::columns_of;
use crate::spectral::spectrum::residuals;
use crate::spectral::{Components, RelativeTo, Route, Settings, principal_components};
use crate::tensor::{TEXEL, Tensor};

/// The number of eigenpairs sought.
const COUNT: usize = 32;
/// The largest acceptable residual, relative to the largest eigenvalue.
const RESIDUAL: f64 = 1e-4;
/// The number of directions of the signal, with variances that fall as those of photographs do.
const DIRECTIONS: usize = 256;
const DECAY: f32 = -0.75;
/// The standard deviation of the noise, relative to a first direction of one.
const NOISE: f32 = 0.02;
/// The seeds of directions, factors and noise.
const SEEDS: [u64; 3] = [7, 8, 9];

/// The leading eigenpairs of generated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eigenpairs {
    /// The number of samples and their values.
    pub size: DataSize,
    /// The route to the eigenpairs. `None` is the cheapest.
    pub route: Option<Route>,
}

impl Display for Eigenpairs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.size.fmt(f)?;
        self.route.map_or(Ok(()), |route| write!(f, " {route}"))
    }
}

impl Eigenpairs {
    fn settings(self) -> Settings {
        Settings { tolerance: RESIDUAL / 2.0, ..Settings::new(COUNT.min(self.size.dimension)) }
    }

    /// Generates data whose eigenvalues fall as i^(-3/2) to a floor of noise.
    fn data(self) -> Tensor {
        let DataSize { samples, dimension } = self.size;
        let directions = DIRECTIONS.min(dimension);
        let scale = (dimension as f32).sqrt().recip();
        let mut basis = Purpose::Benchmarks.normals(SEEDS[0], 0, 0, directions * dimension);
        for (index, direction) in basis.chunks_exact_mut(dimension).enumerate() {
            let deviation = scale * (index as f32 + 1.0).powf(DECAY);
            for value in direction {
                *value *= deviation;
            }
        }
        let factors = Purpose::Benchmarks.normals(SEEDS[1], 0, 0, samples * directions);
        let mut values = numbers(SEEDS[2], samples * dimension);
        for value in &mut values {
            *value *= NOISE * scale;
        }
        matmul(
            MatMut::from_row_major_slice_mut(&mut values, samples, dimension),
            Accum::Add,
            MatRef::from_row_major_slice(&factors, samples, directions),
            MatRef::from_row_major_slice(&basis, directions, dimension),
            1.0,
            get_global_parallelism(),
        );
        Tensor::new([samples, dimension], values)
    }

    /// Refuses data of which not even a few samples fit the device, or that are too large for the host.
    fn check_size(self, engine: &Engine) -> Result<()> {
        /// The largest data, in bytes.
        const MOST_BYTES: u64 = 16 << 30;
        let bytes = (self.size.samples * self.size.dimension * size_of::<f32>()) as u64;
        let over = |limit_name, limit| {
            let hint = "choose smaller `sizes`".into();
            Err(Error::OverLimit { tensor: self.to_string(), bytes, limit_name, limit, hint })
        };
        let (texels, limit_name) = engine.gpu.max_texels(engine.storage_kind());
        if self.size.dimension > texels / TEXEL {
            return over(limit_name, (texels * TEXEL * size_of::<f32>()) as u64);
        }
        if bytes > MOST_BYTES { over("data of 16 GiB that are generated", MOST_BYTES) } else { Ok(()) }
    }
}

/// Eigenpairs that can be solved for repeatedly: from data on the host to eigenpairs on the host.
pub struct Solve<'e> {
    engine: &'e Engine,
    eigenpairs: Eigenpairs,
    data: Tensor,
}

impl<'e> Solve<'e> {
    /// Generates the data.
    ///
    /// # Errors
    /// [`Error::OverLimit`] for data that cannot fit a device.
    pub fn new(engine: &'e Engine, eigenpairs: Eigenpairs) -> Result<Self> {
        eigenpairs.check_size(engine)?;
        Ok(Self { engine, eigenpairs, data: eigenpairs.data() })
    }

    fn solve(&self) -> Result<Components> {
        principal_components(self.engine, &self.data, &self.eigenpairs.settings(), self.eigenpairs.route)
    }

    /// Checks the residuals on the twin in float64.
    fn check(&self, found: &Components) -> Result<Check> {
        let spectrum = &found.spectrum;
        let twin = HostCovariance::new(&self.data).precise();
        // Relative to the largest eigenvalue: the vectors are kept in float32, whose rounding is more than a small one.
        let settings = Settings { relative_to: RelativeTo::Largest, ..spectrum.settings };
        let error = residuals(&twin, &spectrum.values, columns_of(&spectrum.vectors).as_ref(), &settings)?;
        let error = error.into_iter().fold(0.0, f64::max);
        if error <= RESIDUAL && spectrum.converged {
            return Ok(Check { error, part: format!("residuals of {} eigenpairs on the host", spectrum.values.len()) });
        }
        Err(Error::Device {
            what: format!("a residual of {error:.1e} on the host twin is over {RESIDUAL:.0e}"),
            hint: Some("choose another `adapter`, and see `downhill selftest`".into()),
        })
    }
}

impl Job for Solve<'_> {
    fn repeat(&self, times: usize) -> Result<()> {
        (0..times).try_for_each(|_| self.solve().map(drop))
    }

    fn answer(&self) -> Result<Vec<f32>> {
        Ok(self.solve()?.spectrum.values.into_iter().map(|value| value as f32).collect())
    }
}

/// Measures a spectrum: solves, checks, then times from data on the host to eigenpairs on the host.
///
/// # Errors
/// Those of the device, and [`Error::Device`] for residuals that are too large.
pub fn measure_eigenpairs(
    engine: &Engine,
    row: Row,
    eigenpairs: Eigenpairs,
    roofs: &Roofs,
    repeats: usize,
) -> Result<Row> {
    let mut row = row;
    let solve = Solve::new(engine, eigenpairs)?;
    let mut found = None;
    let first = clock(|| solve.solve().map(|components| found = Some(components)))?;
    if let Some(found) = &found {
        row.check = Some(solve.check(found)?);
        let memory = if matches!(engine.storage_kind(), StorageKind::Buffer { .. }) { "buffers" } else { "textures" };
        row.kernels = vec![match found.route {
            Route::MatrixFree => format!("{} on {memory}, {} products", found.route, found.spectrum.applied_vectors),
            _ => format!("{} on the host, {}", found.route, found.spectrum.solver),
        }];
    }
    let timing = steady(engine.gpu.adapter.kind, repeats, |times| solve.repeat(times))?;
    row.compile_seconds = Some((first - timing.median).max(0.0));
    let on_device = found.filter(|found| found.route == Route::MatrixFree);
    let work = on_device.map_or(Work::Nothing, |found| {
        let DataSize { samples, dimension } = eigenpairs.size;
        Work::Flops(4 * (samples * dimension * found.spectrum.applied_vectors) as u64)
    });
    Ok(row.timed(timing, work, roofs))
}
