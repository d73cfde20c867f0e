//! Text in columns.

/// Rows with their columns at the same place.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "name", "z"], ["bb", "n", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "a   name  z\nbb  n\n");
    }
}
