//! The second moment of data on the device, matrix-free: X'(XV) / n in two batched products on one copy of X.
//!
//! With the vectors as rows, both products take X as it lies: W' = V' X' has X as a transposed second operand, Y' = W' X
//! as a plain one. The second sums over samples; it is cut into splits of samples, one image of the batch each, so that a
//! GPU has enough to do and float32 sums stay short. The splits are added up on the host in float64. What does not fit
//! one binding, or one dispatch, lies in several parts.

use std::sync::{Mutex, PoisonError};

use super::operator::SymmetricOperator;
use crate::error::{Error, Result};
use crate::gpu::{Call, Recording, Region, Storage};
use crate::kernels::engine::call_words;
use crate::kernels::matmul::{Layout, MatMul, Strides};
use crate::kernels::shader::MAX_OPERANDS;
use crate::kernels::{Dispatch, Engine};
use crate::tensor::{TEXEL, Tensor};

/// Samples of a split at least, where there are as many, and at most.
const SPLIT: usize = 1024;
const LONGEST_SPLIT: usize = 1 << 16;
/// Vectors of a block that sizes are chosen for, and at most of one submission.
const BLOCK: usize = 32;
const MOST_VECTORS: usize = 2 * BLOCK;
/// Texels of the longest sum in a kernel: no loop runs longer.
const LONGEST_LOOP: usize = 30_000;
/// Values that the splits of a block of vectors write, about: they are read back at each application.
const PARTIAL_VALUES: usize = 4 << 20;
/// Floating-point operations of one dispatch at most, for [`MOST_VECTORS`]: a fifth of a second on a device
/// that does a tenth of a teraflop a second.
const DISPATCH_FLOPS: usize = 20_000_000_000;

/// X'X / n for samples X (n, p) that lie on a device.
pub struct DeviceCovariance<'e> {
    engine: &'e Engine,
    samples: usize,
    dimension: usize,
    /// Samples of a split, a multiple of four.
    split: usize,
    parts: Vec<Part>,
    session: Mutex<Option<Session>>,
}

/// Samples in one storage, filled up with zeros to whole splits.
struct Part {
    storage: Storage,
    splits: usize,
}

/// Everything that is made for one number of vectors.
struct Session {
    vectors: usize,
    input: Storage,
    _along: Vec<Storage>,
    partial: Vec<Storage>,
    recording: Recording,
}

