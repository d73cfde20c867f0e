//! Two saved runs side by side, without measuring.
//!
//! The rule of noise is that of [`Comparison`]: the noise of a ratio is the sum of both spreads. That is the noise
//! within runs. Between them the machine changes too, which [`Drift`] measures by the roofs. A case is slower than a
//! limit only if its ratio of times, divided by one plus the noise and by the drift, is beyond one plus the limit.

use std::fmt::Write;
use std::str::FromStr;

use serde::Serialize;

use super::print::{Column, milliseconds, or_none, percent, significant, table};
use super::report::{Findings, Row};
use super::roofs::ROOF;
use super::statistics::{Comparison, Timing, Verdict};

/// A share by which a case may become slower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit(f64);

impl FromStr for Limit {
    type Err = String;

    /// Parses a share in percent: `10%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a share in percent, such as `10%`");
        let share: f64 = text.trim().strip_suffix('%').ok_or_else(refused)?.trim().parse().map_err(|_| refused())?;
        if share.is_finite() && share >= 0.0 { Ok(Self(share / 1e2)) } else { Err(refused()) }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0 * 1e2)
    }
}

/// A case of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The suite of the case.
    pub suite: String,
    /// The case.
    pub case: String,
    /// The timing in the first run.
    pub base: Timing,
    /// The timing in the second run.
    pub now: Timing,
    /// The second beside the first.
    pub comparison: Comparison,
}

/// The change of the machine between two runs, by the times of their roofs, the second over the first. Latencies do not
/// count: they vary more than any case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// The least ratio.
    pub least: f64,
    /// The greatest ratio.
    pub most: f64,
    /// The roof with the greatest one.
    pub roof: String,
}

impl Drift {
    /// A change by more than this share is worth a note.
    const LARGE: f64 = 0.1;

    /// Returns the drift of the pairs that are roofs with a rate; `None` without any.
    fn of(base: &Findings, now: &Findings) -> Option<Self> {
        let rated = |row: &&Row| row.suite == ROOF && row.rate.is_some();
        let ratio = |row: &Row| {
            let before = base.row(&row.suite, &row.case).filter(|row| rated(row))?.timing.as_ref()?;
            Some((Comparison::new(row.timing.as_ref()?, before).time_ratio(), row.case.clone()))
        };
        let mut ratios: Vec<_> = now.rows.iter().filter(rated).filter_map(ratio).collect();
        ratios.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let least = ratios.first()?.0;
        ratios.pop().map(|(most, roof)| Self { least, most, roof })
    }

    /// Returns `true` if a roof has changed by more than a tenth.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.most > 1.0 + Self::LARGE || self.least < 1.0 / (1.0 + Self::LARGE)
    }

    /// The ratio from which on a case is slower.
    fn slower(this: Option<&Self>) -> f64 {
        this.map_or(1.0, |drift| drift.most.max(1.0))
    }

    /// The ratio below which a case is faster.
    fn faster(this: Option<&Self>) -> f64 {
        this.map_or(1.0, |drift| drift.least.min(1.0))
    }
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [least, most] = [self.least, self.most].map(significant);
        write!(f, "the machine changed between the runs: its roofs took {least} to {most}x the time (`{}`)", self.roof)
    }
}

/// Two runs side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideBySide {
    /// The differences between adapters, machines and settings.
    pub differences: Vec<String>,
    /// The cases of both runs, in the order of the second.
    pub pairs: Vec<Pair>,
    /// The change of the machine, if the runs have roofs in common.
    pub drift: Option<Drift>,
    /// The runs that were stopped before their end: `first`, `second`.
    pub stopped: Vec<&'static str>,
    /// The runs that are quick ones.
    pub quick: Vec<&'static str>,
    /// The cases that the first run has measured, and the second has tried without success.
    pub lost: Vec<String>,
    /// The cases that only the first run has, with their suites.
    pub only_first: Vec<String>,
    /// The cases that only the second run has measured.
    pub only_second: Vec<String>,
}

