//! The folder of a study: arrays, tables, pictures and the report of the run.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::plot::{self, Picture};
use super::run::Report;
use super::table::Table;
use crate::error::Result;
use crate::formats::png::write_png;
use crate::formats::{Image, check_writable, npy, write_atomically};
use crate::tensor::Tensor;

/// The place of a number in the name of images.
const NUMBER: &str = "%d";
/// The file name of a run's report.
const REPORT: &str = "report.json";

/// Files of a study in one folder. They are named before the work, so that it is known that they can be written; others
/// in the folder are left alone.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    written: Vec<String>,
}

impl Folder {
    /// The folder `root` for `files` and `report.json`; nothing is made yet. A name without a suffix is a picture, of
    /// which there will be an `.svg` and a `.png`. One with `%d` is a name for each of several images.
    ///
    /// # Errors
    /// Those of [`check_writable`] for the first file that cannot be written.
    pub fn new(root: &Path, files: &[&str]) -> Result<Self> {
        for name in files.iter().chain([&REPORT]) {
            if name.contains('.') {
                check_writable(root.join(name.replace(NUMBER, "0")))?;
            } else {
                check_writable(root.join(format!("{name}.svg")))?;
                check_writable(root.join(format!("{name}.png")))?;
            }
        }
        Ok(Self { root: root.to_path_buf(), written: Vec::new() })
    }

    /// The folder and the number of files that were written, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        format!("{}: {} files and the report", self.root.display(), self.written.len())
    }

    /// Writes an array as `name`, which ends in `.npy`.
    ///
    /// # Errors
    /// Those of [`write_atomically`], as for all below.
    pub fn array(&mut self, name: &str, array: &Tensor) -> Result<()> {
        npy::write(self.root.join(name), array)?;
        self.wrote(name);
        Ok(())
    }

    /// Writes numbers as `name`, an array of this shape, rounded to float32.
    ///
    /// # Errors
    /// Those of [`write_atomically`].
    ///
    /// # Panics
    /// When the shape does not hold the values: a bug of the caller.
    pub fn numbers(&mut self, name: &str, shape: &[usize], values: &[f64]) -> Result<()> {
        self.array(name, &Tensor::new(shape, values.iter().map(|value| *value as f32).collect()))
    }

    /// Writes a table as `name`, which ends in `.csv`.
    ///
    /// # Errors
    /// Those of [`write_atomically`].
    pub fn table(&mut self, name: &str, table: &Table) -> Result<()> {
        write_atomically(self.root.join(name), |writer| writer.write_all(table.csv().as_bytes()))?;
        self.wrote(name);
        Ok(())
    }

    /// Writes text as `name`.
    ///
    /// # Errors
    /// Those of [`write_atomically`].
    pub fn text(&mut self, name: &str, text: &str) -> Result<()> {
        write_atomically(self.root.join(name), |writer| writer.write_all(text.as_bytes()))?;
        self.wrote(name);
        Ok(())
    }

    /// Draws a picture as `STEM.svg` and `STEM.png`.
    ///
    /// # Errors
    /// Those of [`write_atomically`].
    pub fn picture(&mut self, stem: &str, picture: &Picture) -> Result<()> {
        plot::write(&self.root, stem, picture)?;
        self.wrote(&format!("{stem}.svg"));
        self.wrote(&format!("{stem}.png"));
        Ok(())
    }

    /// Writes images, each under `name` with its number, from 0, in the place of `%d`.
    ///
    /// # Errors
    /// Those of [`write_png`].
    pub fn images(&mut self, name: &str, images: &[Image]) -> Result<()> {
        for (number, image) in images.iter().enumerate() {
            let name = name.replace(NUMBER, &number.to_string());
            write_png(self.root.join(&name), image, &[])?;
            self.wrote(&name);
        }
        Ok(())
    }

    /// Writes `report.json`, with the names of what was written before it.
    ///
    /// # Errors
    /// Those of [`write_atomically`].
    pub fn report(&self, report: &mut Report) -> Result<()> {
        report.set("outputs", self.written.clone());
        report.write(self.root.join(REPORT))
    }

    fn wrote(&mut self, name: &str) {
        self.written.push(self.root.join(name).display().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plot::{Axis, Figure, Series};

    #[test]
    fn files_are_written_under_their_names_and_reported() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("study");
        let mut folder = Folder::new(&root, &["x.npy", "x.csv", "plot"]).unwrap();
        assert!(!root.exists(), "nothing is made before the work is done");
        folder.numbers("x.npy", &[2], &[1.0, 2.0]).unwrap();
        let mut table = Table::new(&["name", "value"]);
        table.row(&[&"a, b", &1.5]);
        folder.table("x.csv", &table).unwrap();
        let figure =
            Figure::new("", Axis::linear(""), Axis::linear("")).with(Series::line("", vec![(0.0, 1.0), (1.0, 2.0)]));
        folder.picture("plot", &figure.into()).unwrap();
        let image = Image { height: 1, width: 2, channels: 1, pixels: vec![0, 255] };
        folder.images("sheet-%d.png", &[image.clone(), image]).unwrap();
        let mut report = Report::new("study");
        folder.report(&mut report).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["plot.png", "plot.svg", "report.json", "sheet-0.png", "sheet-1.png", "x.csv", "x.npy"]);
        assert_eq!(std::fs::read_to_string(root.join("x.csv")).unwrap(), "name,value\n\"a, b\",1.5\n");
        assert_eq!(report.get("outputs").unwrap().as_array().unwrap().len(), 6);
    }

    #[test]
    fn what_cannot_be_written_is_refused_before_the_work() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("plot.svg")).unwrap();
        assert_eq!(Folder::new(place.path(), &["plot"]).unwrap_err().kind(), crate::ErrorKind::Argument);
        std::fs::write(place.path().join("file"), "").unwrap();
        assert!(Folder::new(&place.path().join("file"), &[]).is_err());
    }
}
