//! Batched matrix product over rows of texels: projections, 1 x 1 convolutions, attention scores, covariances.

use serde::{Deserialize, Serialize};

use super::blocking::Blocking;
use super::epilogue::{EpilogueParams, EpilogueSpec};
use super::source::{HostSource, SourceParams};
use super::tiling::{ProductKind, ProductShape, TileSize};
use super::{Dispatch, Family, Kernel, Shader, Source, component, params, words};
use crate::kernels::parameters::{kernel, parameters};
use crate::tensor::TEXEL;

/// The layout of the second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Packed weights of a 1 x 1 kernel (see [`super::conv2d::pack`]).
    Packed,
    /// One row of texels along the columns per k.
    Rows,
    /// One row of texels along k per column: the operand is given as its transpose (`B_ROWS` in the shaders).
    Transposed,
}

/// Strides of an operand, in texels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strides {
    /// From one row to the next.
    pub row: usize,
    /// From one image to the next.
    pub image: usize,
    /// From one head to the next.
    pub head: usize,
}

/// `y[i, j] = finish(alpha * sum over k of a[i, k] b[k, j])` for each image and head, shapes known. Reads a, a2,
/// factors (see [`Source`]), b, bias, `per_image`, residual; writes y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMul {
    /// Rows of a and y.
    pub rows: usize,
    /// Columns of a, rows of b.
    pub k: usize,
    /// Columns of b and y.
    pub columns: usize,
    /// Images and heads of the batch.
    pub batch: (usize, usize),
    /// The layout of b.
    pub layout: Layout,
    /// The strides of a.
    pub a: Strides,
    /// The strides of b; `row` is ignored for packed weights.
    pub b: Strides,
    /// The strides of y.
    pub y: Strides,
    /// Multiplies the product.
    pub alpha: f32,
    /// Rows that share a vector of the epilogue's `per_image`.
    pub rows_per_image: usize,
    /// The way a is read: joined or normalised only as a plain matrix without images and heads, one row per pixel;
    /// never upsampled.
    pub source: Source,
    /// The end of the product.
    pub epilogue: EpilogueSpec,
    /// The tile of a workgroup: no bit depends on it. `None`, and a size that is not among [`Self::tile_sizes`], is the
    /// one of a rule that follows from the shape.
    pub tile_size: Option<TileSize>,
}

parameters! {
    /// The parameters of `matmul.lanes.wgsl`, `matmul.tile.wgsl` and `matmul.matrix.wgsl`.
    struct Params {
        rows: u32,
        k: u32,
        columns: u32,
        heads: u32,
        rows_per_image: u32,
        a_row: u32,
        a_image: u32,
        a_head: u32,
        b_row: u32,
        b_block: u32,
        b_image: u32,
        b_head: u32,
        y_row: u32,
        y_image: u32,
        y_head: u32,
        alpha: f32,
        epilogue: EpilogueParams,
        source: SourceParams,
    }
}

parameters! {
    /// The twin's parameters: those of the shader and extents of its grid and constants.
    struct TwinParams {
        shader: Params,
        images: u32,
        transposed: u32,
        block: u32,
    }
}

static LANES: Kernel = kernel!("matmul.lanes", TwinParams, twin);
static TILE: Kernel = kernel!("matmul.tile", TwinParams, twin);
static MATRIX: Kernel = kernel!("matmul.matrix", TwinParams, rounding_twin);

/// The possible rows of a tile of the lanes family: multiples of four. Others are slower than their neighbours here
/// (`docs/lab-notes.md`).
const LANES_ROWS: [u32; 5] = [4, 8, 16, 32, 64];
/// Those that the rule chooses among.
const RULE_ROWS: [u32; 4] = [64, 32, 16, 4];
const LEAST_ROWS: u32 = LANES_ROWS[0];
/// Lanes that lavapipe shuffles in one instruction, whatever the index.
const SHUFFLED_LANES: u32 = 8;
/// The number of multiplications from which a product justifies the longest kernel, which takes a second more to
/// compile.
const LARGE: usize = 1 << 26;
/// Up to this many, a product with few weights, as in a small network, does not justify the next kernel.
const SMALL: usize = 1 << 25;

