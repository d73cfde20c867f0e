// Parameters of the second stage of group normalisation (see group_norm_fold.wgsl).

struct Params {
    images: u32,
    channels: u32,
    group_channels: u32,
    pixels: u32,
    chunk: u32,
    chunks: u32,
    modulation: u32,
    eps: f32,
    set_groups: u32,  // of the tile family (group_sets.wgsl)
}
