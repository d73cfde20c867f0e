//! Runs whose early steps are the closed form of a Gaussian: the data of the Gaussian, and the refusals.

use std::sync::Arc;

use super::network::NetworkModel;
use super::resolve::ModelRun;
use super::sampling::Sampling;
use crate::data::{self, Pixels, Source};
use crate::denoise::closed_form::linear::Linear;
use crate::error::{Error, Result};
use crate::sample::jump::Jump;
use crate::sample::run::Start;
use crate::sample::settings::Course;

impl Sampling<'_> {
    /// Refuses an analytic start, or its data, for a model that does not take one.
    pub(super) fn expect_no_jump(&self, name: &str) -> Result<()> {
        let fields = [
            ("analytic_start", self.settings.analytic_start.is_some()),
            ("analytic_data", self.analytic_data.is_some()),
        ];
        match fields.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((field, _)) => {
                let what = format!("`{field}` has no meaning for `{name}`");
                Err(Error::argument(what, "leave it out: it is for networks of pixels"))
            }
        }
    }

    /// The jump of a network of images (c, h, w), where `analytic_start` asks for one.
    pub(super) fn jump(&self, network: &NetworkModel, course: &Course, image: [usize; 3]) -> Result<Option<Arc<Jump>>> {
        let Some(whole) = &course.whole else {
            return match &self.analytic_data {
                None => Ok(None),
                Some(_) => Err(Error::argument(
                    "`analytic_data` without `analytic_start`",
                    "give the sigma at which the walk begins by `analytic_start`",
                )),
            };
        };
        if self.picture.is_some() || !matches!(self.start, Start::Seeded | Start::Noise(_)) {
            let what = "`analytic_start` and a start that is given";
            return Err(Error::argument(what, "give one of them: the jump begins at noise"));
        }
        let source = match &self.analytic_data {
            Some(source) => source.clone(),
            None if image == [1, 28, 28] => {
                Source::parse(if network.name == "digits" { data::SEEN } else { "digits" })?
            }
            None => {
                let what = format!("`analytic_start` needs the data of `{}`", network.name);
                return Err(Error::argument(what, format!("give `analytic_data`: {}", data::forms())));
            }
        };
        let pixels = if network.scheduler.has_unit_range() { Pixels::Unit } else { Pixels::Signed };
        let mut data = source.load(pixels)?;
        let (found, values) = (data.dimension(), image.iter().product::<usize>());
        if found != values {
            let what = format!("samples of `{}` have {found} values, and images of {image:?} have {values}", data.name);
            return Err(Error::argument(what, "take the data that the model was trained on"));
        }
        let mean = data.centre();
        let gaussian = Linear::wiener(&data, &mean, image)?;
        Ok(Some(Arc::new(Jump { gaussian, data: data.name, whole: whole.clone() })))
    }
}

impl ModelRun<'_> {
    pub(super) fn with_jump(mut self, jump: Option<Arc<Jump>>) -> Self {
        let rest = &self.run.schedule;
        self.notes.extend(jump.iter().map(|jump| {
            format!(
                "the Gaussian of `{}` stands in for {} of {} steps: the walk begins at {}",
                jump.data,
                jump.skipped(rest),
                jump.whole.steps().len(),
                rest.start()
            )
        }));
        self.run.jump = jump;
        self
    }
}
