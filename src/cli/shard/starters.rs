//! The variables by which programs that start runs number them.

/// The number of runs, for programs that number them without counting them.
pub const COUNT: &str = "DOWNHILL_SHARDS";

/// A variable with the number of a run, and those that say how many there are.
pub struct Numbered {
    pub index: &'static str,
    /// The values of `index` where runs are not numbered.
    pub absent: &'static [&'static str],
    /// The variable with the number of runs, if there is one.
    pub count: Option<&'static str>,
    /// The variables with the first number, the last one, and the distance between two; empty where there are none.
    pub span: [&'static str; 3],
    /// The first number, where no variable says it.
    pub first: usize,
    /// `true` for one run that stands for all of them.
    pub is_alone: bool,
    /// The remedy for a number without a count, or beyond it.
    pub hint: &'static str,
}

/// Runs that one variable numbers, from `first` on, and another counts.
const fn counted(index: &'static str, count: &'static str, first: usize, hint: &'static str) -> Numbered {
    Numbered { index, absent: &[], count: Some(count), span: [""; 3], first, is_alone: false, hint }
}

/// Arrays of jobs, each of which is a program. The first that is there counts.
pub const ARRAYS: [Numbered; 8] = [
    Numbered {
        span: ["SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"],
        ..counted(
            "SLURM_ARRAY_TASK_ID",
            "SLURM_ARRAY_TASK_COUNT",
            0,
            "number the array without gaps, as by `--array=0-3`",
        )
    },
    counted("PBS_ARRAY_INDEX", COUNT, 0, PBS),
    // Torque.
    counted("PBS_ARRAYID", COUNT, 0, PBS),
    Numbered {
        absent: &["undefined"],
        count: None,
        span: ["SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"],
        ..counted("SGE_TASK_ID", "", 1, "number the array as by `qsub -t 1-4`")
    },
    Numbered {
        absent: &["0"],
        count: None,
        span: ["", "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"],
        ..counted("LSB_JOBINDEX", "", 1, "LSF does not say the first number: number the array as by `bsub -J x[1-4]`")
    },
    counted(
        "JOB_COMPLETION_INDEX",
        COUNT,
        0,
        "Kubernetes does not say how many completions a job has: set `DOWNHILL_SHARDS` in the container to the \
         `completions` of the job",
    ),
    // GitLab, from 1; the count is set for every job, the number for those with `parallel`.
    counted("CI_NODE_INDEX", "CI_NODE_TOTAL", 1, "give the job `parallel: 4`"),
    counted("CIRCLE_NODE_INDEX", "CIRCLE_NODE_TOTAL", 0, "give the job `parallelism: 4`"),
];

const PBS: &str = "PBS does not say how many jobs an array has: number it from 0, as by `#PBS -J 0-3` or `-t 0-3`, and \
                   set `DOWNHILL_SHARDS=4`";

/// The jobs of GNU parallel, which may itself be a job of an array.
pub const PARALLEL: Numbered = counted(
    "PARALLEL_SEQ",
    COUNT,
    1,
    "GNU parallel does not say how many jobs it starts: set `DOWNHILL_SHARDS=4` before `parallel ... ::: 1 2 3 4`, or \
     unset PARALLEL_SEQ where it started something else",
);

/// Ranks of one parallel program. The first that is there counts: `mpirun` starts beneath `srun`'s variables.
pub const RANKS: [Numbered; 3] = [
    counted("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", 0, MPI),
    // MPICH, Intel MPI, Cray's PALS.
    counted("PMI_RANK", "PMI_SIZE", 0, MPI),
    counted("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", 0, SRUN),
];

/// The batch script of a Slurm job, which has the variables of its tasks without being one of several.
pub const BATCH: Numbered = Numbered { is_alone: true, ..counted("SLURM_PROCID", "SLURM_NTASKS", 0, SRUN) };

const MPI: &str = "start the program by `mpirun`, or give `--shard I/N`";
const SRUN: &str = "start the program by `srun`, or give `--shard I/N`";
