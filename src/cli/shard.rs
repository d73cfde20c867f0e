//! The value of `--shard`: the part of the images that one of several runs makes, by number or from the environment of
//! the program that started the runs.

use std::fmt;

use crate::error::{Error, Result, excerpt};

/// The number of runs, for programs that number them without counting them.
const COUNT: &str = "DOWNHILL_SHARDS";

/// One of several runs that share the images among them: images `index`, `index + of`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The number of this run, from 0.
    pub index: usize,
    /// The number of runs.
    pub of: usize,
}

impl Shard {
    /// Every image.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// This run of the runs `inner` that share what the run `self` would make.
    const fn within(self, inner: Self) -> Self {
        Self { index: self.index * inner.of + inner.index, of: self.of * inner.of }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "{}/{}", self.index, self.of)
    }
}

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

/// A variable with the number of a run, those with the number of runs and with the first number.
struct Numbered {
    index: &'static str,
    count: &'static str,
    first: First,
    /// The remedy for a number without a count, or beyond it.
    hint: &'static str,
}

/// The number of the first run.
enum First {
    Is(usize),
    /// In these variables: the first number, the last one, and the distance between two.
    In([&'static str; 3]),
}

/// Arrays of jobs, each of which is a program.
const ARRAYS: [Numbered; 4] = [
    Numbered {
        index: "SLURM_ARRAY_TASK_ID",
        count: "SLURM_ARRAY_TASK_COUNT",
        first: First::In(["SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"]),
        hint: "number the array without gaps, as by `--array=0-3`",
    },
    Numbered {
        index: "PBS_ARRAY_INDEX",
        count: COUNT,
        first: First::Is(0),
        hint: "PBS does not say how many jobs an array has: number it from 0, as by `#PBS -J 0-3`, and set \
               `DOWNHILL_SHARDS=4`",
    },
    Numbered {
        index: "JOB_COMPLETION_INDEX",
        count: COUNT,
        first: First::Is(0),
        hint: "Kubernetes does not say how many completions a job has: set `DOWNHILL_SHARDS` in the container to the \
               `completions` of the job",
    },
    Numbered {
        index: "PARALLEL_SEQ",
        count: COUNT,
        first: First::Is(1),
        hint: "GNU parallel does not say how many jobs it starts: set `DOWNHILL_SHARDS=4` before `parallel ... ::: 1 2 \
               3 4`",
    },
];

/// Ranks of one parallel program. The first that is there counts: `mpirun` starts beneath `srun`'s variables.
const RANKS: [Numbered; 3] = [
    Numbered {
        index: "OMPI_COMM_WORLD_RANK",
        count: "OMPI_COMM_WORLD_SIZE",
        first: First::Is(0),
        hint: "start the program by `mpirun`, or give `--shard I/N`",
    },
    Numbered {
        index: "SLURM_PROCID",
        count: "SLURM_STEP_NUM_TASKS",
        first: First::Is(0),
        hint: "start the program by `srun`, or give `--shard I/N`",
    },
    Numbered {
        index: "SLURM_PROCID",
        count: "SLURM_NTASKS",
        first: First::Is(0),
        hint: "start the program by `srun`, or give `--shard I/N`",
    },
];

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The shard, and the variables that it was taken from. Ranks share the images of a job of an array.
fn of_environment(get: Environment) -> Result<(Shard, Vec<&'static str>)> {
    let mut used = Vec::new();
    let array = ARRAYS.iter().find(|numbered| get(numbered.index).is_some());
    let mut shard = array.map(|numbered| numbered.read(get, &mut used)).transpose()?;
    let rank = RANKS.iter().find(|numbered| get(numbered.index).is_some() && get(numbered.count).is_some());
    if let Some(rank) = rank {
        let mut of_rank = Vec::new();
        let inner = rank.read(get, &mut of_rank)?;
        // A batch script of an array is the only task of its step.
        if shard.is_none() || inner.of > 1 {
            shard = Some(shard.unwrap_or(Shard::WHOLE).within(inner));
            used.extend(of_rank);
        }
    }
    shard.map(|shard| (shard, used)).ok_or_else(|| {
        let mut names: Vec<String> = Vec::new();
        for Numbered { index, count, .. } in ARRAYS.iter().chain(&RANKS) {
            names.push(format!("{index} with {count}"));
        }
        let what = format!("`--shard auto`, and the environment has none of {}", names.join(", "));
        Error::argument(what, "start the runs by one of these programs, or give `--shard I/N`")
    })
}

impl Numbered {
    /// The shard that the variables say; those that it is taken from are added to `used`.
    fn read(&self, get: Environment, used: &mut Vec<&'static str>) -> Result<Shard> {
        let (index, of) = (number(get, self.index)?, number(get, self.count)?);
        used.extend([self.index, self.count]);
        let refuse = |what: String| Error::argument(what, self.hint);
        let index = index.ok_or_else(|| refuse(format!("`--shard auto`, and {} is not set", self.index)))?;
        let of = of.ok_or_else(|| {
            refuse(format!("`--shard auto` found {}={index}, and {} is not set", self.index, self.count))
        })?;
        let from_first = match self.first {
            First::Is(first) => index.checked_sub(first),
            First::In([first, last, step]) => {
                let [first_number, last_number, apart] = [number(get, first)?, number(get, last)?, number(get, step)?];
                let (lowest, apart) = (first_number.unwrap_or(0), apart.unwrap_or(1).max(1));
                if first_number.is_some() {
                    used.push(first);
                }
                let expected = last_number.map(|last| last.saturating_sub(lowest) / apart + 1);
                if let Some(expected) = expected.filter(|expected| *expected != of) {
                    let what = format!("{of} jobs in an array with room for {expected} by {first}, {last}, {step}");
                    return Err(refuse(what));
                }
                index.checked_sub(lowest).filter(|from| from % apart == 0).map(|from| from / apart)
            }
        };
        match from_first.filter(|from| *from < of) {
            Some(index) => Ok(Shard { index, of }),
            None => Err(refuse(format!("{}={index} is not one of {of} by {}", self.index, self.count))),
        }
    }
}

/// The whole number in a variable, where it is set.
fn number(get: Environment, name: &str) -> Result<Option<usize>> {
    let Some(text) = get(name) else { return Ok(None) };
    // Numbers of this many digits do not count runs, and their products would overflow.
    text.parse::<u32>().map(|number| Some(number as usize)).map_err(|_| {
        let what = format!("`--shard auto`, and {name} is `{}`", excerpt(&text));
        Error::argument(what, "it must be a whole number; or give `--shard I/N`")
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
