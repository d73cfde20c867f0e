//! The images of cells in a folder, a part at a time: `samples/CELL/00000.npz`, each as `downhill sample -o x.npz`
//! writes it, so that other tools read them too.

use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::data::{Dataset, Pixels, npz_images};
use crate::error::{Error, Result, excerpt};
use crate::formats::images::quantise;
use crate::formats::{self, check_writable, npy, write_atomically};
use crate::input::read_regular;
use crate::tensor::Tensor;

/// Images of a part.
pub const PART: usize = 64;
const SETTINGS: &str = "settings.json";
const TIMES: &str = "times.json";
const GIVEN_UP: &str = "given-up.json";

/// Something whose images are kept in a folder of that name.
pub trait Named {
    /// A name for files.
    fn name(&self) -> String;
}

impl<N: Named> Named for &N {
    fn name(&self) -> String {
        (**self).name()
    }
}

/// A folder of samples, all made with the same settings.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// The cost of the parts of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Times {
    /// Images whose time is known.
    pub images: usize,
    /// Network calls of each of them.
    pub calls: usize,
    /// By the wall clock, for all of them.
    pub seconds: f64,
}

impl Store {
    /// Opens the folder `root` for samples of `settings`. Samples that it already holds must have the same settings.
    ///
    /// # Errors
    /// [`Error::Argument`] for a folder of samples of other settings, or one that cannot be written.
    pub fn open(root: &Path, settings: &Value) -> Result<Self> {
        let file = root.join(SETTINGS);
        check_writable(&file)?;
        match read_regular(&file, formats::json::LARGEST) {
            Ok(bytes) => {
                let found: Value = formats::json::parse(&bytes).unwrap_or(Value::Null);
                if found != *settings {
                    let what = format!(
                        "`{}` holds samples of other settings: {}",
                        root.display(),
                        excerpt(&found.to_string())
                    );
                    return Err(Error::argument(what, format!("choose another folder; this run has {settings}")));
                }
            }
            Err(Error::FileNotFound { .. }) => write_json(&file, settings)?,
            Err(error) => return Err(error),
        }
        Ok(Self { root: root.to_path_buf() })
    }

    /// The images of the part that begins at `first` in a cell of `count`, where they are not all there.
    ///
    /// # Errors
    /// Those of reading files: a damaged part is an error, not a missing one.
    pub fn missing_part(&self, cell: &impl Named, first: usize, count: usize) -> Result<Option<Range<usize>>> {
        let end = (first + PART).min(count);
        let file = self.part(cell, first);
        let is_there = file.exists() && images_in(&file)?.shape[0] >= end - first;
        Ok((!is_there).then_some(first..end))
    }

    /// Keeps images `first..` of a cell, the whole of one part, and their cost.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for an image with NaN or infinity; those of writing files.
    pub fn keep(&self, cell: &impl Named, first: usize, made: &super::Made) -> Result<()> {
        npy::write_npz(self.part(cell, first), &quantise(&made.images)?)?;
        let before = self.times(cell);
        let times = Times {
            images: before.images + made.images.shape[0],
            calls: made.calls,
            seconds: before.seconds + made.seconds,
        };
        write_json(&self.folder(cell).join(TIMES), &json!(times))
    }

    /// Keeps that a cell has no images, and why: they left the numbers.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn give_up(&self, cell: &impl Named, why: &Error) -> Result<()> {
        write_json(&self.folder(cell).join(GIVEN_UP), &json!({ "why": why.to_string() }))
    }

    /// Returns `true` for a cell that has no images.
    #[must_use]
    pub fn is_given_up(&self, cell: &impl Named) -> bool {
        self.folder(cell).join(GIVEN_UP).exists()
    }

    /// The known cost of a cell.
    #[must_use]
    pub fn times(&self, cell: &impl Named) -> Times {
        let file = read_regular(&self.folder(cell).join(TIMES), formats::json::LARGEST).unwrap_or_default();
        formats::json::parse(&file).unwrap_or_default()
    }

    /// The first `count` images of a cell, a part at a time, in -1..1.
    ///
    /// # Errors
    /// Those of reading files, also for a part that is not there.
    pub fn parts<N: Named>(&self, cell: &N, count: usize) -> impl Iterator<Item = Result<Tensor>> + use<N> {
        let files: Vec<(PathBuf, usize)> =
            (0..count).step_by(PART).map(|first| (self.part(cell, first), PART.min(count - first))).collect();
        files.into_iter().map(|(file, taken)| {
            let images = images_in(&file)?;
            if images.shape[0] < taken {
                let what = format!("{} images, expected {taken}", images.shape[0]);
                return Err(Error::bad_file_hint(file, what, "remove the file; it is then made again"));
            }
            Ok(images.slice(0..taken))
        })
    }

    fn folder(&self, cell: &impl Named) -> PathBuf {
        self.root.join(cell.name())
    }

    fn part(&self, cell: &impl Named, first: usize) -> PathBuf {
        self.folder(cell).join(format!("{first:05}.npz"))
    }
}

/// The images of a file: (n, c, h, w) in colour, which what reads pixels by their places needs, else a matrix.
fn images_in(file: &Path) -> Result<Tensor> {
    let data = Dataset::new(&file.display().to_string(), npz_images(file, Pixels::Signed)?)?;
    if data.sample_shape.len() < 3 {
        return Ok(data.samples);
    }
    let shape = [&[data.count()], data.sample_shape.as_slice()].concat();
    Ok(Tensor::new(shape, data.samples.data))
}

fn write_json(file: &Path, value: &Value) -> Result<()> {
    write_atomically(file, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Cell, Made};
    use super::*;

    fn made(count: usize, value: f32) -> Made {
        Made { images: Tensor::new([count, 1, 2, 2], vec![value; count * 4]), calls: 5, seconds: 1.5 }
    }

    #[test]
    fn a_killed_run_goes_on_and_a_larger_one_begins_with_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let settings = json!({ "model": "digits" });
        let store = Store::open(folder.path(), &settings).unwrap();
        let cell = Cell::ge(5, 0);
        let missing = |count: usize| -> Vec<_> {
            let parts = (0..count).step_by(PART);
            parts.filter_map(|first| store.missing_part(&cell, first, count).unwrap()).collect()
        };
        assert_eq!(missing(100), [0..64, 64..100]);
        store.keep(&cell, 0, &made(64, -1.0)).unwrap();
        assert_eq!(missing(100), vec![Range { start: 64, end: 100 }]);
        store.keep(&cell, 64, &made(36, 1.0)).unwrap();

        let again = Store::open(folder.path(), &settings).unwrap();
        assert!(missing(100).is_empty() && missing(30).is_empty());
        assert_eq!(missing(101), vec![Range { start: 64, end: 101 }], "a part that is not whole is made again");
        assert_eq!(again.times(&cell), Times { images: 100, calls: 5, seconds: 3.0 });
        let parts: Vec<Tensor> = again.parts(&cell, 70).map(Result::unwrap).collect();
        assert_eq!(parts.iter().map(|part| part.shape[0]).collect::<Vec<_>>(), [64, 6]);
        assert_eq!((parts[0].data[0], parts[1].data[0]), (-1.0, 1.0));
        assert!(again.parts(&cell, 200).any(|part| part.is_err()));

        let other = Store::open(folder.path(), &json!({ "model": "other" })).unwrap_err();
        assert_eq!(other.kind(), crate::ErrorKind::Argument);
    }
}
