//! The local closed form: each pixel of x0 is the mean of the centres of all patches of the data that it is compared
//! with, each weighted by exp(-|x' - k'|^2 / (2 sigma^2)) for the patch x' around the pixel and the patches k'
//! (Kamb and Ganguli, "An analytic theory of creativity in convolutional diffusion models", 2024).
//!
//! With [`Boundary::Circular`] it is the paper's equivariant local score machine, with [`Boundary::Padded`] the one
//! whose equivariance is broken at the edges, and with [`Boundary::Fixed`] the local score machine without
//! equivariance. Where a patch reaches over the whole image from everywhere, the last two are the ideal denoiser.
//!
//! The patches of all data are a matrix of many gigabytes. They are laid out in chunks, equal ones once with their
//! number, and go through a kernel that keeps the largest score and the weighted sums ([`PatchMeans`]); the host adds
//! up its parts in float64. Chunks stay on the device where all of them fit.

mod patches;
mod window;

use rayon::prelude::*;

use self::patches::Group;
use self::window::{Window, groups};
use super::options::{Boundary, LocalOptions};
use crate::data::Dataset;
use crate::denoise::{Denoiser, Level};
use crate::error::{Error, Result};
use crate::gpu::{Call, Region, Storage};
use crate::kernels::Engine;
use crate::kernels::engine::call_words;
use crate::kernels::patch_means::PatchMeans;
use crate::kernels::shader::MAX_OPERANDS;
use crate::tensor::{TEXEL, Tensor};

/// The most patches of a group of places, equal ones included: the host holds 16 bytes for each while it finds equal
/// ones.
const MOST_PATCHES: usize = 1 << 27;
/// A bound on the error of a logarithm of a weight, above which differences are taken before squaring.
const TOLERANCE: f64 = 2e-4;

/// Bounds on the memory that a local denoiser takes on its device, a texel being 16 bytes. No prediction depends on
/// them beyond rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Texels of a chunk of patches of the data, of which there is at least a block.
    pub chunk: usize,
    /// Texels of all patches of the data, up to which they stay on the device.
    pub kept: usize,
    /// Places of images that a dispatch compares with a chunk.
    pub queries: usize,
    /// Blocks of patches that are summed up in float32, unless the kernel takes fewer.
    pub per_part: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { chunk: 2 << 20, kept: 16 << 20, queries: 8192, per_part: 256 }
    }
}

/// The posterior mean of each pixel over the patches of data.
pub struct Local<'e> {
    engine: &'e Engine,
    data: Dataset,
    window: Window,
    groups: Vec<Keys>,
    bounds: Bounds,
    /// The largest norm of a patch of the data.
    longest: f64,
}

/// A group of places with its keys.
struct Keys {
    group: Group,
    /// The chunks that are on the device; empty where there is no room.
    kept: Vec<Storage>,
}

/// The sums of a query: weights are relative to 2^most.
#[derive(Clone, Copy)]
struct Sums {
    most: f64,
    total: f64,
    centres: [f64; TEXEL],
}

impl<'e> Local<'e> {
    /// The denoiser of images (c, h, w) of `data`.
    ///
    /// # Errors
    /// [`Error::Argument`] for images of more than four channels, patches larger than can differ, and more patches than
    /// the host holds; those of the device.
    pub fn new(engine: &'e Engine, data: Dataset, options: &LocalOptions, image: [usize; 3]) -> Result<Self> {
        Self::bounded(engine, data, options, image, Bounds::default())
    }

