//! The levels of a U-Net: down, keeping every map, and up, joining those maps in again.

use crate::graph::op::Value;
use crate::nets::builder::Builder;

/// The direction through the levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Down,
    Up,
}

/// A level on one of the ways.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub way: Way,
    /// Counted from the highest resolution, both ways.
    pub level: usize,
    /// The path of its modules in the checkpoint.
    pub path: &'a str,
}

/// The levels of a network: the layers of each, and the steps between them.
pub trait Levels {
    /// The graph under construction.
    fn builder(&mut self) -> &mut Builder;

    /// Residual blocks of each level on the way down, highest resolution first; one more on the way up.
    fn layers(&self) -> Vec<usize>;

    /// The residual block number `layer`, and what follows it.
    fn layer(&mut self, place: Place, layer: usize, x: Value) -> Value;

    /// To the next level down, at `path`.
    fn halve(&mut self, place: Place, path: &str, x: Value) -> Value;

    /// To the next level up, whose maps have `size` (height, width), at `path`.
    fn double(&mut self, place: Place, path: &str, x: Value, size: (usize, usize)) -> Value;
}

/// The way down. Returns the deepest map, and every map that the way up reads again; the last is read first.
pub fn down(net: &mut impl Levels, first: Value) -> (Value, Vec<Value>) {
    let layers = net.layers();
    let mut x = first;
    let mut skips = vec![first];
    for (level, count) in layers.iter().enumerate() {
        let path = format!("down_blocks.{level}");
        let place = Place { way: Way::Down, level, path: &path };
        for layer in 0..*count {
            x = net.layer(place, layer, x);
            skips.push(x);
        }
        if level + 1 < layers.len() {
            x = net.halve(place, &format!("{path}.downsamplers.0"), x);
            skips.push(x);
        }
    }
    (x, skips)
}

/// The way up from the deepest map `x`, with what [`down`] kept.
pub fn up(net: &mut impl Levels, mut x: Value, mut skips: Vec<Value>) -> Value {
    for (block, (level, count)) in net.layers().into_iter().enumerate().rev().enumerate() {
        let path = format!("up_blocks.{block}");
        let place = Place { way: Way::Up, level, path: &path };
        // One layer more than on the way down: the last skip of a level is the map that the level began with.
        let first_skip = skips.len() - (count + 1);
        for (layer, skip) in skips.split_off(first_skip).into_iter().rev().enumerate() {
            let joined = net.builder().concat(&format!("{path}.concat.{layer}"), x, skip);
            x = net.layer(place, layer, joined);
        }
        if let Some(next) = skips.last() {
            let size = net.builder().graph.shape(*next);
            x = net.double(place, &format!("{path}.upsamplers.0"), x, (size.h, size.w));
        }
    }
    x
}
