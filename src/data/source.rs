//! The table of data sources, and the source that a text names.

use std::path::Path;

use super::{Dataset, Pixels, Stream, arrays, digits, folder, idx, npy, npz, power_law, spiked};
use crate::error::{Error, Result};
use crate::input::{ask, open_regular};

/// Every kind of data source, in the order of the help texts. At most one of them accepts a text.
static KINDS: [&SourceKind; 8] =
    [&digits::KIND, &npy::KIND, &arrays::KIND, &npz::KIND, &idx::KIND, &folder::KIND, &spiked::KIND, &power_law::KIND];

/// The working copies of samples for which there must be memory.
const COPIES: u64 = 2;

/// A kind of data source.
#[derive(Debug)]
pub(super) struct SourceKind {
    /// The form of its text, for help texts and hints.
    pub form: &'static str,
    /// Returns whether a text names a source of this kind; an error for a malformed name of this kind.
    pub accepts: fn(&Candidate) -> Result<bool>,
    /// Loads the data of a text that was accepted.
    pub load: fn(&str, Pixels) -> Result<Dataset>,
    /// Opens the data of a text that was accepted, to be read a few samples at a time.
    pub stream: fn(&str, Pixels) -> Result<Box<dyn Stream>>,
    /// The length of a name at the beginning of a text, where the name may hold commas; see [`Source::split`].
    pub extent: Option<fn(&str) -> usize>,
}

/// A text that may name a data source, and what lies under that path.
pub(super) struct Candidate<'a> {
    pub text: &'a str,
    pub path: &'a Path,
    pub exists: bool,
    pub is_folder: bool,
    /// The first bytes of a file; empty for anything else.
    pub first: Vec<u8>,
}

impl<'a> Candidate<'a> {
    fn new(text: &'a str) -> Result<Self> {
        let path = Path::new(text);
        let (exists, is_folder) = (path.exists(), path.is_dir());
        let first = if exists && !is_folder { first_bytes(path)? } else { Vec::new() };
        Ok(Self { text, path, exists, is_folder, first })
    }
}

/// The forms of data sources, for help texts and hints: "`digits`, ... or a folder of images".
#[must_use]
pub fn forms() -> String {
    let [first @ .., last] = KINDS.map(|kind| kind.form);
    format!("{} or {last}", first.join(", "))
}

/// The length of the name of generated data, `name` or `name:option=value,...`, at the beginning of `text`; 0 where it
/// does not begin so. `options` belong to the name up to the first that it does not have, or has already.
pub(super) fn extent_of(name: &str, options: &[&str], text: &str) -> usize {
    let Some(rest) = text.strip_prefix(name) else { return 0 };
    let Some(given) = rest.strip_prefix(':') else {
        return if rest.is_empty() || rest.starts_with(',') { name.len() } else { 0 };
    };
    let mut seen = Vec::new();
    let mut end = name.len() + 1;
    for part in given.split(',') {
        let option = part.split('=').next().unwrap_or_default();
        if !seen.is_empty() && (!options.contains(&option) || seen.contains(&option)) {
            break;
        }
        end += part.len() + usize::from(!seen.is_empty());
        seen.push(option);
    }
    end
}

/// A source of data: the meaning of `DATA`.
#[derive(Clone, Debug)]
pub struct Source {
    kind: &'static SourceKind,
    text: String,
}

impl Source {
    /// The source that `text` names. A path that exists wins over a name such as `digits`.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for a file whose first bytes are of no known format;
    /// [`Error::Argument`] for the malformed name of generated data.
    pub fn parse(text: &str) -> Result<Self> {
        let candidate = Candidate::new(text)?;
        for kind in KINDS {
            if (kind.accepts)(&candidate)? {
                return Ok(Self { kind, text: text.to_owned() });
            }
        }
        if !candidate.exists {
            return Err(Error::FileNotFound { path: candidate.path.to_path_buf() });
        }
        let hint = format!("DATA is {}", forms());
        Err(Error::bad_file_hint(candidate.path, "not a file of a known format", hint))
    }

    /// Splits `DATA,name=value,...` into the name of a source and the options after it. Commas in the path of a file
    /// that exists, and the options of generated data, belong to the name.
    #[must_use]
    pub fn split(text: &str) -> (&str, Vec<(&str, &str)>) {
        let extent = KINDS.iter().find_map(|kind| kind.extent.map(|extent| extent(text)).filter(|length| *length > 0));
        let (mut data, mut options) = (text, Vec::new());
        while data.len() > extent.unwrap_or(0)
            && let Some((before, after)) = data.rsplit_once(',')
            && let Some(option) = after.split_once('=')
            && !Path::new(data).exists()
        {
            data = before;
            options.insert(0, option);
        }
        (data, options)
    }

