//! The images of a run that are there from an earlier one, and whether their settings are those of this run.

use std::fmt;
use std::path::{Path, PathBuf};

use super::metadata::Metadata;
use super::resolve::ModelRun;
use crate::error::excerpt;
use crate::formats::png;
use crate::report::output::Pattern;

/// The keyword of the program and its version.
const SOFTWARE: &str = "Software";

/// The images of a run whose files are whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// The number of whole files.
    pub count: usize,
    /// Those of them that were made with other settings, and the first setting that differs.
    pub others: Vec<(PathBuf, Differs)>,
    /// Those of them that do not say their settings.
    pub unknown: Vec<PathBuf>,
    /// The other versions of the program that made some of them, one per file.
    pub versions: Vec<String>,
}

/// A setting that differs between an image and a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    /// The keyword.
    pub setting: String,
    /// The value in the image, if any.
    pub found: Option<String>,
    /// The value in the run, if any.
    pub expected: Option<String>,
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            |value: &Option<String>| value.as_deref().map_or("not set".to_owned(), |it| excerpt(it).into_owned());
        write!(f, "`{}` is {}, and in this run {}", self.setting, text(&self.found), text(&self.expected))
    }
}

impl ModelRun<'_> {
    /// Drops the images whose files are whole, and returns what these say of themselves beside `metadata`.
    pub fn keep_complete(&mut self, pattern: &Pattern, metadata: &Metadata) -> Existing {
        let mut existing = Existing::default();
        self.run.images.retain(|index| {
            let is_complete = pattern.is_complete(*index);
            if is_complete {
                existing.add(&pattern.path(*index), metadata.of_image(*index).pairs());
            }
            !is_complete
        });
        existing
    }
}

impl Existing {
    /// Adds a whole file, which is `expected` to have these texts.
    fn add(&mut self, file: &Path, expected: &[(String, String)]) {
        self.count += 1;
        let found = png::read_metadata(file).unwrap_or_default();
        let Some(version) = found.iter().find(|(keyword, _)| keyword == SOFTWARE).map(|(_, text)| text) else {
            self.unknown.push(file.to_path_buf());
            return;
        };
        match difference(&found, expected) {
            Some(differs) => self.others.push((file.to_path_buf(), differs)),
            None if !expected.iter().any(|(keyword, text)| keyword == SOFTWARE && text == version) => {
                self.versions.push(version.clone());
            }
            None => {}
        }
    }
}

/// The first setting that differs. Keywords of other programs, such as `date:create`, are not settings.
fn difference(found: &[(String, String)], expected: &[(String, String)]) -> Option<Differs> {
    let is_setting = |(keyword, _): &&(String, String)| keyword != SOFTWARE && !keyword.contains(':');
    let value = |pairs: &[(String, String)], keyword: &str| {
        let values: Vec<_> = pairs.iter().filter(|(it, _)| it == keyword).map(|(_, text)| text.clone()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    expected.iter().chain(found).filter(is_setting).find_map(|(setting, _)| {
        let (found, expected) = (value(found, setting), value(expected, setting));
        (found != expected).then(|| Differs { setting: setting.clone(), found, expected })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(texts: &[(&str, &str)]) -> Vec<(String, String)> {
        texts.iter().map(|(keyword, text)| ((*keyword).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_setting_that_is_there_in_one_of_both_differs() {
        let run = pairs(&[("Software", "downhill 2"), ("seed", "1"), ("steps", "5")]);
        let differs = |texts: &[(&str, &str)]| difference(&pairs(texts), &run).map(|differs| differs.to_string());
        assert_eq!(differs(&[("Software", "downhill 1"), ("steps", "5"), ("seed", "1"), ("date:create", "x")]), None);
        let of_seed = Some("`seed` is 2, and in this run 1".to_owned());
        assert_eq!(differs(&[("steps", "6"), ("seed", "2")]), of_seed);
        let of_lora = Some("`lora` is a, b, and in this run not set".to_owned());
        assert_eq!(differs(&[("lora", "a"), ("lora", "b"), ("seed", "1"), ("steps", "5")]), of_lora);
        assert_eq!(differs(&[("seed", "1")]), Some("`steps` is not set, and in this run 5".to_owned()));
    }

    #[test]
    fn files_are_told_apart_by_what_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let image = crate::formats::Image { height: 1, width: 1, channels: 1, pixels: vec![3] };
        let run = pairs(&[("Software", "downhill 2"), ("seed", "1")]);
        let mut existing = Existing::default();
        for (name, texts) in [
            ("same", run.clone()),
            ("other", pairs(&[("Software", "downhill 2"), ("seed", "2")])),
            ("unknown", Vec::new()),
            ("version", pairs(&[("Software", "downhill 1"), ("seed", "1")])),
        ] {
            let file = folder.path().join(name);
            png::write_png(&file, &image, &texts).unwrap();
            existing.add(&file, &run);
        }
        assert_eq!((existing.count, existing.others.len()), (4, 1));
        assert_eq!(existing.unknown, [folder.path().join("unknown")]);
        assert_eq!(existing.versions, ["downhill 1"]);
    }
}
