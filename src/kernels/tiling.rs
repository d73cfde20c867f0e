//! The tiles of products: the part that one workgroup computes. Rows and columns are independent and every tile sums
//! in one order, so a tile is about time alone: no bit of a result depends on it.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::Dispatch;
use super::Family;
use super::conv2d::Conv2d;
use super::matmul::{Layout, MatMul};
use super::winograd::{self, WinogradProducts};
use crate::tensor::TEXEL;

/// The values of a product that a workgroup computes. The kernels of a family exist for a few sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TileSize {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl TileSize {
    /// A tile of the lanes family: some rows by the texels of a subgroup.
    pub(super) const fn of_lanes(rows: u32, width: u32) -> Self {
        Self { rows: rows as usize, columns: width as usize * TEXEL }
    }
}

impl Display for TileSize {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.rows, self.columns)
    }
}

/// The kernel of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProductKind {
    /// A matrix product ([`MatMul`]).
    Matrix(Layout),
    /// The last stages of Winograd's convolution in one ([`WinogradProducts`]); the rows are tiles of the map.
    Winograd(winograd::Tile),
    /// A convolution by its definition ([`Conv2d`]), with the height, the width and the stride of its kernel; the rows
    /// are pixels.
    Convolution(usize, usize, usize),
}

/// The properties of a product by which its fastest tile is kept. Unlike those of a [`super::choice::Layer`] they
/// depend on the number of images per call, which changes no bits here, but the tile that is fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductShape {
    /// The kernel.
    pub kind: ProductKind,
    /// Products of this shape in one dispatch.
    pub matrices: usize,
    /// Rows of the result.
    pub rows: usize,
    /// Products that are summed.
    pub k: usize,
    /// Columns of the result.
    pub columns: usize,
}

impl Display for ProductShape {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kind, matrices, rows, k, columns } = self;
        match kind {
            ProductKind::Matrix(_) if *matrices > 1 => write!(f, "{matrices} of {rows} x {k} x {columns}")?,
            ProductKind::Winograd(tile) => {
                return write!(f, "Winograd {0}x{0}, {rows} tiles, {k} -> {columns}", tile.outputs());
            }
            ProductKind::Convolution(height, width, stride) => {
                let input = k / (height * width);
                write!(f, "{height}x{width}, {rows} pixels, {input} -> {columns}")?;
                return if *stride > 1 { write!(f, ", stride {stride}") } else { Ok(()) };
            }
            ProductKind::Matrix(_) => write!(f, "{rows} x {k} x {columns}")?,
        }
        match kind {
            ProductKind::Matrix(Layout::Rows) => f.write_str(", data"),
            ProductKind::Matrix(Layout::Transposed) => f.write_str(", transposed data"),
            _ => Ok(()),
        }
    }
}

/// A product with a choice of tiles.
#[derive(Clone, Debug, PartialEq)]
pub enum Product {
    /// A matrix product.
    Matrix(MatMul),
    /// The last stages of Winograd's convolution.
    Winograd(WinogradProducts),
    /// A convolution by its definition.
    Convolution(Conv2d),
}

impl Product {
    /// The properties by which its fastest tile is kept.
    #[must_use]
    pub fn shape(&self) -> ProductShape {
        match self {
            Self::Matrix(product) => product.shape(),
            Self::Winograd(products) => products.shape(),
            Self::Convolution(conv) => conv.shape(),
        }
    }

    /// The sizes of tiles that the kernels of a family have for it, smallest first. There is a choice if there are
    /// several.
    #[must_use]
    pub fn tile_sizes(&self, family: Family) -> Vec<TileSize> {
        match self {
            Self::Matrix(product) => product.tile_sizes(family),
            Self::Winograd(products) => products.tile_sizes(family),
            Self::Convolution(conv) => conv.tile_sizes(family),
        }
    }

    /// The size of the tiles that [`Self::dispatch`] takes, if there is a choice.
    #[must_use]
    pub fn tile_size(&self, family: Family) -> Option<TileSize> {
        match self {
            Self::Matrix(product) => product.taken(family),
            Self::Winograd(products) => products.taken(family),
            Self::Convolution(conv) => conv.taken(family),
        }
    }

    /// The same product by tiles of this size; by those of the rule for `None`.
    #[must_use]
    pub fn by_tiles(&self, tile_size: Option<TileSize>) -> Self {
        match self.clone() {
            Self::Matrix(product) => Self::Matrix(MatMul { tile_size, ..product }),
            Self::Winograd(products) => Self::Winograd(WinogradProducts { tile_size, ..products }),
            Self::Convolution(conv) => Self::Convolution(Conv2d { tile_size, ..conv }),
        }
    }

    /// The dispatch; `None` if the family has no kernel for it.
    #[must_use]
    pub fn dispatch(&self, family: Family) -> Option<Dispatch> {
        match self {
            Self::Matrix(product) => Some(product.dispatch(family)),
            Self::Winograd(products) => products.dispatch(family),
            Self::Convolution(conv) => Some(conv.dispatch(family)),
        }
    }

    /// Multiplications and additions.
    #[must_use]
    pub fn flops(&self) -> u64 {
        match self {
            Self::Matrix(product) => product.flops(),
            Self::Winograd(products) => products.flops(),
            Self::Convolution(conv) => conv.flops(),
        }
    }
}

impl From<MatMul> for Product {
    fn from(product: MatMul) -> Self {
        Self::Matrix(product)
    }
}

impl From<WinogradProducts> for Product {
    fn from(products: WinogradProducts) -> Self {
        Self::Winograd(products)
    }
}

impl From<Conv2d> for Product {
    fn from(conv: Conv2d) -> Self {
        Self::Convolution(conv)
    }
}