    /// Loads the data.
    ///
    /// # Errors
    /// [`Error::FileNotFound`], [`Error::Io`], [`Error::BadFile`] for malformed or empty data, [`Error::NonFinite`] for
    /// data that hold NaN or infinity, [`Error::OutOfMemory`].
    pub fn load(&self, pixels: Pixels) -> Result<Dataset> {
        let data = (self.kind.load)(&self.text, pixels)?;
        // What works on samples holds copies of them, on the host or on a device that shares its memory.
        ask(Path::new(&self.text), COPIES * size_of_val(data.samples.data.as_slice()) as u64)?;
        Ok(data)
    }

    /// Opens the data, to be read a few samples at a time. The values are those of [`Source::load`], bit for bit.
    ///
    /// Arrays in `.npy` and uncompressed `.npz` files, in IDX files and in several files, images of folders and
    /// generated data are read where they lie. Compressed files and the embedded digits are in memory.
    ///
    /// # Errors
    /// Those of [`Source::load`], for all that headers and the lengths of files say.
    pub fn stream(&self, pixels: Pixels) -> Result<Box<dyn Stream>> {
        (self.kind.stream)(&self.text, pixels)
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.kind, other.kind) && self.text == other.text
    }
}

impl Eq for Source {}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let (file, _) = open_regular(path)?;
    let mut first = Vec::with_capacity(8);
    file.take(8).read_to_end(&mut first).map_err(|error| Error::io(path, error))?;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::tensor::Tensor;

    #[test]
    fn one_kind_of_source_accepts_each_text() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("images.idx"), [0, 0, 8, 1, 0, 0, 0, 1, 7]).unwrap();
        crate::formats::npy::write(at("x"), &Tensor::zeros([2, 2])).unwrap();
        crate::formats::npy::write(at("y1.npy"), &Tensor::zeros([2, 2])).unwrap();
        crate::formats::npy::write_npz(at("images"), &[]).unwrap();
        let texts = [
            "digits".to_owned(),
            at("x"),
            at("y*.npy"),
            at("images"),
            at("images.idx"),
            at(""),
            "spiked:p=12".to_owned(),
            "power-law:p=12".to_owned(),
        ];
        let parts = ["digits-train", "digits-held-out"].map(str::to_owned);
        for (text, expected) in texts.iter().zip(KINDS).chain(parts.iter().map(|text| (text, KINDS[0]))) {
            let candidate = Candidate::new(text).unwrap();
            for kind in KINDS {
                assert_eq!((kind.accepts)(&candidate).unwrap(), std::ptr::eq(kind, expected), "{text}, {}", kind.form);
            }
            let source = Source::parse(text).unwrap();
            assert_eq!((source.kind.form, source.to_string()), (expected.form, text.clone()));
        }
        std::fs::write(at("other"), "text of some length").unwrap();
        assert_eq!(Source::parse(&at("missing")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(Source::parse("spiked:q=1").unwrap_err().kind(), ErrorKind::Argument);
        let error = Source::parse(&at("other")).unwrap_err();
        assert_eq!((error.kind(), error.hint().is_some_and(|hint| hint.contains("`digits`"))), (ErrorKind::File, true));
    }

    #[test]
    fn options_follow_the_name_of_the_data() {
        assert_eq!(Source::split("digits,k=3,n=5"), ("digits", vec![("k", "3"), ("n", "5")]));
        assert_eq!(Source::split("a,b.npy"), ("a,b.npy", vec![]));
        let name = "spiked:n=20,p=9,spikes=5/4,noise=0.1";
        assert_eq!(Source::split(name), (name, vec![]));
        let text = format!("{name},k=3,n=5,noise=fresh,seed=1");
        let options = vec![("k", "3"), ("n", "5"), ("noise", "fresh"), ("seed", "1")];
        assert_eq!(Source::split(&text), (name, options));
        assert_eq!(Source::split("spiked,k=3"), ("spiked", vec![("k", "3")]));
        assert_eq!(Source::split("spiked:k=3"), ("spiked:k=3", vec![]));
    }
}
