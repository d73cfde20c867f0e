//! Axes with a range: from values to places, and the ticks.

use crate::report::plot::axis::{Axis, Scale};

impl Axis {
    /// Returns the axis with a range: its own, or that of `values` and a margin on both sides.
    pub(super) fn fitted(&self, values: impl Iterator<Item = f64>, margin: f64) -> Fitted {
        let scale = self.scale;
        if let Some((low, high)) = self.range
            && let (Some(low), Some(high)) = (scale.place(low), scale.place(high))
            && low != high
        {
            return Fitted { scale, low, high };
        }
        let places = values.filter_map(|value| scale.place(value));
        let (low, high) =
            places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| (low.min(place), high.max(place)));
        let (low, high) = match high - low {
            width if width > 1e-12 * (low.abs() + high.abs()) => (low - margin * width, high + margin * width),
            width if width >= 0.0 => {
                let around = if scale == Scale::Log { 0.5 } else { 0.5 * low.abs().max(1e-3) };
                (low - around, high + around)
            }
            _ => (0.0, 1.0),
        };
        Fitted { scale, low, high }
    }
}

impl Scale {
    /// Returns the position of a value in units of the scale: the value, or its decimal logarithm.
    fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::Linear => value,
            Self::Log if value > 0.0 => value.log10(),
            Self::Log => return None,
        };
        place.is_finite().then_some(place)
    }
}

/// An axis with a range, in units of its scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fitted {
    pub scale: Scale,
    pub low: f64,
    pub high: f64,
}

/// A mark on an axis; small ones have no label.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Along the axis, 0 to 1.
    pub share: f64,
    pub label: Option<String>,
}

impl Fitted {
    /// Returns the position of a value along the axis, 0 to 1 within it.
    pub fn share(&self, value: f64) -> Option<f64> {
        self.scale.place(value).map(|place| (place - self.low) / (self.high - self.low))
    }

    /// The least value of the axis from which bars rise: zero, or the foot of a logarithmic axis.
    pub fn foot(&self) -> f64 {
        match self.scale {
            Scale::Linear => ((0.0 - self.low) / (self.high - self.low)).clamp(0.0, 1.0),
            Scale::Log => 0.0,
        }
    }

    /// The marks, about `wanted` of them with labels.
    pub fn ticks(&self, wanted: usize) -> Vec<Tick> {
        let reversed = self.high < self.low;
        let (low, high) = if reversed { (self.high, self.low) } else { (self.low, self.high) };
        let share = |place: f64| (place - self.low) / (self.high - self.low);
        match self.scale {
            Scale::Linear => linear(low, high, wanted)
                .into_iter()
                .map(|(value, label)| Tick { share: share(value), label: Some(label) })
                .collect(),
            Scale::Log if high - low < 0.9 => {
                let values = linear(10f64.powf(low), 10f64.powf(high), wanted);
                let positive = values.into_iter().filter(|(value, _)| *value > 0.0);
                positive.map(|(value, label)| Tick { share: share(value.log10()), label: Some(label) }).collect()
            }
            Scale::Log => logarithmic(low, high, wanted)
                .into_iter()
                .map(|(place, label)| Tick { share: share(place), label })
                .collect(),
        }
    }
}

/// Round numbers between two, with their texts.
fn linear(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / wanted.max(2) as f64;
    let decade = 10f64.powf(rough.log10().floor());
    let step = decade * [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * decade >= 0.999 * rough).unwrap_or(10.0);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    let largest = low.abs().max(high.abs());
    (first..=last).map(|at| at as f64 * step).map(|value| (value, number(value, step, largest))).collect()
}