    /// The same within other bounds.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn bounded(
        engine: &'e Engine,
        data: Dataset,
        options: &LocalOptions,
        image: [usize; 3],
        bounds: Bounds,
    ) -> Result<Self> {
        let bounds = Bounds { queries: bounds.queries.max(1), per_part: bounds.per_part.max(1), ..bounds };
        check(options, image, data.count())?;
        let [_, height, width] = image;
        let reach = options.patch / 2;
        let mean = data.mean();
        let offset = mean.chunks(height * width).map(|of| (of.iter().sum::<f64>() / of.len() as f64) as f32).collect();
        let window = Window { reach, image, wraps: options.boundary == Boundary::Circular, offset };
        let groups: Vec<Group> = groups(options.boundary, reach, height, width)
            .into_iter()
            .map(|places| Group::new(&data, &window, places))
            .collect();
        let longest = groups.iter().map(|group| group.longest(&data, &window)).fold(0.0, f64::max);
        let mut local = Self { engine, data, window, groups: Vec::new(), bounds, longest };
        let block_texels = local.block_texels();
        let texels = |group: &Group| group.patches.len().div_ceil(local.block()) * block_texels;
        let keeps = groups.iter().map(texels).sum::<usize>() <= bounds.kept;
        for group in groups {
            let mut kept = Vec::new();
            if keeps {
                for patches in group.patches.chunks(local.chunk()) {
                    let keys = group.keys(&local.data, &local.window, engine.family, patches);
                    let storage = local.storage(keys.len() / TEXEL, "patches")?;
                    engine.gpu.upload(&storage, 0, &keys)?;
                    kept.push(storage);
                }
            }
            local.groups.push(Keys { group, kept });
        }
        Ok(local)
    }

    /// The number of different patches, over all groups of places.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.groups.iter().map(|keys| keys.group.patches.len()).sum()
    }

    fn texels(&self) -> usize {
        self.window.taps().div_ceil(TEXEL)
    }

    fn block(&self) -> usize {
        PatchMeans::block(self.engine.family)
    }

    fn block_texels(&self) -> usize {
        PatchMeans::block_texels(self.engine.family, self.texels())
    }

    /// Patches of a chunk, whole blocks.
    fn chunk(&self) -> usize {
        (self.bounds.chunk / self.block_texels()).max(1) * self.block()
    }

    fn storage(&self, texels: usize, name: &str) -> Result<Storage> {
        self.engine.gpu.allocate(self.engine.storage_kind(), texels, name)
    }

    /// The predictions of x0 for some images, one after the other.
    fn predictions(&self, images: &[(&[f32], f64)], differences: bool) -> Result<Vec<f64>> {
        let [channels, height, width] = self.window.image;
        let pixels = height * width;
        let mut predictions = vec![0.0; images.len() * channels * pixels];
        for keys in &self.groups {
            let places = &keys.group.places;
            let sums = self.sums(keys, images, differences)?;
            for (image, sums) in sums.chunks_exact(places.len()).enumerate() {
                for ((row, column), sums) in places.iter().zip(sums) {
                    for channel in 0..channels {
                        let mean = f64::from(self.window.offset[channel]) + sums.centres[channel] / sums.total;
                        predictions[(image * channels + channel) * pixels + row * width + column] = mean;
                    }
                }
            }
        }
        Ok(predictions)
    }

    /// The sums of the queries of a group: for each image its places.
    fn sums(&self, keys: &Keys, images: &[(&[f32], f64)], differences: bool) -> Result<Vec<Sums>> {
        let group = &keys.group;
        let row = TEXEL * (self.texels() + 1);
        let count = images.len() * group.places.len();
        let most = self.bounds.queries;
        let mut queries = vec![0.0f32; count.min(most) * row];
        let mut sums = vec![Sums { most: f64::NEG_INFINITY, total: 0.0, centres: [0.0; TEXEL] }; count];
        let input = self.storage(count.min(most) * row / TEXEL, "patches of images")?;
        let mut passing = None;
        for (at, patches) in group.patches.chunks(self.chunk()).enumerate() {
            let blocks = patches.len().div_ceil(self.block());
            let storage = if let Some(storage) = keys.kept.get(at) {
                storage
            } else {
                let keys = group.keys(&self.data, &self.window, self.engine.family, patches);
                let storage = match &passing {
                    Some(storage) => storage,
                    None => passing.insert(self.storage(keys.len() / TEXEL, "patches")?),
                };
                self.engine.gpu.upload(storage, 0, &keys)?;
                storage
            };
            for (pass, sums) in sums.chunks_mut(most).enumerate() {
                let queries = &mut queries[..sums.len() * row];
                queries.par_chunks_exact_mut(row).enumerate().for_each(|(at, query)| {
                    let at = pass * most + at;
                    let (image, sigma) = images[at / group.places.len()];
                    self.window.read(image, group.places[at % group.places.len()], query);
                    query[row - TEXEL] = (std::f64::consts::LOG2_E / (sigma * sigma)) as f32;
                });
                self.engine.gpu.upload(&input, 0, queries)?;
                let family = self.engine.family;
                let means = PatchMeans {
                    queries: sums.len(),
                    texels: self.texels(),
                    blocks,
                    per_part: self.bounds.per_part.min(PatchMeans::most_per_part(family, self.texels())),
                    centre: self.window.centre(),
                    channels: self.window.image[0],
                    differences,
                };
                let found = self.run(&means, &input, storage)?;
                for part in found.chunks_exact(2 * TEXEL * sums.len()) {
                    sums.iter_mut().zip(part.chunks_exact(2 * TEXEL)).for_each(|(sums, part)| sums.add(part));
                }
            }
        }
        Ok(sums)
    }

    /// Runs the kernel, and returns what it writes.
    fn run(&self, means: &PatchMeans, queries: &Storage, keys: &Storage) -> Result<Vec<f32>> {
        let gpu = &self.engine.gpu;
        let texels = 2 * means.queries * means.parts();
        let result = self.storage(texels, "means of patches")?;
        let dispatch = means.dispatch(self.engine.family);
        let pipelines = self.engine.pipelines(&[&dispatch.shader])?;
        let calls: Vec<Call> = pipelines
            .iter()
            .map(|pipeline| Call {
                pipeline,
                words: call_words([0; MAX_OPERANDS], [0; 3], &dispatch.params),
                operands: vec![queries, keys, &result],
                grid: dispatch.grid,
                flops: means.flops(self.engine.family),
                label: "means of patches",
            })
            .collect();
        gpu.submit(&gpu.record(&calls)?)?;
        Ok(gpu.download(&[Region { storage: &result, first: 0, texels }])?.concat())
    }

    /// Returns `true` if inner products of float32 do not give the weights of an image's patches.
    fn needs_differences(&self, image: &[f32], sigma: f64) -> bool {
        let pixels = self.window.image[1] * self.window.image[2];
        let off = |(at, value): (usize, &f32)| f64::from((value - self.window.offset[at / pixels]).abs());
        let farthest = image.iter().enumerate().map(off).fold(0.0, f64::max);
        let query = farthest * (self.window.taps() as f64).sqrt();
        f64::from(f32::EPSILON) * (query + self.longest) * self.longest / (sigma * sigma) > TOLERANCE
    }
}

