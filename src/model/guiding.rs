//! The form of a run's guidance: settings that are checked against the model and the sampler.

use super::resolve::{Labels, meaningless};
use super::sampling::Sampling;
use crate::denoise::{GuidanceInterval, GuidanceMode, GuidanceRule};
use crate::error::{Error, Result};
use crate::nets::architecture::LabelInput;
use crate::sample::walk::Method;

/// The scale of CFG++ where it is not given. Chung et al. (2024), appendix: it is as strong as 7.5 without it.
const USUAL_PLUS_SCALE: f64 = 0.6;

/// The settings of the form of guidance, as they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RuleSettings {
    pub mode: Option<GuidanceMode>,
    pub interval: Option<(f64, f64)>,
    pub rescale: Option<f64>,
}

impl RuleSettings {
    /// The settings that are given, by name.
    fn given(self) -> impl Iterator<Item = &'static str> {
        let fields = [
            ("guidance_mode", self.mode.is_some()),
            ("guidance_interval", self.interval.is_some()),
            ("guidance_rescale", self.rescale.is_some()),
        ];
        fields.into_iter().filter(|(_, is_given)| *is_given).map(|(field, _)| field)
    }
}

/// The parts of a model that a scale of guidance acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guided {
    /// Two conditions, by a scale.
    Conditions,
    /// The gradient of a classifier, and one condition or none.
    Classifier,
    /// Nothing: the condition is followed as it is.
    Nothing,
}

impl Sampling<'_> {
    /// The form of guidance that is asked for.
    ///
    /// # Errors
    /// [`Error::Argument`] for an interval without any level, and a share that is not one.
    pub(super) fn rule(&self) -> Result<GuidanceRule> {
        let RuleSettings { mode, interval, rescale } = self.rule;
        let rescale = rescale.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&rescale) {
            let what = format!("`guidance_rescale` of {rescale} is out of range");
            return Err(Error::argument(what, "give a number from 0 to 1; 0.7 is usual"));
        }
        let interval = interval.map(|(low, high)| GuidanceInterval::new(low, high)).transpose()?;
        Ok(GuidanceRule { mode: mode.unwrap_or_default(), interval, rescale })
    }

    /// The scale of guidance between two conditions, `usual` without CFG++.
    ///
    /// # Errors
    /// Those of [`Sampling::scale`], [`Sampling::rule`] and [`GuidanceRule::check_scale`].
    pub(super) fn scale_by_rule(&self, usual: f64) -> Result<(f64, GuidanceRule)> {
        let rule = self.rule()?;
        let usual = if rule.mode == GuidanceMode::CfgPlusPlus { USUAL_PLUS_SCALE } else { usual };
        let scale = self.scale(usual)?;
        rule.check_scale("cfg_scale", scale)?;
        Ok((scale, rule))
    }

    /// Refuses forms of guidance, for a model that is not guided.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first of them.
    pub(super) fn expect_no_rule(&self, name: &str) -> Result<()> {
        self.rule.given().next().map_or(Ok(()), |field| Err(meaningless(field, name)))
    }

    /// Refuses forms of guidance that have no effect, or no meaning for the sampler.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub(super) fn check_rule(&self, guided: Guided, method: &Method) -> Result<()> {
        let Some(field) = self.rule.given().next() else { return Ok(()) };
        match guided {
            Guided::Nothing => {
                let what = format!("`{field}` without guidance: `cfg_scale` leaves the condition as it is");
                return Err(Error::argument(what, "give a larger `cfg_scale`, or leave the field out"));
            }
            Guided::Classifier if self.rule.rescale.is_some() => {
                let what = "`guidance_rescale` for guidance by a classifier, which has no conditional output";
                return Err(Error::argument(what, "leave out `guidance_rescale`"));
            }
            Guided::Classifier | Guided::Conditions => {}
        }
        if let (Some(GuidanceMode::CfgPlusPlus), Some(why)) = (self.rule.mode, method.solver.never_renoises()) {
            let what = format!("the `guidance_mode` `cfg++` has no meaning for this sampler: {why}");
            return Err(Error::argument(what, "take `cfg`, or another `sampler`, such as `ddim`, `ge` or `dpm++2m`"));
        }
        Ok(())
    }

    /// The parts of a network of class labels that are guided.
    pub(super) fn guided_by(&self, labels: Option<&Labels>) -> Guided {
        match labels {
            Some(labels) if labels.is_guided() => Guided::Conditions,
            _ if self.classifier.is_some() => Guided::Classifier,
            _ => Guided::Nothing,
        }
    }

    /// The form of guidance for the class labels of a network: a classifier alone follows it where there is no null
    /// class.
    ///
    /// # Errors
    /// Those of [`Sampling::scale_by_rule`].
    pub(super) fn label_rule(&self, input: LabelInput, usual: f64) -> Result<(f64, GuidanceRule)> {
        let has_null = matches!(input, LabelInput::Numbers { null: Some(_), .. });
        if self.classifier.is_some() && !has_null {
            return Ok((self.scale(1.0)?, GuidanceRule::default()));
        }
        self.scale_by_rule(usual)
    }
}

impl Labels {
    /// `true` if the null class is moved away from.
    pub(super) fn is_guided(&self) -> bool {
        self.scale != 1.0 || self.rule.mode == GuidanceMode::CfgPlusPlus
    }

    /// Conditions per call.
    pub(super) fn conditions_per_call(&self) -> usize {
        if self.is_guided() && self.rule.interval.is_none() { 2 } else { 1 }
    }
}
