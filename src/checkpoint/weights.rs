//! The tensors of a model, under diffusers' names, read one at a time.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::Dtype;

use super::convert::{SUPPORTED_DTYPES, to_f32};
use super::entry::{Entry, label, same_matrix};
use super::header::{self, Stored};
use super::keys::{Renaming, TOKEN_TABLE, is_beside_text, is_buffer};
use super::layouts::{Names, Origin};
use super::lora::{self, Change};
use super::nearest::nearest;
use super::pickle;
use super::source::Source;
use super::take::Take;
use crate::error::{Error, Result, excerpt};
use crate::input::{ask, room};
use crate::tensor::{Tensor, element_count};

/// The weights of one network: a file of safetensors or of `PyTorch`, several shards, or memory.
///
/// Opening reads and checks only the headers. [`Weights::fetch`] reads one tensor from the file and converts it to
/// float32, so that at most one tensor at a time is in memory. Names are those of today's diffusers, whatever the file
/// calls them (see `keys.rs`).
///
/// A clone is cheap: it shares the open files and their headers.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The file opened, or the index of the shards, for messages about the whole.
    path: PathBuf,
    files: Arc<Vec<WeightFile>>,
    entries: Arc<BTreeMap<String, Entry>>,
    /// The variant that stands in for the plain weights, such as `fp16`.
    variant: Option<&'static str>,
    /// The origin of tensors that were taken out of a single file.
    origin: Option<Arc<Origin>>,
    /// The parts that were taken of files that hold more, in sentences.
    taken: Vec<String>,
    /// The changes that are added to tensors as they are read, by key.
    changes: Arc<BTreeMap<String, Vec<Change>>>,
}

#[derive(Debug)]
struct WeightFile {
    path: PathBuf,
    source: Source,
}

impl Weights {
    /// Opens one file: safetensors, or a checkpoint of `PyTorch`, of which the state dict is read without executing
    /// anything. Its content decides.
    ///
    /// # Errors
    /// [`Error::BadFile`] naming the file, and the tensor at fault, if the file is missing or truncated, or its header
    /// is invalid; for a pickle that asks for more than tensors and plain containers, naming the opcode and the name.
    pub fn open(file: &Path) -> Result<Self> {
        Self::open_shards(file, &[file.to_path_buf()])
    }

    /// Opens several files as one set of weights. Messages about the whole name `path`.
    pub(super) fn open_shards(path: &Path, shards: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::with_capacity(shards.len());
        for shard in shards {
            files.push(WeightFile { path: shard.clone(), source: Source::open(shard)? });
        }
        Self::assemble(path, files)
    }

