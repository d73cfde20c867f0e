//! The names of closed-form denoisers: `pca:DATA[,OPTION...]`, `gaussian:DATA`, `wiener:DATA`, `sequential:DATA`,
//! `mixture:DATA,k=K`, `ideal:DATA`, `local:DATA,patch=P`, `guided:DATA,class=C,scale=W`, and with a Gaussian's moments
//! `wiener:mean=M.npy,cov=C.npy`.

use std::path::{Path, PathBuf};

use super::guided::GuidedOptions;
use super::options::{LocalOptions, MixtureOptions, PcaOptions};
use crate::data::Source;
use crate::error::{Error, Result};

const KINDS: [&str; 8] = ["pca", "gaussian", "wiener", "sequential", "mixture", "ideal", "local", "guided"];

fn hint() -> String {
    format!("closed-form denoisers are {FORMS}")
}

/// The forms of a closed form's name, for help texts and hints.
pub const FORMS: &str = "`pca:DATA[,k=N]`, `gaussian:DATA` or `wiener:DATA`, `wiener:mean=M.npy,cov=C.npy`, \
                         `sequential:DATA`, `mixture:DATA,k=K`, `ideal:DATA`, `local:DATA,patch=P` or \
                         `guided:DATA,class=C,scale=W`";

/// The meaning of a name.
#[derive(Clone, Debug, PartialEq)]
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
    /// The posterior mean of a mixture of Gaussians.
    Mixture {
        /// The data.
        data: Source,
        /// The options after them.
        options: MixtureOptions,
    },
    /// The posterior mean over the samples themselves.
    Ideal {
        /// The data.
        data: Source,
    },
    /// Guidance from all data to those of a class.
    Guided {
        /// The data.
        data: Source,
        /// The options after them.
        options: GuidedOptions,
    },
    /// The posterior mean of each pixel over the patches of the samples.
    Local {
        /// The data.
        data: Source,
        /// The options after them.
        options: LocalOptions,
    },
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
            "gaussian" | "wiener" => Some(Filter::Wiener),
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
        match kind {
            "pca" => {
                let options = PcaOptions::parse(text, &options)?;
                return Ok(Some(Self::Pca { data: Source::parse(data)?, options }));
            }
            "mixture" => {
                let options = MixtureOptions::parse(text, &options)?;
                return Ok(Some(Self::Mixture { data: Source::parse(data)?, options }));
            }
            "guided" => {
                let options = GuidedOptions::parse(text, &options)?;
                return Ok(Some(Self::Guided { data: Source::parse(data)?, options }));
            }
            "local" => {
                let options = LocalOptions::parse(text, &options)?;
                return Ok(Some(Self::Local { data: Source::parse(data)?, options }));
            }
            _ => {}
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
    use crate::data::{Coupling, Noised};
    use crate::denoise::closed_form::options::Boundary;

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
        let mixture = |options| Some(Spec::Mixture { data: data.clone(), options });
        assert_eq!(parse("mixture:digits,k=4"), mixture(MixtureOptions { components: 4, rank: None, seed: 0 }));
        let ranked = MixtureOptions { components: 3, rank: Some(20), seed: 9 };
        assert_eq!(parse("mixture:digits,seed=9,rank=20,k=3"), mixture(ranked));
        let local = |options| Some(Spec::Local { data: data.clone(), options });
        let padded = LocalOptions { patch: 5, boundary: Boundary::Padded, samples: None };
        assert_eq!(parse("local:digits,patch=5"), local(padded));
        let circular = LocalOptions { boundary: Boundary::Circular, samples: Some(40), ..padded };
        assert_eq!(parse("local:digits,n=40,boundary=circular,patch=5"), local(circular));
        let filters = [("wiener", Filter::Wiener), ("gaussian", Filter::Wiener), ("sequential", Filter::Sequential)];
        for (name, filter) in filters {
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
            ("mixture:digits", "does not give `k=`"),
            ("mixture:digits,k=0", "is not a number of components"),
            ("mixture:digits,k=2,noise=fresh", "`noise=` is not an option of `mixture:`"),
            ("local:digits", "does not give `patch=`"),
            ("local:digits,patch=4", "is not an odd number of pixels"),
            ("local:digits,patch=3,boundary=soft", "no boundary is called `soft`"),
            ("local:digits,patch=3,k=3", "`k=` is not an option of `local:`"),
            ("gaussian:digits,k=3", "`k=` is not an option of `gaussian:`"),
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
