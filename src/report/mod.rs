//! The results of runs: reports, tables, figures, folders of studies.

pub mod columns;
#[cfg(feature = "cli")]
pub mod console;
#[cfg(feature = "plot")]
pub mod folder;
pub mod output;
pub mod plot;
pub mod printable;
#[cfg(feature = "cli")]
pub mod progress;
pub mod run;
pub mod table;

#[cfg(feature = "cli")]
pub use console::{Console, Verbosity, print_stderr, print_stdout, stdout_width};
#[cfg(feature = "plot")]
pub use folder::Folder;
pub use output::Output;
#[cfg(feature = "cli")]
pub use progress::{Progress, Spinner};
pub use run::Report;
pub use table::Table;
