//! Recorded commands: prepared once, submitted at each call.

use std::time::Duration;

use web_time::Instant;

use super::device::Gpu;
use super::memory::Storage;
use super::pipeline::Pipeline;
use super::readback::Readback;
use super::replay::replayed;
use super::stop::check_stop;
use crate::error::{Error, Result};

/// The largest number of submissions in flight.
const IN_FLIGHT: usize = 2;

/// The estimated work per submission, in floating-point operations: far below what a slow device does in the two
/// seconds that Windows allows.
const SUBMISSION_FLOPS: u64 = 100_000_000_000;

/// One dispatch with all its bindings.
pub struct Call<'a> {
    /// The pipeline to run.
    pub pipeline: &'a Pipeline,
    /// The uniform block: the words that the shader reads as its parameters.
    pub words: Vec<u32>,
    /// Bindings 1, 2, ...
    pub operands: Vec<&'a Storage>,
    /// The number of workgroups along x, y, z.
    pub grid: [u32; 3],
    /// The estimated number of floating-point operations.
    pub flops: u64,
    /// The name in messages.
    pub label: &'a str,
}

pub(super) struct Step {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    grid: [u32; 3],
    flops: u64,
}

impl Step {
    /// Adds the dispatch to a pass.
    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Dispatches that can be submitted repeatedly.
pub struct Recording {
    pub(super) steps: Vec<Step>,
}

impl Recording {
    /// The number of dispatches per submission.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }
}

impl Gpu {
    /// Prepares dispatches: one uniform buffer for all their parameters, and one bind group each.
    ///
    /// # Errors
    /// [`Error::TooManyWorkgroups`] for a grid larger than the device allows; [`Error::Device`] if a binding is
    /// rejected.
    pub fn record(&self, calls: &[Call<'_>]) -> Result<Recording> {
        let limits = &self.driver.limits;
        let alignment = limits.min_uniform_buffer_offset_alignment as usize;
        let mut blocks: Vec<u8> = Vec::new();
        let mut ranges = Vec::with_capacity(calls.len());
        for call in calls {
            let largest = call.grid.into_iter().max().unwrap_or(0);
            if largest > limits.max_compute_workgroups_per_dimension {
                return Err(Error::TooManyWorkgroups {
                    dispatch: call.label.to_owned(),
                    workgroups: largest,
                    limit: limits.max_compute_workgroups_per_dimension,
                    hint: "lower `batch` or the image size".into(),
                });
            }
            let first = blocks.len();
            blocks.extend_from_slice(bytemuck::cast_slice(&call.words));
            // A uniform block is a whole number of vec4.
            blocks.resize(blocks.len().next_multiple_of(16), 0);
            ranges.push((first, blocks.len() - first));
            blocks.resize(blocks.len().next_multiple_of(alignment), 0);
        }
        let uniforms = self.driver.create("parameters", blocks.len() as u64, |device| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("parameters"),
                size: blocks.len().max(16) as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        self.driver.call(|_, queue| queue.write_buffer(&uniforms, 0, &blocks))?;
        let steps = calls
            .iter()
            .zip(ranges)
            .map(|(call, (first, size))| {
                let block = wgpu::BufferBinding {
                    buffer: &uniforms,
                    offset: first as u64,
                    size: std::num::NonZero::new(size as u64),
                };
                let entries: Vec<_> = std::iter::once(wgpu::BindingResource::Buffer(block))
                    .chain(call.operands.iter().map(|storage| storage.resource()))
                    .enumerate()
                    .map(|(binding, resource)| wgpu::BindGroupEntry { binding: binding as u32, resource })
                    .collect();
                let group = self.driver.create(call.label, 0, |device| {
                    device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(call.label),
                        layout: &call.pipeline.layout,
                        entries: &entries,
                    })
                })?;
                Ok(Step { pipeline: call.pipeline.compiled.clone(), group, grid: call.grid, flops: call.flops })
            })
            .collect::<Result<_>>()?;
        Ok(Recording { steps })
    }

    /// Submits a recording. Returns when all but the last few submissions are done.
    ///
    /// # Errors
    /// [`Error::Device`] with the first failure; [`Error::Cancelled`] if [`super::stop_by`] names a flag that is set.
    pub fn submit(&self, recording: &Recording) -> Result<()> {
        self.submit_repeated(recording, 1)
    }

    /// Submits a recording `times` times, in as few submissions as possible. Returns as [`Gpu::submit`] does.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub fn submit_repeated(&self, recording: &Recording, times: usize) -> Result<()> {
        self.submit_in_parts(&(0..times).flat_map(|_| &recording.steps).collect::<Vec<_>>(), None)
    }

    /// Submits a recording and reads regions back, in the same submission where the work fits into one.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub fn submit_and_fetch(&self, recording: &Recording, readback: &Readback) -> Result<Vec<Vec<f32>>> {
        if let Some(values) = replayed() {
            return Ok(values);
        }
        self.submit_in_parts(&recording.steps.iter().collect::<Vec<_>>(), Some(readback))?;
        self.staged_values(readback)
    }

    /// Submits dispatches, as many at once as their work allows, and a read-back with the last of them.
    fn submit_in_parts(&self, steps: &[&Step], readback: Option<&Readback>) -> Result<()> {
        let mut in_flight = std::collections::VecDeque::new();
        let mut rest = steps;
        loop {
            check_stop()?;
            let mut flops = 0;
            let many = rest.iter().take_while(|step| {
                let fits = flops == 0 || flops + step.flops <= SUBMISSION_FLOPS;
                flops += step.flops;
                fits
            });
            let (now, later) = rest.split_at(many.count());
            let last = readback.filter(|_| later.is_empty());
            in_flight.push_back(self.submit_steps(now.iter().copied(), last)?);
            if in_flight.len() > IN_FLIGHT {
                let oldest = in_flight.pop_front();
                self.driver.poll(wgpu::PollType::Wait { submission_index: oldest, timeout: None })?;
            }
            rest = later;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Submits a range of the dispatches of a recording.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_range(&self, recording: &Recording, range: std::ops::Range<usize>) -> Result<()> {
        self.submit_steps(recording.steps[range].iter(), None).map(drop)
    }

    /// Runs a recording one dispatch at a time and measures each by the wall clock, including its submission.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn profile(&self, recording: &Recording) -> Result<Vec<Duration>> {
        self.wait()?;
        recording
            .steps
            .iter()
            .map(|step| {
                let begin = Instant::now();
                self.submit_steps(std::iter::once(step), None)?;
                self.wait()?;
                Ok(begin.elapsed())
            })
            .collect()
    }

    fn submit_steps<'s>(
        &self,
        steps: impl Iterator<Item = &'s Step>,
        readback: Option<&Readback>,
    ) -> Result<wgpu::SubmissionIndex> {
        self.driver.submit(|encoder| {
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                steps.for_each(|step| step.encode(&mut pass));
            }
            if let Some(readback) = readback {
                readback.encode(encoder);
            }
        })
    }
}
