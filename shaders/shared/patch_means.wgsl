// What the two forms of patch_means share: see patch_means.lanes.wgsl.

struct Params {
    queries: u32,
    // Texels of a query without its scale.
    texels: u32,
    blocks: u32,
    // Blocks of keys per workgroup.
    per_part: u32,
    // The tap of the centre's first channel.
    centre: u32,
}

// Below every score.
const LEAST: f32 = -3.0e38;

fn largest(v: vec4<f32>) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

fn total(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
