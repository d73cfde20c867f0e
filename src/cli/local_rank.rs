//! The number of a process among those on one machine, by the program that started them, for `--adapter auto`.

use super::shard::{Environment, number};
use crate::error::Result;

/// The variables with the number of a process on its machine, and the first number. The first that is there counts: the
/// programs that start others inside a job come before those that start jobs.
const RANKS: [(&str, usize); 7] = [
    // GNU parallel: the slot, which no two processes have at one time.
    ("PARALLEL_JOBSLOT", 1),
    ("OMPI_COMM_WORLD_LOCAL_RANK", 0),
    // MPICH's Hydra and Intel MPI.
    ("MPI_LOCALRANKID", 0),
    ("MV2_COMM_WORLD_LOCAL_RANK", 0),
    // Cray's launchers.
    ("PMI_LOCAL_RANK", 0),
    ("PALS_LOCAL_RANKID", 0),
    ("SLURM_LOCALID", 0),
];

/// A process among those on its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRank {
    /// The number, from 0.
    pub number: usize,
    /// The variable that says it.
    pub variable: &'static str,
}

/// The number in the environment of this process, if there is one.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a variable that does not hold a number.
pub fn local_rank() -> Result<Option<LocalRank>> {
    of_environment(&|name| std::env::var(name).ok())
}

fn of_environment(get: Environment) -> Result<Option<LocalRank>> {
    for (variable, first) in RANKS {
        if let Some(found) = number(get, variable)? {
            return Ok(Some(LocalRank { number: found.saturating_sub(first), variable }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<(usize, &'static str)>> {
        let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Ok(of_environment(&get)?.map(|rank| (rank.number, rank.variable)))
    }

    #[test]
    fn the_innermost_starter_counts() {
        let batch = ("SLURM_LOCALID", "0");
        assert_eq!(found(&[]).unwrap(), None);
        assert_eq!(found(&[("SLURM_LOCALID", "3")]).unwrap(), Some((3, "SLURM_LOCALID")));
        assert_eq!(found(&[batch, ("PARALLEL_JOBSLOT", "2")]).unwrap(), Some((1, "PARALLEL_JOBSLOT")));
        for variable in ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK", "PMI_LOCAL_RANK"]
        {
            assert_eq!(found(&[batch, (variable, "5")]).unwrap(), Some((5, variable)));
        }
        let error = found(&[("MPI_LOCALRANKID", "first")]).unwrap_err();
        assert!(error.to_string().contains("MPI_LOCALRANKID is `first`"), "{error}");
    }
}
