// Parameters of the matrix products (see matmul.lanes.wgsl).

struct Params {
    rows: u32,
    k: u32,               // along k: rows of b
    columns: u32,         // along j: for B_ROWS, rows of the transposed b
    heads: u32,
    rows_per_image: u32,  // for the epilogue's per-image vector
    a_row: u32,           // strides in texels
    a_image: u32,
    a_head: u32,
    b_row: u32,           // from one k (B_ROWS: one j) to the next
    b_block: u32,         // from one block of LANES columns to the next
    b_image: u32,
    b_head: u32,
    y_row: u32,
    y_image: u32,
    y_head: u32,
    alpha: f32,
    flags: u32,
    scale: f32,
    per_image_row: u32,
    activation: u32,  // for the twin; here it is a constant
    first_c4: u32,
}
