// Parameters of group normalisation's statistics in one dispatch (see group_norm.lanes.wgsl).

struct Params {
    channels: u32,
    group_channels: u32,
    set_groups: u32,  // of the tile family (group_sets.wgsl)
    pixels: u32,
    modulation: u32,
    eps: f32,
    first_c4: u32,
}
