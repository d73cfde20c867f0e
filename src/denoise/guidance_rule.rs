//! The forms of guidance between two estimates: classifier-free guidance and CFG++, an interval of noise levels, and
//! the rescaling of the guided output.
//!
//! With the estimates of a condition and without, c and u, and the scale s,
//!
//! ```text
//! guided = u + s (c - u)
//! ```
//!
//! in the form that the network predicts. Ho and Salimans (2022) take every step with it. CFG++ (Chung et al. 2024,
//! algorithm 2) denoises with it and renoises with u: a step of DDIM is `x' = x0(guided) + sigma' eps(u)`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The role of the guided estimate in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GuidanceMode {
    /// Classifier-free guidance: it takes the place of the network's own estimate.
    #[default]
    Cfg,
    /// CFG++: it denoises, and the estimate without the condition renoises.
    CfgPlusPlus,
}

impl GuidanceMode {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Cfg, Self::CfgPlusPlus];

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cfg => "cfg",
            Self::CfgPlusPlus => "cfg++",
        }
    }
}

impl fmt::Display for GuidanceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for GuidanceMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| {
            Error::argument(format!("`{text}` is not a `guidance_mode`"), "the modes are `cfg` and `cfg++`")
        })
    }
}

/// The noise levels at which guidance acts, in sigma: above the lower end, up to the upper one (Kynkäänniemi et al.
/// 2024, equation 5). Elsewhere the estimate is that of the condition alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuidanceInterval {
    low: f64,
    high: f64,
}

impl GuidanceInterval {
    /// The interval from `low`, at which guidance does not act, to `high`, at which it does. `high` may be infinite.
    ///
    /// # Errors
    /// [`Error::Argument`] unless 0 <= `low` < `high`.
    pub fn new(low: f64, high: f64) -> Result<Self> {
        if low >= 0.0 && low < high {
            return Ok(Self { low, high });
        }
        let what = format!("a `guidance_interval` from {low} to {high}");
        Err(Error::argument(what, "give two sigmas, the lower one first and not below 0; the upper one may be `inf`"))
    }

    /// Returns `true` if guidance acts at `sigma`.
    #[must_use]
    pub fn contains(self, sigma: f64) -> bool {
        self.low < sigma && sigma <= self.high
    }
}

impl fmt::Display for GuidanceInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.low, self.high)
    }
}

/// The form of guidance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GuidanceRule {
    /// The role of the guided estimate.
    pub mode: GuidanceMode,
    /// The noise levels at which guidance acts; all of them by default.
    pub interval: Option<GuidanceInterval>,
    /// The share phi of the guided output that is rescaled to the spread of the conditional one, 0 to 1: see
    /// [`GuidanceRule::guided`].
    pub rescale: f64,
}

impl GuidanceRule {
    /// Returns `true` for classifier-free guidance at all levels, as it is.
    #[must_use]
    pub fn is_plain(self) -> bool {
        self == Self::default()
    }

    /// Returns `true` if guidance acts at `sigma`.
    #[must_use]
    pub fn acts_at(self, sigma: f64) -> bool {
        self.interval.is_none_or(|interval| interval.contains(sigma))
    }

    /// The scales that the mode takes.
    ///
    /// # Errors
    /// [`Error::Argument`] naming `field`, for CFG++ and a scale that is not from 0 to 1.
    pub fn check_scale(self, field: &str, scale: f64) -> Result<()> {
        if self.mode == GuidanceMode::Cfg || (0.0..=1.0).contains(&scale) {
            return Ok(());
        }
        let what = format!("`{field}` of {scale} is out of range for the `guidance_mode` `cfg++`");
        Err(Error::argument(what, "give a number from 0 to 1; 0.6 is about as strong as 7.5 is with `cfg`"))
    }

    /// Returns `u + s (c - u)` for one image, with s the `scale`.
    ///
    /// With phi above 0, as diffusers' `rescale_noise_cfg` (Lin et al. 2023, section 3.4), it is multiplied by `phi
    /// std(c) / std(guided) + 1 - phi`. The standard deviations are those of all values of the image, with n - 1 in the
    /// denominator. A guided output without any spread is left as it is.
    #[must_use]
    pub fn guided(self, unconditional: &[f32], conditional: &[f32], scale: f64) -> Vec<f32> {
        let pairs = unconditional.iter().zip(conditional);
        let guided = pairs.map(|(u, c)| f64::from(*u) + scale * (f64::from(*c) - f64::from(*u)));
        if self.rescale == 0.0 {
            return guided.map(|value| value as f32).collect();
        }
        let guided: Vec<f64> = guided.collect();
        let (own, of_condition) =
            (deviation(guided.iter().copied()), deviation(conditional.iter().map(|c| f64::from(*c))));
        let factor = if own > 0.0 { self.rescale * (of_condition / own) + (1.0 - self.rescale) } else { 1.0 };
        guided.into_iter().map(|value| (value * factor) as f32).collect()
    }

