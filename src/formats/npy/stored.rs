//! An array in a file or an archive.

use std::io::{self, Read};
use std::path::Path;

use super::header::{COPY, Fault, bad, read_header};
use crate::error::{Error, Result, excerpt};
use crate::formats::values::{Convert, Cut, Layout};
use crate::input::{Budget, room};

/// The size of an array file.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    /// Its length in bytes.
    Plain(u64),
    /// The length of the archive that holds it, perhaps compressed.
    Packed(u64),
}

/// An array in a file whose header has been read and checked.
pub struct Stored<'a, R> {
    file: &'a Path,
    /// The name of the array, in an archive.
    name: Option<&'a str>,
    reader: R,
    pub layout: Layout,
    /// The place of the first value, in bytes.
    pub start: u64,
    count: usize,
    bytes: usize,
    size: Size,
}

impl<'a, R: Read> Stored<'a, R> {
    /// Reads the header from `reader`, and checks it against the size of the file.
    pub fn open(file: &'a Path, name: Option<&'a str>, mut reader: R, size: Size) -> Result<Self> {
        let about = About { file, name };
        let (layout, before) = read_header(&mut reader).map_err(|fault| about.error(fault))?;
        let shape = &layout.shape;
        let Some((count, bytes)) = layout.extent() else {
            let what = format!("shape {shape:?} needs more bytes than can be addressed");
            return Err(about.error(bad(what, COPY)));
        };
        match size {
            Size::Plain(length) => {
                let found = length.saturating_sub(before as u64);
                if found < bytes as u64 {
                    return Err(about.error(truncated(shape, bytes, found)));
                }
                if found > bytes as u64 {
                    return Err(about.error(followed(shape, &(found - bytes as u64).to_string())));
                }
            }
            Size::Packed(_) => {}
        }
        Ok(Self { file, name, reader, layout, start: before as u64, count, bytes, size })
    }

    /// Reads the values in C order. A scalar becomes an array of shape (1).
    pub fn values<C: Convert>(self, convert: C) -> Result<(Vec<usize>, Vec<C::Value>)> {
        let axes: Vec<usize> = (0..self.layout.shape.len()).collect();
        let (shape, values) = self.values_by(&axes, convert)?;
        Ok((if shape.is_empty() { vec![1] } else { shape }, values))
    }

    /// Reads the values with the axes of the array in the order of `axes`, and returns the shape in that order.
    pub fn values_by<C: Convert>(self, axes: &[usize], convert: C) -> Result<(Vec<usize>, Vec<C::Value>)> {
        let Self { file, name, mut reader, layout, count, bytes, size, .. } = self;
        let about = About { file, name };
        if let Size::Packed(stored) = size {
            Budget { stored }.ask(file, (count as u64).saturating_mul(size_of::<C::Value>() as u64))?;
        }
        let mut values = room(file, count)?;
        layout.read(&mut reader, axes, convert, &mut values).map_err(|cut| match cut {
            Cut::Short(found) => about.error(truncated(&layout.shape, bytes, found as u64)),
            Cut::Io(error) => about.error(Fault::Io(error)),
        })?;
        match reader.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(about.error(followed(&layout.shape, "more"))),
            Err(error) => return Err(about.error(Fault::Io(error))),
        }
        Ok((axes.iter().map(|axis| layout.shape[*axis]).collect(), values))
    }
}

impl<R: Read> Stored<'_, R> {
    /// Reads to the end without keeping the values, and returns the description of the array: a damaged file is found
    /// before a part of it is used.
    pub fn skip(mut self) -> Result<Layout> {
        let about = About { file: self.file, name: self.name };
        match io::copy(&mut self.reader, &mut io::sink()) {
            Ok(found) if found < self.bytes as u64 => {
                Err(about.error(truncated(&self.layout.shape, self.bytes, found)))
            }
            Ok(found) if found > self.bytes as u64 => Err(about.error(followed(&self.layout.shape, "more"))),
            Ok(_) => Ok(self.layout),
            Err(error) => Err(about.error(Fault::Io(error))),
        }
    }
}

/// The place of an array, for messages.
struct About<'a> {
    file: &'a Path,
    name: Option<&'a str>,
}

impl About<'_> {
    fn error(&self, fault: Fault) -> Error {
        match (fault, self.name) {
            (Fault::Bad { what, hint }, None) => Error::bad_file_hint(self.file, what, hint),
            (Fault::Bad { what, hint }, Some(name)) => {
                Error::bad_file_hint(self.file, format!("`{}`: {what}", excerpt(name)), hint)
            }
            (Fault::Io(error), None) => Error::io(self.file, error),
            // The archive is damaged, not the disk.
            (Fault::Io(error), Some(name)) => {
                let what = format!("`{}` cannot be unpacked ({error})", excerpt(name));
                Error::bad_file_hint(self.file, what, COPY)
            }
        }
    }
}

fn truncated(shape: &[usize], needed: usize, found: u64) -> Fault {
    bad(format!("truncated: shape {shape:?} needs {needed} bytes, the file has {found}"), COPY)
}

fn followed(shape: &[usize], extra: &str) -> Fault {
    bad(format!("{extra} bytes follow the values of shape {shape:?}"), "the file holds more than one array")
}
