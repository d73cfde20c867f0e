//! Pipelines: a shader compiled for the device, with the layout of its bindings.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::device::Gpu;
use super::driver::Driver;
use super::guard::{Failure, guarded};
use super::memory::texture_format;
use super::pipeline_cache::PipelineCache;
use crate::error::Result;
use crate::tensor::Precision;

/// The kind of a binding of a shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// A storage buffer that is only read.
    ReadBuffer,
    /// A storage buffer that is written.
    WriteBuffer,
    /// A storage texture that is only read, with numbers of this precision.
    ReadTexture(Precision),
    /// A storage texture of float32 that is written.
    WriteTexture,
}

/// The source of a pipeline. The uniform block of parameters is binding 0; the others follow.
#[derive(Clone, Debug)]
pub struct PipelineSource {
    /// The name in messages.
    pub label: String,
    /// The shader; its entry point is `main`.
    pub wgsl: String,
    /// Bindings 1, 2, ...
    pub bindings: Vec<Binding>,
}

/// A compiled compute shader.
#[derive(Clone)]
pub struct Pipeline {
    pub(super) compiled: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl Gpu {
    /// Compiles a shader.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device or its driver rejects it.
    pub fn compile(&self, source: &PipelineSource) -> Result<Pipeline> {
        compile(&self.driver, self.checked, self.pipelines.as_ref(), source)
    }

    /// Compiles several shaders on all cores, the longest first: each core takes the next when it is done. Where the
    /// driver would defer the compilation until a shader runs, it is made to compile meanwhile (`gpu::warm`).
    ///
    /// # Errors
    /// As [`Self::compile`]; the first error is returned.
    pub fn compile_all(&self, sources: &[PipelineSource]) -> Result<Vec<Pipeline>> {
        if cfg!(target_family = "wasm") {
            return sources.iter().map(|source| self.compile(source)).collect();
        }
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(sources[*at].wgsl.len()));
        let made: Vec<OnceLock<Result<Pipeline>>> = sources.iter().map(|_| OnceLock::new()).collect();
        let next = &AtomicUsize::new(0);
        let make = || {
            while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Under the guard, so that nothing waits for a pipeline that is never made.
                let pipeline = guarded(|| self.compile(&sources[*at])).map_err(Failure::into_error).flatten();
                // Each one is made once.
                let _ = made[*at].set(pipeline);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..cores().min(sources.len()) {
                scope.spawn(make);
            }
            let by_length: Vec<_> = order.iter().map(|at| (&sources[*at], &made[*at])).collect();
            self.warm_up(&by_length)
        })?;
        let pipelines = made.into_iter().filter_map(OnceLock::into_inner).collect::<Result<Vec<_>>>()?;
        if let Some(cache) = self.pipelines.as_ref().filter(|_| !sources.is_empty()) {
            cache.save(&self.driver);
        }
        Ok(pipelines)
    }
}

/// Returns the number of threads worth starting.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Compiles a shader on a device.
///
/// # Errors
/// As [`Driver::create`].
pub(super) fn compile(
    driver: &Driver,
    checked: bool,
    cache: Option<&PipelineCache>,
    source: &PipelineSource,
) -> Result<Pipeline> {
    driver.create(&format!("shader `{}`", source.label), 0, |device| create(device, checked, cache, source))
}

fn create(device: &wgpu::Device, checked: bool, cache: Option<&PipelineCache>, source: &PipelineSource) -> Pipeline {
    let module = module(device, checked, source);
    let entries: Vec<_> = std::iter::once(uniform_entry())
        .chain(source.bindings.iter().enumerate().map(|(index, binding)| entry(index as u32 + 1, *binding)))
        .collect();
    let layout = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&source.label), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&source.label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let compiled = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&source.label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: checked,
            ..wgpu::PipelineCompilationOptions::default()
        },
        cache: cache.map(|cache| &cache.cache),
    });
    Pipeline { compiled, layout }
}

/// The only place where shaders are trusted.
fn module(device: &wgpu::Device, checked: bool, source: &PipelineSource) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(&source.label),
        source: wgpu::ShaderSource::Wgsl(source.wgsl.as_str().into()),
    };
    if checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: the text is composed from the templates compiled into this program, never from input. Every kernel
    // clamps or tests the indices it computes against the extents in its parameters, which the plan derives from
    // the sizes of the storages it binds; every loop is bounded by such an extent. A test runs each kernel on
    // awkward shapes, and the whole test suite passes with `Options::checked`, where both are enforced.
    #[expect(unsafe_code, reason = "bounds checks and loop bounds cost up to half the speed; see the SAFETY note")]
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

fn uniform_entry() -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: 0,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}

fn entry(binding: u32, kind: Binding) -> wgpu::BindGroupLayoutEntry {
    let buffer = |read_only| wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Storage { read_only },
        has_dynamic_offset: false,
        min_binding_size: None,
    };
    let texture = |access, precision| wgpu::BindingType::StorageTexture {
        access,
        format: texture_format(precision),
        view_dimension: wgpu::TextureViewDimension::D2,
    };
    let ty = match kind {
        Binding::ReadBuffer => buffer(true),
        Binding::WriteBuffer => buffer(false),
        Binding::ReadTexture(precision) => texture(wgpu::StorageTextureAccess::ReadOnly, precision),
        Binding::WriteTexture => texture(wgpu::StorageTextureAccess::WriteOnly, Precision::Float32),
    };
    wgpu::BindGroupLayoutEntry { binding, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None }
}
