//! The division of products of the tile family into workgroups, for matrix products and convolutions alike.

use super::tiling::TileSize;
use crate::tensor::TEXEL;

/// A tile of a product: `wide` x `tall` invocations, each `rows` rows by `texels` texels of columns, `depth` texels
/// of k per step. With two `halves` of workgroup memory one step is written while another is read, which saves a
/// barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocking {
    wide: u32,
    tall: u32,
    rows: u32,
    texels: u32,
    depth: u32,
    halves: u32,
}

/// The workgroup memory of every device, in bytes.
const WORKGROUP_MEMORY: u32 = 16 << 10;

/// A tile and the least number of workgroups that justify it: fewer leave too many processors of a large GPU idle
/// (measured on one with 132, see `docs/lab-notes.md`).
#[derive(Clone, Copy, Debug)]
struct Rung {
    tile: Blocking,
    least: usize,
    of: Counted,
}

/// The workgroups of a batch of products that count.
#[derive(Clone, Copy, Debug)]
enum Counted {
    /// Those of one product: the tile is for operands that no longer fit the caches.
    Product,
    /// All.
    Batch,
}

/// The tiles, largest first. Small ones wait for their operands, so they fetch many at a time. `rows * depth` is a
/// multiple of `wide` and `4 * texels * depth` one of `tall`: each invocation fetches as much as any other.
const LADDER: [Rung; 5] = [
    Rung {
        tile: Blocking { wide: 16, tall: 16, rows: 8, texels: 2, depth: 4, halves: 1 },
        least: 256,
        of: Counted::Product,
    },
    Rung {
        tile: Blocking { wide: 16, tall: 8, rows: 8, texels: 2, depth: 4, halves: 1 },
        least: 200,
        of: Counted::Batch,
    },
    Rung {
        tile: Blocking { wide: 16, tall: 16, rows: 4, texels: 1, depth: 8, halves: 1 },
        least: 100,
        of: Counted::Batch,
    },
    Rung {
        tile: Blocking { wide: 8, tall: 8, rows: 4, texels: 1, depth: 8, halves: 2 },
        least: 100,
        of: Counted::Batch,
    },
    Rung { tile: Blocking { wide: 8, tall: 8, rows: 2, texels: 1, depth: 8, halves: 2 }, least: 0, of: Counted::Batch },
];

impl Blocking {
    /// The largest tile that leaves enough workgroups and wastes little at the edges, or the smallest. Rows and
    /// columns are independent and every tile sums over k in one order, so the choice may depend on the batch.
    pub(super) fn of(rows: usize, columns4: usize, batch: usize) -> Self {
        let is_worth = |rung: &Rung| {
            let (tall, wide) = rung.tile.grid();
            let workgroups = rows.div_ceil(tall) * columns4.div_ceil(wide);
            let counted = match rung.of {
                Counted::Product => workgroups,
                Counted::Batch => workgroups * batch,
            };
            counted >= rung.least && 4 * rows * columns4 >= 3 * workgroups * tall * wide
        };
        let [.., smallest] = LADDER;
        LADDER.into_iter().find(is_worth).unwrap_or(smallest).tile
    }

    /// The tile of this size, if there is one.
    pub(super) fn of_size(size: TileSize) -> Option<Self> {
        LADDER.into_iter().map(|rung| rung.tile).find(|tile| tile.size() == size)
    }

    /// The sizes of all tiles, smallest first.
    pub(super) fn sizes() -> Vec<TileSize> {
        LADDER.iter().rev().map(|rung| rung.tile.size()).collect()
    }

    /// The values of a workgroup.
    pub(super) fn size(self) -> TileSize {
        let (rows, texels) = self.grid();
        TileSize { rows, columns: texels * TEXEL }
    }

    /// Rows and texels of columns of a workgroup.
    pub(super) fn grid(self) -> (usize, usize) {
        ((self.tall * self.rows) as usize, (self.wide * self.texels) as usize)
    }

    /// The workgroup memory in bytes, with `padding` more texels in each row of the first operand.
    fn memory(self, pad: u32) -> u32 {
        let Self { wide, tall, rows, texels, depth, halves } = self;
        halves * (tall * rows * (depth + pad) + wide * texels * depth * TEXEL as u32) * size_of::<[f32; TEXEL]>() as u32
    }

    fn pad(self) -> u32 {
        u32::from(self.memory(1) <= WORKGROUP_MEMORY)
    }

    /// The constants of the shaders.
    pub(super) fn constants(self) -> [(&'static str, u32); 7] {
        [
            ("WIDE", self.wide),
            ("TALL", self.tall),
            ("M", self.rows),
            ("N", self.texels),
            ("DEPTH", self.depth),
            ("HALVES", self.halves),
            ("PAD", self.pad()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_chosen_for_some_product() {
        let sizes = [(4, 4), (320, 320), (768, 768), (1280, 1280), (2048, 2048)];
        let chosen = sizes.map(|(rows, columns)| Blocking::of(rows, columns / TEXEL, 1));
        assert_eq!(chosen.into_iter().rev().collect::<Vec<_>>(), LADDER.map(|rung| rung.tile));
        let batched = Blocking::of(64, 8, 400);
        assert_eq!(batched, LADDER[3].tile, "matrices of a batch are workgroups too");
        let passes = Blocking::of(2048, 256 / TEXEL, 36);
        assert_eq!(passes, LADDER[1].tile, "a batch of small matrices is not a large matrix");
    }

    #[test]
    fn a_size_is_that_of_one_tile() {
        let sizes = Blocking::sizes();
        assert_eq!(sizes.len(), LADDER.len());
        for (size, rung) in sizes.into_iter().zip(LADDER.iter().rev()) {
            assert_eq!(Blocking::of_size(size), Some(rung.tile), "{size}");
        }
        assert_eq!(Blocking::of_size(TileSize { rows: 64, columns: 32 }), None);
    }

    #[test]
    fn invocations_share_the_work_of_a_step() {
        for Rung { tile, .. } in LADDER {
            let Blocking { wide, tall, rows, texels, depth, .. } = tile;
            assert_eq!((rows * depth % wide, 4 * texels * depth % tall), (0, 0));
            assert!(texels * depth <= tall, "a transposed operand is turned around by one block an invocation");
            assert!(tile.memory(tile.pad()) <= WORKGROUP_MEMORY);
        }
    }
}
