//! Responses of a hub, read from their bytes: the listing of a revision, and the headers of a file.

use serde_json::Value;

use super::about::About;
use super::is_name;
use crate::error::{Error, Result};

/// A revision of a repository.
#[derive(Debug)]
pub struct Listing {
    /// The commit.
    pub commit: String,
    /// The paths of the files, in the hub's order. None of them leads outside the repository.
    pub files: Vec<String>,
}

impl Listing {
    /// Reads the response of the hub at `address` that describes a revision.
    ///
    /// # Errors
    ///
    /// The response is not JSON, or names no commit and no list of files.
    pub fn parse(address: &str, body: &str) -> Result<Self> {
        let listing: Value = serde_json::from_str(body)
            .map_err(|error| Error::bad_file(address, format!("the response is not JSON: {error}")))?;
        let commit = listing["sha"].as_str().filter(|commit| is_name(commit));
        let (Some(commit), Some(siblings)) = (commit, listing["siblings"].as_array()) else {
            return Err(Error::bad_file(address, "the response names no commit and files"));
        };
        let names = siblings.iter().filter_map(|file| file["rfilename"].as_str());
        let sound = |name: &&str| name.split('/').all(is_name);
        Ok(Self { commit: commit.to_owned(), files: names.filter(sound).map(str::to_owned).collect() })
    }
}

/// The properties of a file that the headers of a response state.
#[derive(Debug)]
pub enum Stated {
    /// Its tag and length.
    File(About),
    /// Another address, which may state them.
    Elsewhere(String),
    /// Nothing of use.
    Nothing,
}

impl Stated {
    /// Reads the headers of a response, which `header` looks up by their names in lower case.
    pub fn read<'a>(is_redirection: bool, header: impl Fn(&str) -> Option<&'a str>) -> Self {
        let tag = |name| header(name).map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
        let number = |name| header(name).and_then(|bytes| bytes.parse().ok());
        // The tag and the length of a redirection are not those of the file.
        let elsewhere = header("location").filter(|_| is_redirection);
        let of_file = |value| if elsewhere.is_none() { value } else { None };
        let etag = tag("x-linked-etag").or(of_file(tag("etag"))).filter(|tag| is_name(tag));
        let bytes = number("x-linked-size").or_else(|| number("content-length").filter(|_| elsewhere.is_none()));
        match (etag, bytes, elsewhere) {
            (Some(etag), Some(bytes), _) => Self::File(About { etag: etag.to_owned(), bytes }),
            (_, _, Some(place)) => Self::Elsewhere(place.to_owned()),
            _ => Self::Nothing,
        }
    }
}