    /// The settings that differ from plain guidance, by keyword, for the metadata of images.
    #[must_use]
    pub fn pairs(self) -> Vec<(&'static str, String)> {
        let mode = (self.mode != GuidanceMode::Cfg).then(|| ("guidance mode", self.mode.to_string()));
        let interval = self.interval.map(|interval| ("guidance interval", interval.to_string()));
        let rescale = (self.rescale != 0.0).then(|| ("guidance rescale", self.rescale.to_string()));
        mode.into_iter().chain(interval).chain(rescale).collect()
    }

    /// For reports. An infinite end of the interval is null.
    #[must_use]
    pub fn json(self) -> Value {
        json!({
            "mode": self.mode.name(),
            "interval": self.interval.map(|GuidanceInterval { low, high }| [low, high]),
            "rescale": self.rescale,
        })
    }
}

/// The sample standard deviation; 0 for fewer than two values.
fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    if count < 2.0 {
        return 0.0;
    }
    let mean = values.clone().sum::<f64>() / count;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
}

/// The calls of a network with guidance, and of its classifier, in images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Evaluations {
    /// Images that the network was called on with the condition to follow, or without any.
    pub conditional: u64,
    /// Images that it was called on with the condition to move away from.
    pub unconditional: u64,
    /// Images that the classifier was called on.
    pub classifier: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_open_below_and_closed_above() {
        let interval = GuidanceInterval::new(0.5, 2.0).unwrap();
        for (sigma, acts) in [(0.0, false), (0.5, false), (0.5 + 1e-12, true), (2.0, true), (2.0 + 1e-9, false)] {
            assert_eq!(interval.contains(sigma), acts, "{sigma}");
        }
        assert!(GuidanceInterval::new(0.0, f64::INFINITY).unwrap().contains(f64::INFINITY));
        assert!(!interval.contains(f64::INFINITY));
        for (low, high) in [(1.0, 1.0), (2.0, 1.0), (-0.1, 1.0), (f64::NAN, 1.0), (0.0, f64::NAN)] {
            let error = GuidanceInterval::new(low, high).unwrap_err().to_string();
            assert!(error.contains("`guidance_interval`"), "{error}");
        }
        let rule = GuidanceRule { interval: Some(interval), ..GuidanceRule::default() };
        assert!(rule.acts_at(1.0) && !rule.acts_at(0.5) && !rule.is_plain() && GuidanceRule::default().acts_at(9.0));
    }

    #[test]
    fn the_whole_share_has_the_spread_of_the_condition() {
        let (u, c) = ([0.5f32, -1.0, 2.0, 0.25], [1.5f32, -2.0, 0.5, 0.75]);
        let spread = |values: &[f32]| deviation(values.iter().map(|value| f64::from(*value)));
        let rule = |rescale| GuidanceRule { rescale, ..GuidanceRule::default() };
        let plain = rule(0.0).guided(&u, &c, 3.0);
        assert_eq!(plain, [3.5, -4.0, -2.5, 1.75]);
        let whole = rule(1.0).guided(&u, &c, 3.0);
        assert!((spread(&whole) - spread(&c)).abs() < 1e-6 && spread(&plain) > 1.5 * spread(&c));
        let half = rule(0.5).guided(&u, &c, 3.0);
        for ((plain, whole), half) in plain.iter().zip(&whole).zip(&half) {
            assert!((0.5 * (plain + whole) - half).abs() < 1e-6);
        }
        // The condition alone has its spread already; nothing has none.
        assert_eq!(rule(1.0).guided(&u, &c, 1.0), c);
        assert_eq!(rule(1.0).guided(&[0.0; 3], &[0.0; 3], 2.0), [0.0; 3]);
        assert_eq!(rule(0.7).guided(&[1.0], &[2.0], 2.0), [3.0], "one value has no spread");
    }

    #[test]
    fn modes_have_names_and_scales() {
        for mode in GuidanceMode::ALL {
            assert_eq!(mode.name().parse::<GuidanceMode>().unwrap(), mode);
        }
        assert!("cfgpp".parse::<GuidanceMode>().unwrap_err().to_string().contains("`cfgpp`"));
        let rule = GuidanceRule { mode: GuidanceMode::CfgPlusPlus, ..GuidanceRule::default() };
        assert!(rule.check_scale("cfg_scale", 0.0).is_ok() && rule.check_scale("cfg_scale", 1.0).is_ok());
        for scale in [-0.1, 1.01, 7.5, f64::NAN] {
            assert!(rule.check_scale("cfg_scale", scale).unwrap_err().to_string().contains("`cfg_scale`"));
        }
        assert!(GuidanceRule::default().check_scale("cfg_scale", 7.5).is_ok());
    }
}