impl MatMul {
    /// A product of two plain matrices: `rows` x `k` by `k` x `columns`, one after the other for each of `images`.
    #[must_use]
    pub fn plain(images: usize, rows: usize, k: usize, columns: usize) -> Self {
        let (k4, columns4) = (k.div_ceil(TEXEL), columns.div_ceil(TEXEL));
        Self {
            rows,
            k,
            columns,
            batch: (images, 1),
            layout: Layout::Rows,
            a: Strides { row: k4, image: rows * k4, head: 0 },
            b: Strides { row: columns4, image: k * columns4, head: 0 },
            y: Strides { row: columns4, image: rows * columns4, head: 0 },
            alpha: 1.0,
            rows_per_image: rows,
            source: Source::default(),
            epilogue: EpilogueSpec::default(),
            tile_size: None,
        }
    }

    /// The operands of a product without a second map, factors and epilogue. Absent ones are bound to `a`, which
    /// unlike `b` is never stored in float16.
    pub fn reads<T: Clone>(a: T, b: T) -> [T; 7] {
        [a.clone(), a.clone(), a.clone(), b, a.clone(), a.clone(), a]
    }

    /// The dispatch of this product.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Dispatch {
        let columns4 = self.columns.div_ceil(TEXEL);
        let (images, heads) = self.batch;
        let block = family.block(columns4);
        let (b_row, b_block) = match self.layout {
            Layout::Packed => (block, self.k.div_ceil(TEXEL) * TEXEL * block),
            Layout::Rows | Layout::Transposed => (self.b.row, block),
        };
        let transposed = u32::from(self.layout == Layout::Transposed);
        let shared = [self.source.constants().as_slice(), &self.epilogue.constants()].concat();
        let constants = [vec![("B_ROWS", transposed)], shared.clone()].concat();
        let (shader, tile) = match family {
            Family::Lanes { width } => {
                let rows = self.lanes_rows(width);
                let by_k = width == SHUFFLED_LANES && self.rows_collide(rows) && self.source.joined.is_none();
                let tile = [("LANES", width), ("ROWS", rows), ("BY_K", u32::from(by_k))];
                (family.shader(&LANES, [tile.as_slice(), &constants].concat()), (rows as usize, width as usize))
            }
            // Products of data with data, such as attention scores, keep their precision.
            Family::Matrix { width, side } if self.layout == Layout::Packed => {
                let units = vec![("WIDTH", width), ("SIDE", side)];
                (family.shader(&MATRIX, [shared, units].concat()), (64, 16))
            }
            Family::Tile | Family::Matrix { .. } => {
                let tile = self.blocking();
                (family.shader(&TILE, [constants, tile.constants().to_vec()].concat()), tile.grid())
            }
        };
        let shader_params = Params {
            rows: self.rows as u32,
            // Packed weights hold zeros for the padding of k.
            k: if self.layout == Layout::Packed { self.k.next_multiple_of(TEXEL) } else { self.k } as u32,
            columns: self.columns as u32,
            heads: heads as u32,
            rows_per_image: self.rows_per_image as u32,
            a_row: self.a.row as u32,
            a_image: self.a.image as u32,
            a_head: self.a.head as u32,
            b_row: b_row as u32,
            b_block: b_block as u32,
            b_image: self.b.image as u32,
            b_head: self.b.head as u32,
            y_row: self.y.row as u32,
            y_image: self.y.image as u32,
            y_head: self.y.head as u32,
            alpha: self.alpha,
            epilogue: self.epilogue.params(),
            source: self.source.params(),
        };
        let params = TwinParams { shader: shader_params, images: images as u32, transposed, block: block as u32 };
        let grid = [columns4.div_ceil(tile.1), self.rows.div_ceil(tile.0), images * heads];
        Dispatch { shader, params: words(&params), grid: grid.map(|extent| extent as u32) }
    }

    /// The properties by which the fastest tile is kept.
    #[must_use]
    pub fn shape(&self) -> ProductShape {
        let Self { rows, k, columns, batch, layout, .. } = *self;
        ProductShape { kind: ProductKind::Matrix(layout), matrices: batch.0 * batch.1, rows, k, columns }
    }

    /// The sizes of tiles that the kernels of a family have for it, smallest first. A tile that normalises lies in one
    /// image.
    #[must_use]
    pub fn tile_sizes(&self, family: Family) -> Vec<TileSize> {
        match family {
            Family::Lanes { width } => {
                let fitting = LANES_ROWS.into_iter().filter(|rows| self.fits(*rows));
                fitting.map(|rows| TileSize::of_lanes(rows, width)).collect()
            }
            Family::Matrix { .. } if self.layout == Layout::Packed => Vec::new(),
            Family::Tile | Family::Matrix { .. } => Blocking::sizes(),
        }
    }

    /// The size of the tiles that [`Self::dispatch`] takes; `None` if there is one kernel only.
    #[must_use]
    pub fn taken(&self, family: Family) -> Option<TileSize> {
        match family {
            Family::Lanes { width } => Some(TileSize::of_lanes(self.lanes_rows(width), width)),
            Family::Matrix { .. } if self.layout == Layout::Packed => None,
            Family::Tile | Family::Matrix { .. } => Some(self.blocking().size()),
        }
    }

    /// The tile of the families `tile` and `matrix`.
    fn blocking(&self) -> Blocking {
        let (images, heads) = self.batch;
        let by_rule = || Blocking::of(self.rows, self.columns.div_ceil(TEXEL), images * heads);
        self.tile_size.and_then(Blocking::of_size).unwrap_or_else(by_rule)
    }

    /// Rows per tile of the lanes family.
    fn lanes_rows(&self, width: u32) -> u32 {
        let mut fitting = LANES_ROWS.into_iter().filter(|rows| self.fits(*rows));
        let wanted = |rows: &u32| self.tile_size == Some(TileSize::of_lanes(*rows, width));
        fitting.find(wanted).unwrap_or_else(|| self.usual_rows())
    }

    /// Returns `true` if a tile of these rows lies in one image, or need not.
    fn fits(&self, rows: u32) -> bool {
        self.source.normalised.is_none() || self.rows_per_image.is_multiple_of(rows as usize)
    }

    /// The rule for rows per tile of the lanes family. Many rows share a weight; fewer are taken for few rows, and for
    /// products so small that compiling the longer kernel costs more than it saves.
    fn usual_rows(&self) -> u32 {
        let multiplications = self.batch.0 * self.batch.1 * self.rows * self.k * self.columns;
        let few_weights = self.k * self.columns < 1 << 16 && self.batch.0 == 1;
        let most = match self.rows {
            0..=4 => 4,
            5..=16 => 16,
            64.. if multiplications >= LARGE => 64,
            _ if few_weights && multiplications <= SMALL => 16,
            _ => 32,
        };
        RULE_ROWS.into_iter().filter(|rows| *rows <= most).find(|rows| self.fits(*rows)).unwrap_or(LEAST_ROWS)
    }

    /// Returns `true` if the rows of the first operand, read side by side, evict each other from a processor's first
    /// cache: 64 sets of 12 lines of 64 bytes (8 lines on older ones).
    fn rows_collide(&self, rows: u32) -> bool {
        let lines = self.a.row * size_of::<[f32; TEXEL]>() / 64;
        let sets = 64 >> lines.trailing_zeros().min(6);
        lines > 0 && rows > 12 * sets
    }

    /// Returns `true` if the kernels can normalise a map that they read whose images have `rows_per_image` rows.
    #[must_use]
    pub fn normalises(family: Family, rows_per_image: usize) -> bool {
        !matches!(family, Family::Lanes { .. }) || rows_per_image.is_multiple_of(LEAST_ROWS as usize)
    }

    /// Multiplications and additions.
    #[must_use]
    pub fn flops(&self) -> u64 {
        2 * (self.batch.0 * self.batch.1 * self.rows * self.k * self.columns) as u64
    }

    /// Every shader variant that [`Self::dispatch`] can choose, for validation.
    #[must_use]
    pub fn variants(family: Family) -> Vec<Shader> {
        let mut all: Vec<Shader> = Vec::new();
        // Rows that collide, and rows that do not; a tile that normalises lies in one image.
        let products = [960, 1024].map(|k| Self { rows_per_image: 64, ..Self::plain(1, 64, k, 64) });
        for layout in [Layout::Packed, Layout::Rows, Layout::Transposed] {
            for (epilogue, source) in super::conv2d::epilogues_and_sources() {
                // Transposed operands are those of attention, which reads plain maps.
                if source.upsampled || layout == Layout::Transposed && source != Source::default() {
                    continue;
                }
                for product in products.map(|product| Self { layout, source, epilogue, ..product }) {
                    let sizes = product.tile_sizes(family).into_iter().map(Some);
                    for tile_size in std::iter::once(None).chain(sizes) {
                        let shader = Self { tile_size, ..product }.dispatch(family).shader;
                        if !all.contains(&shader) {
                            all.push(shader);
                        }
                    }
                }
            }
        }
        // A transposed operand is data, never weights.
        let (transposed, rows) = all.into_iter().partition(|shader| shader.constants.contains(&("B_ROWS", 1)));
        [transposed, Shader::with_half_weights(rows)].concat()
    }
}