    /// Reads a file in memory. Messages name it `name`.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        let path = name.into();
        let file = WeightFile { path: path.clone(), source: Source::Bytes(bytes.into()) };
        Self::assemble(&path, vec![file])
    }

    /// Creates float32 weights from tensors, for tests and benchmarks. Names are used unchanged. Of two tensors with
    /// the same name, the later one is used.
    #[must_use]
    pub fn from_tensors(tensors: Vec<(String, Tensor)>) -> Self {
        let path = PathBuf::from("(generated weights)");
        let mut bytes = Vec::new();
        let mut entries = BTreeMap::new();
        for (name, tensor) in tensors {
            let start = bytes.len();
            bytes.extend(tensor.data.iter().flat_map(|value| value.to_le_bytes()));
            let stored = Stored {
                name: name.clone(),
                dtype: Dtype::F32,
                shape: tensor.shape,
                offset: start as u64,
                bytes: bytes.len() - start,
                order: None,
            };
            entries.insert(name, Entry::whole(0, stored));
        }
        let files = vec![WeightFile { path: path.clone(), source: Source::Bytes(bytes.into()) }];
        Self {
            path,
            files: Arc::new(files),
            entries: Arc::new(entries),
            variant: None,
            origin: None,
            taken: Vec::new(),
            changes: Arc::default(),
        }
    }

    fn assemble(path: &Path, files: Vec<WeightFile>) -> Result<Self> {
        let (mut stored, mut taken) = (Vec::new(), Vec::new());
        for (index, file) in files.iter().enumerate() {
            let tensors = match pickle::container(&file.path, &file.source)? {
                None => header::read(&file.path, &file.source)?,
                Some(container) => {
                    let tensors = pickle::read(&file.path, &file.source, container)?;
                    taken.extend(tensors.taken);
                    tensors.stored
                }
            };
            stored.extend(tensors.into_iter().map(|stored| Entry::whole(index, stored)));
        }
        let renaming = Renaming::detect(stored.iter().map(|entry| entry.stored.name.as_str()));
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for entry in stored {
            let name = renaming.name(&entry.stored.name);
            if let Some(first) = entries.get(&name) {
                return Err(twice(path, [&first.stored, &entry.stored], &name));
            }
            entries.insert(name, entry);
        }
        let (path, files, entries) = (path.to_path_buf(), Arc::new(files), Arc::new(entries));
        Ok(Self { path, files, entries, variant: None, origin: None, taken, changes: Arc::default() })
    }

    /// The tensors of one component of a single file, under the names of its network.
    ///
    /// # Errors
    /// [`Error::MissingKey`] for a tensor that the file does not hold, and [`Error::BadFile`] for one of a shape that
    /// the part cannot be taken of, and for two of the same name.
    pub(super) fn taken_apart(&self, names: Names, origin: Arc<Origin>) -> Result<Self> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for named in names {
            let Some(Entry { file, stored, .. }) = self.entries.get(&named.stored) else {
                return Err(self.missing(&named.stored));
            };
            let Some(part) = Entry::part(*file, stored, named.take) else {
                let what = format!(
                    "tensor `{}` of shape {:?} does not hold `{}` as it should",
                    excerpt(&named.stored),
                    stored.shape,
                    excerpt(&named.key)
                );
                return Err(Error::bad_file(&self.files[*file].path, what));
            };
            if let Some(first) = entries.get(&named.key) {
                return Err(twice(&self.path, [&first.stored, stored], &named.key));
            }
            entries.insert(named.key, part);
        }
        let (path, files, entries) = (self.path.clone(), self.files.clone(), Arc::new(entries));
        Ok(Self {
            path,
            files,
            entries,
            variant: None,
            origin: Some(origin),
            taken: self.taken.clone(),
            changes: Arc::default(),
        })
    }

    /// The origin of tensors that were taken out of a single file; `None` for a file of one network.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// Iterates over the names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.entries.keys().map(String::as_str)
    }

    /// Returns the shape of tensor `key`.
    #[must_use]
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.entries.get(key).map(|entry| entry.shape.as_slice())
    }

    /// Returns the stored dtype of tensor `key`.
    #[must_use]
    pub fn dtype(&self, key: &str) -> Option<Dtype> {
        self.entries.get(key).map(|entry| entry.stored.dtype)
    }

    /// The file opened, the index of its shards, or a name in parentheses for weights in memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Iterates over the stored name of each tensor and the file that holds it.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.entries.values().map(|entry| (entry.stored.name.as_str(), self.files[entry.file].path.as_path()))
    }

    /// The total number of parameters.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.entries.values().map(|entry| element_count(&entry.shape).unwrap_or(usize::MAX) as u64).sum()
    }

    /// The total size of the stored tensors in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.bytes() as u64).sum()
    }

    /// Reads tensor `key` as float32 in `expected_shape`, row-major.
    ///
    /// A 1x1 convolution (C, D, 1, 1) and a linear layer (C, D) hold the same numbers: each is accepted for the other,
    /// and the tensor is returned in the shape requested.
    ///
    /// # Errors
    /// [`Error::MissingKey`] with the nearest key, [`Error::WrongShape`], and [`Error::BadFile`] for a dtype other than
    /// F16, BF16, F32 and F64 or for values that are not finite as float32.
    pub fn fetch(&self, key: &str, expected_shape: &[usize]) -> Result<Tensor> {
        let (file, entry) = self.entry(key, expected_shape)?;
        let mut values = whole(file, key, entry)?;
        if let Some(changes) = self.changes.get(key) {
            lora::apply(&mut values, expected_shape.first().copied().unwrap_or(1), changes)?;
        }
        Ok(Tensor::new(expected_shape, values))
    }

    /// Reads some rows of a table `key` of shape (rows, columns) as float32, one after the other, without reading the
    /// others.
    ///
    /// # Errors
    /// As [`Weights::fetch`].
    ///
    /// # Panics
    /// Panics if a row is not in the table.
    pub fn fetch_rows(&self, key: &str, (rows, columns): (usize, usize), picks: &[usize]) -> Result<Tensor> {
        let (file, entry) = self.entry(key, &[rows, columns])?;
        let (stored, row_bytes) = (&entry.stored, entry.stored.bytes / rows.max(1));
        let all = if entry.take == Take::Whole { None } else { Some(whole(file, key, entry)?) };
        let mut data = room(&file.path, picks.len() * columns)?;
        for &row in picks {
            assert!(row < rows, "row {row} of {rows}");
            match &all {
                None => data.extend(values(file, key, stored, row * row_bytes..(row + 1) * row_bytes)?),
                Some(all) => data.extend_from_slice(&all[row * columns..(row + 1) * columns]),
            }
        }
        Ok(Tensor::new([picks.len(), columns], data))
    }

    /// Finds tensor `key` and checks its shape.
    fn entry(&self, key: &str, expected_shape: &[usize]) -> Result<(&WeightFile, &Entry)> {
        let entry = self.entries.get(key).ok_or_else(|| self.missing(key))?;
        let file = &self.files[entry.file];
        if !same_matrix(&entry.shape, expected_shape) {
            return Err(Error::WrongShape {
                file: file.path.clone(),
                key: label(key, &entry.stored),
                found: entry.shape.clone(),
                expected: expected_shape.to_vec(),
            });
        }
        Ok((file, entry))
    }

    fn missing(&self, key: &str) -> Error {
        let nearest = nearest(key, self.names());
        Error::MissingKey { file: self.path.clone(), key: key.to_owned(), nearest }
    }

    /// Checks, by the headers alone, that each of `keys` is present with its shape and a floating-point dtype, and that
    /// there are no other tensors.
    ///
    /// # Errors
    /// As [`Weights::fetch`] for the first key that cannot be fetched, then as [`Weights::check_complete`].
    pub fn check(&self, keys: &[(String, Vec<usize>)]) -> Result<()> {
        for (key, shape) in keys {
            let sound = self.dtype(key).is_some_and(|dtype| READ_AS_FLOAT.contains(&dtype));
            if !sound || !self.shape(key).is_some_and(|found| same_matrix(found, shape)) {
                // Fetching reports the fault, if there is one.
                self.fetch(key, shape)?;
            }
        }
        let keys: Vec<String> = keys.iter().map(|(key, _)| key.clone()).collect();
        self.check_complete(&keys)
    }

    /// The same weights with `changes`, by key, added to tensors as they are read. [`Weights::fetch_rows`] takes none.
    pub(super) fn with_changes(&self, changes: Vec<(String, Change)>) -> Self {
        let mut all = (*self.changes).clone();
        for (key, change) in changes {
            all.entry(key).or_default().push(change);
        }
        Self { changes: Arc::new(all), ..self.clone() }
    }

    /// The same weights, which stand in for the plain ones as their `variant`.
    pub(super) fn with_variant(self, variant: Option<&'static str>) -> Self {
        Self { variant, ..self }
    }

    /// Returns notes for the user: on weights that stand in for the plain ones, on the part of a file that they are and
    /// on what was assumed about a single file.
    pub fn notes(&self) -> impl Iterator<Item = String> + '_ {
        let variant = self.variant.map(|variant| {
            format!("no plain weights beside `{}`: it is their variant `{variant}`", self.path.display())
        });
        let taken = self.taken.iter().cloned();
        variant.into_iter().chain(taken).chain(self.origin.iter().flat_map(|origin| origin.notes.clone()))
    }

    /// Checks that the network has used every tensor, apart from buffers, which hold nothing learned, and what is
    /// stored beside a text encoder. `used` are the keys it has fetched.
    ///
    /// # Errors
    /// [`Error::UnexpectedKey`] for the first unused tensor, with the nearest of `used`.
    pub fn check_complete(&self, used: &[String]) -> Result<()> {
        let places: HashSet<&str> = used.iter().map(String::as_str).collect();
        let is_text = places.contains(TOKEN_TABLE);
        let passes = |name: &str| is_buffer(name) || is_text && is_beside_text(name);
        match self.entries.iter().find(|(name, _)| !places.contains(name.as_str()) && !passes(name)) {
            None => Ok(()),
            Some((name, entry)) => Err(Error::UnexpectedKey {
                file: self.files[entry.file].path.clone(),
                key: label(name, &entry.stored),
                nearest: nearest(name, used.iter().map(String::as_str)),
            }),
        }
    }
}

