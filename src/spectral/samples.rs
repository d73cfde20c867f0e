//! Data on a device: inner products of vectors with all samples, and weighted sums of samples.
//!
//! With the vectors as rows, both products use the samples X in place: W' = V' X' takes X as a transposed second
//! operand, Y' = W' X as a plain one. The second product sums over samples. It is cut into splits of samples, one batch
//! image per split, so that a GPU has enough work and float32 sums stay short. The host adds the splits in float64.
//! Data that exceed one binding, or one dispatch, are stored in several parts.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::gpu::{Call, Recording, Region, Storage};
use crate::kernels::engine::call_words;
use crate::kernels::matmul::{Layout, MatMul, Strides};
use crate::kernels::selftest::LONGEST_LOOP;
use crate::kernels::shader::MAX_OPERANDS;
use crate::kernels::{Dispatch, Engine};
use crate::tensor::{TEXEL, Tensor};

/// The least number of samples per split where there are that many, and the most.
const SPLIT: usize = 1024;
const LONGEST_SPLIT: usize = 1 << 16;
/// The number of vectors that block sizes are chosen for, and the most per submission.
const BLOCK: usize = 32;
/// The largest number of vectors per product.
pub const MOST_VECTORS: usize = 2 * BLOCK;
/// The approximate number of values that the splits of a block of vectors write. They are read back at each
/// application.
const PARTIAL_VALUES: usize = 4 << 20;
/// The most floating-point operations per dispatch, for [`MOST_VECTORS`]: a fifth of a second on a device of a tenth of
/// a teraflop per second.
const DISPATCH_FLOPS: u64 = 20_000_000_000;

/// Samples X (n, p) in device memory.
pub struct DeviceSamples<'e> {
    engine: &'e Engine,
    count: usize,
    dimension: usize,
    /// The number of samples per split, a multiple of four.
    split: usize,
    parts: Vec<Part>,
    session: Mutex<Option<Session>>,
}

/// Samples in one storage, padded with zeros to whole splits.
struct Part {
    storage: Storage,
    /// The number of samples, without padding.
    samples: usize,
    splits: usize,
}

/// The resources for one number of vectors.
struct Session {
    vectors: usize,
    input: Storage,
    /// Inner products, or weights: one storage per part, each row padded to whole splits.
    along: Vec<Storage>,
    partial: Vec<Storage>,
    inner_products: Recording,
    weighted_sums: Recording,
}

