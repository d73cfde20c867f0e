//! A run as lines of JSON, written while it is measured: a run that is stopped leaves what it has.
//!
//! The first line is `{"run": ...}`, the run without its rows; then one `{"row": ...}` for each case; the last one
//! `{"end": ...}`, the sensors and roofs at the end of a complete run.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::machine::Machine;
use super::report::{Findings, Roofs, Row};
use crate::report::printable::printable_json;

/// A line.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Run(Box<Findings>),
    Row(Box<Row>),
    End(End),
}

#[derive(Deserialize)]
struct End {
    machine: Machine,
}

fn line(key: &str, value: &impl Serialize) -> String {
    let text = json!({ key: value }).to_string();
    printable_json(&text).into_owned() + "\n"
}

/// Returns the first line of a run.
#[must_use]
pub fn first(run: &Findings) -> String {
    let mut value = serde_json::to_value(run).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("rows");
        fields.remove("roofs");
    }
    line("run", &value)
}

/// Returns the line of a row.
#[must_use]
pub fn row(row: &Row) -> String {
    line("row", row)
}

/// Returns the last line of a complete run.
#[must_use]
pub fn last(run: &Findings) -> String {
    line("end", &json!({ "machine": run.machine, "roofs": run.roofs }))
}

/// Returns `true` for a text of lines.
pub(super) fn is_lines(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<Value>(first).is_ok_and(|value| value.get("run").is_some())
}

/// Parses the lines of a run, complete or not. A last line that was cut off is ignored.
///
/// # Errors
/// A sentence about what is wrong.
pub(super) fn parse(text: &[u8]) -> Result<Findings, String> {
    let mut lines = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let is_cut = !text.ends_with(b"\n");
    let count = text.split(|byte| *byte == b'\n').count();
    let read = |(at, line): (usize, &[u8])| match serde_json::from_slice(line) {
        Ok(line) => Ok(Some(line)),
        Err(_) if is_cut && at + 1 == count => Ok(None),
        Err(error) => Err(format!("line {}: {error}", at + 1)),
    };
    let Some(Line::Run(mut run)) = lines.next().map(read).transpose()?.flatten() else {
        return Err("the first line is not that of a run".to_owned());
    };
    run.stopped = true;
    for line in lines {
        let at = line.0 + 1;
        match read(line)? {
            Some(Line::Row(row)) => run.rows.push(*row),
            Some(Line::End(End { machine })) => (run.machine, run.stopped) = (machine, false),
            Some(Line::Run(_)) => return Err(format!("line {at}: another run begins")),
            None => {}
        }
    }
    run.roofs = Roofs::of_rows(&run.rows);
    Ok(*run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::problem::Work;
    use crate::bench::roofs::ROOF;
    use crate::bench::statistics::Timing;

    fn run() -> Findings {
        let timed = |suite, case| {
            Row::new(suite, case).timed(Timing::new(vec![1.0; 3], 1), Work::Flops(2_000_000_000), &Roofs::default())
        };
        let rows = vec![timed(ROOF, "chain of fma"), timed("conv", "a")];
        let machine = Machine { processor: Some("some".to_owned()), ..Machine::default() };
        Findings { version: "1".to_owned(), roofs: Roofs::of_rows(&rows), machine, rows, ..Findings::default() }
    }

    fn text(run: &Findings) -> String {
        let rows: String = run.rows.iter().map(row).collect();
        first(run) + &rows + &last(run)
    }

    #[test]
    fn lines_are_the_run() {
        let text = text(&run());
        assert_eq!(text.lines().count(), 4);
        assert!(is_lines(text.as_bytes()));
        assert_eq!(parse(text.as_bytes()).unwrap(), run(), "not stopped either");
        assert_eq!(run().roofs.arithmetic, Some(2.0));
    }

    #[test]
    fn a_run_that_was_stopped_has_what_it_wrote() {
        let text = text(&run());
        let (two, rest) = text.split_at(text.match_indices('\n').nth(1).unwrap().0 + 1);
        for cut in [0, 5, 20] {
            let found = parse((two.to_owned() + &rest[..cut]).as_bytes()).unwrap();
            assert_eq!((found.rows.len(), found.stopped), (1, true), "{cut} bytes of the next line");
            assert_eq!(found.roofs.arithmetic, Some(2.0));
        }
    }

    #[test]
    fn other_lines_are_refused_by_number() {
        let head = first(&run());
        assert!(!is_lines(b"{\"rows\": []}\n") && !is_lines(b"") && !is_lines(b"\xff\n"));
        assert!(parse(b"").is_err());
        assert!(parse((head.clone() + "{\"row\": 1}\n").as_bytes()).unwrap_err().starts_with("line 2: "));
        assert_eq!(parse((head.clone() + &head).as_bytes()).unwrap_err(), "line 2: another run begins");
        assert!(parse((head.clone() + "{\"row\"\n" + &row(&run().rows[0])).as_bytes()).is_err(), "cut in the middle");
    }
}
