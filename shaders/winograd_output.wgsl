// Winograd's convolution, last stage: the products of a tile become its outputs, finish(A^T m A).
//
// products as written by the matrix product: one row per tile, SIDE * SIDE matrices one after the other
// y        NHWC texels
// grid     flat, one invocation per output texel of a tile
//
// Rungs: this is the first.
//#read products
//#include flat
//#include epilogue
//#include winograd
//#include tiles
//#write y

struct Params {
    out_h: u32,
    out_w: u32,
    c4: u32,
    tiles_x: u32,
    image_tiles: u32,
    first_tile: u32,
    rows: u32,
    flags: u32,
    scale: f32,
    per_image_row: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    let c4 = call.params.c4;
    let rows = call.params.rows;
    if index >= rows * c4 { return; }
    let out_h = call.params.out_h;
    let out_w = call.params.out_w;
    let c = index % c4;
    let place = place_of_tile(index / c4);

    //#repeat j SIDE
    let t$j = transform_output(array<vec4<f32>, SIDE>(
        //#repeat i SIDE
        load_products($(i * SIDE + j)u * rows * c4 + index),
        //#end
    ));
    //#end
    //#repeat i OUT
    let y$i = transform_output(array<vec4<f32>, SIDE>(
        //#repeat j SIDE
        t$j[$i],
        //#end
    ));
    //#end
    // A loop, so that the epilogue appears once and not OUT * OUT times.
    var outputs = array<vec4<f32>, OUT * OUT>(
        //#repeat i OUT
        //#repeat j OUT
        y$i[$j],
        //#end
        //#end
    );
    for (var p = 0u; p < OUT * OUT; p++) {
        let y = place.top + p / OUT;
        let x = place.left + p % OUT;
        if y < out_h && x < out_w {
            let at = ((place.image * out_h + y) * out_w + x) * c4 + c;
            store_y(at, finish(outputs[p], place.image, c, at));
        }
    }
}
