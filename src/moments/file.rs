//! Moments in an `.npz`.
//!
//! | array | shape | |
//! |---|---|---|
//! | `description` | (bytes), uint8 | JSON: the format, the rows, their shape, the settings, rows per block, shards |
//! | `nodes` | (k, 3) | level, index and number of rows of each node |
//! | `means` | (k, d) | the mean of its rows |
//! | `products` | (k, d (d + 1) / 2) | the upper triangle of their centred products, row by row |
//! | `mu`, `sigma` | (d), (d, d) | mean and covariance over n - 1, where the moments are whole: for pytorch-fid |
//!
//! All but the description are float64. The same moments are the same bytes.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::blocks::Blocks;
use super::forest::Address;
use super::node::{Node, triangle};
use super::{Description, MOST_VALUES, Moments, merge};
use crate::checkpoint::known_format;
use crate::error::{Error, Result};
use crate::formats::npz::{self, Member, NamedArray};
use crate::input::open_regular;

/// The name of the format, in the description.
const FORMAT: &str = "downhill moments, 1";
/// The arrays of every file.
const ARRAYS: [&str; 4] = ["description", "nodes", "means", "products"];
/// The most rows of a whole: their numbers are exact in float64.
const MOST_ROWS: u64 = 1 << 52;
/// The first bytes of an `.npz`.
const ZIP: &[u8] = b"PK";
const AGAIN: &str = "remove the file; the run of that part measures it again";

/// The first bytes of a file.
fn start(path: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    let read = open_regular(path)?.0.take(16).read_to_end(&mut start);
    read.map(|_| start).map_err(|error| Error::io(path, error))
}

impl Moments {
    /// Returns `true` for a file of moments, whole or in part, by the names of its arrays.
    #[must_use]
    pub fn is_at(path: &Path) -> bool {
        npz::names(path).is_ok_and(|names| ARRAYS.iter().all(|array| names.iter().any(|name| name == array)))
    }

    /// Writes the moments. Rows of a block that is not complete are not among them.
    ///
    /// # Errors
    /// Those of writing files; [`Error::NonFinite`] for rows that held NaN or infinity.
    pub fn write(&self, path: &Path) -> Result<()> {
        let nodes: Vec<_> = self.forest.nodes(self.blocks.level()).collect();
        if nodes.iter().any(|(_, node)| !node.is_finite()) {
            let hint = "look for samples that are NaN or infinite, or too large to be squared".to_owned();
            return Err(Error::NonFinite { place: "the moments".to_owned(), hint });
        }
        let values = self.description.values();
        let mut description = self.description.json();
        description["format"] = json!(FORMAT);
        description["block"] = json!(self.blocks.size());
        description["shards"] = json!(self.shards.filter(|_| !self.is_whole()));
        let description = description.to_string();
        let (mut places, mut means, mut products) = (Vec::new(), Vec::new(), Vec::new());
        for (address, node) in &nodes {
            places.extend([f64::from(address.level), address.index as f64, node.count as f64]);
            means.extend_from_slice(&node.mean);
            let end = products.len() + triangle(values);
            products.extend_from_slice(&node.products);
            products.resize(end, 0.0);
        }
        let count = nodes.len();
        let statistics = self.forest.root().filter(|root| root.count > 1).map(|root| {
            let scale = (root.count - 1) as f64;
            let covariance = root.symmetric(|_, _, product| product / scale);
            let rows: Vec<f64> = (0..values).flat_map(|at| covariance.col_as_slice(at).to_vec()).collect();
            (&root.mean, rows)
        });
        let whole = [values, values];
        let shapes = ([count, 3], [count, values], [count, triangle(values)]);
        let mut members = vec![
            ("description", Member::Bytes(description.as_bytes())),
            ("nodes", Member::Numbers(&shapes.0, &places)),
            ("means", Member::Numbers(&shapes.1, &means)),
            ("products", Member::Numbers(&shapes.2, &products)),
        ];
        if let Some((mean, covariance)) = &statistics {
            members
                .extend([("mu", Member::Numbers(&whole[..1], mean)), ("sigma", Member::Numbers(&whole, covariance))]);
        }
        npz::write_members(path, &members)
    }

