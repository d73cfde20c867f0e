//! The samples of an array in an open file, read a few at a time.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Pixels;
use super::values::{Cut, Kind, Layout};
use crate::error::{Error, Result, excerpt};

/// An array (N, ...) in a file whose header has been read and whose length fits it.
#[derive(Debug)]
pub(crate) struct Records {
    path: PathBuf,
    /// The name of the array, in an archive.
    name: Option<String>,
    file: File,
    /// The place of the first value in the file, in bytes.
    start: u64,
    layout: Layout,
    /// The axes of the array in the order in which its values are read; the first is that of the samples.
    axes: Vec<usize>,
    /// The shape of the array in that order.
    shape: Vec<usize>,
    /// The places of a sample's values in the order of the file, where the first axis of the array varies fastest.
    places: Vec<usize>,
}

impl Records {
    /// The samples of the array that `layout` describes, from byte `start` of `file` on. `order` are the axes of a
    /// sample in the order in which they are read, where that is not the order of the array.
    ///
    /// # Errors
    /// [`Error::BadFile`] for an array too large to address.
    pub fn new(
        path: &Path,
        name: Option<&str>,
        (file, start): (File, u64),
        layout: Layout,
        order: Option<&[usize]>,
    ) -> Result<Self> {
        let within = layout.shape.len().saturating_sub(1);
        let order: Vec<usize> = order.map_or_else(|| (0..within).collect(), <[usize]>::to_vec);
        let axes: Vec<usize> = std::iter::once(0).chain(order.iter().map(|axis| axis + 1)).collect();
        let shape: Vec<usize> = axes.iter().filter_map(|axis| layout.shape.get(*axis).copied()).collect();
        let mut records = Self {
            path: path.to_path_buf(),
            name: name.map(str::to_owned),
            file,
            start,
            layout,
            axes,
            shape,
            places: Vec::new(),
        };
        if records.layout.extent().is_none() {
            let what = format!("shape {:?} needs more bytes than can be addressed", records.layout.shape);
            return Err(records.bad(&what));
        }
        let is_empty = records.shape.contains(&0);
        if records.layout.fortran && !is_empty {
            let sample = Layout { shape: records.layout.shape[1..].to_vec(), ..records.layout.clone() };
            records.places = sample.places(&order).collect();
        }
        Ok(records)
    }

    /// The shape of the array: the number of samples, and the shape of each.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns `true` for unsigned bytes, which may be pixels.
    pub fn holds_bytes(&self) -> bool {
        self.layout.kind == Kind::U1
    }

    /// Reads the samples from number `first` on into `values`, one after the other.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadFile`] if the file is shorter than it was when it was opened.
    ///
    /// # Panics
    /// Panics if there are fewer samples than `values` has room for.
    pub fn read(&mut self, first: usize, pixels: Pixels, values: &mut [f32]) -> Result<()> {
        let dimension: usize = self.shape[1..].iter().product();
        let count = values.len() / dimension.max(1);
        assert!(first + count <= self.shape[0], "samples {first} to {} of {}", first + count, self.shape[0]);
        if self.layout.fortran {
            return self.read_columns(first, pixels, values);
        }
        let mut part = self.layout.clone();
        part.shape[0] = count;
        self.seek(first * dimension)?;
        let done = part.fill(&mut (&self.file), &self.axes, pixels, values);
        done.map_err(|cut| self.cut(cut))
    }

    /// As [`Records::read`], where each value of the samples lies beside the same value of the next sample.
    fn read_columns(&mut self, first: usize, pixels: Pixels, values: &mut [f32]) -> Result<()> {
        let dimension = self.places.len();
        let count = values.len() / dimension;
        let part = Layout { shape: vec![count], fortran: false, ..self.layout.clone() };
        let mut column = vec![0.0f32; count];
        for (at, place) in self.places.iter().enumerate() {
            self.seek(at * self.shape[0] + first)?;
            part.fill(&mut (&self.file), &[0], pixels, &mut column).map_err(|cut| self.cut(cut))?;
            let places = values.iter_mut().skip(*place).step_by(dimension);
            places.zip(&column).for_each(|(into, value)| *into = *value);
        }
        Ok(())
    }

    /// Goes to value number `value` of the file.
    fn seek(&self, value: usize) -> Result<()> {
        let place = self.start + (value * self.layout.kind.size()) as u64;
        (&self.file).seek(SeekFrom::Start(place)).map_err(|error| Error::io(&self.path, error)).map(drop)
    }

    fn cut(&self, cut: Cut) -> Error {
        match cut {
            Cut::Io(error) => Error::io(&self.path, error),
            Cut::Short(_) => self.bad("truncated: the file was changed while it was read"),
        }
    }

    fn bad(&self, what: &str) -> Error {
        let name = self.name.as_deref().map_or(String::new(), |name| format!("`{}`: ", excerpt(name)));
        Error::bad_file_hint(&self.path, format!("{name}{what}"), "copy or save the file again")
    }
}
