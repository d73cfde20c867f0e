//! The engine: a device with the family of kernels that serves it, and the pipelines compiled so far.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::selftest::Check;
use super::shader::{Access, MAX_OPERANDS, Memory, Shader, TEXTURE_WIDTH};
use super::tuned::Choices;
use super::{Dispatch, Family};
use crate::error::{Error, Result};
use crate::gpu::{self, Binding, Call, Choice, Described, Gpu, Kind, Pipeline, PipelineSource, Region, StorageKind};
use crate::tensor::{Precision, TEXEL};

/// A device ready to run kernels.
pub struct Engine {
    /// The device.
    pub gpu: Gpu,
    /// The kernels that serve it.
    pub family: Family,
    /// The fastest algorithm of each layer that was measured on this adapter with these kernels
    /// ([`crate::graph::tune`]).
    pub measured: Choices,
    pipelines: Mutex<HashMap<Shader, Pipeline>>,
    /// The findings of the self-test in this process, where it was run.
    pub(super) findings: OnceLock<Vec<Check>>,
}

/// The adapter and the kernels of an [`Engine`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The adapter; by default the best one.
    pub adapter: Choice,
    /// The family of kernels, in place of the one that fits the adapter.
    pub family: Option<FamilyName>,
    /// Compile shaders with bounds checks and bounded loops, as untrusted code would be.
    pub checked: bool,
}

impl Engine {
    /// Opens the device that `options` select, with the kernels they name or those that fit it
    /// ([`Family::for_adapter`]).
    ///
    /// # Errors
    /// [`crate::Error::NoAdapter`] if no adapter fits; [`crate::Error::Device`] if it cannot be opened.
    pub fn open(options: &Options) -> Result<Self> {
        let matrix = options.family == Some(FamilyName::Matrix);
        let gpu = Gpu::open(&gpu::Options {
            adapter: options.adapter.clone(),
            checked: options.checked,
            matrix,
            float16: false,
        })?;
        let family = Family::for_adapter(&gpu.adapter, options.family);
        Ok(Self::of(gpu, family))
    }

    /// Opens the device of the browser, without waiting, with the kernels that `options` name or else those of the
    /// family `tile`, which keep within the limits of every WebGPU device. Outside of a browser, opens the device as
    /// [`Engine::open`] does.
    ///
    /// # Errors
    /// As [`Engine::open`]; [`Error::Device`] for a device that offers less than WebGPU's default limits.
    pub async fn open_in_browser(options: &Options) -> Result<Self> {
        let gpu = Gpu::open_in_browser(&gpu::Options {
            adapter: options.adapter.clone(),
            checked: options.checked,
            matrix: false,
            float16: false,
        })
        .await?;
        gpu.expect_default_limits()?;
        let family = Family::for_adapter(&gpu.adapter, options.family.or(Some(FamilyName::Tile)));
        Ok(Self::of(gpu, family))
    }

    /// Opens another device on the same adapter, with arithmetic in float16 and with matrix units where it has them,
    /// for the roofs of these. Its family is `matrix` where there are such units, else that of this engine.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_for_roofs(&self) -> Result<Self> {
        let gpu = self.gpu.open_with_float16()?;
        let family = match Family::for_adapter(&gpu.adapter, Some(FamilyName::Matrix)) {
            matrix @ Family::Matrix { .. } => matrix,
            _ => self.family,
        };
        Ok(Self::of(gpu, family))
    }

    /// An engine that has compiled nothing yet.
    fn of(gpu: Gpu, family: Family) -> Self {
        Self { gpu, family, measured: Choices::NONE, pipelines: Mutex::default(), findings: OnceLock::new() }
    }

    /// The kind of storage of tensors in float32 on this engine.
    #[must_use]
    pub fn storage_kind(&self) -> StorageKind {
        self.family.storage_kind(Precision::Float32)
    }

    /// Shaders compiled so far.
    #[must_use]
    pub fn compiled(&self) -> usize {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns `true` if a shader is compiled.
    #[must_use]
    pub fn has(&self, shader: &Shader) -> bool {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).contains_key(shader)
    }

    /// The shaders that are not compiled yet, each once.
    #[must_use]
    pub fn missing<'s>(&self, shaders: &[&'s Shader]) -> Vec<&'s Shader> {
        missing(&self.pipelines.lock().unwrap_or_else(PoisonError::into_inner), shaders)
    }

    /// The pipelines of `shaders`, in their order. Those that were not compiled before are compiled in parallel.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a shader is refused.
    pub fn pipelines(&self, shaders: &[&Shader]) -> Result<Vec<Pipeline>> {
        // Locked throughout: another thread that asks for the same shaders waits for them.
        let mut known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = missing(&known, shaders);
        let sources: Vec<_> = missing.iter().map(|shader| pipeline_source(shader)).collect();
        for (shader, pipeline) in missing.into_iter().zip(self.gpu.compile_all(&sources)?) {
            known.insert(shader.clone(), pipeline);
        }
        Ok(shaders.iter().filter_map(|shader| known.get(*shader).cloned()).collect())
    }

    /// Runs one dispatch on arrays of whole texels and returns the `texels` texels it wrote; a texel that it leaves
    /// out is NaN. For checks: each call uploads, compiles where needed, and reads back.
    ///
    /// # Errors
    /// Those of the device.
    pub fn run_once(&self, dispatch: &Dispatch, reads: &[&[f32]], texels: usize) -> Result<Vec<f32>> {
        let kind = self.family.storage_kind(dispatch.shader.precision(reads.len()));
        let storages = reads
            .iter()
            .enumerate()
            .map(|(at, values)| {
                let kind = self.family.storage_kind(dispatch.shader.precision(at));
                let storage = self.gpu.allocate(kind, values.len() / TEXEL, "operand")?;
                self.gpu.upload(&storage, 0, values)?;
                Ok(storage)
            })
            .collect::<Result<Vec<_>>>()?;
        let result = self.gpu.allocate(kind, texels, "result")?;
        self.gpu.upload(&result, 0, &vec![f32::NAN; texels * TEXEL])?;
        let pipeline = self.pipelines(&[&dispatch.shader])?.remove(0);
        let recording = self.gpu.record(&[Call {
            pipeline: &pipeline,
            words: call_words([0; MAX_OPERANDS], [0; 3], &dispatch.params),
            operands: storages.iter().chain([&result]).collect(),
            grid: dispatch.grid,
            flops: 0,
            label: dispatch.shader.kernel.name,
        }])?;
        self.gpu.submit(&recording)?;
        Ok(self.gpu.download(&[Region { storage: &result, first: 0, texels }])?.remove(0))
    }
}