    /// Reads moments, whole or in part.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for another file, and for arrays that do not fit each other or the
    /// description; [`Error::NonFinite`]; [`Error::OutOfMemory`].
    pub fn read(path: &Path) -> Result<Self> {
        if !Self::is_at(path) && path.exists() {
            let hint = "`downhill moments` makes such files";
            let what = "not a file of moments";
            // A damaged archive has an error that says more.
            let start = start(path)?;
            npz::names(path).map_err(|error| match error {
                Error::BadFile { what, .. } if start.starts_with(ZIP) => Error::bad_file_hint(path, what, AGAIN),
                Error::BadFile { what, .. } => {
                    let what = known_format(&start).map_or(what, |format| format!("{format}, not a file of moments"));
                    Error::bad_file_hint(path, what, hint)
                }
                other => other,
            })?;
            return Err(Error::bad_file_hint(path, what, hint));
        }
        let mut arrays = npz::read(path, &ARRAYS)?.into_iter();
        let bad = |what: String| Error::bad_file_hint(path, what, AGAIN);
        let mut next = || arrays.next().unwrap_or(NamedArray { shape: Vec::new(), values: Vec::new() });
        let (description, places, means, products) = (next(), next(), next(), next());
        let bytes: Vec<u8> = description.values.iter().map(|byte| *byte as u8).collect();
        let (description, block, shards) = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| serde_json::from_str::<Value>(text).ok())
            .and_then(|value| understood(&value))
            .ok_or_else(|| bad(format!("`description` is not one of the format `{FORMAT}`")))?;
        let values = description.shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
        let values = values.filter(|values| (1..=MOST_VALUES).contains(values) && !description.shape.is_empty());
        let Some(values) = values else {
            return Err(bad(format!("rows of shape {:?} are not ones of moments", description.shape)));
        };
        let blocks = Blocks::of(description.rows);
        if description.rows == 0 || description.rows as u64 > MOST_ROWS || block != blocks.size() {
            return Err(bad(format!("blocks of {block} rows do not belong to {} rows", description.rows)));
        }
        let count = places.values.len() / 3;
        for (name, array, shape) in [
            ("nodes", &places, [count, 3]),
            ("means", &means, [count, values]),
            ("products", &products, [count, triangle(values)]),
        ] {
            if array.shape != shape {
                return Err(bad(format!("`{name}` has shape {:?}, expected {shape:?}", array.shape)));
            }
            if let Some(at) = array.values.iter().position(|value| !value.is_finite()) {
                let place = format!("{}: value {at} of `{name}`", path.display());
                return Err(Error::NonFinite { place, hint: AGAIN.to_owned() });
            }
        }
        let mut moments = Self { shards, ..Self::new(description, 0..0)? };
        let mut end = 0;
        for ((place, mean), products) in places
            .values
            .chunks_exact(3)
            .zip(means.values.chunks_exact(values))
            .zip(products.values.chunks_exact(triangle(values)))
        {
            let (address, count) = node_at(place, &blocks, moments.description.rows)
                .ok_or_else(|| bad(format!("`nodes` has {place:?}, which is not a node of these rows")))?;
            let rows = address.rows(moments.description.rows);
            if rows.start < end {
                let twice = rows.start..end;
                return Err(bad(format!("`nodes` has {} twice", merge::listed(std::slice::from_ref(&twice)))));
            }
            end = rows.end;
            let diagonal = (0..values).scan(0, |at, row| {
                let here = *at;
                *at += values - row;
                Some(products[here])
            });
            if diagonal.into_iter().any(|square| square < 0.0) || (count == 1 && products.iter().any(|x| *x != 0.0)) {
                return Err(bad(format!("`products` of {} are not those of rows", merge::listed(&[rows]))));
            }
            let products = if count == 1 { Vec::new() } else { products.to_vec() };
            moments.forest.insert(address, Node { count, mean: mean.to_vec(), products });
        }
        Ok(moments)
    }

    /// Reads moments of all rows.
    ///
    /// # Errors
    /// Those of [`Moments::read`]; [`Error::BadFile`] for moments of a part of the rows, which says the rows that are
    /// missing.
    pub fn read_whole(path: &Path) -> Result<Self> {
        let moments = Self::read(path)?;
        merge::expect_whole(&moments).map_err(|error| {
            let hint = "merge the files of all parts first: `downhill merge`";
            Error::bad_file_hint(path, format!("moments of a part: {error}"), hint)
        })?;
        Ok(moments)
    }
}

/// The description, the rows per block and the number of shards of a file.
fn understood(value: &Value) -> Option<(Description, usize, Option<usize>)> {
    if value["format"] != FORMAT {
        return None;
    }
    let whole = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok());
    Some((Description::of_json(value)?, whole(&value["block"])?, whole(&value["shards"])))
}

