//! `downhill merge`: the moments of parts combined to those of the whole.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::shared::Global;
use crate::cli::stream::{self, input_name, is_stream, output_name};
use crate::error::{Error, Result};
use crate::formats::one_spelling;
use crate::moments::merge::listed;
use crate::moments::{self, Moments};
use crate::report::{Console, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::ReportFlags;

const EXAMPLES: &str = "\
Examples:
  downhill merge part-*.npz -o all.npz     the files of `downhill moments --shard`, in any order
  downhill merge parts/ -o all.npz         every `.npz` of a folder
  downhill merge part-[0-3].npz --partial -o first-half.npz

The result has the same bits in any order and grouping, and those of one run without shards. Rows that are missing or \
in two files are an error that names them, and so are files of other data or settings.";

/// Combine the moments that several runs have measured
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Files of `downhill moments`, or folders of them; `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// File for the result; `-` for standard output
    #[arg(short, long, value_name = "FILE.npz")]
    output: PathBuf,

    /// Allow rows to be missing: the result is a part again
    #[arg(long)]
    partial: bool,
}

/// Runs `downhill merge`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    stream::check_writable(&args.output)?;
    let files = files(args)?;
    let parts = files.iter().map(|file| Ok((input_name(file), stream::read(file, Moments::read)?)));
    let merged = moments::merge(parts.collect::<Result<_>>()?, args.partial).map_err(by_flag)?;
    stream::write(&args.output, |file| merged.write(file))?;
    let rows = merged.rows();
    let of = merged.description.rows;
    let what = if merged.is_whole() { format!("all {of} rows") } else { format!("{} of {of}", listed(&rows)) };
    let output = output_name(&args.output);
    console.note(&format!("wrote {output}: {what}, from {}", counted(files.len())));
    let mut report = Report::new("merge");
    report
        .set("files", json!(files.iter().map(|file| input_name(file)).collect::<Vec<_>>()))
        .set("moments", merged.description.json())
        .set("rows", json!(rows.iter().map(|rows| [rows.start, rows.end]).collect::<Vec<_>>()))
        .set("whole", merged.is_whole())
        .set("outputs", json!([output]));
    global.write_report(&report)
}

/// The files, and those of the folders. The output of an earlier run is not among the latter.
fn files(args: &Args) -> Result<Vec<PathBuf>> {
    let output = one_spelling(&args.output);
    let mut files = Vec::new();
    for path in &args.files {
        if is_stream(path) || !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| Error::io(path, error))?;
        let mut found = Vec::new();
        for entry in entries {
            let file = entry.map_err(|error| Error::io(path, error))?.path();
            if file.extension().is_some_and(|suffix| suffix == "npz") && one_spelling(&file) != output {
                found.push(file);
            }
        }
        if found.is_empty() {
            let what = "no `.npz` files in this folder";
            return Err(Error::bad_file_hint(path, what, "name the folder of the files of `downhill moments`"));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// Names the flags of the commands in place of the fields of the library.
fn by_flag(error: Error) -> Error {
    match error {
        Error::Argument { what, hint } => {
            let hint = hint.map(|hint| hint.replace("`shard` ", "`downhill moments ... --shard` "));
            Error::Argument { what, hint }
        }
        other => other,
    }
}

/// Returns the error of a file of moments that cannot be continued, with the name of the file.
pub fn of_file(file: &Path, error: Error) -> Error {
    match error {
        Error::Argument { what, .. } => {
            let hint = "repeat the settings and the shard of the file, name another file by `--output`, or omit \
                        `--resume` to replace this one";
            Error::bad_file_hint(file, what, hint)
        }
        other => other,
    }
}

fn counted(files: usize) -> String {
    if files == 1 { "one file".to_owned() } else { format!("{files} files") }
}
