//! The settings of published tables by name.

use super::report::Line;
use super::{Cell, ablation_cells};
use crate::error::{Error, Result};
use crate::sample::samplers::Sampler;
use crate::sample::schedule::ScheduleKind;

/// The settings of a table of Permenter and Yuan, "Interpreting and Improving Diffusion Models from an Optimization
/// Perspective" (ICML 2024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Their table of CIFAR-10, 32 x 32.
    Cifar10,
    /// Their table of CelebA, 64 x 64.
    CelebA,
    /// Their table of MS-COCO, by Stable Diffusion.
    Coco,
}

/// The setting of gradient estimation for a number of calls.
struct Tuned {
    calls: usize,
    sigma_max: f64,
    gamma: f64,
}

const fn tuned(calls: usize, sigma_max: f64, gamma: f64) -> Tuned {
    Tuned { calls, sigma_max, gamma }
}

const CIFAR10: [Tuned; 4] = [tuned(5, 40.0, 2.0), tuned(10, 40.0, 2.0), tuned(20, 40.0, 2.0), tuned(50, 40.0, 2.0)];
const COCO: [Tuned; 1] = [tuned(10, 8.35, 2.0)];
const CELEBA: [Tuned; 4] = [tuned(5, 40.0, 2.0), tuned(10, 80.0, 2.0), tuned(20, 100.0, 2.4), tuned(50, 120.0, 2.8)];

