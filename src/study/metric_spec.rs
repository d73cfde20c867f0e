//! The metric of gradient estimation as text: `A,B,C`, or variances of data.

use std::str::FromStr;
use std::sync::Arc;

use super::metric;
use crate::data::{Pixels, Source};
use crate::error::{Error, Result};
use crate::sample::samplers::Sampler;
use crate::sample::settings::Settings;
use crate::sample::solvers::descent::{Descent, Noise};
use crate::sample::solvers::metric::gamma_of_pair;
use crate::sample::walk::Method;

const HINT: &str = "a metric is `A,B,C` for [[A, B], [B, C]], `identity:DATA`, `diagonal:DATA` or `pca:DATA[,k=N]`";

/// A metric that is not computed yet.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricSpec {
    /// The same pair in all directions.
    Pair(f64, f64, f64),
    /// From the variances of data.
    OfData {
        /// The directions of the variances.
        kind: Kind,
        /// The data, in the form of [`Source::parse`].
        data: String,
        /// The number of principal components; `None` for all.
        components: Option<usize>,
    },
}

/// The directions of the variances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One variance for all directions.
    Identity,
    /// The variance of each value.
    Diagonal,
    /// The variances along principal components.
    Principal,
}

impl FromStr for MetricSpec {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split(',').map(|part| part.trim().parse());
        if let Ok(numbers) = numbers.collect::<std::result::Result<Vec<f64>, _>>() {
            return match numbers[..] {
                [a, b, c] => Ok(Self::Pair(a, b, c)),
                _ => Err(HINT.to_owned()),
            };
        }
        let (kind, data) = text.split_once(':').filter(|(_, data)| !data.is_empty()).ok_or(HINT)?;
        let kind = match kind {
            "identity" => Kind::Identity,
            "diagonal" => Kind::Diagonal,
            "pca" => Kind::Principal,
            _ => return Err(HINT.to_owned()),
        };
        match data.rsplit_once(",k=").filter(|_| kind == Kind::Principal) {
            None => Ok(Self::OfData { kind, data: data.to_owned(), components: None }),
            Some((data, count)) => match count.parse() {
                Ok(count) if count > 0 => Ok(Self::OfData { kind, data: data.to_owned(), components: Some(count) }),
                _ => Err(format!("`{count}` is not a number of components")),
            },
        }
    }
}

impl MetricSpec {
    /// Returns `method` with this metric, for images of `values` values. Only gradient estimation has a metric. It
    /// replaces gamma, and no noise is added.
    ///
    /// # Errors
    /// [`Error::Argument`] for another sampler or beside gamma and mu, and for data of another size; those of reading
    /// data.
    pub fn apply(&self, method: Method, sampler: Sampler, settings: &Settings, values: usize) -> Result<Method> {
        if !sampler.spec().parameters.contains(&"gamma") {
            let what = format!("`metric` has no meaning for the sampler `{}`", sampler.name());
            return Err(Error::argument(what, "set `sampler` to `ge`"));
        }
        if let Some(field) = [("gamma", settings.gamma), ("mu", settings.mu)].iter().find(|(_, value)| value.is_some())
        {
            let what = format!("`{}` contradicts `metric`, from which gamma follows, without noise", field.0);
            return Err(Error::argument(what, format!("omit `{}` or `metric`", field.0)));
        }
        let (kind, data, components) = match self {
            Self::Pair(a, b, c) => {
                let descent = Descent { gamma: gamma_of_pair(*a, *b, *c)?, noise: Noise::Mu(0.0) };
                return Ok(Method { solver: Arc::new(descent), ..method });
            }
            Self::OfData { kind, data, components } => (kind, data, components),
        };
        let data = Source::parse(data)?.load(Pixels::Signed)?;
        if data.dimension() != values {
            let what = format!("samples of `{}` have {} values, and the images {values}", data.name, data.dimension());
            return Err(Error::argument(what, "take data of the size that the model was made for"));
        }
        let metric = match kind {
            Kind::Identity => metric::uniform(&data),
            Kind::Diagonal => metric::diagonal(&data),
            Kind::Principal => metric::principal(data, *components)?,
        };
        Ok(Method { solver: Arc::new(metric), ..method })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let of = |kind, data: &str, components| MetricSpec::OfData { kind, data: data.to_owned(), components };
        assert_eq!("2,-1.3,1".parse(), Ok(MetricSpec::Pair(2.0, -1.3, 1.0)));
        assert_eq!("identity:digits".parse(), Ok(of(Kind::Identity, "digits", None)));
        assert_eq!("diagonal:a,k=3.npy".parse(), Ok(of(Kind::Diagonal, "a,k=3.npy", None)));
        assert_eq!("pca:a.npy,k=7".parse(), Ok(of(Kind::Principal, "a.npy", Some(7))));
        for text in ["", "1,2", "pca:", "median:digits", "pca:digits,k=0", "pca"] {
            assert!(text.parse::<MetricSpec>().is_err(), "{text}");
        }
    }
}
