//! The values that a pickle builds. They lie in one heap and refer to each other by number, so that a value may hold
//! itself, and a nesting of any depth takes no stack.

use std::path::Path;

use safetensors::Dtype;

use super::allowed::Global;
use crate::error::{Error, Result};

/// The most values of a pickle. A state dict has about forty for each tensor.
const MOST_VALUES: usize = 1 << 22;
/// The most items of all containers together, and the most tensors.
const MOST_ITEMS: usize = 1 << 24;
const MOST_TENSORS: usize = 1 << 18;

/// The number of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number of more than eight bytes, little-endian in two's complement.
    Long(Vec<u8>),
    /// A number whose value no checkpoint of tensors needs.
    Number,
    Text(String),
    Bytes,
    Tuple(Vec<Id>),
    /// A list, or a set.
    List(Vec<Id>),
    /// A dictionary in the order of its entries.
    Dict(Vec<(Id, Id)>),
    /// A name that is allowed.
    Global(Global),
    /// A storage, by its place in the list of storages.
    Storage(usize),
    Tensor(Box<TensorView>),
    /// A device, a number type: something that says nothing about tensors.
    Other,
}

/// A range of a storage that is read as a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorView {
    pub(super) storage: usize,
    pub(super) dtype: Dtype,
    /// The first element.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// The step of each axis in elements.
    pub(super) steps: Vec<usize>,
}

impl TensorView {
    /// The size of an element in bytes.
    pub(super) fn size(&self) -> usize {
        self.dtype.bitsize() / 8
    }

    /// Returns `true` if the elements lie one after the other, row-major.
    pub(super) fn is_dense(&self) -> bool {
        let mut step = 1usize;
        self.shape.iter().zip(&self.steps).rev().all(|(extent, found)| {
            let fits = *extent == 1 || *found == step;
            step = step.saturating_mul(*extent);
            fits
        })
    }

    /// The number of elements that the storage must have; `None` if it cannot be addressed.
    pub(super) fn reach(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let last = self.shape.iter().zip(&self.steps).try_fold(self.offset, |last, (extent, step)| {
            (extent - 1).checked_mul(*step).and_then(|further| last.checked_add(further))
        });
        last?.checked_add(1)
    }
}

/// A storage that a pickle names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageName {
    pub(super) key: String,
    /// The type of its elements; `None` for bytes.
    pub(super) dtype: Option<Dtype>,
    /// The number of its elements.
    pub(super) count: usize,
    /// The first element of a view of a storage, as early versions wrote them.
    pub(super) first: usize,
}

impl StorageName {
    /// The size of an element in bytes.
    pub(super) fn size(&self) -> usize {
        self.dtype.map_or(1, |dtype| dtype.bitsize() / 8)
    }
}

/// The place of a storage in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// The contents of a file: the value that was saved, and the places of the storages that it names, in their order.
pub(super) struct Contents {
    pub(super) heap: Heap,
    pub(super) root: Id,
    pub(super) storages: Vec<Extent>,
    pub(super) big_endian: bool,
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub(super) struct Heap {
    values: Vec<Value>,
    /// The items of all containers, and the tensors.
    items: usize,
    tensors: usize,
}

impl Heap {
    /// Adds a value.
    ///
    /// # Errors
    /// [`Error::BadFile`] if there are too many.
    pub(super) fn add(&mut self, file: &Path, value: Value) -> Result<Id> {
        check_count(file, self.values.len())?;
        match &value {
            Value::Tuple(items) | Value::List(items) => self.count_items(file, items.len())?,
            Value::Dict(entries) => self.count_items(file, entries.len())?,
            Value::Tensor(_) => {
                self.tensors += 1;
                check(file, self.tensors, MOST_TENSORS, "tensors")?;
            }
            _ => {}
        }
        self.values.push(value);
        Ok(Id(self.values.len() as u32 - 1))
    }

    /// Counts items that containers hold from now on.
    ///
    /// # Errors
    /// [`Error::BadFile`] if there are too many.
    pub(super) fn count_items(&mut self, file: &Path, count: usize) -> Result<()> {
        self.items = self.items.saturating_add(count);
        check(file, self.items, MOST_ITEMS, "items")
    }

    /// Returns `true` for a value that holds others.
    pub(super) fn is_container(&self, id: Id) -> bool {
        matches!(self.get(id), Value::Tuple(_) | Value::List(_) | Value::Dict(_))
    }

    /// The value of a number.
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// The value of a number, to change it.
    pub(super) fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    /// A text.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The items of a tuple or a list.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// A tuple or a list of whole numbers that are not negative.
    pub(super) fn counts(&self, id: Id) -> Option<Vec<usize>> {
        self.items(id)?.iter().map(|item| self.count(*item)).collect()
    }

    /// The entries of a dictionary.
    pub(super) fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    }
}

/// Refuses a value beyond the limit, where there are `count` already.
pub(super) fn check_count(file: &Path, count: usize) -> Result<()> {
    check(file, count.saturating_add(1), MOST_VALUES, "values")
}

fn check(file: &Path, count: usize, most: usize, what: &str) -> Result<()> {
    if count <= most {
        return Ok(());
    }
    let hint = "no checkpoint of tensors has as many: the file is damaged or hostile";
    Err(Error::bad_file_hint(file, format!("its pickle has more than {most} {what}"), hint))
}
