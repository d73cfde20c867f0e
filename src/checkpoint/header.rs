//! The header of a safetensors file, validated before any data is used.
//!
//! Format (huggingface/safetensors): a little-endian u64 N, N bytes of JSON, then the data that the JSON's
//! `data_offsets` refer to, without holes or overlaps. A header is untrusted input: every number in it is checked
//! against the file before it is used.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorInfo};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::order::Order;
use super::source::Source;
use crate::error::{Error, Result, excerpt};
use crate::formats::json;
use crate::tensor::{MOST_DIMENSIONS, element_count};

/// The size of the length field that opens the file, in bytes.
const LENGTH_BYTES: u64 = 8;
/// The format's own limit on the JSON. It keeps a false length from allocating gigabytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The beginning of a pointer file, which a checkout without Git LFS leaves in place of a large file.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

const SAVE_AGAIN: &str = "the file is damaged or incomplete; download or save it again";

/// One tensor of the header. Its bytes begin at `offset`, counted from the start of the file.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) offset: u64,
    pub(super) bytes: usize,
    /// The order of its elements there, where it is not row-major and little-endian.
    pub(super) order: Option<Order>,
}

/// Reads and validates the header of `source`. The tensors are in the order of their data.
pub(super) fn read(file: &Path, source: &Source) -> Result<Vec<Stored>> {
    let json_bytes = json_length(file, source)?;
    let mut tensors = parse(file, &source.read(file, LENGTH_BYTES, json_bytes as usize)?)?;
    tensors.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    let data_start = LENGTH_BYTES + json_bytes;
    check_layout(file, &tensors, source.length() - data_start)?;
    Ok(tensors
        .into_iter()
        .map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let offset = data_start + start as u64;
            Stored { name, dtype: info.dtype, shape: info.shape, offset, bytes: end - start, order: None }
        })
        .collect())
}

/// Reads the metadata of a file, texts by name. Others than texts are passed over.
pub(super) fn metadata(file: &Path, source: &Source) -> Result<BTreeMap<String, String>> {
    let json_bytes = json_length(file, source)?;
    let text = source.read(file, LENGTH_BYTES, json_bytes as usize)?;
    let found: Texts =
        json::parse(&text).map_err(|error| Error::bad_file_hint(file, format!("its metadata: {error}"), SAVE_AGAIN))?;
    let texts = found.metadata.into_iter();
    Ok(texts.filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect())
}

/// The texts of a header, without its tensors.
#[derive(Deserialize)]
struct Texts {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, serde_json::Value>,
}

/// Reads N and checks it against the file.
fn json_length(file: &Path, source: &Source) -> Result<u64> {
    let length = source.length();
    if length == 0 {
        return Err(Error::bad_file_hint(file, "the file is empty", SAVE_AGAIN));
    }
    let start = source.read(file, 0, length.min(LFS_POINTER.len() as u64) as usize)?;
    if start == LFS_POINTER {
        return Err(Error::bad_file_hint(file, "a Git LFS pointer, not the weights themselves", "run `git lfs pull`"));
    }
    let Some(json_bytes) = start.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(Error::bad_file_hint(
            file,
            format!("{length} bytes are too few for a safetensors file"),
            SAVE_AGAIN,
        ));
    };
    if json_bytes > MAX_HEADER_BYTES {
        return Err(Error::bad_file_hint(
            file,
            format!("its header claims {json_bytes} bytes, over the format's limit of {MAX_HEADER_BYTES}"),
            "this is not a safetensors file, or a damaged one",
        ));
    }
    if json_bytes > length - LENGTH_BYTES {
        return Err(Error::bad_file_hint(
            file,
            format!("its header claims {json_bytes} bytes, but the file has only {length} in all"),
            SAVE_AGAIN,
        ));
    }
    Ok(json_bytes)
}

fn parse(file: &Path, text: &[u8]) -> Result<Vec<(String, TensorInfo)>> {
    let header: Header = json::parse(text).map_err(|error| {
        let what = match error.strip_prefix(MISDESCRIBED) {
            Some(rest) => format!("tensor {rest}"),
            None => format!("its header is not a JSON object: {error}"),
        };
        Error::bad_file_hint(file, what, SAVE_AGAIN)
    })?;
    Ok(header.0)
}

/// The beginning of the parser's message about one tensor.
const MISDESCRIBED: &str = "misdescribed: ";

/// The tensors of a header in the order of the file. It is read into them at once: as generic JSON values, a header of
/// a million tensors would take ten times its length.
struct Header(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(Tensors)
    }
}

struct Tensors;

impl<'de> Visitor<'de> for Tensors {
    type Value = Header;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let info = map.next_value().map_err(|error| {
                A::Error::custom(format!("{MISDESCRIBED}`{}` is described wrongly: {error}", excerpt(&name)))
            })?;
            tensors.push((name, info));
        }
        Ok(Header(tensors))
    }
}