/// The names of the cases that were measured in `one` and not in `other`: those that `other` has tried, with its
/// reason, and those that it does not have.
fn missing(one: &Findings, other: &Findings) -> (Vec<String>, Vec<String>) {
    let (mut tried, mut absent) = (Vec::new(), Vec::new());
    // A case that stands twice is its first row.
    let is_first = |row: &&Row| one.row(&row.suite, &row.case).is_some_and(|first| std::ptr::eq(first, *row));
    for row in one.rows.iter().filter(is_first).filter(|row| row.suite != ROOF && row.timing.is_some()) {
        let name = format!("{} {}", row.suite, row.case);
        match other.row(&row.suite, &row.case) {
            None => absent.push(name),
            Some(counterpart) if counterpart.timing.is_none() => tried.push(match &counterpart.reason {
                Some(reason) => format!("{name} ({reason})"),
                None => name,
            }),
            Some(_) => {}
        }
    }
    (tried, absent)
}

/// Returns `true` if a case is slower or faster, and a roof has changed as much.
fn is_within(comparison: &Comparison, drift: Option<&Drift>) -> bool {
    let Some((least, most)) = comparison.time_range() else { return false };
    match comparison.verdict {
        Verdict::Slower => least <= Drift::slower(drift),
        Verdict::Faster => most >= Drift::faster(drift),
        Verdict::Same | Verdict::Unsure => false,
    }
}

impl SideBySide {
    /// Sets `now` beside `base`.
    #[must_use]
    pub fn new(base: &Findings, now: &Findings) -> Self {
        let drift = Drift::of(base, now);
        let pair = |row: &Row| {
            let (base, now) = (base.row(&row.suite, &row.case)?.timing.clone()?, row.timing.clone()?);
            let mut comparison = Comparison::new(&now, &base);
            if row.suite != ROOF && is_within(&comparison, drift.as_ref()) {
                comparison.verdict = Verdict::Unsure;
            }
            Some(Pair { suite: row.suite.clone(), case: row.case.clone(), base, now, comparison })
        };
        let pairs = now.rows.iter().filter_map(pair).collect();
        let which = |is: fn(&Findings) -> bool| {
            [("first", base), ("second", now)].into_iter().filter(|(_, run)| is(run)).map(|(name, _)| name).collect()
        };
        let ((lost, only_first), (failed_before, new)) = (missing(base, now), missing(now, base));
        Self {
            differences: now.differences(base),
            pairs,
            drift,
            stopped: which(|run| run.stopped),
            quick: which(|run| run.quick),
            lost,
            only_first,
            only_second: [failed_before, new].concat(),
        }
    }

    /// The cases, without the roofs.
    fn cases(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(|pair| pair.suite != ROOF)
    }

    /// Returns the cases that are slower than `limit` beyond their noise and the drift. Roofs are not cases.
    #[must_use]
    pub fn slower(&self, limit: Limit) -> Vec<&Pair> {
        let most = (1.0 + limit.0) * Drift::slower(self.drift.as_ref());
        self.cases().filter(|pair| pair.comparison.is_slower(most - 1.0) == Some(true)).collect()
    }

    /// Returns the cases that cannot be judged, since one of the timings has no spread.
    #[must_use]
    pub fn unsure(&self) -> Vec<&Pair> {
        self.cases().filter(|pair| pair.comparison.noise.is_none()).collect()
    }

    /// Returns `true` if no case is in both runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases().next().is_none()
    }

    /// Returns the table of ratios, and after it the cases of one run alone.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = table(&COLUMNS, &self.pairs);
        let first = [&self.lost[..], &self.only_first[..]].concat();
        for (title, cases) in [("first", &first), ("second", &self.only_second)] {
            if !cases.is_empty() {
                let _ = write!(text, "\nOnly in the {title}: {}\n", cases.join("; "));
            }
        }
        text
    }
}

