//! The names of closed-form denoisers: `pca:DATA[,OPTION...]`, `wiener:DATA`, `sequential:DATA`,
//! `ideal:DATA`, and with a Gaussian's moments `wiener:mean=M.npy,cov=C.npy`.

use std::path::{Path, PathBuf};

use crate::data::{Coupling, Noised, Source};
use crate::error::{Error, Result};

/// The default number of components, unless the data have fewer values.
pub const USUAL_COMPONENTS: usize = 32;

const KINDS: [&str; 4] = ["pca", "wiener", "sequential", "ideal"];

fn hint() -> String {
    format!("closed-form denoisers are {FORMS}")
}

/// The forms of a closed form's name, for help texts and hints.
pub const FORMS: &str =
    "`pca:DATA[,k=N]`, `wiener:DATA`, `wiener:mean=M.npy,cov=C.npy`, `sequential:DATA` or `ideal:DATA`";

/// The meaning of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// The projection on the leading components of centred data.
    Pca {
        /// The data.
        data: Source,
        /// The options after them.
        options: PcaOptions,
    },
    /// A filter of the Gaussian with these moments.
    Gaussian {
        /// The kind of filter.
        filter: Filter,
        /// Its moments.
        moments: Moments,
    },
    /// The posterior mean over the samples themselves.
    Ideal {
        /// The data.
        data: Source,
    },
}

/// Settings of a projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PcaOptions {
    /// The number of components; `None` for [`USUAL_COMPONENTS`].
    pub components: Option<usize>,
    /// The number of samples to take, from the first; `None` for all.
    pub samples: Option<usize>,
    /// Noise on the samples of each level; `None` for the components of the clean data.
    pub noise: Option<Noised>,
}

/// A denoiser of a Gaussian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The posterior mean.
    Wiener,
    /// The posterior mean of the next level of a walk.
    Sequential,
}

/// The source of a Gaussian's moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moments {
    /// The mean and the covariance of data.
    Of(Source),
    /// Files.
    Files {
        /// The mean, of p values.
        mean: PathBuf,
        /// The covariance, (p, p).
        covariance: PathBuf,
    },
}

impl Spec {
    /// The closed form that `text` names; `None` for a text that does not begin with a word and a colon.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown kind, option or number; those of [`Source::parse`] for the data.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let Some((kind, rest)) = text.split_once(':') else { return Ok(None) };
        let is_word = kind.len() > 1 && kind.bytes().all(|byte| byte.is_ascii_lowercase());
        if !is_word || Path::new(text).exists() {
            return Ok(None);
        }
        let refuse = |what: String| Err(Error::argument(what, hint()));
        if !KINDS.contains(&kind) {
            return refuse(format!("`{kind}` of `{text}` is not a kind of denoiser"));
        }
        if rest.is_empty() {
            return refuse(format!("`{text}` does not name data"));
        }
        let filter = match kind {
            "wiener" => Some(Filter::Wiener),
            "sequential" => Some(Filter::Sequential),
            _ => None,
        };
        if let Some(filter) = filter
            && let Some(moments) = moment_files(text, rest)?
        {
            return Ok(Some(Self::Gaussian { filter, moments }));
        }
        let (data, options) = Source::split(rest);
        let is_again = |(at, (name, _)): &(usize, &(&str, &str))| options[..*at].iter().any(|(other, _)| other == name);
        if let Some((_, (name, _))) = options.iter().enumerate().find(is_again) {
            return refuse(format!("`{text}` gives `{name}=` twice"));
        }
        if kind == "pca" {
            let options = PcaOptions::parse(text, &options)?;
            return Ok(Some(Self::Pca { data: Source::parse(data)?, options }));
        }
        if let Some((option, _)) = options.first() {
            return refuse(format!("`{option}=` is not an option of `{kind}:`"));
        }
        let data = Source::parse(data)?;
        Ok(Some(match filter {
            Some(filter) => Self::Gaussian { filter, moments: Moments::Of(data) },
            None => Self::Ideal { data },
        }))
    }
}

impl PcaOptions {
    fn parse(text: &str, options: &[(&str, &str)]) -> Result<Self> {
        let mut asked = Self::default();
        let mut seed = None;
        for (name, value) in options {
            let refuse =
                |what: &str| Err(Error::argument(format!("`{name}={value}` of `{text}` is not {what}"), hint()));
            let count = || value.parse().ok().filter(|count| *count > 0);
            match *name {
                "k" if count().is_some() => asked.components = count(),
                "k" => return refuse("a number of components"),
                "n" if count().is_some() => asked.samples = count(),
                "n" => return refuse("a number of samples"),
                "noise" => asked.noise = Some(Noised { coupling: value.parse::<Coupling>()?, seed: 0 }),
                "seed" => match value.parse() {
                    Ok(number) => seed = Some(number),
                    Err(_) => return refuse("a seed"),
                },
                _ => return Err(Error::argument(format!("`{name}=` is not an option of `pca:`"), PCA_HINT)),
            }
        }
        match (&mut asked.noise, seed) {
            (Some(noise), Some(seed)) => noise.seed = seed,
            (None, Some(_)) => {
                let what = format!("`seed=` of `{text}` seeds noise, and there is no `noise=`");
                return Err(Error::argument(what, PCA_HINT));
            }
            _ => {}
        }
        Ok(asked)
    }
}

