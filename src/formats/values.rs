//! The numbers of array files, in every type and order that the formats have, read a part at a time.

use std::io::{self, Read};

use half::f16;

use super::Pixels;
use crate::tensor::element_count;

/// The bytes read at a time: a multiple of the size of every type.
const PART: usize = 1 << 16;

/// The types of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F2,
    F4,
    F8,
    I1,
    I2,
    I4,
    I8,
    U1,
    U2,
    U4,
    U8,
    Bool,
}

impl Kind {
    /// The size of a number in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::I1 | Self::U1 | Self::Bool => 1,
            Self::F2 | Self::I2 | Self::U2 => 2,
            Self::F4 | Self::I4 | Self::U4 => 4,
            Self::F8 | Self::I8 | Self::U8 => 8,
        }
    }

    /// The name of the type in `NumPy`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F2 => "float16",
            Self::F4 => "float32",
            Self::F8 => "float64",
            Self::I1 => "int8",
            Self::I2 => "int16",
            Self::I4 => "int32",
            Self::I8 => "int64",
            Self::U1 => "uint8",
            Self::U2 => "uint16",
            Self::U4 => "uint32",
            Self::U8 => "uint64",
            Self::Bool => "bool",
        }
    }

    /// Decodes the numbers in `bytes`, little-endian unless `big_endian`, and passes each to `visit`.
    fn decode<C: Convert>(self, bytes: &[u8], big_endian: bool, convert: C, visit: &mut impl FnMut(C::Value)) {
        let numbers = Numbers { bytes, big_endian };
        let mut visit_number = |number| visit(convert.number(number));
        match self {
            Self::U1 => bytes.iter().for_each(|byte| visit(convert.byte(*byte))),
            Self::Bool => bytes.iter().for_each(|byte| visit_number(f64::from(u8::from(*byte != 0)))),
            Self::F2 => numbers.each(|value| f16::from_le_bytes(value).to_f64(), visit_number),
            Self::F4 => numbers.each(|value| f64::from(f32::from_le_bytes(value)), visit_number),
            Self::F8 => numbers.each(f64::from_le_bytes, visit_number),
            Self::I1 => numbers.each(|value| f64::from(i8::from_le_bytes(value)), visit_number),
            Self::I2 => numbers.each(|value| f64::from(i16::from_le_bytes(value)), visit_number),
            Self::I4 => numbers.each(|value| f64::from(i32::from_le_bytes(value)), visit_number),
            Self::I8 => numbers.each(|value| i64::from_le_bytes(value) as f64, visit_number),
            Self::U2 => numbers.each(|value| f64::from(u16::from_le_bytes(value)), visit_number),
            Self::U4 => numbers.each(|value| f64::from(u32::from_le_bytes(value)), visit_number),
            Self::U8 => numbers.each(|value| u64::from_le_bytes(value) as f64, visit_number),
        }
    }
}

/// Whole numbers of one size.
struct Numbers<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Numbers<'_> {
    fn each<const SIZE: usize>(&self, read: impl Fn([u8; SIZE]) -> f64, mut visit: impl FnMut(f64)) {
        for value in self.bytes.as_chunks().0 {
            let mut value = *value;
            if self.big_endian {
                value.reverse();
            }
            visit(read(value));
        }
    }
}

/// The conversion of the numbers of a file.
pub trait Convert: Copy {
    /// The type they become.
    type Value: Copy + Default;

    /// Converts a number.
    fn number(self, number: f64) -> Self::Value;

    /// Converts an unsigned byte, which may be a pixel.
    fn byte(self, byte: u8) -> Self::Value {
        self.number(f64::from(byte))
    }
}

/// Numbers rounded to float32.
#[derive(Clone, Copy)]
pub struct ToF32;

impl Convert for ToF32 {
    type Value = f32;

    fn number(self, number: f64) -> f32 {
        number as f32
    }
}

/// Numbers as float64. Integers above 2^53 are rounded.
#[derive(Clone, Copy)]
pub struct ToF64;

impl Convert for ToF64 {
    type Value = f64;

    fn number(self, number: f64) -> f64 {
        number
    }
}

/// Bytes are pixels; other numbers are rounded to float32.
impl Convert for Pixels {
    type Value = f32;

    fn number(self, number: f64) -> f32 {
        number as f32
    }

    fn byte(self, byte: u8) -> f32 {
        self.value(byte)
    }
}

/// The description of an array in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub kind: Kind,
    pub big_endian: bool,
    /// `true` if the first extent varies fastest.
    pub fortran: bool,
    pub shape: Vec<usize>,
}

/// The end of an array that is incomplete.
#[derive(Debug)]
pub enum Cut {
    /// Nothing follows this number of bytes.
    Short(usize),
    /// The bytes cannot be read.
    Io(io::Error),
}

impl Layout {
    /// The number of values and their size in bytes, or `None` if they cannot be addressed.
    pub fn extent(&self) -> Option<(usize, usize)> {
        let count = element_count(&self.shape)?;
        Some((count, count.checked_mul(self.kind.size())?))
    }