/// The shaders that are not among the known ones, each once.
#[expect(clippy::mutable_key_type, reason = "a shader's hash leaves out what its kernel keeps")]
fn missing<'s>(known: &HashMap<Shader, Pipeline>, shaders: &[&'s Shader]) -> Vec<&'s Shader> {
    let mut missing: Vec<&Shader> = Vec::new();
    for &shader in shaders {
        if !known.contains_key(shader) && !missing.contains(&shader) {
            missing.push(shader);
        }
    }
    missing
}

impl Family {
    /// The family that fits an adapter: `lanes` on a software adapter whose subgroups have one size, `tile` elsewhere.
    /// `wanted` overrides the choice (`lanes` still needs subgroups of one size, `matrix` also matrix units).
    #[must_use]
    pub fn for_adapter(adapter: &Described, wanted: Option<FamilyName>) -> Self {
        let by_kind = if adapter.kind == Kind::Software { FamilyName::Lanes } else { FamilyName::Tile };
        match (wanted.unwrap_or(by_kind), adapter.subgroup) {
            (FamilyName::Lanes, Some((least, most))) if least == most => Self::Lanes { width: least },
            (FamilyName::Matrix, Some((least, most))) if least == most && least <= 64 => match adapter.matrix {
                Some(side) => Self::Matrix { width: least, side },
                None => Self::Tile,
            },
            _ => Self::Tile,
        }
    }

    /// Refuses the kernels that [`Family::for_adapter`] chose in place of those asked for.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the properties that the adapter lacks.
    pub fn expect(self, wanted: Option<FamilyName>, adapter: &Described) -> Result<()> {
        let (name, needs) = match (wanted, self) {
            (Some(FamilyName::Lanes), Self::Tile) => ("lanes", "a fixed subgroup size"),
            (Some(FamilyName::Matrix), Self::Tile) => ("matrix", "a fixed subgroup size and float16 matrix units"),
            _ => return Ok(()),
        };
        let what = format!("`family` of `{name}` needs {needs}, which `{}` does not have", adapter.name);
        Err(Error::argument(what, "omit `family`, or choose another adapter"))
    }

    /// The kind of storage of tensors of this family in a precision.
    #[must_use]
    pub fn storage_kind(self, precision: Precision) -> StorageKind {
        match self.memory() {
            Memory::Buffer => StorageKind::Buffer { precision },
            Memory::Texture => StorageKind::Texture { width: TEXTURE_WIDTH as u32, precision },
        }
    }
}

/// The name of a family, without the properties of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyName {
    /// See [`Family::Tile`].
    Tile,
    /// See [`Family::Lanes`].
    Lanes,
    /// See [`Family::Matrix`].
    Matrix,
}

/// The uniform block of a call: the first texel of each operand, the first workgroup of a split grid, the kernel's
/// parameters.
#[must_use]
pub fn call_words(bases: [u32; MAX_OPERANDS], [x, y, z]: [u32; 3], params: &[u32]) -> Vec<u32> {
    bases.into_iter().chain([x, y, z, 0]).chain(params.iter().copied()).collect()
}

/// The source of a pipeline, from which `gpu` compiles a shader.
fn pipeline_source(shader: &Shader) -> PipelineSource {
    let bindings = shader
        .operands()
        .iter()
        .enumerate()
        .map(|(at, (access, _))| match (shader.memory, access) {
            (Memory::Buffer, Access::Read) => Binding::ReadBuffer,
            (Memory::Buffer, Access::Write) => Binding::WriteBuffer,
            (Memory::Texture, Access::Read) => Binding::ReadTexture(shader.precision(at)),
            (Memory::Texture, Access::Write) => Binding::WriteTexture,
        })
        .collect();
    PipelineSource { label: shader.to_string(), wgsl: shader.wgsl(), bindings }
}
