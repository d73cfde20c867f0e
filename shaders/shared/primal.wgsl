// Tangents come in several images for each image of the value that they belong to: `repeats` of them, one after the
// other.

// The texel of the value that a tangent's texel belongs to.
fn primal_index(index: u32, image_texels: u32, repeats: u32) -> u32 {
    return index / image_texels / repeats * image_texels + index % image_texels;
}
