//! Text in columns.

/// Rows with their columns at the same place.
pub fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    let trimmed = |line: &str| line.trim_end().to_owned() + "\n";
    aligned_cells(rows, "  ").lines().map(trimmed).collect()
}

/// As [`aligned`], with the text `between` between the columns, and the last column filled up too.
pub fn aligned_cells<R: AsRef<[String]>>(rows: &[R], between: &str) -> String {
    let columns = rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0);
    let length = |row: &R, column: usize| row.as_ref().get(column).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| length(row, column)).max().unwrap_or(0)).collect();
    let line = |row: &R| {
        let cells: Vec<String> =
            row.as_ref().iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join(between) + "\n"
    };
    rows.iter().map(line).collect()
}

/// Lines of a name and a text.
#[derive(Default)]
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
