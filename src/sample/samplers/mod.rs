//! The samplers, one file each. A file holds everything that is known about its sampler: its columns, a [`Spec`], and
//! its solver, unless that is one of [`super::solvers`], which several share. A new sampler is a file and its lines in
//! the table below.

#![expect(clippy::unnecessary_wraps, reason = "the functions of a column have one signature; some cannot fail")]

mod consistency;
mod ddim;
mod ddpm;
pub mod deis;
pub mod dpm;
pub mod dpm_sde;
pub mod dpm_singlestep;
mod edm_dpm;
mod edm_euler;
mod edm_heun;
mod euler;
mod euler_ancestral;
pub mod flow_euler;
pub mod flow_heun;
mod ge;
pub mod heun;
pub mod ipndm;
pub mod kdpm2;
pub mod kdpm2_ancestral;
pub mod lcm;
pub mod lms;
pub mod pndm;
pub mod sa;
mod sde_ve;
pub mod spec;
pub mod tcd;
pub mod unipc;

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};
pub use spec::{Calls, Parameters, Request, Spec};

/// Declares [`Sampler`] with one variant per line, in this order.
macro_rules! samplers {
    ($($(#[$doc:meta])* $variant:ident = $module:ident,)*) => {
        /// A sampler.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sampler {
            $($(#[$doc])* $variant,)*
        }

        impl Sampler {
            /// All of them, in the order they are listed.
            pub const ALL: [Self; [$(stringify!($variant)),*].len()] = [$(Self::$variant),*];

            /// Returns its columns.
            #[must_use]
            pub fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$variant => &$module::SPEC,)*
                }
            }
        }
    };
}

samplers! {
    /// Gradient estimation.
    Ge = ge,
    /// Denoising diffusion implicit models.
    Ddim = ddim,
    /// Denoising diffusion probabilistic models.
    Ddpm = ddpm,
    /// Euler's method in sigma.
    Euler = euler,
    /// Euler's method below the next level, and noise up to it.
    EulerAncestral = euler_ancestral,
    /// Heun's method in sigma.
    Heun = heun,
    /// DPM-Solver++, multistep.
    DpmPlusPlus2m = dpm,
    /// The unified predictor-corrector.
    UniPc = unipc,
    /// The diffusion exponential integrator sampler.
    Deis = deis,
    /// Pseudo linear multistep.
    Pndm = pndm,
    /// Linear multistep in sigma.
    Lms = lms,
    /// Latent consistency models, multistep.
    Lcm = lcm,
    /// Trajectory consistency models.
    Tcd = tcd,
    /// Euler's method on the levels of Karras et al.
    EdmEuler = edm_euler,
    /// DPM-Solver++, multistep, on the levels of Karras et al.
    EdmDpmPlusPlus2m = edm_dpm,
    /// Euler's method in s of flow matching.
    FlowEuler = flow_euler,
    /// Heun's method in s of flow matching.
    FlowHeun = flow_heun,
    /// DPM-Solver++, in single steps.
    DpmSinglestep = dpm_singlestep,
    /// DPM-Solver-2 in sigma.
    Kdpm2 = kdpm2,
    /// DPM-Solver-2 below the next level, and noise up to it.
    Kdpm2Ancestral = kdpm2_ancestral,
    /// DPM-Solver++ for the stochastic equation.
    DpmSde = dpm_sde,
    /// The stochastic Adams solver.
    Sa = sa,
    /// Pseudo linear multistep, from the first step on.
    Ipndm = ipndm,
    /// Heun's method on the levels of Karras et al., with churn.
    EdmHeun = edm_heun,
    /// Consistency models, multistep.
    Consistency = consistency,
    /// Predictor and corrector of the variance-exploding equation.
    SdeVe = sde_ve,
}

impl Sampler {
    /// Returns its name on the command line and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns the sampler that samples folders whose scheduler is of `class`, if there is one. Folders of DDPM's and
    /// DDIM's are sampled by gradient estimation.
    #[must_use]
    pub fn of_class(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sampler| sampler.spec().folders.contains(&class))
    }

    /// Returns the sampler that implements `class` or, failing that, samples its folders.
    fn near_class(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sampler| sampler.spec().class == Some(class)).or_else(|| Self::of_class(class))
    }
}

/// Returns the noise levels that `class` has by default; `None` for a class without a sampler.
#[must_use]
pub fn levels_of_class(class: &str) -> Option<spec::Levels> {
    Sampler::near_class(class).map(|sampler| sampler.spec().levels)
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Sampler {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|sampler| sampler.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|sampler| format!("`{sampler}`")).collect();
            Error::argument(format!("`{name}` is not a sampler"), format!("the samplers are {}", names.join(", ")))
        })
    }
}

impl serde::Serialize for Sampler {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Sampler {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_classes_are_those_of_one_sampler() {
        for sampler in Sampler::ALL {
            assert_eq!(sampler.name().parse::<Sampler>().unwrap(), sampler);
            for class in sampler.spec().folders {
                assert_eq!(Sampler::of_class(class), Some(sampler), "{class}");
            }
            let spec = sampler.spec();
            let shares = |other: &Sampler| other.spec().class.is_some() && other.spec().class == spec.class;
            assert!(Sampler::ALL.iter().filter(|other| shares(other)).count() <= 1, "{sampler}");
        }
        assert!("unknown".parse::<Sampler>().is_err());
    }

    #[test]
    fn steps_are_those_that_calls_allow() {
        assert_eq!([1, 5, 10].map(|calls| Calls::ONE.steps_within(calls)), [1, 5, 10]);
        assert_eq!([1, 2, 5, 10].map(|calls| Calls::TWO.steps_within(calls)), [1, 1, 3, 5]);
    }
}
