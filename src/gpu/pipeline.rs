//! Pipelines: a shader compiled for this device, with the layout of what it binds.

use super::device::Gpu;
use super::memory::texture_format;
use crate::error::Result;
use crate::tensor::Precision;

/// What a shader binds at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// A storage buffer that is only read.
    ReadBuffer,
    /// A storage buffer that is written.
    WriteBuffer,
    /// A storage texture that is only read, its numbers stored so.
    ReadTexture(Precision),
    /// A storage texture of float32 that is written.
    WriteTexture,
}

/// What a pipeline is made from: the uniform block of parameters is binding 0, the others follow.
#[derive(Clone, Debug)]
pub struct PipelineSource {
    /// For messages.
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
    /// [`crate::Error::Device`] when the device or its driver refuses it.
    pub fn compile(&self, source: &PipelineSource) -> Result<Pipeline> {
        self.scoped(&format!("shader `{}`", source.label), 0, || {
            let module = self.module(source);
            let entries: Vec<_> = std::iter::once(uniform_entry())
                .chain(source.bindings.iter().enumerate().map(|(index, binding)| entry(index as u32 + 1, *binding)))
                .collect();
            let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(&source.label),
                entries: &entries,
            });
            let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&source.label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let compiled = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&source.label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Every kernel writes its workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: self.checked,
                    ..wgpu::PipelineCompilationOptions::default()
                },
                cache: None,
            });
            Pipeline { compiled, layout }
        })
    }

    /// Compiles several shaders at once, on all cores.
    ///
    /// # Errors
    /// As [`Self::compile`]; the first one counts.
    pub fn compile_all(&self, sources: &[PipelineSource]) -> Result<Vec<Pipeline>> {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(sources.len().max(1));
        let share = sources.len().div_ceil(workers).max(1);
        std::thread::scope(|scope| {
            let running: Vec<_> = sources
                .chunks(share)
                .map(|chunk| scope.spawn(move || chunk.iter().map(|source| self.compile(source)).collect::<Vec<_>>()))
                .collect();
            running.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        })
    }

    /// The one place where shaders are trusted.
    fn module(&self, source: &PipelineSource) -> wgpu::ShaderModule {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&source.label),
            source: wgpu::ShaderSource::Wgsl(source.wgsl.as_str().into()),
        };
        if self.checked {
            return self.device.create_shader_module(descriptor);
        }
        // SAFETY: the text is composed from the templates compiled into this program, never from input. Every kernel
        // clamps or tests the indices it computes against the extents in its parameters, which the plan derives from
        // the sizes of the storages it binds; every loop is bounded by such an extent. A test runs each kernel on
        // awkward shapes, and the whole test suite passes with `--checked`, where both are enforced.
        #[expect(unsafe_code, reason = "bounds checks and loop bounds cost up to half the speed; see the SAFETY note")]
        unsafe {
            self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
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
