//! Text in columns.

use super::printable::printable_line;
pub use crate::error::binary_bytes;

/// Returns rows with aligned columns. Each row is one line, whatever its cells contain.
pub fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    let (rows, widths) = on_lines(rows);
    let line = |row: &Vec<String>| {
        let last = row.len().saturating_sub(1);
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<_> =
            cells.map(|(at, (cell, width))| if at == last { cell.clone() } else { padded(cell, *width) }).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// As [`aligned`], with the text `between` between the columns, and the last column filled up too.
pub fn aligned_cells<R: AsRef<[String]>>(rows: &[R], between: &str) -> String {
    let (rows, widths) = on_lines(rows);
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| padded(cell, *width)).collect();
        cells.join(between) + "\n"
    };
    rows.iter().map(line).collect()
}

/// The rows with printable cells, and the width of each column in characters.
fn on_lines<R: AsRef<[String]>>(rows: &[R]) -> (Vec<Vec<String>>, Vec<usize>) {
    let cells = |row: &R| row.as_ref().iter().map(|cell| printable_line(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
    let widths = (0..columns).map(|column| rows.iter().map(|row| length(row, column)).max().unwrap_or(0)).collect();
    (rows, widths)
}

/// A cell filled up with spaces. Widths of the standard formatter end at 65535, and texts from files may be longer.
fn padded(cell: &str, width: usize) -> String {
    cell.to_owned() + &" ".repeat(width.saturating_sub(cell.chars().count()))
}

/// Lines of a name and a text.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<[String; 2]>);

impl Lines {
    /// Adds a line.
    pub fn add(&mut self, name: &str, text: impl std::fmt::Display) {
        self.0.push([name.to_owned(), text.to_string()]);
    }
}

impl std::fmt::Display for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&aligned(&self.0))
    }
}

/// Returns `count` with commas between groups of three digits.
#[must_use]
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = (0..=digits.len())
        .rev()
        .filter(|end| (digits.len() - end).is_multiple_of(3))
        .filter_map(|end| digits.get(end.saturating_sub(3)..end).filter(|group| !group.is_empty()))
        .collect();
    groups.into_iter().rev().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_in_units_of_1024() {
        let texts = [0, 15, 1023, 1500, 1_500_000, 1 << 30, u64::MAX].map(binary_bytes);
        assert_eq!(texts, ["0 B", "15 B", "1023 B", "1.46 KiB", "1.43 MiB", "1.00 GiB", "16.00 EiB"]);
    }

    #[test]
    fn texts_longer_than_a_formatter_can_pad_stand_in_columns() {
        let long = "a".repeat(70_000);
        let rows = [[long.clone(), "b".to_owned()], ["c".to_owned(), long.clone()]];
        let lines: Vec<String> = aligned(&rows).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], format!("{long}  b"));
        assert_eq!(lines[1], format!("c{}  {long}", " ".repeat(69_999)));
    }

    #[test]
    fn thousands_have_commas() {
        let texts = [0, 7, 999, 1000, 35_746_307, 859_520_964].map(thousands);
        assert_eq!(texts, ["0", "7", "999", "1,000", "35,746,307", "859,520,964"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "name", "z"], ["bb", "n", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "a   name  z\nbb  n\n");
    }
}
