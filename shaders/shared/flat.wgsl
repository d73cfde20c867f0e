// The index of an invocation in a flat grid (`flat_grid` in kernels/mod.rs): 64 invocations per workgroup, 32768
// workgroups per row.
fn flat_index(id: vec3<u32>) -> u32 {
    return id.y * (32768u * 64u) + id.x;
}