impl Pair {
    /// Returns the case and its ratio in words: `conv 1x128x32x32 3x3: 1.32x the time (1.25 to 1.4)`.
    #[must_use]
    pub fn line(&self) -> String {
        let range = self.range().map_or_else(String::new, |range| format!(" ({range})"));
        format!("{} {}: {}x the time{range}", self.suite, self.case, significant(self.comparison.time_ratio()))
    }

    fn range(&self) -> Option<String> {
        let (least, most) = self.comparison.time_range()?;
        Some(format!("{} to {}", significant(least), significant(most)))
    }
}

const COLUMNS: [Column<Pair>; 9] = [
    ("suite", |pair| pair.suite.clone()),
    ("case", |pair| pair.case.clone()),
    ("first ms", |pair| milliseconds(pair.base.median)),
    ("spread", |pair| or_none(pair.base.spread, percent)),
    ("second ms", |pair| milliseconds(pair.now.median)),
    ("spread", |pair| or_none(pair.now.spread, percent)),
    ("second / first", |pair| significant(pair.comparison.time_ratio())),
    ("within noise", |pair| or_none(pair.range(), |range| range)),
    ("second is", |pair| pair.comparison.verdict.to_string()),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::problem::Work;
    use crate::bench::report::Roofs;
    use crate::bench::statistics::Verdict;

    /// Samples around `centre` whose quartiles are 10% apart.
    fn around(centre: f64) -> Timing {
        Timing::new([0.9, 0.95, 1.0, 1.05, 1.1].map(|factor| factor * centre).to_vec(), 1)
    }

    fn run(rows: &[(&str, &str, Option<Timing>)]) -> Findings {
        let row = |(suite, case, timing): &(&str, &str, Option<Timing>)| {
            let row = Row::new(suite, case);
            match timing {
                Some(timing) => row.timed(timing.clone(), Work::Nothing, &Roofs::default()),
                None => row.unsupported("too large".to_owned()),
            }
        };
        Findings { rows: rows.iter().map(row).collect(), ..Findings::default() }
    }

    #[test]
    fn a_limit_is_a_share_in_percent() {
        assert_eq!("10%".parse(), Ok(Limit(0.1)));
        assert_eq!(" 2.5 % ".parse::<Limit>().unwrap().to_string(), "2.5%");
        assert_eq!("0%".parse(), Ok(Limit(0.0)));
        for text in ["10", "", "%", "-1%", "nan%", "inf%", "ten%", "0.1"] {
            assert!(text.parse::<Limit>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
    }

    #[test]
    fn a_case_is_slower_than_a_limit_only_beyond_its_noise() {
        // Both spreads are 10%: the noise of a ratio is 20%.
        let slower = |ratio: f64, limit: &str| {
            let both = [1.0, ratio].map(|centre| run(&[("conv", "a", Some(around(centre)))]));
            !SideBySide::new(&both[0], &both[1]).slower(limit.parse().unwrap()).is_empty()
        };
        assert!(!slower(1.19, "0%") && slower(1.21, "0%"));
        assert!(!slower(1.31, "10%") && slower(1.33, "10%"), "1.1 times 1.2 is 1.32");
        assert!(!slower(0.5, "0%") && !slower(1.0, "0%"));
        assert!(slower(1.81, "50%") && !slower(1.79, "50%"));
    }

    #[test]
    fn exact_timings_are_judged_by_the_limit_alone() {
        let exact = |seconds: f64| run(&[("conv", "a", Some(Timing::new(vec![seconds; 3], 1)))]);
        let slower =
            |seconds: f64| !SideBySide::new(&exact(1.0), &exact(seconds)).slower("10%".parse().unwrap()).is_empty();
        assert!(!slower(1.09) && slower(1.11));
    }

    #[test]
    fn few_samples_and_roofs_are_not_judged() {
        let one = |seconds: f64| Some(Timing::new(vec![seconds], 1));
        let base = run(&[("roof", "chain", Some(around(1.0))), ("conv", "a", one(1.0))]);
        let now = run(&[("roof", "chain", Some(around(9.0))), ("conv", "a", one(9.0))]);
        let both = SideBySide::new(&base, &now);
        assert!(both.slower("0%".parse().unwrap()).is_empty());
        assert_eq!(both.unsure().iter().map(|pair| pair.case.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(both.pairs[0].comparison.verdict, Verdict::Slower, "the table has the roof");
        assert!(!both.is_empty() && SideBySide::new(&run(&[]), &now).is_empty());
    }

    /// A roof of a rate among rows, with exact times.
    fn with_roofs(mut run: Findings, roofs: &[(&str, f64)]) -> Findings {
        let row = |(case, seconds): &(&str, f64)| {
            Row::new(ROOF, case).timed(Timing::new(vec![*seconds; 3], 1), Work::Bytes(1), &Roofs::default())
        };
        run.rows.extend(roofs.iter().map(row));
        run
    }

    #[test]
    fn a_case_is_slower_only_beyond_the_slowest_roof() {
        let exact = |seconds: f64| run(&[("conv", "a", Some(Timing::new(vec![seconds; 3], 1)))]);
        let base = with_roofs(exact(1.0), &[("chain", 1.0), ("read", 1.0), ("gone", 1.0)]);
        let both = |seconds: f64| {
            let now = with_roofs(exact(seconds), &[("chain", 0.5), ("read", 2.0), ("new", 9.0)]);
            SideBySide::new(&base, &now)
        };
        let drift = both(1.0).drift.unwrap();
        assert_eq!((drift.least, drift.most, drift.roof.as_str(), drift.is_large()), (0.5, 2.0, "read", true));
        let of = |seconds: f64| {
            let both = both(seconds);
            (both.pairs[0].comparison.verdict, !both.slower("10%".parse().unwrap()).is_empty())
        };
        assert_eq!(of(1.9), (Verdict::Unsure, false));
        assert_eq!(of(2.1), (Verdict::Slower, false));
        assert_eq!(of(2.3), (Verdict::Slower, true), "2 times 1.1 is 2.2");
        assert_eq!(of(0.6), (Verdict::Unsure, false));
        assert_eq!(of(0.4), (Verdict::Faster, false));
        // A machine that became faster makes no case slower.
        let fast = with_roofs(exact(1.05), &[("chain", 0.5), ("read", 0.5)]);
        assert!(SideBySide::new(&base, &fast).slower("10%".parse().unwrap()).is_empty());
        assert!(!SideBySide::new(&base, &base).drift.unwrap().is_large());
        assert_eq!(SideBySide::new(&base, &exact(1.0)).drift, None);
    }

    #[test]
    fn cases_of_one_run_are_named_with_the_reason_of_the_other() {
        let base = run(&[("conv", "a", Some(around(1.0))), ("conv", "b", Some(around(1.0)))]);
        let now = run(&[("conv", "c", Some(around(1.0))), ("conv", "b", None), ("conv", "d", None)]);
        let both = SideBySide::new(&base, &now);
        assert_eq!((both.only_first, both.lost), (vec!["conv a".to_owned()], vec!["conv b (too large)".to_owned()]));
        let both = SideBySide::new(&base, &now);
        assert_eq!(both.only_second, ["conv c"]);
        let text = both.markdown();
        assert!(text.contains("Only in the first: conv b (too large); conv a\n"), "{text}");
        assert!(text.ends_with("Only in the second: conv c\n"), "{text}");
    }

    #[test]
    fn the_table_has_the_ratio_of_times_and_its_range() {
        let both = [1.0, 2.4].map(|centre| run(&[("conv", "a", Some(around(centre)))]));
        let both = SideBySide::new(&both[0], &both[1]);
        let row = both.markdown().lines().last().unwrap().to_owned();
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells, ["conv", "a", "1000", "10.0%", "2400", "10.0%", "2.40", "2.00 to 2.88", "slower"]);
        assert_eq!(both.pairs[0].line(), "conv a: 2.40x the time (2.00 to 2.88)");
    }
}