impl Sums {
    /// Adds what the kernel wrote for a part of the keys.
    fn add(&mut self, part: &[f32]) {
        let (part_most, part_total) = (f64::from(part[0]), f64::from(part[1]));
        let most = self.most.max(part_most);
        let (old, new) = ((self.most - most).exp2(), (part_most - most).exp2());
        self.most = most;
        self.total = self.total * old + part_total * new;
        for (centre, part) in self.centres.iter_mut().zip(&part[TEXEL..]) {
            *centre = *centre * old + f64::from(*part) * new;
        }
    }
}

/// Refuses images that the kernel does not take, patches that reach farther than the image, and too many of them in
/// `samples` images.
pub(super) fn check(options: &LocalOptions, [channels, height, width]: [usize; 3], samples: usize) -> Result<()> {
    if channels > TEXEL {
        let what = format!("`local:` takes images of at most {TEXEL} channels, and these have {channels}");
        return Err(Error::argument(what, "give samples of shape (h, w) or (c, h, w)"));
    }
    let most = match options.boundary {
        Boundary::Circular => height.min(width),
        Boundary::Padded | Boundary::Fixed => 2 * height.max(width) - 1,
    };
    if options.patch > most {
        let what = format!("`patch={}` reaches beyond images of {height} x {width}", options.patch);
        return Err(Error::argument(what, format!("give `patch` an odd number up to {most}")));
    }
    let groups = groups(options.boundary, options.patch / 2, height, width);
    let places = groups.iter().map(Vec::len).max().unwrap_or(1);
    if samples.saturating_mul(places) > MOST_PATCHES {
        let what = format!("{samples} samples have {places} patches each, together more than {MOST_PATCHES}");
        return Err(Error::argument(what, format!("use at most {} samples", MOST_PATCHES / places)));
    }
    Ok(())
}

impl Denoiser for Local<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.window.image
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let sigmas = Level::sigmas(levels);
        let len = x.stride();
        let mut eps = vec![0.0; x.data.len()];
        for differences in [false, true] {
            let is_theirs = |at: &usize| self.needs_differences(x.item(*at), sigmas[*at]) == differences;
            let chosen: Vec<usize> = (0..sigmas.len()).filter(is_theirs).collect();
            if chosen.is_empty() {
                continue;
            }
            let images: Vec<_> = chosen.iter().map(|at| (x.item(*at), sigmas[*at])).collect();
            let predictions = self.predictions(&images, differences)?;
            for ((at, (image, sigma)), x0) in chosen.iter().zip(&images).zip(predictions.chunks_exact(len)) {
                let values = image.iter().zip(x0).map(|(x, x0)| ((f64::from(*x) - x0) / sigma) as f32);
                eps[at * len..][..len].iter_mut().zip(values).for_each(|(eps, value)| *eps = value);
            }
        }
        Ok(Tensor::new(x.shape.clone(), eps))
    }
}