impl Preset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cifar10, Self::CelebA, Self::Coco];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "permenter-cifar10",
            Self::CelebA => "permenter-celeba",
            Self::Coco => "permenter-coco",
        }
    }

    /// (channels, height, width) of the images of its table; `None` for images from texts, whose size is the model's.
    #[must_use]
    pub const fn image_shape(self) -> Option<[usize; 3]> {
        match self {
            Self::Cifar10 => Some([3, 32, 32]),
            Self::CelebA => Some([3, 64, 64]),
            Self::Coco => None,
        }
    }

    /// Images per cell. Of pixels the authors ask for 50,000 and make whole batches of 128; from texts they make one
    /// for each of 30,000 captions.
    #[must_use]
    pub const fn images(self) -> usize {
        match self {
            Self::Cifar10 | Self::CelebA => 50_000 / 128 * 128,
            Self::Coco => 30_000,
        }
    }

    /// The scale of the guidance, for images from texts.
    #[must_use]
    pub const fn guidance(self) -> Option<f64> {
        match self {
            Self::Cifar10 | Self::CelebA => None,
            Self::Coco => Some(7.5),
        }
    }

    /// Numbers of network calls.
    #[must_use]
    pub fn calls(self) -> Vec<usize> {
        self.tuned().iter().map(|tuned| tuned.calls).collect()
    }

    /// The samplers of its table that are implemented here.
    #[must_use]
    pub fn samplers(self) -> Vec<Sampler> {
        let names: &[&str] = match self {
            Self::Cifar10 | Self::CelebA => &["ge", "ddim", "pndm", "dpm++2m", "deis", "unipc"],
            Self::Coco => &["ge", "ddim", "pndm", "dpm++2m", "unipc"],
        };
        Sampler::ALL.into_iter().filter(|sampler| names.contains(&sampler.name())).collect()
    }

    const fn tuned(self) -> &'static [Tuned] {
        match self {
            Self::Cifar10 => &CIFAR10,
            Self::CelebA => &CELEBA,
            Self::Coco => &COCO,
        }
    }

    /// The setting for a number of calls.
    fn of(self, calls: usize) -> Result<&'static Tuned> {
        self.tuned().iter().find(|tuned| tuned.calls == calls).ok_or_else(|| {
            let what = format!("`{}` has no settings for {calls} calls", self.name());
            let calls: Vec<String> = self.calls().iter().map(ToString::to_string).collect();
            let hint = format!("the table has {} calls; without the preset any number is sampled", calls.join(", "));
            Error::argument(what, hint)
        })
    }

    /// The lines of its table: gradient estimation with the published gamma and first sigma for each number of calls,
    /// the other samplers as usual.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number of calls that the table does not have.
    pub fn lines(self, samplers: &[Sampler], calls: &[usize]) -> Result<Vec<Line>> {
        let line = |sampler: Sampler, calls: usize| {
            let tuned = self.of(calls)?;
            let mut cell = Cell::usual(sampler, calls, 0);
            if self == Self::Coco {
                // The authors make each scheduler from the pipeline's configuration, which keeps the class's spacing.
                let spec = sampler.spec();
                cell.schedule = spec.kind.unwrap_or_else(|| spec.spacing.into());
                // They ask for steps, and PNDM's first one has two calls.
                cell.calls += spec.calls.start;
            }
            if sampler == Sampler::Ge {
                cell.gamma = Some(tuned.gamma);
                cell.sigma_max = Some(tuned.sigma_max);
            }
            Ok(Line::new(sampler.name(), cell))
        };
        samplers.iter().flat_map(|sampler| calls.iter().map(move |calls| line(*sampler, *calls))).collect()
    }

    /// The lines of its ablation, DDIM and gradient estimation on each schedule; that of texts has none.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number of calls that the table does not have.
    pub fn ablation(self, calls: &[usize]) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        if self == Self::Coco {
            return Ok(lines);
        }
        for (sampler, name) in [(Sampler::Ddim, "DDIM"), (Sampler::Ge, "GE")] {
            for calls in calls {
                let tuned = self.of(*calls)?;
                for (label, schedule, sigma_max) in ablation_cells() {
                    let is_paper = schedule == ScheduleKind::Paper;
                    let sigma_max = if is_paper { Some(tuned.sigma_max) } else { sigma_max };
                    let gamma = (sampler == Sampler::Ge).then_some(tuned.gamma);
                    let label = if is_paper { "paper" } else { label };
                    let cell = Cell { schedule, gamma, sigma_max, ..Cell::usual(sampler, *calls, 0) };
                    lines.push(Line::of_ablation(&format!("{name}, {label}"), cell));
                }
            }
        }
        Ok(lines)
    }

    /// Its settings, in sentences with their sources.
    #[must_use]
    pub fn says(self) -> Vec<String> {
        let each = |of: &dyn Fn(&Tuned) -> String| self.tuned().iter().map(of).collect::<Vec<_>>().join(", ");
        let settings =
            each(&|tuned| format!("{} calls: sigma_max {}, gamma {}", tuned.calls, tuned.sigma_max, tuned.gamma));
        let ge = format!("`{}`: gradient estimation with {settings}", self.name());
        let data = match self {
            Self::Cifar10 => "CIFAR-10 (`fid_cifar10_train.npz`)",
            Self::CelebA => "CelebA (`fid_celeba_train.npz`)",
            Self::Coco => return self.says_of_texts(&ge),
        };
        vec![
            format!("{ge} (the authors' run_experiments.py)"),
            format!(
                "{} images per cell from seed 0: whole batches of 128 out of 50,000 (the authors' run_experiments.py)",
                self.images()
            ),
            format!("the authors compare with PNDM's statistics of {data}, by pytorch-fid 0.3.0"),
            "the ablation is DDIM and GE on the schedules of the paper's table 1; Analytic-DDIM, a row of its table 2, \
             needs `variances`, and DPM-Solver++ stands for its row DPM"
                .to_owned(),
        ]
    }

    fn says_of_texts(self, ge: &str) -> Vec<String> {
        vec![
            format!("{ge} down to sigma(T / 10), then timestep 0 (the authors' scheduling_gradient_estimation.py)"),
            format!(
                "{} images per cell, image i from caption i with the noise of image i of seed 0; the authors draw all \
                 noise from one generator of seed 0 (their coco_experiment.py)",
                self.images()
            ),
            "the guidance is 7.5, the pipeline's default (coco_experiment.py gives none); the paper's pictures, by \
             stable_diffusion_exp.py, add 7.5 times the difference to the conditional estimate: 8.5 on this scale"
                .to_owned(),
            "the other samplers take 10 steps, which are 11 calls of PNDM, with their classes' spacings from the \
             pipeline's configuration (coco_experiment.py)"
                .to_owned(),
            "the authors' captions are the last one of each of the first 30,000 images of val2014, the model is \
             stable-diffusion-2-1-base, and the distance is by pytorch-fid 0.3.0"
                .to_owned(),
        ]
    }
}

