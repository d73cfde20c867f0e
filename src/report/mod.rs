//! Reports: plots, the folders of studies, a run's JSON, progress and messages.

pub mod console;
pub mod folder;
pub mod output;
pub mod plot;
pub mod progress;
pub mod run;

pub use console::{Console, Verbosity, print_stdout};
pub use folder::{Folder, Table};
pub use output::Output;
pub use progress::Progress;
pub use run::Report;
