//! Axes.

/// The scale of an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    Log,
}

/// An axis: its label, its scale, and its range where it does not follow from the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
    /// From and to; `None` means the range of the data.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// Returns a linear axis over the range of its data.
    #[must_use]
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear, range: None }
    }

    /// Returns a logarithmic axis over the positive range of its data.
    #[must_use]
    pub fn log(label: &str) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label) }
    }

    /// Returns the axis with a range from `low` to `high`.
    #[must_use]
    pub fn over(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }
}