impl<'e> DeviceCovariance<'e> {
    /// Puts `samples` (n, p) on the device.
    ///
    /// # Errors
    /// [`Error::OverLimit`] when one sample is longer than a kernel's loop may be, [`Error::OutOfMemory`],
    /// [`Error::Device`].
    pub fn new(engine: &'e Engine, samples: &Tensor) -> Result<Self> {
        let (count, dimension) = (samples.shape[0], samples.shape[1]);
        let texels = dimension.div_ceil(TEXEL);
        let (most_texels, _) = engine.gpu.max_texels(engine.storage_kind());
        if texels > LONGEST_LOOP {
            return Err(Error::OverLimit {
                tensor: "a sample".into(),
                bytes: (dimension * size_of::<f32>()) as u64,
                limit_name: "longest sum of a kernel",
                limit: (LONGEST_LOOP * TEXEL * size_of::<f32>()) as u64,
                hint: "scale the images down, or take another route (`--route gram`)".into(),
            });
        }
        let wanted = (count * dimension * BLOCK / PARTIAL_VALUES).max(SPLIT).next_multiple_of(SPLIT);
        // A row of padding may be added to a texture: leave room for it.
        let fitting = (most_texels / 2 / texels).max(TEXEL) / TEXEL * TEXEL;
        let split = wanted.min(LONGEST_SPLIT).min(count.next_multiple_of(TEXEL)).min(fitting);
        let most_samples = (DISPATCH_FLOPS / (2 * MOST_VECTORS * dimension)).min(most_texels / 2 / texels);
        let splits = (most_samples / split).max(1);
        let parts = samples
            .data
            .chunks(splits * split * dimension)
            .map(|values| {
                let splits = (values.len() / dimension).div_ceil(split);
                let storage = engine.gpu.allocate(engine.storage_kind(), splits * split * texels, "samples")?;
                upload(engine, &storage, values, dimension, splits * split)?;
                Ok(Part { storage, splits })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { engine, samples: count, dimension, split, parts, session: Mutex::new(None) })
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

    /// Y' = W' X of one part, a split an image.
    fn second_product(&self, vectors: usize, splits: usize) -> MatMul {
        let along = self.split / TEXEL;
        MatMul {
            a: Strides { row: splits * along, image: along, head: 0 },
            ..MatMul::plain(splits, vectors, self.split, self.dimension)
        }
    }

    fn prepare(&self, vectors: usize) -> Result<Session> {
        let Self { engine, dimension, split, .. } = self;
        let (gpu, kind) = (&engine.gpu, engine.storage_kind());
        let texels = dimension.div_ceil(TEXEL);
        let input = gpu.allocate(kind, vectors * texels, "vectors")?;
        let allocate = |texels: usize, name: &str| gpu.allocate(kind, texels, name);
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
        let mut work: Vec<(Dispatch, u64, [&Storage; 3])> = Vec::new();
        for ((part, along), partial) in self.parts.iter().zip(&along).zip(&partial) {
            let first = self.first_product(vectors, part.splits);
            work.push((first.dispatch(engine.family), first.flops(), [&input, &part.storage, along]));
            let second = self.second_product(vectors, part.splits);
            work.push((second.dispatch(engine.family), second.flops(), [along, &part.storage, partial]));
        }
        let pipelines = engine.pipelines(&work.iter().map(|(dispatch, ..)| &dispatch.shader).collect::<Vec<_>>())?;
        let calls: Vec<_> = work
            .iter()
            .zip(&pipelines)
            .map(|((dispatch, flops, [a, b, y]), pipeline)| Call {
                pipeline,
                words: call_words([0; MAX_OPERANDS], [0; 3], &dispatch.params),
                operands: MatMul::reads(*a, *b).into_iter().chain([*y]).collect(),
                grid: dispatch.grid,
                flops: *flops,
                label: "covariance",
            })
            .collect();
        let recording = gpu.record(&calls)?;
        Ok(Session { vectors, input, _along: along, partial, recording })
    }

    /// Floating-point operations of an application to `vectors` vectors.
    #[must_use]
    pub fn flops(&self, vectors: usize) -> u64 {
        4 * (self.samples * self.dimension * vectors) as u64
    }
}

impl SymmetricOperator for DeviceCovariance<'_> {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
        let mut answer = Vec::with_capacity(vectors.data.len());
        for block in vectors.data.chunks(MOST_VECTORS * self.dimension) {
            answer.extend(self.apply_block(block)?);
        }
        Ok(Tensor::new([vectors.shape[0], self.dimension], answer))
    }
}

impl DeviceCovariance<'_> {
    /// Applies the operator to at most [`MOST_VECTORS`] rows.
    fn apply_block(&self, vectors: &[f32]) -> Result<Vec<f32>> {
        let (count, dimension, gpu) = (vectors.len() / self.dimension, self.dimension, &self.engine.gpu);
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = match session.take() {
            Some(ready) if ready.vectors == count => ready,
            _ => self.prepare(count)?,
        };
        let session = session.insert(ready);
        upload(self.engine, &session.input, vectors, dimension, count)?;
        gpu.submit(&session.recording)?;
        let padded = dimension.next_multiple_of(TEXEL);
        let mut sums = vec![0.0f64; count * padded];
        for (part, storage) in self.parts.iter().zip(&session.partial) {
            let texels = part.splits * count * padded / TEXEL;
            let written = gpu.download(&[Region { storage, first: 0, texels }])?;
            for split in written.iter().flat_map(|values| values.chunks_exact(count * padded)) {
                sums.iter_mut().zip(split).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
        let share = (self.samples as f64).recip();
        let rows = sums.chunks_exact(padded).flat_map(|row| &row[..dimension]);
        Ok(rows.map(|sum| (sum * share) as f32).collect())
    }
}

/// Uploads rows of `dimension` values, each filled up with zeros to whole texels, and rows of zeros up to `rows`.
fn upload(engine: &Engine, storage: &Storage, values: &[f32], dimension: usize, rows: usize) -> Result<()> {
    /// Rows padded at once.
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
