//! The results of a study as data: the files of its folder, the sections of its report, and messages.

use std::fmt::Display;

use serde_json::Value;

#[cfg(feature = "plot")]
use crate::error::Result;
use crate::formats::Image;
#[cfg(feature = "plot")]
use crate::report::Folder;
use crate::report::Table;
use crate::report::plot::Picture;
use crate::tensor::Tensor;

/// A file of a study's folder. Each study declares its files once: help texts, the check that they can be written, and
/// the results refer to the same constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// The name; for a plot the stem of an `.svg` and a `.png`, for images with `%d` in the place of their numbers.
    pub name: &'static str,
    /// The contents, for help texts: the shape of an array, the columns of a table, the subject of a plot.
    pub contents: &'static str,
}

impl File {
    /// A file called `name`.
    #[must_use]
    pub const fn new(name: &'static str, contents: &'static str) -> Self {
        Self { name, contents }
    }
}

/// The contents of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Contents {
    /// An `.npy` of float32.
    Array(Tensor),
    /// A `.csv`.
    Table(Table),
    /// Plain text.
    Text(String),
    /// An `.svg` and a `.png`.
    Plot(Picture),
    /// A `.png` for each, with its number in the place of `%d`.
    Images(Vec<Image>),
}

/// A message of a study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A finding, in a sentence.
    Note(String),
    /// A detail, for the verbose output.
    Detail(String),
    /// A reason to doubt the results.
    Warning(String),
}

/// The results of a study.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// The files in the order of writing; some of a study's files may be missing.
    pub files: Vec<(File, Contents)>,
    /// Sections of the report.
    pub sections: Vec<(&'static str, Value)>,
    /// Messages in their order.
    pub messages: Vec<Message>,
    /// The result as text, a table or a verdict, if the study has one.
    pub text: Option<String>,
    /// `true` for those of a run that shares a study with others and is not the last: there is nothing to write.
    pub is_unfinished: bool,
}

impl Results {
    /// Those of a run that shares a study with others and is not the last.
    #[must_use]
    pub fn unfinished() -> Self {
        Self { is_unfinished: true, ..Self::default() }
    }

    /// Adds an array.
    pub fn array(&mut self, file: File, array: Tensor) -> &mut Self {
        self.files.push((file, Contents::Array(array)));
        self
    }

    /// Adds an array of `shape`, whose values are rounded to float32.
    ///
    /// # Panics
    /// When `values` do not have that shape: a bug of the study.
    pub fn numbers(&mut self, file: File, shape: &[usize], values: &[f64]) -> &mut Self {
        self.array(file, Tensor::new(shape, values.iter().map(|value| *value as f32).collect()))
    }

    /// Adds a table.
    pub fn table(&mut self, file: File, table: Table) -> &mut Self {
        self.files.push((file, Contents::Table(table)));
        self
    }

    /// Adds a file of text.
    pub fn text_file(&mut self, file: File, text: String) -> &mut Self {
        self.files.push((file, Contents::Text(text)));
        self
    }

    /// Adds a plot.
    pub fn plot(&mut self, file: File, picture: impl Into<Picture>) -> &mut Self {
        self.files.push((file, Contents::Plot(picture.into())));
        self
    }

    /// Adds images of one size, for a file whose name holds `%d`.
    pub fn images(&mut self, file: File, images: Vec<Image>) -> &mut Self {
        self.files.push((file, Contents::Images(images)));
        self
    }

    /// Adds a section of the report.
    pub fn set(&mut self, section: &'static str, value: impl Into<Value>) -> &mut Self {
        self.sections.push((section, value.into()));
        self
    }

    /// Writes the files.
    ///
    /// # Errors
    /// When one of them cannot be written.
    #[cfg(feature = "plot")]
    pub fn write(&self, folder: &mut Folder) -> Result<()> {
        self.files.iter().try_for_each(|(File { name, .. }, contents)| match contents {
            Contents::Array(array) => folder.array(name, array),
            Contents::Table(table) => folder.table(name, table),
            Contents::Text(text) => folder.text(name, text),
            Contents::Plot(picture) => folder.picture(name, picture),
            Contents::Images(images) => folder.images(name, images),
        })
    }

    /// Adds a finding.
    pub fn note(&mut self, text: impl Display) -> &mut Self {
        self.messages.push(Message::Note(text.to_string()));
        self
    }

    /// Adds a detail.
    pub fn detail(&mut self, text: impl Display) -> &mut Self {
        self.messages.push(Message::Detail(text.to_string()));
        self
    }

    /// Adds a warning.
    pub fn warning(&mut self, text: impl Display) -> &mut Self {
        self.messages.push(Message::Warning(text.to_string()));
        self
    }
}
