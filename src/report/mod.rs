//! What a run leaves behind: images, arrays, plots, JSON, progress and messages.
//!
//! Every file appears whole or not at all: it is written beside its place and renamed ([`write_atomically`]).

pub mod console;
mod file;
pub mod folder;
pub mod images;
pub mod npy;
pub mod npz;
pub mod output;
pub mod plot;
pub mod png_file;
pub mod progress;
pub mod run;

pub use console::{Console, Verbosity, print_stdout};
pub use file::{check_writable, write_atomically};
pub use folder::{Folder, Table};
pub use images::Image;
pub use output::Output;
pub use progress::Progress;
pub use run::Report;