const PCA_HINT: &str = "`pca:DATA` takes `k=` components, `n=` samples, `noise=nested|fresh|shared` on the samples of \
                        each level, and its `seed=`, after commas";

/// The files of moments that `text` names in place of data, if any.
fn moment_files(text: &str, rest: &str) -> Result<Option<Moments>> {
    let refuse = |what: String| Err(Error::argument(what, hint()));
    let names_one = |part: &str| ["mean=", "cov="].iter().any(|start| part.starts_with(start));
    if !names_one(rest) || Path::new(rest).exists() {
        return Ok(None);
    }
    let Some((first, last)) = rest.split_once(",mean=").or_else(|| rest.split_once(",cov=")) else {
        return refuse(format!("`{text}` names one moment; a Gaussian needs a mean and a covariance"));
    };
    let (mean, covariance) = match (first.split_once('='), rest.contains(",mean=")) {
        (Some(("mean", mean)), false) => (mean, last),
        (Some(("cov", covariance)), true) => (last, covariance),
        _ => return refuse(format!("`{text}` does not name a mean and a covariance")),
    };
    Ok(Some(Moments::Files { mean: mean.into(), covariance: covariance.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let data = Source::parse("digits").unwrap();
        let parse = |text: &str| Spec::parse(text).unwrap();
        let pca = |options| Some(Spec::Pca { data: data.clone(), options });
        let gaussian = |filter, moments| Some(Spec::Gaussian { filter, moments });
        assert_eq!(parse("pca:digits"), pca(PcaOptions::default()));
        let seven = PcaOptions { components: Some(7), ..PcaOptions::default() };
        assert_eq!(parse("pca:digits,k=7"), pca(seven));
        let noise = Some(Noised { coupling: Coupling::Nested, seed: 5 });
        let all = PcaOptions { samples: Some(100), noise, ..seven };
        assert_eq!(parse("pca:digits,seed=5,n=100,noise=nested,k=7"), pca(all));
        assert_eq!(parse("ideal:digits"), Some(Spec::Ideal { data: data.clone() }));
        for (name, filter) in [("wiener", Filter::Wiener), ("sequential", Filter::Sequential)] {
            assert_eq!(parse(&format!("{name}:digits")), gaussian(filter, Moments::Of(data.clone())));
            let files = Moments::Files { mean: "m.npy".into(), covariance: "c.npy".into() };
            assert_eq!(parse(&format!("{name}:mean=m.npy,cov=c.npy")), gaussian(filter, files.clone()));
            assert_eq!(parse(&format!("{name}:cov=c.npy,mean=m.npy")), gaussian(filter, files));
        }
        for other in ["google/ddpm-cifar10-32", "folder", "C:\\model", "org/name@v1:2"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for (text, part) in [
            ("median:digits", "`median` of `median:digits` is not a kind of denoiser"),
            ("pca:", "does not name data"),
            ("pca:digits,k=0", "`k=0`"),
            ("pca:digits,k=3,k=4", "gives `k=` twice"),
            ("pca:digits,k=many", "not a number of components"),
            ("pca:digits,n=-1", "`n=-1` of `pca:digits,n=-1` is not a number of samples"),
            ("pca:digits,noise=loud", "no coupling is called `loud`"),
            ("pca:digits,seed=3", "seeds noise, and there is no `noise=`"),
            ("pca:digits,noise=fresh,seed=x", "is not a seed"),
            ("pca:digits,q=3", "`q=` is not an option of `pca:`"),
            ("sequential:digits,k=3", "`k=` is not an option of `sequential:`"),
            ("ideal:digits,k=3", "`k=` is not an option of `ideal:`"),
            ("wiener:mean=m.npy", "names one moment"),
            ("wiener:mean=m.npy,mean=c.npy", "does not name a mean and a covariance"),
        ] {
            let error = Spec::parse(text).unwrap_err();
            let usage = [crate::ErrorKind::Argument, crate::ErrorKind::NotFound];
            assert!(usage.contains(&error.kind()), "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        let error = Spec::parse("ideal:nowhere.npy").unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "`nowhere.npy` does not exist");
    }
}