/// Checks that every tensor follows the one before it and fits its shape, and that the last ends with the file.
fn check_layout(file: &Path, tensors: &[(String, TensorInfo)], data_bytes: u64) -> Result<()> {
    let bad = |what: String| Err(Error::bad_file_hint(file, what, SAVE_AGAIN));
    let mut expected_start = 0;
    let mut previous = "";
    for (name, info) in tensors {
        let (start, end) = info.data_offsets;
        let shown = excerpt(name);
        if info.shape.len() > MOST_DIMENSIONS {
            return bad(format!("tensor `{shown}` has {} dimensions, more than {MOST_DIMENSIONS}", info.shape.len()));
        }
        if end < start {
            return bad(format!("tensor `{shown}`: data_offsets [{start}, {end}] run backwards"));
        }
        if end as u64 > data_bytes {
            return bad(format!(
                "tensor `{shown}`: data_offsets [{start}, {end}] reach beyond the {data_bytes} bytes of data in the \
                 file"
            ));
        }
        if start < expected_start {
            return bad(format!(
                "tensor `{shown}`: data_offsets [{start}, {end}] overlap those of `{}`",
                excerpt(previous)
            ));
        }
        if start > expected_start {
            return bad(format!(
                "tensor `{shown}`: data_offsets [{start}, {end}] leave a hole after byte {expected_start}"
            ));
        }
        match needed_bytes(info) {
            Some(needed) if needed == end - start => {}
            Some(needed) => {
                return bad(format!(
                    "tensor `{shown}`: shape {:?} of {} needs {needed} bytes, but data_offsets [{start}, {end}] hold \
                     {}",
                    info.shape,
                    info.dtype,
                    end - start
                ));
            }
            None => return bad(format!("tensor `{shown}`: shape {:?} of {} is impossible", info.shape, info.dtype)),
        }
        expected_start = end;
        previous = name;
    }
    if data_bytes != expected_start as u64 {
        return bad(format!("{} bytes follow the last tensor", data_bytes - expected_start as u64));
    }
    Ok(())
}

/// Returns the size of a tensor's data in bytes, or `None` if it overflows or is not a whole number of bytes.
fn needed_bytes(info: &TensorInfo) -> Option<usize> {
    let bits = element_count(&info.shape)?.checked_mul(info.dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(json: &str, data: &[u8]) -> Result<Vec<Stored>> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.extend_from_slice(data);
        read(Path::new("x.safetensors"), &Source::Bytes(bytes.into()))
    }

    fn message(json: &str, data: &[u8]) -> String {
        let error = read_bytes(json, data).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::File);
        let message = error.to_string();
        assert!(message.starts_with("x.safetensors: "), "{message}");
        message
    }

    #[test]
    fn a_sound_header_is_read_with_absolute_offsets() {
        let json = concat!(
            r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]},"#,
            r#""a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"#,
            r#""empty":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]}}   "#
        );
        let tensors = read_bytes(json, &[0; 8]).unwrap();
        let start = 8 + json.len() as u64;
        let found: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.offset - start, t.bytes)).collect();
        assert_eq!(found, [("a", 0, 4), ("empty", 4, 0), ("b", 4, 4)]);
    }

    #[test]
    fn offsets_are_held_against_the_file_and_each_other() {
        let one = |offsets: &str, shape: &str| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        assert!(message(&one("[0,16]", "[4]"), &[0; 8]).contains("`a`: data_offsets [0, 16] reach beyond the 8 bytes"));
        assert!(message(&one("[8,4]", "[1]"), &[0; 8]).contains("run backwards"));
        assert!(message(&one("[4,8]", "[1]"), &[0; 8]).contains("hole after byte 0"));
        assert!(message(&one("[0,8]", "[3]"), &[0; 8]).contains("shape [3] of F32 needs 12 bytes"));
        assert!(message(&one("[0,4]", "[1]"), &[0; 8]).contains("4 bytes follow the last tensor"));
        let huge = one("[0,8]", "[4294967296,4294967296]");
        assert!(message(&huge, &[0; 8]).contains("is impossible"));
        let overlap = concat!(
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#,
            r#""b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#
        );
        assert!(message(overlap, &[0; 12]).contains("`b`: data_offsets [4, 12] overlap those of `a`"));
    }

    #[test]
    fn descriptions_that_make_no_sense_name_the_tensor() {
        for info in [r#"{"dtype":"F12","shape":[1],"data_offsets":[0,4]}"#, r#"{"shape":[-1]}"#, "3"] {
            assert!(message(&format!(r#"{{"a":{info}}}"#), &[0; 4]).contains("tensor `a` is described wrongly"));
        }
        assert!(message("[1, 2]", &[]).contains("not a JSON object"));
    }

    #[test]
    fn lengths_are_checked_before_anything_is_read() {
        let open = |bytes: &[u8]| {
            let error = read(Path::new("x"), &Source::Bytes(bytes.to_vec().into())).unwrap_err();
            format!("{error} hint: {}", error.hint().unwrap_or_default())
        };
        assert!(open(&[]).contains("the file is empty"));
        assert!(open(&[1, 2, 3]).contains("3 bytes are too few"));
        assert!(open(&u64::MAX.to_le_bytes()).contains("over the format's limit"));
        assert!(open(&1000u64.to_le_bytes()).contains("claims 1000 bytes, but the file has only 8"));
        assert!(open(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n").contains("git lfs pull"));
    }
}
