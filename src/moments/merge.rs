//! Moments of parts combined, whatever their order.

use std::ops::Range;

use super::Moments;
use crate::error::{Error, Result};

/// Combines the moments of parts, each with its name. The result is whole, unless `partial` allows rows to be missing.
/// Its bits do not depend on the order of the parts, nor on parts that were combined before.
///
/// # Errors
/// [`Error::Argument`] for no parts, parts of different rows or settings, rows that are in two parts, and rows that are
/// in none, which are named.
pub fn merge(mut parts: Vec<(String, Moments)>, partial: bool) -> Result<Moments> {
    // The order decides the messages only.
    parts.sort_by_cached_key(|(name, part)| (part.rows().first().map(|rows| rows.start), name.clone()));
    let Some((first_name, first)) = parts.first() else {
        return Err(Error::argument("no moments to merge", "name the files of at least one part"));
    };
    for (name, part) in &parts[1..] {
        first.description.expect(&part.description, (first_name, name))?;
    }
    expect_distinct(&parts)?;
    let (description, shards) = (first.description.clone(), parts.iter().find_map(|(_, part)| part.shards));
    let mut merged = Moments { shards, ..Moments::new(description, 0..0)? };
    for (address, node) in parts.into_iter().flat_map(|(_, part)| part.forest.into_nodes()) {
        merged.forest.insert(address, node);
    }
    if !partial {
        expect_whole(&merged)?;
    }
    Ok(merged)
}

/// Refuses rows that are in two parts.
fn expect_distinct(parts: &[(String, Moments)]) -> Result<()> {
    let mut ranges: Vec<(Range<usize>, &str)> =
        parts.iter().flat_map(|(name, part)| part.rows().into_iter().map(move |rows| (rows, &**name))).collect();
    ranges.sort_by_key(|(rows, _)| (rows.start, rows.end));
    let mut last: Option<&(Range<usize>, &str)> = None;
    for one in &ranges {
        if let Some((rows, name)) = last.filter(|(rows, _)| rows.end > one.0.start) {
            let both = one.0.start..rows.end.min(one.0.end);
            let what = format!("{} are in `{name}` and in `{}`", listed(&[both]), one.1);
            return Err(Error::argument(what, "name each part once"));
        }
        last = last.filter(|(rows, _)| rows.end > one.0.end).or(Some(one));
    }
    Ok(())
}

/// Refuses moments of a part of the rows.
pub(super) fn expect_whole(moments: &Moments) -> Result<()> {
    let missing = missing(moments);
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("{} of {} are missing", listed(&missing), moments.description.rows);
    let blocks = moments.blocks;
    let hint = match moments.shards {
        Some(of) if of > 1 => {
            let rows = |index: usize| {
                let shard = blocks.shard(index, of);
                blocks.first_row(shard.start)..blocks.first_row(shard.end)
            };
            let makes = |index: &usize| {
                let own = rows(*index);
                missing.iter().any(|range| range.start < own.end && own.start < range.end)
            };
            let shards: Vec<String> = (0..of).filter(makes).map(|index| format!("{index}/{of}")).collect();
            format!("`shard` {} makes them", shards.join(", "))
        }
        _ => "measure them, too, or merge a part with `partial`".to_owned(),
    };
    Err(Error::argument(what, hint))
}

/// The rows that are missing.
fn missing(moments: &Moments) -> Vec<Range<usize>> {
    let (mut missing, mut next) = (Vec::new(), 0);
    let end = moments.description.rows;
    for rows in moments.rows().into_iter().chain(std::iter::once(end..end)) {
        if next < rows.start {
            missing.push(next..rows.start);
        }
        next = rows.end;
    }
    missing
}

/// Ranges of rows in words: "rows 0 to 249, 500 to 749".
#[must_use]
pub fn listed(rows: &[Range<usize>]) -> String {
    const MOST: usize = 8;
    let some = rows.iter().filter(|rows| !rows.is_empty()).take(MOST);
    let ranges: Vec<String> = some.map(|rows| format!("{} to {}", rows.start, rows.end - 1)).collect();
    match (&ranges[..], rows.len() > MOST) {
        ([], _) => "no rows".to_owned(),
        (_, true) => format!("rows {}, ...", ranges.join(", ")),
        (_, false) => format!("rows {}", ranges.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::Description;

    fn part(index: usize, of: usize) -> (String, Moments) {
        let description = Description::of_rows(3000, &[2]);
        let mut part = Moments::new(description, crate::moments::Blocks::of(3000).shard(index, of)).unwrap();
        part.shards = Some(of);
        let rows: Vec<f32> = (part.next_row() * 2..part.end() * 2).map(|at| (at as f32).sin()).collect();
        part.add(&rows);
        (format!("part-{index}"), part)
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        let error = merge(vec![], false).unwrap_err();
        assert!(error.to_string().contains("no moments"));
        let error = merge(vec![part(3, 4), part(0, 4)], false).unwrap_err();
        assert_eq!(error.to_string(), "rows 748 to 2247 of 3000 are missing");
        assert_eq!(error.hint().unwrap(), "`shard` 1/4, 2/4 makes them");
        let some = merge(vec![part(3, 4), part(0, 4)], true).unwrap();
        assert!(!some.is_whole());
        assert_eq!(some.rows(), [0..748, 2248..3000]);
        let error = merge(vec![part(0, 4), part(1, 8)], false).unwrap_err();
        assert_eq!(error.to_string(), "rows 372 to 747 are in `part-0` and in `part-1`");
        let mut other = part(1, 2);
        other.1.description = other.1.description.with("data", "x");
        let error = merge(vec![part(0, 2), other], false).unwrap_err();
        assert_eq!(error.to_string(), "`data` is `x` in `part-1`, and not there in `part-0`");
        assert!(merge((0..4).map(|index| part(index, 4)).collect(), false).unwrap().is_whole());
    }
}
