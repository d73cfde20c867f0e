// Winograd's convolution, first stage: each tile of the map becomes B^T d B, one number for each of SIDE x SIDE
// products.
//
//   tiles[position][image, tile][channel] = (B^T d B)[position],
//   d the SIDE x SIDE pixels that OUT x OUT outputs depend on
//
// x        the map as shared/source.wgsl reads it
// tiles    rows of texels along the channels, one row per tile, SIDE * SIDE matrices one after the other
// grid     flat, one invocation per channel texel of a tile
// assumes  zeros in the padding channels of x and of the factors
//
// LOOP: the columns in a loop, for software adapters, which take long to compile thirty-six loads.
//
// A dispatch transforms part_c4 of the c4 texels of channels, the whole width of x. For another part than the first,
// the operands tiles and factors begin at its first texel.
//
// Rungs: this is the first; the loop compiles in half the time.
//#include source
//#include flat
//#include winograd
//#include tiles
//#write tiles

struct Params {
    in_h: u32,
    in_w: u32,
    c4: u32,
    part_c4: u32,
    pad_top: u32,
    pad_left: u32,
    tiles_x: u32,
    image_tiles: u32,
    first_tile: u32,
    rows: u32,
    first_c4: u32,
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = flat_index(id);
    let c4 = call.params.c4;
    let part_c4 = call.params.part_c4;
    let rows = call.params.rows;
    if index >= rows * part_c4 { return; }
    let in_h = call.params.in_h;
    let in_w = call.params.in_w;
    let c = index % part_c4;
    let row = index / part_c4;
    let place = place_of_tile(row);
    let first = row * c4 + c;
    let matrix = rows * c4;
    let image = place.image;
    let top = i32(place.top) - i32(call.params.pad_top);
    let left = i32(place.left) - i32(call.params.pad_left);
    let fold = load_fold(image, c, c4);

    //#repeat i SIDE
    let row_inside$i = u32(top + $i) < in_h;
    let row$i = (image * (in_h >> UP) + (min(u32(max(top + $i, 0)), in_h - 1u) >> UP)) * (in_w >> UP);
    //#end
    //#if LOOP
    // Two columns at a time: those transformed before move to the front. A driver that knew the number of columns would
    // unroll the loop.
    let side = SIDE * min(in_w, 1u);
    //#repeat q SIDE * SIDE
    //#repeat e 4
    var t${q}_$e = 0.0;
    //#end
    //#end
    for (var j = 0u; j < side; j += 2u) {
        //#repeat z 2
        let at$z = left + i32(j + $z);
        let inside$z = u32(at$z) < in_w;
        let column$z = min(u32(max(at$z, 0)), in_w - 1u) >> UP;
        //#repeat i SIDE
        let x${i}_$z = normalised(load_joined(row$i + column$z, c, part_c4), fold);
        let d${i}_$z = select(vec4<f32>(), x${i}_$z, row_inside$i && inside$z);
        //#end
        let column_t$z = transform_input(array<vec4<f32>, SIDE>(
            //#repeat i SIDE
            d${i}_$z,
            //#end
        ));
        //#end
        //#repeat q SIDE * (SIDE - 2)
        //#repeat e 4
        t${q}_$e = t$(q + SIDE * 2)_$e;
        //#end
        //#end
        //#repeat z 2
        //#repeat i SIDE
        //#repeat e 4
        t$(SIDE * (SIDE - 2 + z) + i)_$e = column_t$z[$i][$e];
        //#end
        //#end
        //#end
    }
    //#repeat j SIDE
    let t$j = array<vec4<f32>, SIDE>(
        //#repeat i SIDE
        vec4<f32>(t$(j * SIDE + i)_0, t$(j * SIDE + i)_1, t$(j * SIDE + i)_2, t$(j * SIDE + i)_3),
        //#end
    );
    //#end
    //#else
    //#repeat j SIDE
    let inside$j = u32(left + $j) < in_w;
    let column$j = min(u32(max(left + $j, 0)), in_w - 1u) >> UP;
    //#repeat i SIDE
    let x${i}_$j = normalised(load_joined(row$i + column$j, c, part_c4), fold);
    let d${i}_$j = select(vec4<f32>(), x${i}_$j, row_inside$i && inside$j);
    //#end
    let t$j = transform_input(array<vec4<f32>, SIDE>(
        //#repeat i SIDE
        d${i}_$j,
        //#end
    ));
    //#end
    //#end
    //#repeat i SIDE
    let v$i = transform_input(array<vec4<f32>, SIDE>(
        //#repeat j SIDE
        t$j[$i],
        //#end
    ));
    //#repeat j SIDE
    store_tiles($(i * SIDE + j)u * matrix + first, v$i[$j]);
    //#end
    //#end
}
