//! The only room that knows wgpu: adapter, device, memory, pipelines, submission.
