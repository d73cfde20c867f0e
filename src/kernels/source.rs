//! A map as a layer reads it, without materialising it: two maps joined along the channels, each pixel as 2 x 2, or
//! normalised on the way; the twin of `shaders/shared/source.wgsl`.

use super::activation::{Activation, activate, activation_code};
use crate::kernels::parameters::parameters;
use crate::tensor::TEXEL;

/// A normalisation of a map as it is read: `act(x * a + b)` with the factors of [`super::group_norm::GroupNormFold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalised {
    /// Applied to the result.
    pub activation: Option<Activation>,
}

/// The way a layer reads a map. Its operands are x, x2, factors; unused ones may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Channels of the first of two joined maps; whole texels.
    pub joined: Option<usize>,
    /// `true` if each pixel stands for 2 x 2 pixels of the map that the layer sees.
    pub upsampled: bool,
    /// The normalisation, if any.
    pub normalised: Option<Normalised>,
}

parameters! {
    /// A source as the shaders and twins read it; in the shaders all but `first_c4` are constants.
    pub struct SourceParams {
        first_c4: u32,
        up: u32,
        normalise: u32,
        activation: u32,
    }
}

impl Source {
    /// The words of the parameters.
    #[must_use]
    pub fn params(self) -> SourceParams {
        SourceParams {
            first_c4: self.joined.unwrap_or(0).div_ceil(TEXEL) as u32,
            up: u32::from(self.upsampled),
            normalise: u32::from(self.normalised.is_some()),
            activation: activation_code(self.normalised.and_then(|normalised| normalised.activation)),
        }
    }

    /// The constants of the shaders that read a source.
    #[must_use]
    pub fn constants(self) -> [(&'static str, u32); 4] {
        let SourceParams { up, normalise, activation, .. } = self.params();
        [joined_constant(self.joined), ("UP", up), ("NORM", normalise), ("NORM_ACTIVATION", activation)]
    }

    /// One source for each kind of shader.
    #[must_use]
    pub(super) fn kinds() -> Vec<Self> {
        let normalisations = [None, Some(None), Some(Some(Activation::Silu))];
        let normalisations = normalisations.map(|n| n.map(|activation| Normalised { activation }));
        let plain = normalisations.map(|normalised| Self { normalised, ..Self::default() });
        let joined = normalisations.map(|normalised| Self { normalised, joined: Some(TEXEL), ..Self::default() });
        let upsampled = Self { upsampled: true, ..Self::default() };
        [plain.as_slice(), &joined, &[upsampled]].concat()
    }
}

/// The constant of the shaders that read a joined map.
#[must_use]
pub(super) fn joined_constant(joined: Option<usize>) -> (&'static str, u32) {
    ("JOINED", u32::from(joined.is_some()))
}

/// Channel `channel` of a pixel of a joined map of `channels` padded channels; the twin of `load_joined`.
pub(super) fn joined_value([x, x2]: [&[f32]; 2], first_c4: u32, channels: usize, pixel: usize, channel: usize) -> f32 {
    let first = first_c4 as usize * TEXEL;
    if first == 0 {
        x[pixel * channels + channel]
    } else if channel < first {
        x[pixel * first + channel]
    } else {
        x2[pixel * (channels - first) + channel - first]
    }
}

/// A source on the host.
pub(super) struct HostSource<'a> {
    pub params: SourceParams,
    /// x, x2, factors.
    pub reads: [&'a [f32]; 3],
    /// Rows and columns that the layer sees.
    pub size: (usize, usize),
    /// Channels, padded.
    pub channels: usize,
}

impl SourceParams {
    /// The same, for a map whose first `first_c4` texels of channels are stored by themselves.
    pub(super) fn with_first(self, first_c4: u32) -> Self {
        Self { first_c4, ..self }
    }
}

impl HostSource<'_> {
    /// A value of the map that the layer sees; zero beyond its border (a coordinate above zero may have wrapped
    /// around).
    pub fn value(&self, image: usize, y: usize, x: usize, channel: usize) -> f32 {
        let ((h, w), up) = (self.size, self.params.up);
        if y >= h || x >= w {
            return 0.0;
        }
        self.at(image, (image * (h >> up) + (y >> up)) * (w >> up) + (x >> up), channel)
    }

    /// Returns `true` for a plain map.
    pub fn is_plain(&self) -> bool {
        self.params.first_c4 == 0 && self.params.normalise == 0
    }

    /// A value of a stored pixel.
    pub fn at(&self, image: usize, pixel: usize, channel: usize) -> f32 {
        let [x, x2, factors] = self.reads;
        let value = joined_value([x, x2], self.params.first_c4, self.channels, pixel, channel);
        if self.params.normalise == 0 {
            return value;
        }
        let of_channel = image * 2 * self.channels + channel;
        activate(self.params.activation, value * factors[of_channel] + factors[of_channel + self.channels])
    }
}
