//! The state dict among the contents of a file: dictionaries from names to tensors, at the root or within it.

use std::collections::BTreeMap;
use std::path::Path;

use super::values::{Heap, Id, TensorView, Value};
use crate::error::{Error, Result, excerpt};

/// The names of state dicts in training checkpoints, averaged weights first: they are those that make images.
const NAMES: [&str; 19] = [
    "ema",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "params_ema",
    "g_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "unet",
    "params",
    "module",
    "generator",
    "denoiser",
    "weights",
    // The vectors of a learned token, beside the number of its token.
    "string_to_param",
];
/// The prefix that `DataParallel` puts in front of every name.
const PARALLEL: &str = "module.";
/// The deepest state dict.
const DEEPEST: usize = 2;
/// The most state dicts that a message names.
const MOST_NAMED: usize = 8;
/// The most entries that are looked at.
const MOST_LOOKS: usize = 1 << 22;

/// The tensors of a state dict, and its place where there is something to say.
pub(super) struct Chosen<'a> {
    pub(super) tensors: BTreeMap<String, &'a TensorView>,
    pub(super) taken: Option<String>,
}

/// A dictionary of tensors and its place.
struct Found {
    /// The keys on the way to it.
    path: Vec<String>,
    dictionary: Id,
    /// The number of its tensors.
    count: usize,
}

impl Found {
    fn name(&self) -> String {
        self.path.join(".")
    }

    /// The place of its name among the names of state dicts; those in lists count as averaged weights if they are the
    /// last, as in the checkpoints of ermongroup/ddim, and as the model if they are the first.
    fn rank(&self, lists_end: usize) -> Option<usize> {
        let last = self.path.last()?;
        let by_name = NAMES.iter().position(|name| name == last);
        by_name.or_else(|| match last.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok()? {
            place if place > 0 && place + 1 == lists_end => Some(0),
            0 => Some(NAMES.len()),
            _ => None,
        })
    }
}

/// Finds the state dict of a file.
///
/// # Errors
/// [`Error::BadFile`] if there is none, or several of which none is known by its name.
pub(super) fn choose<'a>(file: &Path, heap: &'a Heap, root: Id) -> Result<Chosen<'a>> {
    if let Value::Tensor(_) = heap.get(root) {
        return Err(Error::bad_file_hint(file, "a single tensor, not the weights of a network", "give its checkpoint"));
    }
    let mut found = Vec::new();
    search(heap, root, &mut Vec::new(), &mut found, &mut 0);
    let lists_end = heap.items(root).map_or(0, <[Id]>::len);
    let best = match found.as_slice() {
        [] => {
            let hint = "its contents are not a state dict: a dictionary from names to tensors";
            return Err(Error::bad_file_hint(file, "no tensors with names in this file", hint));
        }
        [only] => only,
        several => {
            let ranked = several.iter().filter_map(|one| Some((one.rank(lists_end)?, one)));
            if let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) {
                best
            } else {
                let what = format!("several state dicts: {}", names(several.iter()));
                let hint = "save the one of the network alone with `torch.save`, or as safetensors";
                return Err(Error::bad_file_hint(file, what, hint));
            }
        }
    };
    let others = found.iter().filter(|one| one.path != best.path);
    let taken = (!best.path.is_empty()).then(|| {
        let place = format!("the weights of `{}` are those of `{}`", file.display(), excerpt(&best.name()));
        let others = names(others);
        if others.is_empty() { place } else { format!("{place}; it also holds {others}") }
    });
    Ok(Chosen { tensors: tensors(heap, best.dictionary), taken })
}

/// The names of the first few, for messages.
fn names<'a>(found: impl Iterator<Item = &'a Found>) -> String {
    let names: Vec<String> = found.take(MOST_NAMED).map(|one| format!("`{}`", excerpt(&one.name()))).collect();
    names.join(", ")
}

/// Adds the dictionaries of tensors at `id` and below. Of a dictionary and those within it, the one with more tensors
/// counts: a training checkpoint may hold a tensor or two beside its state dicts.
fn search(heap: &Heap, id: Id, path: &mut Vec<String>, found: &mut Vec<Found>, looks: &mut usize) {
    let own = count(heap, id, looks);
    let before = found.len();
    if path.len() < DEEPEST {
        let keyed = heap.entries(id).unwrap_or_default().iter();
        let keyed = keyed.filter_map(|(key, value)| Some((heap.text(*key)?.to_owned(), *value)));
        let listed = heap.items(id).unwrap_or_default().iter().enumerate();
        let listed = listed.map(|(index, value)| (format!("[{index}]"), *value));
        for (key, value) in keyed.chain(listed).filter(|(_, value)| heap.is_container(*value)) {
            *looks += 1;
            if *looks > MOST_LOOKS {
                break;
            }
            path.push(key);
            search(heap, value, path, found, looks);
            path.pop();
        }
    }
    if own > 0 && found[before..].iter().all(|within| within.count < own) {
        found.truncate(before);
        found.push(Found { path: path.clone(), dictionary: id, count: own });
    }
}

/// The number of tensors in a dictionary that have names.
fn count(heap: &Heap, id: Id, looks: &mut usize) -> usize {
    let entries = heap.entries(id).unwrap_or_default();
    *looks = looks.saturating_add(entries.len());
    if *looks > MOST_LOOKS {
        return 0;
    }
    let is_named = |(key, value): &&(Id, Id)| heap.text(*key).is_some() && matches!(heap.get(*value), Value::Tensor(_));
    entries.iter().filter(is_named).count()
}

/// The tensors of a dictionary by their names. Of two with the same name, the later one counts, as in Python.
fn tensors(heap: &Heap, dictionary: Id) -> BTreeMap<String, &TensorView> {
    let entries = heap.entries(dictionary).unwrap_or_default().iter();
    let tensors: Vec<(&str, &TensorView)> = entries
        .filter_map(|(key, value)| match (heap.text(*key), heap.get(*value)) {
            (Some(name), Value::Tensor(view)) => Some((name, &**view)),
            _ => None,
        })
        .collect();
    let prefix = if tensors.iter().all(|(name, _)| name.starts_with(PARALLEL)) { PARALLEL.len() } else { 0 };
    tensors.into_iter().map(|(name, view)| (name[prefix..].to_owned(), view)).collect()
}
