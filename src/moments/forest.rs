//! The nodes of a part of a tree, joined as far as they go.

use std::ops::Range;

use super::node::Node;

/// The place of a node: it covers the rows `index << level..(index + 1) << level`, as far as there are rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The binary logarithm of the rows that it covers.
    pub level: u32,
    /// Its number among the nodes of this level.
    pub index: usize,
}

impl Address {
    /// The rows of a node in a whole of `rows` rows.
    pub fn rows(self, rows: usize) -> Range<usize> {
        let cut = |index: usize| (index << self.level).min(rows);
        cut(self.index)..cut(self.index + 1)
    }
}

/// Nodes of distinct rows, in the order of these. No two of them are siblings.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// The number of rows of the whole.
    rows: usize,
    nodes: Vec<(Address, Node)>,
}

impl Forest {
    pub fn new(rows: usize) -> Self {
        Self { rows, nodes: Vec::new() }
    }

    /// The nodes of at least a level: that of whole blocks.
    pub fn nodes(&self, level: u32) -> impl Iterator<Item = &(Address, Node)> {
        self.nodes.iter().filter(move |(address, _)| address.level >= level)
    }

    pub fn into_nodes(self) -> Vec<(Address, Node)> {
        self.nodes
    }

    /// The level of the root.
    fn top(&self) -> u32 {
        self.rows.max(1).next_power_of_two().trailing_zeros()
    }

    /// Adds a node of rows that are not there yet, and joins it with its sibling as long as that is there.
    pub fn insert(&mut self, mut address: Address, mut node: Node) {
        let start = address.rows(self.rows).start;
        let mut at = self.nodes.partition_point(|(other, _)| other.rows(self.rows).start < start);
        while address.level < self.top() {
            let sibling = Address { index: address.index ^ 1, ..address };
            let is_left = address.index.is_multiple_of(2);
            if is_left && sibling.rows(self.rows).is_empty() {
                // The last node of a level, without a sibling, is the last of the next one.
            } else if is_left && self.nodes.get(at).is_some_and(|(other, _)| *other == sibling) {
                let (_, right) = self.nodes.remove(at);
                node = node.combined(&right);
            } else if !is_left && at > 0 && self.nodes[at - 1].0 == sibling {
                at -= 1;
                let (_, left) = self.nodes.remove(at);
                node = left.combined(&node);
            } else {
                break;
            }
            address = Address { level: address.level + 1, index: address.index / 2 };
        }
        self.nodes.insert(at, (address, node));
    }

    /// The node of all rows.
    pub fn root(&self) -> Option<&Node> {
        match &self.nodes[..] {
            [(address, node)] if address.rows(self.rows) == (0..self.rows) => Some(node),
            _ => None,
        }
    }

    /// The rows of the nodes of at least a level, as ranges that do not touch.
    pub fn rows(&self, level: u32) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (address, _) in self.nodes(level) {
            let rows = address.rows(self.rows);
            match ranges.last_mut() {
                Some(last) if last.end == rows.start => last.end = rows.end,
                _ => ranges.push(rows),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_join_as_far_as_they_go() {
        let row = |at: usize| Node { count: 1, mean: vec![at as f64], products: Vec::new() };
        let mut forest = Forest::new(5);
        for at in [4, 1, 2, 0] {
            forest.insert(Address { level: 0, index: at }, row(at));
        }
        let places: Vec<_> = forest.nodes(0).map(|(at, node)| (at.level, at.index, node.count)).collect();
        assert_eq!(places, [(1, 0, 2), (0, 2, 1), (2, 1, 1)]);
        assert_eq!((forest.rows(0), forest.root()), (vec![0..3, 4..5], None));
        forest.insert(Address { level: 0, index: 3 }, row(3));
        let root = forest.root().unwrap();
        assert_eq!((root.count, root.mean[0], root.products[0]), (5, 2.0, 10.0));
        assert_eq!((forest.rows(0).len(), forest.rows(0)[0].clone()), (1, 0..5));
        assert_eq!(forest.nodes(4).count(), 0);
    }
}