impl<'e> DeviceSamples<'e> {
    /// Uploads `samples` (n, p).
    ///
    /// # Errors
    /// [`Error::OverLimit`] if a sample is longer than the longest sum of a kernel, [`Error::OutOfMemory`],
    /// [`Error::Device`].
    pub fn new(engine: &'e Engine, samples: &Tensor) -> Result<Self> {
        let (count, dimension) = (samples.shape[0], samples.shape[1]);
        let texels = dimension.div_ceil(TEXEL);
        let (most_texels, _) = engine.gpu.max_texels(engine.storage_kind());
        if texels > LONGEST_LOOP as usize {
            return Err(Error::OverLimit {
                tensor: "a sample".into(),
                bytes: (dimension * size_of::<f32>()) as u64,
                limit_name: "longest sum of a kernel",
                limit: (LONGEST_LOOP as usize * TEXEL * size_of::<f32>()) as u64,
                hint: "scale the images down, or choose `gram`, the `route` by inner products".into(),
            });
        }
        let wanted = (count * dimension * BLOCK / PARTIAL_VALUES).max(SPLIT).next_multiple_of(SPLIT);
        // A texture may be padded by one row: leave room for it.
        let fitting = (most_texels / 2 / texels).max(TEXEL) / TEXEL * TEXEL;
        let split = wanted.min(LONGEST_SPLIT).min(count.next_multiple_of(TEXEL)).min(fitting);
        let most_samples =
            ((DISPATCH_FLOPS / (2 * MOST_VECTORS as u64 * dimension as u64)) as usize).min(most_texels / 2 / texels);
        let splits = (most_samples / split).max(1);
        let parts = samples
            .data
            .chunks(splits * split * dimension)
            .map(|values| {
                let samples = values.len() / dimension;
                let splits = samples.div_ceil(split);
                let storage = engine.gpu.allocate(engine.storage_kind(), splits * split * texels, "samples")?;
                upload(engine, &storage, values, dimension, splits * split)?;
                Ok(Part { storage, samples, splits })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { engine, count, dimension, split, parts, session: Mutex::new(None) })
    }

    /// The number of samples, n.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The length of a sample, p.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Computes V X' in float32 for at most [`MOST_VECTORS`] rows V, (b, p): (b, n).
    ///
    /// # Errors
    /// Those of the device.
    pub fn inner_products(&self, vectors: &[f32]) -> Result<Tensor> {
        let rows = vectors.len() / self.dimension;
        self.with_session(rows, |session| {
            let gpu = &self.engine.gpu;
            upload(self.engine, &session.input, vectors, self.dimension, rows)?;
            gpu.submit(&session.inner_products)?;
            if let ([part], [storage]) = (self.parts.as_slice(), session.along.as_slice()) {
                // A single part holds everything: its rows are truncated, and no value is written twice.
                let width = part.splits * self.split;
                let written = gpu.download(&[Region { storage, first: 0, texels: rows * width / TEXEL }])?;
                let mut data = Vec::with_capacity(rows * self.count);
                for row in written.iter().flat_map(|values| values.chunks_exact(width)) {
                    data.extend_from_slice(&row[..self.count]);
                }
                return Ok(Tensor::new([rows, self.count], data));
            }
            let mut products = Tensor::zeros([rows, self.count]);
            let mut first = 0;
            for (part, storage) in self.parts.iter().zip(&session.along) {
                let width = part.splits * self.split;
                let written = gpu.download(&[Region { storage, first: 0, texels: rows * width / TEXEL }])?;
                let along = written.iter().flat_map(|values| values.chunks_exact(width));
                for (to, from) in products.data.chunks_exact_mut(self.count).zip(along) {
                    to[first..first + part.samples].copy_from_slice(&from[..part.samples]);
                }
                first += part.samples;
            }
            Ok(products)
        })
    }

    /// Computes W X for at most [`MOST_VECTORS`] rows of weights W, (b, n): (b, p), summed in float32 within splits of
    /// samples and in float64 over the splits.
    ///
    /// # Errors
    /// Those of the device.
    pub fn weighted_sums(&self, weights: &[f32]) -> Result<Vec<f64>> {
        let rows = weights.len() / self.count;
        self.with_session(rows, |session| {
            let mut first = 0;
            for (part, storage) in self.parts.iter().zip(&session.along) {
                let width = part.splits * self.split;
                let mut padded = vec![0.0; rows * width];
                for (to, from) in padded.chunks_exact_mut(width).zip(weights.chunks_exact(self.count)) {
                    to[..part.samples].copy_from_slice(&from[first..first + part.samples]);
                }
                self.engine.gpu.upload(storage, 0, &padded)?;
                first += part.samples;
            }
            self.engine.gpu.submit(&session.weighted_sums)?;
            self.sums(session)
        })
    }

    /// Computes V X' X for at most [`MOST_VECTORS`] rows V, (b, p), without reading back between the products: (b, p),
    /// summed as in [`Self::weighted_sums`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn applied_twice(&self, vectors: &[f32]) -> Result<Vec<f64>> {
        let rows = vectors.len() / self.dimension;
        self.with_session(rows, |session| {
            upload(self.engine, &session.input, vectors, self.dimension, rows)?;
            self.engine.gpu.submit(&session.inner_products)?;
            self.engine.gpu.submit(&session.weighted_sums)?;
            self.sums(session)
        })
    }

