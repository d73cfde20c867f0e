// Parameters of softmax, and the visible columns of a row (see softmax.wgsl).

struct Params {
    rows: u32,
    columns: u32,
    // Rows are this many queries of one head after another, the first of them at this place among the keys; a query
    // sees the keys up to its own place. Without a mask: 1, and the last place.
    queries: u32,
    first: u32,
}

// Which columns of a texel a row sees.
fn live(texel: u32, seen: u32) -> vec4<bool> {
    return vec4<u32>(texel * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(seen);
}

// Columns that a row sees, from the first on.
fn seen_by(row: u32) -> u32 {
    return min(call.params.first + row % call.params.queries + 1u, call.params.columns);
}