/// The error for two tensors of one name.
fn twice(path: &Path, stored: [&Stored; 2], name: &str) -> Error {
    let [first, second] = stored.map(|stored| excerpt(&stored.name));
    Error::bad_file(path, format!("tensors `{first}` and `{second}` are both `{}`", excerpt(name)))
}

/// Reads all values of a tensor.
fn whole(file: &WeightFile, key: &str, entry: &Entry) -> Result<Vec<f32>> {
    let stored = &entry.stored;
    entry.take.apply(&file.path, &stored.shape, values(file, key, stored, 0..stored.bytes)?)
}

/// Reads the values in this range of bytes of a tensor.
fn values(file: &WeightFile, key: &str, stored: &Stored, range: Range<usize>) -> Result<Vec<f32>> {
    let WeightFile { path, source } = file;
    // The bytes as they are stored, and as numbers: in float16 first, where they are stored so.
    ask(path, 4 * range.len() as u64)?;
    let bytes = match &stored.order {
        None => source.read(path, stored.offset + range.start as u64, range.len())?,
        Some(order) => Cow::Owned(order.read(path, source, stored, range.clone())?),
    };
    let Some(values) = to_f32(stored.dtype, &bytes) else {
        return Err(Error::bad_file_hint(
            path,
            format!("tensor `{}` is of dtype {}, which weights cannot have", label(key, stored), stored.dtype),
            format!("supported: {SUPPORTED_DTYPES}"),
        ));
    };
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        let element = range.start / (range.len() / values.len()) + index;
        return Err(Error::bad_file_hint(
            path,
            format!("tensor `{}` holds {} at element {element}", label(key, stored), values[index]),
            "weights must be finite as float32; the training that made them diverged, or the file is damaged",
        ));
    }
    Ok(values)
}