    /// Adds up the splits.
    fn sums(&self, session: &Session) -> Result<Vec<f64>> {
        let padded = self.dimension.next_multiple_of(TEXEL);
        let values = session.vectors * padded;
        let mut sums = vec![0.0f64; values];
        for (part, storage) in self.parts.iter().zip(&session.partial) {
            let texels = part.splits * values / TEXEL;
            let written = self.engine.gpu.download(&[Region { storage, first: 0, texels }])?;
            for split in written.iter().flat_map(|written| written.chunks_exact(values)) {
                sums.iter_mut().zip(split).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
        Ok(sums.chunks_exact(padded).flat_map(|row| &row[..self.dimension]).copied().collect())
    }

    /// Runs `work` with the resources for this number of vectors.
    fn with_session<T>(&self, vectors: usize, work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        assert!((1..=MOST_VECTORS).contains(&vectors), "{vectors} vectors");
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = match session.take() {
            Some(ready) if ready.vectors == vectors => ready,
            _ => self.prepare(vectors)?,
        };
        work(session.insert(ready))
    }

    /// W' = V' X' of one part: each split of samples is a run of texels in every row.
    fn first_product(&self, vectors: usize, splits: usize) -> MatMul {
        let texels = self.dimension.div_ceil(TEXEL);
        MatMul {
            layout: Layout::Transposed,
            b: Strides { row: texels, image: 0, head: 0 },
            ..MatMul::plain(1, vectors, self.dimension, splits * self.split)
        }
    }

    /// Y' = W' X of one part, one split per image.
    fn second_product(&self, vectors: usize, splits: usize) -> MatMul {
        let along = self.split / TEXEL;
        MatMul {
            a: Strides { row: splits * along, image: along, head: 0 },
            ..MatMul::plain(splits, vectors, self.split, self.dimension)
        }
    }

    fn prepare(&self, vectors: usize) -> Result<Session> {
        let Self { engine, dimension, split, .. } = self;
        let texels = dimension.div_ceil(TEXEL);
        let allocate = |texels: usize, name: &str| engine.gpu.allocate(engine.storage_kind(), texels, name);
        let input = allocate(vectors * texels, "vectors")?;
        let along = self
            .parts
            .iter()
            .map(|part| allocate(vectors * part.splits * split / TEXEL, "samples along vectors"))
            .collect::<Result<Vec<_>>>()?;
        let partial = self
            .parts
            .iter()
            .map(|part| allocate(part.splits * vectors * texels, "partial products"))
            .collect::<Result<Vec<_>>>()?;
        let mut first = Vec::new();
        let mut second = Vec::new();
        for ((part, along), partial) in self.parts.iter().zip(&along).zip(&partial) {
            first.push((self.first_product(vectors, part.splits), [&input, &part.storage, along]));
            second.push((self.second_product(vectors, part.splits), [along, &part.storage, partial]));
        }
        let inner_products = self.recorded(&first, "inner products")?;
        let weighted_sums = self.recorded(&second, "weighted sums")?;
        Ok(Session { vectors, input, along, partial, inner_products, weighted_sums })
    }

    fn recorded(&self, work: &[(MatMul, [&Storage; 3])], label: &str) -> Result<Recording> {
        let dispatches: Vec<Dispatch> = work.iter().map(|(product, _)| product.dispatch(self.engine.family)).collect();
        let pipelines =
            self.engine.pipelines(&dispatches.iter().map(|dispatch| &dispatch.shader).collect::<Vec<_>>())?;
        let calls: Vec<_> = work
            .iter()
            .zip(&dispatches)
            .zip(&pipelines)
            .map(|(((product, [a, b, y]), dispatch), pipeline)| Call {
                pipeline,
                words: call_words([0; MAX_OPERANDS], [0; 3], &dispatch.params),
                operands: MatMul::reads(*a, *b).into_iter().chain([*y]).collect(),
                grid: dispatch.grid,
                flops: product.flops(),
                label,
            })
            .collect();
        self.engine.gpu.record(&calls)
    }
}

/// Uploads rows of `dimension` values, each padded with zeros to whole texels, and zero rows up to `rows`.
fn upload(engine: &Engine, storage: &Storage, values: &[f32], dimension: usize, rows: usize) -> Result<()> {
    /// The number of rows padded at once.
    const BATCH: usize = 4096;
    let padded = dimension.next_multiple_of(TEXEL);
    let given = values.len() / dimension;
    let mut first = 0;
    if padded == dimension {
        engine.gpu.upload(storage, 0, values)?;
        first = given;
    }
    while first < rows {
        let count = BATCH.min(rows - first);
        let mut batch = vec![0.0; count * padded];
        let some = values[(first * dimension).min(values.len())..].chunks_exact(dimension);
        batch.chunks_exact_mut(padded).zip(some).for_each(|(row, values)| row[..dimension].copy_from_slice(values));
        engine.gpu.upload(storage, first * padded / TEXEL, &batch)?;
        first += count;
    }
    Ok(())
}