/// The place and the number of rows of a node, if it is one that begins and ends at blocks.
fn node_at(place: &[f64], blocks: &Blocks, all: usize) -> Option<(Address, usize)> {
    let whole =
        |value: f64| (value >= 0.0 && value < MOST_ROWS as f64 && value.fract() == 0.0).then_some(value as usize);
    let &[level, index, count] = place else { return None };
    let (level, index, count) = (whole(level)?, whole(index)?, whole(count)?);
    let level = u32::try_from(level).ok().filter(|level| *level <= MOST_ROWS.trailing_zeros())?;
    let start = index.checked_mul(1usize.checked_shl(level)?)?;
    let address = Address { level, index };
    (start < all)
        .then(|| address.rows(all))
        .filter(|rows| rows.len() == count && blocks.is_boundary(rows.start) && blocks.is_boundary(rows.end))?;
    Some((address, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(index: usize, of: usize) -> Moments {
        let description = Description::of_rows(3000, &[3]).with("data", "x.npy");
        let mut part = Moments::new(description, Blocks::of(3000).shard(index, of)).unwrap();
        part.shards = Some(of);
        let rows: Vec<f32> = (part.next_row() * 3..part.end() * 3).map(|at| (at as f32).sin()).collect();
        part.add(&rows);
        part
    }

    #[test]
    fn moments_come_back_bit_for_bit_and_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (index, of) in [(0, 1), (2, 5), (0, 2000)] {
            let one = part(index, of);
            one.write(&at("a.npz")).unwrap();
            let read = Moments::read(&at("a.npz")).unwrap();
            assert_eq!((&read.forest, &read.description), (&one.forest, &one.description));
            assert_eq!((read.shards, read.rows()), ((of > 1).then_some(of), one.rows()));
            read.write(&at("b.npz")).unwrap();
            assert_eq!(std::fs::read(at("a.npz")).unwrap(), std::fs::read(at("b.npz")).unwrap());
            assert!(Moments::is_at(&at("a.npz")));
        }
        let parts: Vec<_> = (0..5).map(|index| (index.to_string(), part(index, 5))).collect();
        merge(parts, false).unwrap().write(&at("a.npz")).unwrap();
        let mut whole = part(0, 1);
        whole.shards = Some(5);
        whole.write(&at("b.npz")).unwrap();
        assert_eq!(std::fs::read(at("a.npz")).unwrap(), std::fs::read(at("b.npz")).unwrap());
        let statistics = npz::read(&at("a.npz"), &["mu", "sigma"]).unwrap();
        assert_eq!(statistics[0].values, whole.mean().unwrap());
        let covariance = whole.covariance(1).unwrap();
        assert!((0..9).all(|at| statistics[1].values[at] == covariance[(at / 3, at % 3)]));
    }

    #[test]
    fn an_incomplete_file_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.npz");
        part(1, 4).write(&path).unwrap();
        assert!(npz::read(&path, &["mu"]).is_err());
        let error = Moments::read_whole(&path).unwrap_err();
        assert!(error.to_string().ends_with("rows 0 to 747, 1500 to 2999 of 3000 are missing"), "{error}");
        assert!(error.hint().unwrap().contains("downhill merge"));
    }

    /// A description; shape and values of `nodes`, `means` and `products`; the message.
    type Case<'a> = (&'a str, [usize; 2], &'a [f64], [usize; 2], &'a [f64], [usize; 2], &'a [f64], &'a str);

    #[test]
    fn damaged_files_are_refused_by_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let description = |rows: usize, block: usize, shape: &[usize]| {
            let mut value = Description::of_rows(rows, shape).json();
            value["format"] = json!(FORMAT);
            value["block"] = json!(block);
            value.to_string()
        };
        let sound = description(4, 1, &[2]);
        let nan = f64::NAN;
        let cases: [Case; 9] = [
            ("{}", [1, 3], &[0., 0., 1.], [1, 2], &[0., 0.], [1, 3], &[0.; 3], "`description` is not one"),
            (&description(4, 2, &[2]), [0, 3], &[], [0, 2], &[], [0, 3], &[], "blocks of 2 rows"),
            (&description(4, 1, &[]), [0, 3], &[], [0, 1], &[], [0, 1], &[], "rows of shape []"),
            (&sound, [1, 3], &[0., 4., 1.], [1, 2], &[0., 0.], [1, 3], &[0.; 3], "is not a node"),
            (&sound, [1, 3], &[1., 0., 1.], [1, 2], &[0., 0.], [1, 3], &[0.; 3], "is not a node"),
            (&sound, [1, 3], &[0.5, 0., 1.], [1, 2], &[0., 0.], [1, 3], &[0.; 3], "is not a node"),
            (&sound, [1, 3], &[0., 0., 1.], [1, 2], &[0., nan], [1, 3], &[0.; 3], "value 1 of `means`"),
            (&sound, [1, 3], &[1., 0., 2.], [1, 2], &[0., 0.], [1, 3], &[1., 0., -1.], "`products` of rows 0 to 1"),
            (
                &sound,
                [2, 3],
                &[1., 0., 2., 0., 1., 1.],
                [2, 2],
                &[0.; 4],
                [2, 3],
                &[0.; 6],
                "`nodes` has rows 1 to 1 twice",
            ),
        ];
        for (description, nodes, places, means, mean, products, product, message) in cases {
            let members = [
                ("description", Member::Bytes(description.as_bytes())),
                ("nodes", Member::Numbers(&nodes, places)),
                ("means", Member::Numbers(&means, mean)),
                ("products", Member::Numbers(&products, product)),
            ];
            npz::write_members(&path, &members).unwrap();
            let error = Moments::read(&path).unwrap_err();
            assert!(error.to_string().contains(message), "{error} does not say: {message}");
            assert!(matches!(error, Error::BadFile { .. } | Error::NonFinite { .. }), "{error}");
        }
        part(0, 1).write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in [10, bytes.len() / 2, bytes.len() - 10] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(Moments::read(&path).unwrap_err().kind(), crate::ErrorKind::File, "{cut}");
        }
        npz::write(&path, &[("mu", &[1], &[0.0])]).unwrap();
        assert!(Moments::read(&path).unwrap_err().to_string().ends_with("not a file of moments"));
        assert_eq!(Moments::read(&folder.path().join("none")).unwrap_err().kind(), crate::ErrorKind::NotFound);
    }
}