    /// Reads the values from `reader` into the empty `values`, which has room for them: row-major over the axes of the
    /// array in the order of `axes`.
    pub fn read<C: Convert>(
        &self,
        reader: &mut impl Read,
        axes: &[usize],
        convert: C,
        values: &mut Vec<C::Value>,
    ) -> Result<(), Cut> {
        let (count, bytes) = self.extent().ok_or(Cut::Short(0))?;
        if self.is_in_order(axes) {
            return Self::parts(reader, bytes, |part| {
                self.kind.decode(part, self.big_endian, convert, &mut |value| values.push(value));
            });
        }
        values.resize(count, C::Value::default());
        self.fill(reader, axes, convert, values)
    }

    /// As [`Layout::read`], into a slice of as many values as the array has.
    pub fn fill<C: Convert>(
        &self,
        reader: &mut impl Read,
        axes: &[usize],
        convert: C,
        values: &mut [C::Value],
    ) -> Result<(), Cut> {
        let (_, bytes) = self.extent().ok_or(Cut::Short(0))?;
        if self.is_in_order(axes) {
            let mut places = values.iter_mut();
            return Self::parts(reader, bytes, |part| {
                self.kind.decode(part, self.big_endian, convert, &mut |value| {
                    if let Some(place) = places.next() {
                        *place = value;
                    }
                });
            });
        }
        let mut walk = Walk::new(self, axes);
        Self::parts(reader, bytes, |part| {
            self.kind.decode(part, self.big_endian, convert, &mut |value| values[walk.next()] = value);
        })
    }

    /// The places of the values among the output, in the order of the file.
    pub fn places(&self, axes: &[usize]) -> impl Iterator<Item = usize> + use<> {
        let mut walk = Walk::new(self, axes);
        let count = self.extent().map_or(0, |(count, _)| count);
        (0..count).map(move |_| walk.next())
    }

    /// Returns `true` if the values of the file are row-major over `axes`.
    fn is_in_order(&self, axes: &[usize]) -> bool {
        !self.fortran && axes.iter().enumerate().all(|(at, axis)| at == *axis)
    }

    /// Reads `bytes` bytes and passes them to `visit`, whole numbers at a time.
    fn parts(reader: &mut impl Read, bytes: usize, mut visit: impl FnMut(&[u8])) -> Result<(), Cut> {
        let mut part = vec![0; bytes.min(PART)];
        let mut done = 0;
        while done < bytes {
            let wanted = (bytes - done).min(PART);
            let found = fill(reader, &mut part[..wanted]).map_err(Cut::Io)?;
            if found < wanted {
                return Err(Cut::Short(done + found));
            }
            visit(&part[..wanted]);
            done += wanted;
        }
        Ok(())
    }
}

/// Reads until `part` is full or nothing follows. Returns the number of bytes read.
fn fill(reader: &mut impl Read, part: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while found < part.len() {
        match reader.read(&mut part[found..]) {
            Ok(0) => break,
            Ok(count) => found += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The places of values among the output, in the order of the file.
struct Walk {
    /// Extent and step in the output of each axis, the fastest in the file first.
    axes: Vec<(usize, usize)>,
    index: Vec<usize>,
    at: usize,
}

impl Walk {
    fn new(layout: &Layout, order: &[usize]) -> Self {
        let mut steps = vec![0; layout.shape.len()];
        let mut step = 1;
        for axis in order.iter().rev() {
            steps[*axis] = step;
            step *= layout.shape[*axis];
        }
        let mut axes: Vec<_> = layout.shape.iter().copied().zip(steps).collect();
        if !layout.fortran {
            axes.reverse();
        }
        Self { index: vec![0; axes.len()], axes, at: 0 }
    }

    fn next(&mut self) -> usize {
        let place = self.at;
        for ((extent, step), index) in self.axes.iter().zip(&mut self.index) {
            *index += 1;
            self.at += step;
            if *index < *extent {
                break;
            }
            self.at -= extent * step;
            *index = 0;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(shape: &[usize], fortran: bool, axes: &[usize]) -> Vec<f32> {
        let layout = Layout { kind: Kind::U1, big_endian: false, fortran, shape: shape.to_vec() };
        let (count, bytes) = layout.extent().unwrap();
        let stored: Vec<u8> = (0..bytes as u8).collect();
        let mut values = Vec::with_capacity(count);
        layout.read(&mut &stored[..], axes, ToF32, &mut values).unwrap();
        values
    }

    #[test]
    fn columns_become_rows_and_axes_change_places() {
        assert_eq!(read(&[2, 3], false, &[0, 1]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(read(&[2, 3], true, &[0, 1]), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
        assert_eq!(read(&[2, 3], false, &[1, 0]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(read(&[2, 3], true, &[1, 0]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        // (2, 1, 2, 3) with the last axis second: the value of (n, y, x, c) is ((n + y) * 2 + x) * 3 + c.
        let moved = read(&[2, 1, 2, 3], false, &[0, 3, 1, 2]);
        assert_eq!(moved, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
    }

    #[test]
    fn the_end_of_the_bytes_is_counted() {
        let layout = Layout { kind: Kind::F4, big_endian: false, fortran: false, shape: vec![40_000] };
        let stored = vec![0; 100_001];
        let cut = layout.read(&mut &stored[..], &[0], ToF32, &mut Vec::new()).unwrap_err();
        assert!(matches!(cut, Cut::Short(100_001)), "{cut:?}");
    }
}
