//! The values of flags, read from text.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

pub use super::shard::ShardArg;
pub use super::shared::{FamilyFlag, Global};
use crate::cli::stream;
use crate::denoise::diffusion::PredictionType;
use crate::error::{Error, Result};
use crate::formats::json;
use crate::graph::CompileOptions;
use crate::kernels::choice::Algorithm;
use crate::kernels::{Engine, Memory};
use crate::latent::tiles::Tiling;
use crate::report::Console;
use crate::sample::admissible::ErrorModel;
use crate::sample::schedule::ScheduleKind;
use crate::tensor::Precision;

/// The longest side of an image that can be requested. It is beyond any device, and small enough that products of sides
/// do not overflow.
pub const LONGEST_SIDE: usize = 1 << 13;

/// The values of `--dtype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// The precision of the network
    #[default]
    #[value(alias = "float32")]
    F32,
    /// Half the bytes for weights; sums stay in float32
    #[value(alias = "float16")]
    F16,
    /// On GPUs, also half the bytes for the maps between layers, each of which is rounded
    F16Maps,
}

impl Dtype {
    /// The options of compiling networks: weights and maps of this type, and the definition of every convolution with
    /// `--exact`.
    pub fn options(self, global: &Global) -> CompileOptions {
        let of = |is_half| if is_half { Precision::Float16 } else { Precision::Float32 };
        CompileOptions {
            forced: global.exact.then_some(Algorithm::Direct),
            weights: of(self != Self::F32),
            maps: of(self == Self::F16Maps),
            ..CompileOptions::default()
        }
    }

    /// The type that has an effect on `engine`, with a note if that is not the one that was asked for.
    #[must_use]
    pub fn on(self, engine: &Engine, console: Console) -> Self {
        if self != Self::F16Maps || engine.family.memory() == Memory::Buffer {
            return self;
        }
        console.note(
            "note: `--dtype f16-maps` stores weights only in float16 here, as `f16`: the maps of these kernels are \
             textures of float32",
        );
        Self::F16
    }

    /// Refuses another type than float32 for `model`, which is not a network.
    ///
    /// # Errors
    /// [`Error::Argument`]
    pub fn expect_network(self, model: &str) -> Result<()> {
        match self {
            Self::F32 => Ok(()),
            Self::F16 | Self::F16Maps => {
                let what = format!("`--dtype` has no meaning for `{model}`, which has no weights");
                Err(Error::argument(what, "omit `--dtype`"))
            }
        }
    }
}

/// The help of a MODEL argument that takes any denoiser.
pub fn denoiser_help() -> String {
    let (networks, closed_forms) = (crate::checkpoint::MODEL_FORMS, crate::denoise::closed_form::FORMS);
    format!("A network ({networks}) or a closed form ({closed_forms}) [default: the embedded network of digits]")
}

/// The help of a MODEL argument that takes a network.
pub fn network_help() -> String {
    format!("A network: {} [default: the embedded network of digits]", crate::checkpoint::MODEL_FORMS)
}

/// The quantity that a network predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Prediction {
    /// The noise
    Epsilon,
    /// The velocity v
    V,
    /// The clean image
    Sample,
}

impl From<Prediction> for PredictionType {
    fn from(prediction: Prediction) -> Self {
        match prediction {
            Prediction::Epsilon => Self::Epsilon,
            Prediction::V => Self::VPrediction,
            Prediction::Sample => Self::Sample,
        }
    }
}

/// Numbers separated by commas: `999,500,0`.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberList(pub Vec<f64>);

impl std::str::FromStr for NumberList {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |part: &str| part.trim().parse().map_err(|_| format!("`{part}` is not a number"));
        text.split(',').map(number).collect::<std::result::Result<_, _>>().map(Self)
    }
}

/// An error model: `ETA,NU`, or a file that holds both.
#[derive(Clone, Debug, PartialEq)]
pub enum ErrorModelArg {
    /// The numbers themselves.
    Numbers(f64, f64),
    /// JSON with `eta` and `nu`, as `downhill inspect error-model` writes it.
    File(PathBuf),
}

impl std::str::FromStr for ErrorModelArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text.parse::<NumberList>() {
            Ok(NumberList(numbers)) if numbers.len() == 2 => Self::Numbers(numbers[0], numbers[1]),
            _ => Self::File(PathBuf::from(text)),
        })
    }
}

impl ErrorModelArg {
    /// The error model.
    ///
    /// # Errors
    /// [`Error::Argument`] for numbers out of range, [`Error::FileNotFound`], [`Error::BadFile`].
    pub fn read(&self) -> Result<ErrorModel> {
        match self {
            Self::Numbers(eta, nu) => ErrorModel::new(*eta, *nu),
            Self::File(file) => {
                let hint = "an error model is JSON with `eta` (0 to below 1) and `nu` (1 or more), as `downhill \
                            inspect error-model` writes it";
                stream::read(file, |file| json::read(file, "not an error model", hint))
            }
        }
    }
}

/// Height and width of an image: `64x96`, or `64` for a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl From<Size> for crate::model::Size {
    fn from(Size { height, width }: Size) -> Self {
        (height, width)
    }
}

impl From<crate::model::Size> for Size {
    fn from((height, width): crate::model::Size) -> Self {
        Self { height, width }
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (height, width) = text.split_once(['x', 'X']).unwrap_or((text, text));
        let side = |text: &str| match text.parse() {
            Ok(side) if (1..=LONGEST_SIDE).contains(&side) => Ok(side),
            _ => Err(format!("expected HEIGHTxWIDTH, each from 1 to {LONGEST_SIDE}")),
        };
        Ok(Self { height: side(height)?, width: side(width)? })
    }
}

/// The values of `--tile`.
#[derive(Clone, Copy, Debug)]
pub struct TileArg(pub Tiling);

impl std::str::FromStr for TileArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self(Tiling::Auto)),
            ("never", _) => Ok(Self(Tiling::Never)),
            (_, Ok(rows)) if rows > 0 => Ok(Self(Tiling::Rows(rows))),
            _ => Err("expected a number of rows, `never` or `auto`".to_owned()),
        }
    }
}

/// Reads the name of a kind of schedule.
pub fn schedule_kind() -> impl TypedValueParser<Value = ScheduleKind> {
    let kinds = ScheduleKind::ALL.map(|kind| PossibleValue::new(kind.name()).help(kind.about()));
    PossibleValuesParser::new(kinds).try_map(|name| name.parse::<ScheduleKind>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_sizes_are_read() {
        assert_eq!("999, 1.5,-1".parse(), Ok(NumberList(vec![999.0, 1.5, -1.0])));
        assert_eq!("64x96".parse(), Ok(Size { height: 64, width: 96 }));
        assert_eq!("28".parse(), Ok(Size { height: 28, width: 28 }));
    }

    #[test]
    fn malformed_values_are_refused() {
        for text in ["", "1,", "1,,2", "one"] {
            assert!(text.parse::<NumberList>().is_err(), "{text}");
        }
        for text in ["", "0", "0x4", "4x", "4x4x4", "-4x4", "8193", "99999999999999999999"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