fn twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    computed(words, reads, write, |operand| operand);
}

/// The twin of kernels that round factors to float16.
fn rounding_twin(words: &[u32], reads: &[&[f32]], write: &mut [f32]) {
    computed(words, reads, write, super::to_float16);
}

fn computed(words: &[u32], reads: &[&[f32]], write: &mut [f32], operand: impl Fn(f32) -> f32) {
    let TwinParams { shader: p, images, transposed, block } = params(words);
    let [a, a2, factors, b, bias, per_image, residual] = reads else { return };
    let [rows, k, columns, heads] = [p.rows, p.k, p.columns, p.heads].map(|extent| extent as usize);
    let (padded, block) = (columns.next_multiple_of(TEXEL), block as usize);
    let at = |strides: [u32; 2], image: usize, head: usize| image * strides[0] as usize + head * strides[1] as usize;
    let padded_k = k.next_multiple_of(TEXEL);
    let source = HostSource { params: p.source, reads: [a, a2, factors], size: (1, rows), channels: padded_k };
    let plain = source.is_plain();
    for (image, head) in (0..images as usize).flat_map(|image| (0..heads).map(move |head| (image, head))) {
        let (a_base, b_base) = (at([p.a_image, p.a_head], image, head), at([p.b_image, p.b_head], image, head));
        let y_base = at([p.y_image, p.y_head], image, head);
        let b_at = |kk: usize, j: usize| {
            if transposed != 0 {
                component(b, b_base + j * p.b_row as usize + kk / TEXEL, kk % TEXEL)
            } else {
                let texel = j / TEXEL;
                let start = b_base + texel / block * p.b_block as usize + texel % block;
                component(b, start + kk * p.b_row as usize, j % TEXEL)
            }
        };
        for i in 0..rows {
            let a_row = (a_base + i * p.a_row as usize) * TEXEL;
            let of_image = i / p.rows_per_image as usize;
            let a_at = |kk: usize| if plain { a[a_row + kk] } else { source.at(of_image, i, kk) };
            for j in 0..padded {
                let sum = if j < columns {
                    (0..k).map(|kk| operand(a_at(kk)) * operand(b_at(kk, j))).sum::<f32>()
                } else {
                    0.0
                };
                let index = (y_base + i * p.y_row as usize) * TEXEL + j;
                let terms = [*bias, *per_image, *residual];
                write[index] = p.epilogue.finish(terms, p.alpha * sum, of_image, j, index);
            }
        }
    }
}
