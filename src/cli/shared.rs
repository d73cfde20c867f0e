//! The flags that several subcommands share, in groups. Each subcommand's module names the set that it takes as its
//! `Flags`, so that its help lists those flags and no others.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::local_rank::{LocalRank, local_rank};
use super::stream::{self, is_stream};
use crate::error::Result;
use crate::formats::check_writable;
use crate::gpu::Choice;
use crate::kernels::{FamilyName, Options};
use crate::paths::variable;
use crate::report::{Console, Report, print_stdout};

// The arguments of a subcommand and the shared flags that it takes. Neither this type nor the groups and sets below
// have doc comments: clap would print them in place of the description of the subcommand.
#[derive(Debug, clap::Args)]
pub struct With<A: clap::Args, F: clap::Args> {
    #[command(flatten)]
    pub args: A,
    #[command(flatten)]
    pub flags: F,
}

/// The values of the shared flags. A flag that the subcommand does not take has its default.
#[derive(Clone, Debug, Default)]
pub struct Global {
    /// An adapter: its index, part of its name, `cpu` or `auto`.
    pub adapter: Option<String>,
    /// The file for the report of the run.
    pub json: Option<PathBuf>,
    /// Compile shaders with bounds checks.
    pub checked: bool,
    /// Compute every convolution by its definition.
    pub exact: bool,
    /// The family of kernels.
    pub family: Option<FamilyFlag>,
}

impl Global {
    /// Checks that the report can be written, before the work starts.
    ///
    /// # Errors
    /// When the report cannot be written.
    pub fn check(&self) -> Result<()> {
        self.json.as_deref().filter(|file| !is_stream(file)).map_or(Ok(()), check_writable)
    }

    /// Writes the report of the run, if `--json` asks for it.
    ///
    /// # Errors
    /// Those of [`Report::write`], and [`Error::Io`](crate::Error::Io) on standard output.
    pub fn write_report(&self, report: &Report) -> Result<()> {
        self.json.as_deref().map_or(Ok(()), |path| stream::write(path, |file| report.write(file)))
    }

    /// Prints to standard output, unless the report goes there.
    ///
    /// # Errors
    /// Those of [`print_stdout`].
    pub fn print(&self, text: &str) -> Result<()> {
        if self.json.as_deref().is_some_and(is_stream) { Ok(()) } else { print_stdout(text) }
    }

    /// Prints to standard output, as [`Global::print`] does; to standard error where one of `outputs` is standard
    /// output, so that its bytes are alone there.
    ///
    /// # Errors
    /// Those of [`print_stdout`].
    pub fn print_beside<'a>(
        &self,
        outputs: impl IntoIterator<Item = &'a Path>,
        text: &str,
        console: Console,
    ) -> Result<()> {
        if outputs.into_iter().any(is_stream) {
            console.lines(text);
            return Ok(());
        }
        self.print(text)
    }

    /// The adapter of the flag or, without it, of the environment. `auto` is that of the process among those on its
    /// machine.
    ///
    /// # Errors
    /// Those of [`local_rank`].
    pub fn choice(&self) -> Result<Choice> {
        if let Some(LocalRank { number, .. }) = self.local_rank()? {
            return Ok(Choice::Spread(number));
        }
        let from_environment = || variable("WGPU_ADAPTER_NAME")?.into_string().ok();
        let named = self.adapter.clone().filter(|text| text != AUTO).or_else(from_environment);
        Ok(named.map_or(Choice::Best, |text| Choice::parse(&text)))
    }

    /// The number of the process among those on its machine, if `--adapter auto` asks for it and a variable says it.
    ///
    /// # Errors
    /// Those of [`local_rank`].
    pub fn local_rank(&self) -> Result<Option<LocalRank>> {
        if self.adapter.as_deref() == Some(AUTO) { local_rank() } else { Ok(None) }
    }

    /// The options for opening the device.
    ///
    /// # Errors
    /// Those of [`Global::choice`].
    pub fn options(&self) -> Result<Options> {
        Ok(Options { adapter: self.choice()?, family: self.family.map(FamilyName::from), checked: self.checked })
    }
}

/// Declares groups of flags: each is a struct of clap arguments that sets some values of [`Global`].
macro_rules! groups {
    ($($group:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Debug, clap::Args)]
        pub struct $group {
            $($(#[$attribute])* $field: $type,)*
        }

        impl $group {
            fn set(&self, global: Global) -> Global {
                Global { $($field: self.$field.clone(),)* ..global }
            }
        }
    )*};
}

