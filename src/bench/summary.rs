//! A run in few words: its roofs, and one line to paste.

use super::print::{milliseconds, significant};
use super::report::{Findings, Row};
use super::roofs::{NAMED, ROOF, size_text};

/// Returns the roofs of a run in lines: those of arithmetic and copies, reads by size, and latencies.
#[must_use]
pub fn roofs(findings: &Findings) -> Vec<String> {
    if !findings.rows.iter().any(|row| row.suite == ROOF) {
        return vec!["roofs: not measured".to_owned()];
    }
    let roofs = &findings.roofs;
    let rates = [
        (roofs.arithmetic, "GFLOP/s"),
        (roofs.float16, "GFLOP/s"),
        (roofs.int8, "GOP/s"),
        (roofs.matrix, "GFLOP/s"),
        (roofs.memory, "GB/s"),
    ];
    let named = NAMED.into_iter().zip(rates).map(|((name, cases), (rate, unit))| match rate {
        Some(rate) => format!("{name} {} {unit}", significant(rate)),
        None => format!("{name} not available{}", reason(findings, cases)),
    });
    let mut lines = vec![format!("roofs: {}", joined(named))];
    if !roofs.reads.is_empty() {
        let read =
            |read: &super::roofs::ReadRate| format!("{} of {}", significant(read.rate), size_text(read.kibibytes));
        lines.push(format!("reads by a kernel, GB/s: {}", roofs.reads.iter().map(read).collect::<Vec<_>>().join(", ")));
    }
    let latencies = [("dispatch", roofs.dispatch_seconds), ("submission", roofs.submission_seconds)];
    let latency = |(name, seconds): (&str, Option<f64>)| {
        let microseconds = seconds.map(|seconds| format!("{} us", significant(seconds * 1e6)));
        format!("{name} {}", microseconds.unwrap_or_else(|| "not available".to_owned()))
    };
    lines.push(format!("latency of empty work: {}", joined(latencies.into_iter().map(latency))));
    lines
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

/// The reason for which none of some cases is measured.
fn reason(findings: &Findings, cases: &[&str]) -> String {
    let reason = cases.iter().find_map(|case| findings.row(ROOF, case)?.reason.as_deref());
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

/// Returns a run in one line: version, adapter, roofs, the best rate of each suite, and the time of each network.
#[must_use]
pub fn line(findings: &Findings) -> String {
    let adapter = findings.adapter.rsplit_once(" (").map_or(findings.adapter.as_str(), |(name, _)| name);
    let mut parts = vec![format!("downhill {}", findings.version), adapter.to_owned()];
    parts.extend(findings.roofs.arithmetic.map(|roof| format!("{} GFLOP/s roof", significant(roof))));
    parts.extend(findings.roofs.memory.map(|roof| format!("{} GB/s", significant(roof))));
    for (at, row) in findings.rows.iter().enumerate() {
        let is_first = !findings.rows[..at].iter().any(|earlier| earlier.suite == row.suite);
        match row.suite.as_str() {
            ROOF => {}
            "unet" => parts.extend(time(row)),
            _ if is_first => parts.extend(best(findings, &row.suite)),
            _ => {}
        }
    }
    parts.join(" | ")
}

/// The time of a network's call, its batch as `b16`.
fn time(row: &Row) -> Option<String> {
    let timing = row.timing.as_ref()?;
    Some(format!("{} {} ms", row.case.replace(", batch ", " b"), milliseconds(timing.median)))
}

/// The best rate of a suite or, where it has no rates, the time of its first case.
fn best(findings: &Findings, suite: &str) -> Option<String> {
    let rows = || findings.rows.iter().filter(|row| row.suite == suite);
    let rates = rows().filter_map(|row| row.rate.as_ref());
    if let Some(best) = rates.max_by(|a, b| a.value.total_cmp(&b.value)) {
        let unit = if best.unit == "GFLOP/s" { String::new() } else { format!(" {}", best.unit) };
        return Some(format!("{suite} {}{unit}", significant(best.value)));
    }
    let (row, timing) = rows().find_map(|row| Some((row, row.timing.as_ref()?)))?;
    Some(format!("{suite} {} {} ms", row.case, milliseconds(timing.median)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::problem::Work;
    use crate::bench::report::Roofs;
    use crate::bench::statistics::Timing;

    fn row(suite: &str, case: &str, seconds: f64, work: Work) -> Row {
        Row::new(suite, case).timed(Timing::new(vec![seconds; 3], 1), work, &Roofs::default())
    }

    fn run() -> Findings {
        let rows = vec![
            row(ROOF, "chain of fma", 0.01, Work::Flops(2_160_000_000)),
            row(ROOF, "chain of int8 dot products", 0.01, Work::IntegerOperations(100_000_000)),
            Row::new(ROOF, "chain on matrix units").unsupported("`x` has none".to_owned()),
            row(ROOF, "copy by a kernel", 0.01, Work::Bytes(440_000_000)),
            row(ROOF, "64 KiB read by a kernel", 0.01, Work::Bytes(900_000_000)),
            row(ROOF, "16 MiB read by a kernel", 0.01, Work::Bytes(60_000_000)),
            row(ROOF, "empty submission", 81e-6, Work::Nothing),
            row("matmul", "a", 0.01, Work::Flops(910_000_000)),
            row("matmul", "b", 0.01, Work::Flops(800_000_000)),
            row("norm", "c", 0.01, Work::Bytes(45_600_000)),
            row("unet", "digits, batch 16", 0.094, Work::Flops(1)),
            Row::new("unet", "sdxl, batch 1").unsupported("too large".to_owned()),
            row("lanczos", "90x8", 0.05, Work::Nothing),
        ];
        let adapter = "llvmpipe (LLVM 15) (software on vulkan)".to_owned();
        let version = "0.1.0".to_owned();
        Findings { version, adapter, roofs: Roofs::of_rows(&rows), rows, ..Findings::default() }
    }

    #[test]
    fn a_run_is_one_line() {
        let expected = "downhill 0.1.0 | llvmpipe (LLVM 15) | 216 GFLOP/s roof | 44.0 GB/s | matmul 91.0 | \
                        norm 4.56 GB/s | digits b16 94.0 ms | lanczos 90x8 50.0 ms";
        assert_eq!(line(&run()), expected);
    }

    #[test]
    fn roofs_are_lines_with_units_and_reasons() {
        let expected = [
            "roofs: float32 216 GFLOP/s; float16 not available; int8 dot products 10.0 GOP/s; \
             matrix units (float16, sums in float32) not available: `x` has none; copies 44.0 GB/s",
            "reads by a kernel, GB/s: 90.0 of 64 KiB, 6.00 of 16 MiB",
            "latency of empty work: dispatch not available; submission 81.0 us",
        ];
        assert_eq!(roofs(&run()), expected);
        assert_eq!(roofs(&Findings::default()), ["roofs: not measured"]);
    }
}
