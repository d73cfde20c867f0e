//! A table of names: the tensors of one component, and where each is stored.

use std::collections::HashSet;

use crate::checkpoint::nearest::nearest;
use crate::checkpoint::take::Take;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result, excerpt};

/// The tensors of one component: the name of each in its network, and where it is stored.
#[derive(Clone, Debug, Default)]
pub(in crate::checkpoint) struct Names(Vec<Named>);

/// One tensor of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Named {
    /// The name in the network.
    pub key: String,
    /// The name in the file.
    pub stored: String,
    /// The part of it.
    pub take: Take,
}

impl Names {
    /// Adds a whole tensor.
    pub fn add(&mut self, key: impl Into<String>, stored: impl Into<String>) {
        self.take(key, stored, Take::Whole);
    }

    /// Adds a part of a tensor.
    pub fn take(&mut self, key: impl Into<String>, stored: impl Into<String>, take: Take) {
        self.0.push(Named { key: key.into(), stored: stored.into(), take });
    }

    /// Adds the parts of a joined product of queries, keys and values, one of `groups` after the other (see
    /// [`Take::Rows`]), under the three `keys`.
    pub fn split_qkv(&mut self, keys: [String; 3], stored: &str, groups: usize) {
        for (index, key) in keys.into_iter().enumerate() {
            self.take(key, stored, Take::Rows { index, of: 3, groups });
        }
    }

    /// Iterates over the tensors.
    pub fn iter(&self) -> impl Iterator<Item = &Named> {
        self.0.iter()
    }
}

impl IntoIterator for Names {
    type Item = Named;
    type IntoIter = std::vec::IntoIter<Named>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Checks that every tensor of a file is in a table or among `ignored`.
///
/// # Errors
/// [`Error::UnexpectedKey`] for the first one that is not.
pub(super) fn check_complete<'a>(
    weights: &Weights,
    tables: impl Iterator<Item = &'a Names>,
    ignored: &'a [String],
) -> Result<()> {
    let named = tables.flat_map(Names::iter).map(|named| named.stored.as_str());
    let used: HashSet<&str> = named.chain(ignored.iter().map(String::as_str)).collect();
    match weights.names().find(|name| !used.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Error::UnexpectedKey {
            file: weights.path().to_path_buf(),
            key: excerpt(name).into_owned(),
            nearest: nearest(name, used.into_iter()),
        }),
    }
}