/// The dtypes of weights that can be fetched with any content, so that the header is sufficient.
const READ_AS_FLOAT: [Dtype; 4] = [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64];

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Weights {
        Weights::from_tensors(vec![
            ("conv_in.weight".into(), Tensor::new([2, 1, 1, 1], vec![1.0, -2.0])),
            ("conv_in.bias".into(), Tensor::new([2], vec![0.5, 0.25])),
        ])
    }

    /// A safetensors file of float16 tensors, all ones except as the test changes them.
    fn file(tensors: &[(&str, &[usize], u16)]) -> Vec<u8> {
        let mut header = serde_json::Map::new();
        let mut data = Vec::new();
        for (name, shape, half) in tensors {
            let start = data.len();
            for _ in 0..shape.iter().product() {
                data.extend(half.to_le_bytes());
            }
            header.insert(
                (*name).to_owned(),
                serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [start, data.len()]}),
            );
        }
        let json = serde_json::Value::Object(header).to_string();
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &data].concat()
    }

    const ONE: u16 = 0x3c00;
    const INFINITY: u16 = 0x7c00;

    #[test]
    fn generated_weights_come_back_as_they_were() {
        let weights = sample();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["conv_in.bias", "conv_in.weight"]);
        assert_eq!(weights.shape("conv_in.weight"), Some(&[2, 1, 1, 1][..]));
        assert_eq!(weights.dtype("conv_in.bias"), Some(Dtype::F32));
        assert_eq!((weights.parameters(), weights.bytes()), (4, 16));
        assert_eq!(weights.fetch("conv_in.bias", &[2]).unwrap().data, [0.5, 0.25]);
        assert_eq!(weights.fetch("conv_in.weight", &[2, 1]).unwrap(), Tensor::new([2, 1], vec![1.0, -2.0]));
    }

    #[test]
    fn a_matrix_and_a_1x1_convolution_are_the_same() {
        assert!(same_matrix(&[3, 5, 1, 1], &[3, 5]));
        assert!(same_matrix(&[3, 5], &[3, 5, 1, 1]));
        assert!(!same_matrix(&[3, 5, 1, 1], &[5, 3]));
        assert!(!same_matrix(&[3, 5, 3, 3], &[3, 5]));
        assert!(!same_matrix(&[15], &[3, 5]));
        assert!(same_matrix(&[3, 5, 1], &[3, 5, 1, 1]) && same_matrix(&[3, 5], &[3, 5, 1]));
    }

    #[test]
    fn missing_and_unexpected_keys_name_the_nearest() {
        let weights = sample();
        let error = weights.fetch("conv_in.wieght", &[2]).unwrap_err();
        assert!(matches!(&error, Error::MissingKey { nearest: Some(key), .. } if key == "conv_in.weight"), "{error:?}");
        let error = weights.check_complete(&["conv_in.weight".into(), "conv_in.bais".into()]).unwrap_err();
        let Error::UnexpectedKey { key, nearest, .. } = &error else { panic!("{error:?}") };
        assert_eq!((key.as_str(), nearest.as_deref()), ("conv_in.bias", Some("conv_in.bais")));
        weights.check_complete(&["conv_in.weight".into(), "conv_in.bias".into(), "other".into()]).unwrap();
    }

    #[test]
    fn rows_of_a_table_are_read_alone() {
        let table = Tensor::new([3, 2], vec![1.0, 2.0, 3.0, 4.0, f32::NAN, 6.0]);
        let weights = Weights::from_tensors(vec![("table".into(), table)]);
        let rows = weights.fetch_rows("table", (3, 2), &[1, 0, 1]).unwrap();
        assert_eq!(rows, Tensor::new([3, 2], vec![3.0, 4.0, 1.0, 2.0, 3.0, 4.0]));
        let error = weights.fetch_rows("table", (3, 2), &[0, 2]).unwrap_err();
        assert!(error.to_string().ends_with("`table` holds NaN at element 4"), "{error}");
        assert!(matches!(weights.fetch_rows("table", (2, 3), &[0]).unwrap_err(), Error::WrongShape { .. }));
        assert!(matches!(weights.fetch_rows("tabel", (3, 2), &[0]).unwrap_err(), Error::MissingKey { .. }));
    }

    #[test]
    fn a_wrong_shape_gives_both_shapes() {
        let error = sample().fetch("conv_in.bias", &[3]).unwrap_err();
        assert_eq!(error.to_string(), "(generated weights): `conv_in.bias` has shape [2], expected [3]");
    }

    #[test]
    fn old_names_are_presented_as_new_ones_and_messages_give_both() {
        let bytes = file(&[("mid_block.attentions.0.query.weight", &[2, 2, 1, 1], ONE)]);
        let weights = Weights::from_bytes("old.safetensors", bytes).unwrap();
        let key = "mid_block.attentions.0.to_q.weight";
        assert_eq!(weights.names().collect::<Vec<_>>(), [key]);
        assert_eq!(weights.fetch(key, &[2, 2]).unwrap(), Tensor::new([2, 2], vec![1.0; 4]));
        let message = weights.fetch(key, &[4, 4]).unwrap_err().to_string();
        assert!(
            message.contains(key) && message.contains("stored as mid_block.attentions.0.query.weight"),
            "{message}"
        );
    }

    #[test]
    fn two_spellings_of_one_tensor_are_refused() {
        let bytes = file(&[("a.attentions.0.query.bias", &[1], ONE), ("a.attentions.0.to_q.bias", &[1], ONE)]);
        let message = Weights::from_bytes("x", bytes).unwrap_err().to_string();
        assert!(message.contains("`a.attentions.0.query.bias` and `a.attentions.0.to_q.bias`"), "{message}");
    }

    #[test]
    fn values_that_are_not_finite_are_a_fault_of_the_file() {
        let bytes = file(&[("conv_in.bias", &[3], INFINITY)]);
        let error = Weights::from_bytes("x.safetensors", bytes).unwrap().fetch("conv_in.bias", &[3]).unwrap_err();
        assert_eq!(error.to_string(), "x.safetensors: tensor `conv_in.bias` holds inf at element 0");
        assert_eq!(error.kind(), crate::ErrorKind::File);
    }
}
