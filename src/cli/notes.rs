//! Notes on a model's files, for the commands that do not sample from it.

use crate::model::NetworkModel;
use crate::report::Console;

/// Says what was assumed about the file of a network and which part of it was taken.
pub fn say(network: &NetworkModel, console: Console) {
    network.weights.notes().for_each(|note| console.note(&format!("note: {note}")));
}
