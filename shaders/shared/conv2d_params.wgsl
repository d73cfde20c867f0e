// Parameters of the convolutions that read the map itself (see conv2d.lanes.wgsl).

struct Params {
    in_h: u32,
    in_w: u32,
    in_c4: u32,
    out_h: u32,
    out_w: u32,
    out_c4: u32,
    kernel_h: u32,
    pad_top: u32,
    pad_left: u32,
    tiles_x: u32,       // of the lanes family: tiles in a row of the map
    images: u32,
    flags: u32,
    scale: f32,
    per_image_row: u32,
    activation: u32,  // for the twin; here it is a constant
    first_c4: u32,
}
