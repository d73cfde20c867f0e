//! The value of `--shard`: the part of the work that one of several runs does, by number or from the environment of the
//! program that started the runs.

mod starters;

use self::starters::{ARRAYS, BATCH, COUNT, Numbered, PARALLEL, RANKS};
use crate::error::{Error, Result, excerpt};
pub use crate::study::parts::Shard;

/// The values of `--shard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardArg {
    /// `I/N`.
    Of(Shard),
    /// `auto`: from the environment.
    Auto,
}

impl std::str::FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((index, of)) if index < of => Ok(Self::Of(Shard { index, of })),
            _ => Err("expected I/N with I from 0 to N - 1, or `auto`".to_owned()),
        }
    }
}

impl ShardArg {
    /// The shard, with a note that says where `auto` found it.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the variables, for an environment that does not say the shard.
    pub fn resolve(self) -> Result<(Shard, Option<String>)> {
        match self {
            Self::Of(shard) => Ok((shard, None)),
            Self::Auto => {
                let (shard, from) = of_environment(&|name| std::env::var(name).ok())?;
                Ok((shard, Some(format!("shard {shard}, by {}", from.join(", ")))))
            }
        }
    }
}

/// The variables of an environment, by name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The shard, and the variables that it was taken from. The jobs of GNU parallel share the work of a job of an array,
/// and the ranks of a parallel program share that of what starts it.
fn of_environment(get: Environment) -> Result<(Shard, Vec<&'static str>)> {
    let array = ARRAYS.iter().find(|numbered| numbered.is_there(get));
    let parallel = Some(&PARALLEL).filter(|numbered| numbered.is_there(get));
    if let (Some(array), Some(parallel)) = (array, parallel)
        && array.count == parallel.count
    {
        let what = format!("`--shard auto`, and {} and {} are both counted by {COUNT}", array.index, parallel.index);
        return Err(Error::argument(what, "unset the one that does not number these runs, or give `--shard I/N`"));
    }
    let counted = |numbered: &&Numbered| numbered.is_there(get) && numbered.count.is_some_and(|of| get(of).is_some());
    let rank = RANKS.iter().find(counted).or_else(|| Some(&BATCH).filter(|_| parallel.is_none()).filter(counted));
    let mut found: Option<(Shard, Vec<&'static str>)> = None;
    for numbered in [array, parallel, rank].into_iter().flatten() {
        let mut of_level = Vec::new();
        let inner = numbered.read(get, &mut of_level)?;
        found = match found {
            None => Some((inner, of_level)),
            // A batch script of an array is the only task of its step.
            Some(outer) if inner.of == 1 => Some(outer),
            Some((outer, used)) => {
                Some((outer.within(inner).ok_or_else(|| too_many(outer, inner))?, [used, of_level].concat()))
            }
        };
    }
    found.ok_or_else(|| {
        let all = ARRAYS.iter().chain([&PARALLEL]).chain(&RANKS).map(Numbered::names);
        let what = format!("`--shard auto`, and the environment has none of {}", all.collect::<Vec<_>>().join(", "));
        Error::argument(what, "start the runs by one of these programs, or give `--shard I/N`")
    })
}

fn too_many(outer: Shard, inner: Shard) -> Error {
    Error::argument(format!("{} times {} runs are too many", outer.of, inner.of), "give `--shard I/N`")
}

impl Numbered {
    /// Returns `true` if the environment has the number of a run.
    fn is_there(&self, get: Environment) -> bool {
        get(self.index).is_some_and(|text| !self.absent.contains(&text.as_str()))
    }

    /// The variables, for a message.
    fn names(&self) -> String {
        let [_, last, _] = self.span;
        format!("{} with {}", self.index, self.count.unwrap_or(last))
    }

    /// The shard that the variables say; those that it is taken from are added to `used`.
    fn read(&self, get: Environment, used: &mut Vec<&'static str>) -> Result<Shard> {
        let refuse = |what: String| Error::argument(what, self.hint);
        used.push(self.index);
        let index = number(get, self.index)?.ok_or_else(|| refuse(format!("{} is not set", self.index)))?;
        let counted = self.count.map(|name| number(get, name)).transpose()?.flatten();
        let [first, last, step] = self.span;
        let [lowest, most, apart] = [number(get, first)?, number(get, last)?, number(get, step)?];
        let (from, apart) = (lowest.unwrap_or(self.first), apart.unwrap_or(1).max(1));
        let spanned = most.map(|most| most.saturating_sub(from) / apart + 1);
        used.extend(self.count.filter(|_| counted.is_some()));
        used.extend(
            [(first, lowest), (last, most.filter(|_| counted.is_none()))]
                .iter()
                .filter_map(|(name, value)| value.map(|_| *name)),
        );
        let of = match (counted, spanned) {
            (Some(counted), Some(spanned)) if counted != spanned => {
                let what = format!("{counted} jobs in an array with room for {spanned} by {first}, {last}, {step}");
                return Err(refuse(what));
            }
            (counted, spanned) => counted.or(spanned).ok_or_else(|| {
                let count = self.count.unwrap_or(last);
                refuse(format!("`--shard auto` found {}={index}, and {count} is not set", self.index))
            })?,
        };
        if self.is_alone && of > 1 {
            let what = format!("`--shard auto` in a batch script, which is one run and not {of} by {}", self.names());
            return Err(refuse(what));
        }
        match index.checked_sub(from).filter(|past| past % apart == 0 && past / apart < of) {
            Some(past) => Ok(Shard { index: past / apart, of }),
            None => Err(refuse(format!("{}={index} is not one of {of} by {}", self.index, used[1..].join(", ")))),
        }
    }
}

/// The whole number in a variable, where it is set.
pub fn number(get: Environment, name: &str) -> Result<Option<usize>> {
    let Some(text) = get(name) else { return Ok(None) };
    // Numbers of this many digits do not count runs.
    text.parse::<u32>().map(|number| Some(number as usize)).map_err(|_| {
        let what = format!("`auto`, and {name} is `{}`", excerpt(&text));
        Error::argument(what, "it must be a whole number; or give the number itself in place of `auto`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<String> {
        let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        of_environment(&get).map(|(shard, from)| format!("{shard} {}", from.join(" ")))
    }

    #[test]
    fn shards_are_read() {
        assert_eq!("1/3".parse(), Ok(ShardArg::Of(Shard { index: 1, of: 3 })));
        assert_eq!("auto".parse(), Ok(ShardArg::Auto));
        for text in ["", "1", "1/1", "3/2", "0/0", "-1/2", "1/2/3", "AUTO"] {
            assert!(text.parse::<ShardArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_starter_has_its_variables() {
        let slurm = [("SLURM_ARRAY_TASK_ID", "5"), ("SLURM_ARRAY_TASK_COUNT", "3"), ("SLURM_ARRAY_TASK_MIN", "1")];
        let second = [("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_COUNT", "3"), ("SLURM_ARRAY_TASK_MIN", "1")];
        let stepped = [&slurm[..], &[("SLURM_ARRAY_TASK_STEP", "2"), ("SLURM_ARRAY_TASK_MAX", "5")]].concat();
        let array = "SLURM_ARRAY_TASK_ID SLURM_ARRAY_TASK_COUNT SLURM_ARRAY_TASK_MIN";
        let count = ("DOWNHILL_SHARDS", "4");
        let step = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_NTASKS", "8")];
        let batch = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")];
        for (variables, expected) in [
            (stepped.clone(), format!("2/3 {array}")),
            ([&stepped[..], &step].concat(), format!("5/6 {array} SLURM_PROCID SLURM_STEP_NUM_TASKS")),
            ([&stepped[..], &batch].concat(), format!("2/3 {array}")),
            (vec![("PBS_ARRAY_INDEX", "3"), count], "3/4 PBS_ARRAY_INDEX DOWNHILL_SHARDS".to_owned()),
            (vec![("JOB_COMPLETION_INDEX", "0"), count], "0/4 JOB_COMPLETION_INDEX DOWNHILL_SHARDS".to_owned()),
            (vec![("PARALLEL_SEQ", "4"), count], "3/4 PARALLEL_SEQ DOWNHILL_SHARDS".to_owned()),
            (vec![("PBS_ARRAYID", "0"), count], "0/4 PBS_ARRAYID DOWNHILL_SHARDS".to_owned()),
            (
                vec![
                    ("SGE_TASK_ID", "7"),
                    ("SGE_TASK_FIRST", "1"),
                    ("SGE_TASK_LAST", "10"),
                    ("SGE_TASK_STEPSIZE", "3"),
                ],
                "2/4 SGE_TASK_ID SGE_TASK_FIRST SGE_TASK_LAST".to_owned(),
            ),
            (vec![("LSB_JOBINDEX", "3"), ("LSB_JOBINDEX_END", "5")], "2/5 LSB_JOBINDEX LSB_JOBINDEX_END".to_owned()),
            (
                vec![("LSB_JOBINDEX", "3"), ("LSB_JOBINDEX_END", "5"), ("LSB_JOBINDEX_STEP", "2")],
                "1/3 LSB_JOBINDEX LSB_JOBINDEX_END".to_owned(),
            ),
            (vec![("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "5")], "0/5 CI_NODE_INDEX CI_NODE_TOTAL".to_owned()),
            (
                vec![("CIRCLE_NODE_INDEX", "1"), ("CIRCLE_NODE_TOTAL", "5")],
                "1/5 CIRCLE_NODE_INDEX CIRCLE_NODE_TOTAL".to_owned(),
            ),
            (vec![("PMI_RANK", "2"), ("PMI_SIZE", "3")], "2/3 PMI_RANK PMI_SIZE".to_owned()),
            // Variables of jobs that are not arrays.
            (
                [&step[..], &[("SGE_TASK_ID", "undefined"), ("LSB_JOBINDEX", "0"), ("CI_NODE_TOTAL", "1")]].concat(),
                "1/2 SLURM_PROCID SLURM_STEP_NUM_TASKS".to_owned(),
            ),
            // GNU parallel in a job of an array, with several tasks that it stands for.
            (
                [&second[..], &[("PARALLEL_SEQ", "1"), count, ("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]].concat(),
                format!("4/12 {array} PARALLEL_SEQ DOWNHILL_SHARDS"),
            ),
            (step.to_vec(), "1/2 SLURM_PROCID SLURM_STEP_NUM_TASKS".to_owned()),
            (batch.to_vec(), "0/1 SLURM_PROCID SLURM_NTASKS".to_owned()),
            (
                [&batch[..], &[("OMPI_COMM_WORLD_RANK", "6"), ("OMPI_COMM_WORLD_SIZE", "7")]].concat(),
                "6/7 OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE".to_owned(),
            ),
        ] {
            assert_eq!(found(&variables).unwrap(), expected, "{variables:?}");
        }
    }

    #[test]
    fn an_environment_that_does_not_say_the_shard_is_refused() {
        for (variables, what) in [
            (vec![], "SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_COUNT, PBS_ARRAY_INDEX with DOWNHILL_SHARDS"),
            (vec![("DOWNHILL_SHARDS", "4")], "none of"),
            (vec![("JOB_COMPLETION_INDEX", "1")], "DOWNHILL_SHARDS is not set"),
            (vec![("JOB_COMPLETION_INDEX", "4"), ("DOWNHILL_SHARDS", "4")], "is not one of 4"),
            (vec![("PARALLEL_SEQ", "0"), ("DOWNHILL_SHARDS", "4")], "is not one of 4"),
            (vec![("PBS_ARRAY_INDEX", "x"), ("DOWNHILL_SHARDS", "4")], "PBS_ARRAY_INDEX is `x`"),
            (vec![("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "0")], "is not one of 0"),
            (vec![("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")], "one run and not 4 by SLURM_PROCID with SLURM_NTASKS"),
            (vec![("SGE_TASK_ID", "1")], "SGE_TASK_LAST is not set"),
            (vec![("LSB_JOBINDEX", "2")], "LSB_JOBINDEX_END is not set"),
            (vec![("LSB_JOBINDEX", "2"), ("LSB_JOBINDEX_END", "10"), ("LSB_JOBINDEX_STEP", "2")], "is not one of 5"),
            (vec![("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "5")], "is not one of 5"),
            (
                vec![("PARALLEL_SEQ", "1"), ("PBS_ARRAY_INDEX", "1"), ("DOWNHILL_SHARDS", "4")],
                "PBS_ARRAY_INDEX and PARALLEL_SEQ are both counted by DOWNHILL_SHARDS",
            ),
            (
                vec![("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_TASK_COUNT", "3"), ("PARALLEL_SEQ", "1")],
                "DOWNHILL_SHARDS is not set",
            ),
            (
                vec![
                    ("SLURM_ARRAY_TASK_ID", "1"),
                    ("SLURM_ARRAY_TASK_COUNT", "3"),
                    ("SLURM_ARRAY_TASK_MIN", "1"),
                    ("SLURM_ARRAY_TASK_MAX", "9"),
                ],
                "3 jobs in an array with room for 9",
            ),
        ] {
            let error = found(&variables).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint().is_some());
        }
        assert!(found(&[("JOB_COMPLETION_INDEX", "1")]).unwrap_err().hint().unwrap().contains("completions"));
    }
}