impl std::str::FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|preset| preset.name()).collect();
            let hint = format!("presets are {}", names.join(", "));
            Error::argument(format!("there is no preset `{text}`"), hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_published_settings() {
        let settings = |preset: Preset| -> Vec<(usize, Option<f64>, Option<f64>)> {
            let lines = preset.lines(&[Sampler::Ge], &preset.calls()).unwrap();
            lines.iter().map(|line| (line.cell().calls, line.cell().sigma_max, line.cell().gamma)).collect()
        };
        let same = [5, 10, 20, 50].map(|calls| (calls, Some(40.0), Some(2.0)));
        assert_eq!(settings(Preset::Cifar10), same);
        let expected = [(5, 40.0, 2.0), (10, 80.0, 2.0), (20, 100.0, 2.4), (50, 120.0, 2.8)];
        assert_eq!(settings(Preset::CelebA), expected.map(|(calls, sigma, gamma)| (calls, Some(sigma), Some(gamma))));
        assert_eq!(Preset::Cifar10.images(), 49_920);
        assert_eq!(Preset::CelebA.samplers().len(), 6);
        assert!(Preset::CelebA.lines(&[Sampler::Ge], &[15]).is_err());
    }

    #[test]
    fn the_table_of_texts_has_the_schedules_of_the_pipeline() {
        let preset = Preset::Coco;
        let lines = preset.lines(&preset.samplers(), &preset.calls()).unwrap();
        let mut kinds: Vec<_> = lines.iter().map(|line| (line.cell().sampler.name(), line.cell().schedule)).collect();
        kinds.sort_by_key(|(name, _)| *name);
        let expected = [
            ("ddim", ScheduleKind::Leading),
            ("dpm++2m", ScheduleKind::Linspace),
            ("ge", ScheduleKind::Paper),
            ("pndm", ScheduleKind::Leading),
            ("unipc", ScheduleKind::Linspace),
        ];
        assert_eq!(kinds, expected);
        let ge = lines.iter().find(|line| line.cell().sampler == Sampler::Ge).unwrap().cell();
        assert_eq!((ge.calls, ge.sigma_max, ge.gamma), (10, Some(8.35), Some(2.0)));
        assert!(lines.iter().all(|line| line.cell().steps() == 10), "the authors ask for 10 steps of each");
        assert!(preset.ablation(&[10]).unwrap().is_empty());
        assert_eq!(preset.says().len(), 5);
        assert!(preset.lines(&[Sampler::Ge], &[20]).unwrap_err().hint().unwrap().contains("has 10 calls"));
    }

    #[test]
    fn the_ablation_has_both_samplers_on_four_schedules() {
        let lines = Preset::CelebA.ablation(&[5, 20]).unwrap();
        assert_eq!(lines.len(), 2 * 2 * 4);
        let paper = lines.iter().filter(|line| line.cell().schedule == ScheduleKind::Paper);
        let sigmas: Vec<_> = paper.map(|line| line.cell().sigma_max).collect();
        assert_eq!(sigmas, [Some(40.0), Some(100.0), Some(40.0), Some(100.0)]);
    }

    #[test]
    fn names_are_read_and_others_are_refused() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
        }
        assert!("edm".parse::<Preset>().unwrap_err().hint().unwrap().contains("permenter-celeba"));
    }
}
