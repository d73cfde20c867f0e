//! The header of an array file.

use std::io::{self, Read, Write};

use super::MAGIC;
use crate::error::excerpt;
use crate::formats::values::{Kind, Layout};
use crate::tensor::MOST_DIMENSIONS;

/// The alignment of the values, in bytes.
pub(super) const ALIGNMENT: usize = 64;
/// The longest header that is read, the same limit as `numpy.load`.
const LONGEST_HEADER: usize = 10_000;
const RESAVE: &str = "save it again with `np.save(path, array.astype(np.float32))`";
/// The hint for a file that is incomplete.
pub(super) const COPY: &str = "copy or save the file again";

/// Writes the header of a C-order array, version 1.0.
pub(in crate::formats) fn write_header(writer: &mut impl Write, descr: &str, shape: &[usize]) -> io::Result<()> {
    let extents = match shape {
        [extent] => format!("{extent},"),
        _ => shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    let before = MAGIC.len() + 4;
    let padded = (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before;
    header = format!("{header:<width$}\n", width = padded - 1);
    let length = u16::try_from(header.len()).map_err(|_| io::Error::other("the array has too many dimensions"))?;
    writer.write_all(MAGIC)?;
    writer.write_all(&[1, 0])?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(header.as_bytes())
}

/// A fault of a file.
pub(super) enum Fault {
    /// Its content, with a hint.
    Bad { what: String, hint: &'static str },
    /// Reading it.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) fn bad(what: impl Into<String>, hint: &'static str) -> Fault {
    Fault::Bad { what: what.into(), hint }
}

/// Reads the header at the beginning of a file. Returns the description of the array, and the number of bytes read.
pub(super) fn read_header(reader: &mut impl Read) -> std::result::Result<(Layout, usize), Fault> {
    const CUT: &str = "truncated inside the header";
    let first = take(reader, MAGIC.len())?;
    if first != MAGIC {
        let hint = if first.starts_with(b"PK") {
            "this is a zip archive, perhaps an `.npz`: save the one array with `np.save`"
        } else {
            "save the array with `np.save`"
        };
        return Err(bad("not an `.npy` file", hint));
    }
    let width = match take(reader, 2)?[..] {
        [1, 0] => size_of::<u16>(),
        [2 | 3, 0] => size_of::<u32>(),
        [major, minor] => return Err(bad(format!("`.npy` version {major}.{minor} is not known"), RESAVE)),
        _ => return Err(bad(CUT, COPY)),
    };
    let length = match take(reader, width)?[..] {
        [a, b] => usize::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
        _ => return Err(bad(CUT, COPY)),
    };
    if length > LONGEST_HEADER {
        return Err(bad(format!("the header claims {length} bytes, over the limit of {LONGEST_HEADER}"), RESAVE));
    }
    let text = take(reader, length)?;
    if text.len() < length {
        return Err(bad(CUT, COPY));
    }
    let text = String::from_utf8(text).map_err(|_| bad("the header is not text", RESAVE))?;
    Ok((layout(&text)?, MAGIC.len() + 2 + width + length))
}

/// Reads `count` bytes, or as many as there are.
fn take(reader: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
    reader.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Parses the dictionary of a header.
fn layout(text: &str) -> std::result::Result<Layout, Fault> {
    let Some(descr) = field(text, "descr") else { return Err(bad("the header has no `descr`", RESAVE)) };
    let (kind, big_endian) = kind(descr)?;
    let fortran = match field(text, "fortran_order") {
        Some(value) if value.starts_with("False") => false,
        Some(value) if value.starts_with("True") => true,
        _ => return Err(bad("the header has no usable `fortran_order`", RESAVE)),
    };
    let Some(shape) = field(text, "shape").and_then(parse_shape) else {
        return Err(bad("the header has no usable `shape`", RESAVE));
    };
    if shape.len() > MOST_DIMENSIONS {
        let what = format!("the array has {} dimensions, more than {MOST_DIMENSIONS}", shape.len());
        return Err(bad(what, RESAVE));
    }
    Ok(Layout { kind, big_endian, fortran, shape })
}

/// Returns the text that follows `'key':` in the header's dictionary.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = ["'", "\""].iter().find_map(|quote| header.split_once(&format!("{quote}{key}{quote}")))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// Parses a tuple of extents: `()`, `(5,)`, `(2, 3)`, and `(2L, 3L)` as Python 2 wrote it.
fn parse_shape(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let inside = inside.trim();
    if inside.is_empty() {
        return Some(Vec::new());
    }
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    let extent = |text: &str| {
        let text = text.trim();
        text.strip_suffix('L').unwrap_or(text).parse().ok()
    };
    inside.split(',').map(extent).collect()
}

/// Parses the value of `descr`, a quoted byte order and type such as `'<f4'`. Returns the type, and `true` for
/// big-endian numbers.
fn kind(descr: &str) -> std::result::Result<(Kind, bool), Fault> {
    let quoted = descr.strip_prefix('\'').and_then(|text| text.split_once('\''));
    let quoted = quoted.or_else(|| descr.strip_prefix('"').and_then(|text| text.split_once('"')));
    let Some((name, _)) = quoted else {
        return Err(bad("the array has a structured type", "save one field of it, as float32"));
    };
    let kind = match name.trim_start_matches(['<', '>', '|', '=']) {
        "f2" => Kind::F2,
        "f4" => Kind::F4,
        "f8" => Kind::F8,
        "i1" => Kind::I1,
        "i2" => Kind::I2,
        "i4" => Kind::I4,
        "i8" => Kind::I8,
        "u1" => Kind::U1,
        "u2" => Kind::U2,
        "u4" => Kind::U4,
        "u8" => Kind::U8,
        "b1" => Kind::Bool,
        code if code.starts_with('O') => {
            let hint = "convert it to numbers: `array.astype(np.float32)`";
            return Err(bad("the array holds Python objects", hint));
        }
        _ => return Err(bad(format!("type `{}` is not a real number of up to 8 bytes", excerpt(name)), RESAVE)),
    };
    Ok((kind, name.starts_with('>')))
}
