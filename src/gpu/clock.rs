//! The device's own clock: the time of each dispatch of a recording, without submission and read-back.

use std::time::Duration;

use super::device::Gpu;
use super::recording::{Recording, Step};
use crate::error::Result;

/// The number of dispatches per submission: a query set holds 4096 timestamps, two per dispatch.
const DISPATCHES: usize = (wgpu::QUERY_SET_MAX_QUERIES / 2) as usize;

impl Gpu {
    /// Returns `true` if the device has a clock, so that [`Gpu::dispatch_times`] returns times.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        self.driver.features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Runs a recording once and returns the time of each dispatch by the device's clock, or `None` if it has none.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] or [`crate::Error::Device`].
    pub fn dispatch_times(&self, recording: &Recording) -> Result<Option<Vec<Duration>>> {
        if !self.has_clock() {
            return Ok(None);
        }
        let mut times = Vec::with_capacity(recording.steps.len());
        for steps in recording.steps.chunks(DISPATCHES) {
            times.extend(self.timed(steps)?);
        }
        Ok(Some(times))
    }

    /// Makes one submission, with one pass per dispatch and a timestamp before and after each.
    fn timed(&self, steps: &[Step]) -> Result<Vec<Duration>> {
        let count = 2 * steps.len() as u32;
        let bytes = u64::from(count * wgpu::QUERY_SIZE);
        let (queries, resolved, staging) = self.driver.create("instants", bytes, |device| {
            let buffer = |usage| {
                let descriptor =
                    wgpu::BufferDescriptor { label: Some("instants"), size: bytes, usage, mapped_at_creation: false };
                device.create_buffer(&descriptor)
            };
            let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("instants"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            (queries, resolved, buffer(wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ))
        })?;
        self.driver.submit(|encoder| {
            for (at, step) in steps.iter().enumerate() {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(2 * at as u32),
                        end_of_pass_write_index: Some(2 * at as u32 + 1),
                    }),
                });
                step.encode(&mut pass);
            }
            encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, bytes);
        })?;
        let instants: Vec<u64> = self.mapped(&staging, bytemuck::pod_collect_to_vec)?;
        let tick = f64::from(self.driver.call(|_, queue| queue.get_timestamp_period())?) * 1e-9;
        let span = |pair: &[u64]| Duration::from_secs_f64(pair[1].saturating_sub(pair[0]) as f64 * tick);
        Ok(instants.chunks_exact(2).map(span).collect())
    }
}
