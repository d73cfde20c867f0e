// Tiles of OUT x OUT outputs: a row of the matrices of Winograd's convolution is a tile. The kernel has the parameters
// tiles_x, image_tiles (tiles of an image), first_tile (counted over all images) and rows (tiles from there on).

struct Place {
    image: u32,
    top: u32,   // of its first output
    left: u32,
}

fn place_of_tile(row: u32) -> Place {
    let of_all = call.params.first_tile + row;
    let tile = of_all % call.params.image_tiles;
    return Place(
        of_all / call.params.image_tiles,
        tile / call.params.tiles_x * OUT,
        tile % call.params.tiles_x * OUT,
    );
}
