//! The names of closed-form denoisers on the command line: `pca:DATA[,k=N]`, `wiener:DATA`,
//! `wiener:mean=M.npy,cov=C.npy`, `ideal:DATA`.

use std::path::{Path, PathBuf};

use crate::data::Source;
use crate::error::{Error, Result};

/// Components where nobody says how many, unless the data have fewer values.
pub const USUAL_COMPONENTS: usize = 32;

const HINT: &str =
    "closed-form denoisers are `pca:DATA[,k=N]`, `wiener:DATA`, `wiener:mean=M.npy,cov=C.npy` and `ideal:DATA`";

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// The projection on the leading components of centred data.
    Pca {
        /// The data.
        data: Source,
        /// How many components; none for the usual number.
        components: Option<usize>,
    },
    /// The posterior mean of a Gaussian with the data's mean and covariance.
    Wiener {
        /// The data.
        data: Source,
    },
    /// The posterior mean of a Gaussian of given moments.
    Moments {
        /// Its mean, of p values.
        mean: PathBuf,
        /// Its covariance, (p, p).
        covariance: PathBuf,
    },
    /// The posterior mean over the samples themselves.
    Ideal {
        /// The data.
        data: Source,
    },
}

impl Spec {
    /// What `text` names; none where it does not look like a closed form at all.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown kind, option or number; those of [`Source::parse`] for the data.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let Some((kind, rest)) = text.split_once(':') else { return Ok(None) };
        let is_word = kind.len() > 1 && kind.bytes().all(|byte| byte.is_ascii_lowercase());
        if !is_word || Path::new(text).exists() {
            return Ok(None);
        }
        let refuse = |what: String| Err(Error::usage(what, HINT));
        if !["pca", "wiener", "ideal"].contains(&kind) {
            return refuse(format!("`{kind}` of `{text}` is no kind of denoiser"));
        }
        if rest.is_empty() {
            return refuse(format!("`{text}` names no data"));
        }
        let (data, option) = split_option(rest);
        match (kind, option) {
            ("pca", Some(("k", value))) => match value.parse() {
                Ok(count) if count > 0 => Ok(Some(Self::Pca { data: Source::parse(data)?, components: Some(count) })),
                _ => refuse(format!("`k={value}` of `{text}` is no number of components")),
            },
            ("wiener", Some((last, value))) if data.contains('=') => Self::moments(text, data, (last, value)).map(Some),
            ("wiener", None) if ["mean=", "cov="].iter().any(|start| rest.starts_with(start)) => {
                refuse(format!("`{text}` names one moment, and a Gaussian has two"))
            }
            (_, Some((option, _))) => refuse(format!("`{option}=` means nothing to `{kind}:`")),
            ("pca", None) => Ok(Some(Self::Pca { data: Source::parse(rest)?, components: None })),
            ("wiener", None) => Ok(Some(Self::Wiener { data: Source::parse(rest)? })),
            (_, None) => Ok(Some(Self::Ideal { data: Source::parse(rest)? })),
        }
    }

    fn moments(text: &str, first: &str, last: (&str, &str)) -> Result<Self> {
        let ((Some(("mean", mean)), ("cov", covariance)) | (Some(("cov", covariance)), ("mean", mean))) =
            (first.split_once('='), last)
        else {
            return Err(Error::usage(format!("`{text}` does not name a mean and a covariance"), HINT));
        };
        Ok(Self::Moments { mean: mean.into(), covariance: covariance.into() })
    }
}

/// The part before the last comma, and `name=value` after it where that is an option and not a piece of a path.
fn split_option(text: &str) -> (&str, Option<(&str, &str)>) {
    let Some((before, after)) = text.rsplit_once(',') else { return (text, None) };
    match after.split_once('=') {
        Some((name, value)) if !Path::new(text).exists() => (before, Some((name, value))),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let data = Source::Digits;
        let parse = |text: &str| Spec::parse(text).unwrap();
        assert_eq!(parse("pca:digits"), Some(Spec::Pca { data: data.clone(), components: None }));
        assert_eq!(parse("pca:digits,k=7"), Some(Spec::Pca { data: data.clone(), components: Some(7) }));
        assert_eq!(parse("wiener:digits"), Some(Spec::Wiener { data: data.clone() }));
        assert_eq!(parse("ideal:digits"), Some(Spec::Ideal { data }));
        let moments = Some(Spec::Moments { mean: "m.npy".into(), covariance: "c.npy".into() });
        assert_eq!(parse("wiener:mean=m.npy,cov=c.npy"), moments);
        assert_eq!(parse("wiener:cov=c.npy,mean=m.npy"), moments);
        for other in ["google/ddpm-cifar10-32", "folder", "C:\\model", "org/name@v1:2"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for (text, part) in [
            ("median:digits", "`median` of `median:digits` is no kind of denoiser"),
            ("pca:", "names no data"),
            ("pca:digits,k=0", "`k=0`"),
            ("pca:digits,k=many", "no number of components"),
            ("pca:digits,q=3", "`q=` means nothing to `pca:`"),
            ("ideal:digits,k=3", "`k=` means nothing to `ideal:`"),
            ("wiener:mean=m.npy", "names one moment"),
            ("wiener:mean=m.npy,mean=c.npy", "does not name a mean and a covariance"),
            ("ideal:nowhere.npy", "`nowhere.npy` does not exist"),
        ] {
            let error = Spec::parse(text).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