/// The value of `--adapter` by which the processes on a machine spread over its adapters.
const AUTO: &str = "auto";

const DEVICE: &str = "Device";
const REPORT: &str = "Messages";

groups! {
    AdapterArgs {
        /// Adapter: an index of `downhill devices`, part of a name, `cpu`, or `auto`, by which the processes that
        /// Slurm, MPI or GNU parallel start on a machine spread over its best adapters [env: `WGPU_ADAPTER_NAME`,
        /// `WGPU_BACKEND`]
        #[arg(long, value_name = "ADAPTER", help_heading = DEVICE)]
        adapter: Option<String>,
    }
    FamilyArgs {
        /// Kernel family, instead of the one that suits the adapter
        #[arg(long, value_enum, value_name = "FAMILY", hide_short_help = true, help_heading = DEVICE)]
        family: Option<FamilyFlag>,
    }
    CheckedArgs {
        /// Compile shaders with bounds checks and bounded loops, as untrusted code would be
        #[arg(long, hide_short_help = true, help_heading = DEVICE)]
        checked: bool,
    }
    ExactArgs {
        /// Compute every convolution by its definition, never by Winograd's algorithm: slightly less rounding, less
        /// memory, more time
        #[arg(long, hide_short_help = true, help_heading = DEVICE)]
        exact: bool,
    }
    ReportArgs {
        // Its help is that of `reports`.
        #[arg(long, value_name = "FILE", help_heading = REPORT)]
        json: Option<PathBuf>,
    }
}

/// Declares sets of groups.
macro_rules! sets {
    ($($set:ident { $($name:ident: $group:ident),* $(,)? })*) => {$(
        #[derive(Debug, clap::Args)]
        pub struct $set {
            $(#[command(flatten)] $name: $group,)*
        }

        impl From<&$set> for Global {
            fn from(set: &$set) -> Self {
                let global = Self::default();
                $(let global = set.$name.set(global);)*
                global
            }
        }
    )*};
}

// In this order: for subcommands that run a network on a device, that compute something else there, that plan a network
// without running it, that choose its algorithms, that list adapters, and that need no device.
sets! {
    NetworkFlags {
        adapter: AdapterArgs,
        family: FamilyArgs,
        exact: ExactArgs,
        checked: CheckedArgs,
        report: ReportArgs,
    }
    DeviceFlags { adapter: AdapterArgs, family: FamilyArgs, checked: CheckedArgs, report: ReportArgs }
    PlanFlags { adapter: AdapterArgs, family: FamilyArgs, exact: ExactArgs, report: ReportArgs }
    TuneFlags { adapter: AdapterArgs, family: FamilyArgs, report: ReportArgs }
    AdapterFlags { adapter: AdapterArgs, report: ReportArgs }
    ReportFlags { report: ReportArgs }
}

// No shared flags: for groups of subcommands.
#[derive(Debug, clap::Args)]
pub struct NoFlags {}

impl From<&NoFlags> for Global {
    fn from(_: &NoFlags) -> Self {
        Self::default()
    }
}

/// The values of `--family`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FamilyFlag {
    /// For GPUs: workgroup memory and register tiles
    Tile,
    /// For software adapters: subgroups as vectors, operands in textures
    Lanes,
    /// For matrix units of GPUs: operands of convolutions and of products with weights are rounded to float16, sums are
    /// float32
    Matrix,
}

impl From<FamilyFlag> for FamilyName {
    fn from(flag: FamilyFlag) -> Self {
        match flag {
            FamilyFlag::Tile => Self::Tile,
            FamilyFlag::Lanes => Self::Lanes,
            FamilyFlag::Matrix => Self::Matrix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_the_values_of_its_groups() {
        let flags = AdapterFlags {
            adapter: AdapterArgs { adapter: Some("cpu".to_owned()) },
            report: ReportArgs { json: Some("run.json".into()) },
        };
        let global = Global::from(&flags);
        assert_eq!((global.choice().unwrap(), global.json.as_deref()), (Choice::Cpu, Some("run.json".as_ref())));
        assert!(!global.exact && !global.checked && global.family.is_none());
    }
}
