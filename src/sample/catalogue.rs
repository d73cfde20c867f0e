//! The samplers by name: what each is, and what it costs.

use crate::denoise::diffusion::NoiseTable;

/// The samplers, by the names of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    /// Gradient estimation: good images in 5 to 20 steps.
    #[default]
    Ge,
    /// Denoising diffusion implicit models: one step of gradient descent at a time.
    Ddim,
    /// Denoising diffusion probabilistic models: noise is added at every step.
    Ddpm,
    /// Euler's method in sigma.
    Euler,
    /// Euler's method below the next level, and noise up to it.
    #[serde(rename = "euler-a")]
    EulerAncestral,
    /// Heun's method in sigma.
    Heun,
    /// DPM-Solver++, multistep.
    #[serde(rename = "dpm++2m")]
    DpmPlusPlus2m,
    /// The unified predictor-corrector.
    UniPc,
    /// The diffusion exponential integrator sampler.
    Deis,
    /// Pseudo linear multistep.
    Pndm,
    /// Linear multistep in sigma.
    Lms,
}

/// What there is to say of a sampler in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// The order of its steps as it comes without settings.
    pub order: &'static str,
    /// Network calls a step.
    pub calls: &'static str,
    /// Who published it.
    pub source: &'static str,
    /// The class of diffusers whose settings it honours, if there is one.
    pub class: Option<&'static str>,
    /// Steps where none are asked for.
    steps: usize,
}

impl Sampler {
    /// All of them, in the order they are listed.
    pub const ALL: [Self; 11] = [
        Self::Ge,
        Self::Ddim,
        Self::Ddpm,
        Self::Euler,
        Self::EulerAncestral,
        Self::Heun,
        Self::DpmPlusPlus2m,
        Self::UniPc,
        Self::Deis,
        Self::Pndm,
        Self::Lms,
    ];

    /// What there is to say of it.
    #[must_use]
    pub fn entry(self) -> Entry {
        let entry = |name, order, calls, steps, class, source| Entry { name, order, calls, source, class, steps };
        match self {
            Self::Ge => entry(
                "ge",
                "2",
                "1",
                10,
                None,
                "gradient estimation: Permenter and Yuan 2024, algorithm 2; --gamma, --mu",
            ),
            Self::Ddim => entry("ddim", "1", "1", 50, Some("DDIMScheduler"), "Song et al. 2021; --eta adds noise"),
            Self::Ddpm => entry("ddpm", "1", "1", 1000, Some("DDPMScheduler"), "Ho et al. 2020; adds noise"),
            Self::Euler => entry(
                "euler",
                "1",
                "1",
                50,
                Some("EulerDiscreteScheduler"),
                "Karras et al. 2022, algorithm 2 without churn; DDIM from another start",
            ),
            Self::EulerAncestral => entry(
                "euler-a",
                "1",
                "1",
                50,
                Some("EulerAncestralDiscreteScheduler"),
                "k-diffusion, Crowson 2022; adds noise; DDPM from another start",
            ),
            Self::Heun => entry(
                "heun",
                "2",
                "2",
                25,
                Some("HeunDiscreteScheduler"),
                "Karras et al. 2022, algorithm 1; one call in the last step",
            ),
            Self::DpmPlusPlus2m => {
                entry("dpm++2m", "2", "1", 20, Some("DPMSolverMultistepScheduler"), "DPM-Solver++: Lu et al. 2022")
            }
            Self::UniPc => entry(
                "unipc",
                "3",
                "1",
                20,
                Some("UniPCMultistepScheduler"),
                "Zhao et al. 2023; corrects the step before",
            ),
            Self::Deis => entry(
                "deis",
                "2",
                "1",
                20,
                Some("DEISMultistepScheduler"),
                "Zhang and Chen 2022, polynomials in log sigma",
            ),
            Self::Pndm => entry(
                "pndm",
                "4",
                "1",
                50,
                Some("PNDMScheduler"),
                "Liu et al. 2022 (PLMS); 4 calls in each of the first 3 steps, or 2 in the first",
            ),
            Self::Lms => entry(
                "lms",
                "4",
                "1",
                50,
                Some("LMSDiscreteScheduler"),
                "k-diffusion, Crowson 2022; multistep in sigma",
            ),
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Steps where none are asked for: 10 for gradient estimation, otherwise those usual with diffusers.
    #[must_use]
    pub fn default_steps(self, table: &NoiseTable) -> usize {
        self.entry().steps.min(table.timesteps())
    }

    /// The sampler of a folder whose scheduler is of `class`. Networks of DDPM and DDIM, and those of classes that have no
    /// sampler here, are sampled by gradient estimation.
    #[must_use]
    pub fn of_class(class: Option<&str>) -> Self {
        let own = |sampler: &Self| class.is_some() && sampler.entry().class == class;
        match Self::ALL.into_iter().find(own) {
            None | Some(Self::Ddim | Self::Ddpm) => Self::Ge,
            Some(sampler) => sampler,
        }
    }
}