/// Decades between two exponents, and what lies between them without a label.
fn logarithmic(low: f64, high: f64, wanted: usize) -> Vec<(f64, Option<String>)> {
    let (first, last) = ((low - 1e-9).ceil() as i32, (high + 1e-9).floor() as i32);
    let every = ((high - low) / wanted.max(2) as f64).ceil().max(1.0) as i32;
    let plain = first >= -3 && last <= 4;
    let few = high - low < 2.0;
    let within = |place: f64| place >= low - 1e-9 && place <= high + 1e-9;
    let mut ticks = Vec::new();
    for exponent in first - 1..=last {
        let labelled = exponent.rem_euclid(every) == 0;
        if within(f64::from(exponent)) {
            ticks.push((f64::from(exponent), labelled.then(|| power(exponent, plain))));
        }
        if every == 1 {
            for digit in 2..10 {
                let place = f64::from(exponent) + f64::from(digit).log10();
                if within(place) {
                    let value = f64::from(digit) * 10f64.powi(exponent);
                    let label = (few && matches!(digit, 2 | 5)).then(|| number(value, value, value));
                    ticks.push((place, label));
                }
            }
        }
    }
    ticks
}

/// A power of ten as text.
fn power(exponent: i32, plain: bool) -> String {
    if plain {
        return number(10f64.powi(exponent), 10f64.powi(exponent), 1.0);
    }
    format!("10{}", superscript(exponent))
}

fn superscript(exponent: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digits = exponent.unsigned_abs().to_string();
    let raised = digits.bytes().map(|digit| DIGITS[usize::from(digit - b'0')]);
    (exponent < 0).then_some('⁻').into_iter().chain(raised).collect()
}

/// A multiple of `step` as text, where the largest is so large.
fn number(value: f64, step: f64, largest: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e5).contains(&largest) {
        let exponent = value.abs().log10().floor() as i32;
        let digits = (value.abs().log10().floor() - step.log10().floor()).clamp(0.0, 6.0) as usize;
        return signed(format!("{:.digits$}×10{}", value / 10f64.powi(exponent), superscript(exponent)));
    }
    let decimals = (-(step * 1.000_1).log10().floor()).clamp(0.0, 8.0) as usize;
    signed(format!("{value:.decimals$}"))
}

/// With a minus sign instead of a hyphen.
fn signed(text: String) -> String {
    text.replacen('-', "−", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, values: &[f64]) -> Vec<String> {
        let ticks = axis.fitted(values.iter().copied(), 0.0).ticks(5);
        assert!(ticks.iter().all(|tick| (-1e-6..=1.0 + 1e-6).contains(&tick.share)), "{ticks:?}");
        ticks.into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        assert_eq!(labels(&Axis::linear(""), &[0.0, 1.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::linear(""), &[-30.0, 120.0]), ["0", "50", "100"]);
        assert_eq!(labels(&Axis::linear(""), &[0.0, 3e6]), ["0", "1×10⁶", "2×10⁶", "3×10⁶"]);
        assert_eq!(labels(&Axis::log(""), &[1e-3, 1.0]), ["0.001", "0.01", "0.1", "1"]);
        assert_eq!(labels(&Axis::log(""), &[1e-12, 1.0]), ["10⁻¹²", "10⁻⁹", "10⁻⁶", "10⁻³", "10⁰"]);
        assert_eq!(labels(&Axis::log(""), &[2.0, 30.0]), ["2", "5", "10", "20"]);
        assert_eq!(labels(&Axis::log(""), &[2.0, 4.0]), ["2.0", "2.5", "3.0", "3.5", "4.0"]);
    }

    #[test]
    fn every_range_is_an_axis() {
        for values in [vec![], vec![3.0], vec![0.0, 0.0], vec![f64::NAN, f64::INFINITY], vec![-1.0]] {
            for axis in
                [Axis::linear(""), Axis::log(""), Axis::log("").over(-1.0, 2.0), Axis::linear("").over(1.0, 1.0)]
            {
                let fitted = axis.fitted(values.iter().copied(), 0.05);
                assert!(fitted.low < fitted.high && fitted.low.is_finite() && fitted.high.is_finite(), "{fitted:?}");
                assert!(!fitted.ticks(5).is_empty());
            }
        }
        assert_eq!(Axis::log("").fitted([1.0].into_iter(), 0.0).share(-1.0), None);
        assert_eq!(Axis::linear("").over(10.0, 0.0).fitted([].into_iter(), 0.0).share(2.5), Some(0.75));
    }
}
