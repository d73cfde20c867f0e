//! Measurements that several runs share, kept as files between them.
//!
//! A study measures items (images, trajectories, queries, draws) that do not depend on each other, and reduces their
//! [`Rows`] to results. The [`Parts`] of a run are the rows of its items, one file for each kind of item:
//! `DIR/parts/NAME-I-of-N.npz`, with the settings that they were measured under. A file that is there is not measured
//! again. The run that finds the rows of all runs reduces them; several may do so, to the same bits. Without other runs
//! rows stay in memory, and take the same way to the results.

mod fields;
mod rows;
mod shard;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::fields::first_difference;
pub use self::rows::Rows;
pub use self::shard::Shard;
use crate::error::{Error, Result};
use crate::formats::{check_writable, described, json as json_files, write_atomically};

/// The folder of parts, in that of a study.
const FOLDER: &str = "parts";
const SETTINGS: &str = "settings.json";
const ROWS: &str = "rows";

/// The rows of a run, and the place of those of the others.
#[derive(Debug)]
pub struct Parts {
    shard: Shard,
    /// The files; `None` for rows in memory, of a run without others.
    files: Option<Files>,
    measured: Vec<Measured>,
}

/// The rows of one kind of item.
#[derive(Debug)]
struct Measured {
    name: &'static str,
    /// The number of items, of all runs together.
    count: usize,
    /// Those of a run without others.
    rows: Option<Rows>,
}

#[derive(Debug)]
struct Files {
    folder: PathBuf,
    settings: Value,
    /// The device that this run measures on.
    device: String,
}

/// The rows of all items, in the order in which they were measured, and the devices of the runs.
#[derive(Debug)]
pub struct Gathered {
    rows: Vec<(&'static str, Rows)>,
    /// The devices that rows were measured on, each once.
    pub devices: Vec<String>,
}

impl Gathered {
    /// The rows called `name`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that was not measured.
    pub fn rows(&self, name: &str) -> Result<&Rows> {
        let found = self.rows.iter().find(|(known, _)| *known == name);
        found.map(|(_, rows)| rows).ok_or_else(|| Error::argument(format!("no rows `{name}`"), "measure them first"))
    }
}

impl Parts {
    /// Rows in memory, of a run that measures all of them.
    #[must_use]
    pub const fn in_memory() -> Self {
        Self { shard: Shard::WHOLE, files: None, measured: Vec::new() }
    }

    /// The parts of the run `shard` in the `folder` of a study, measured under `settings` on `device`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a folder that holds parts of other settings, naming the first field that differs, and
    /// for one that cannot be written; [`Error::BadFile`] for settings that cannot be read.
    pub fn open(folder: &Path, shard: Shard, settings: &Value, device: String) -> Result<Self> {
        let folder = folder.join(FOLDER);
        let mut settings = settings.clone();
        settings["shards"] = json!(shard.of);
        // As a reader finds them: reading may round the last bit of a number.
        let settings = json_files::parse(settings.to_string().as_bytes()).unwrap_or(settings);
        let file = folder.join(SETTINGS);
        check_writable(&file)?;
        match json_files::read::<Value>(&file, "not the settings of parts", &remove(&folder)) {
            Ok(found) => expect_settings(&folder, &found, &settings)?,
            Err(Error::FileNotFound { .. }) => write_atomically(&file, |writer| {
                serde_json::to_writer_pretty(&mut *writer, &settings)?;
                std::io::Write::write_all(writer, b"\n")
            })?,
            Err(error) => return Err(error),
        }
        Ok(Self { shard, files: Some(Files { folder, settings, device }), measured: Vec::new() })
    }

    /// The run.
    #[must_use]
    pub const fn shard(&self) -> Shard {
        self.shard
    }

    /// Measures the rows `name` of the run's share of `count` items, and keeps them, unless they are kept already.
    ///
    /// # Errors
    /// Those of `measure`, of reading what is kept and of writing.
    pub fn measure(
        &mut self,
        name: &'static str,
        count: usize,
        measure: impl FnOnce(Shard) -> Result<Rows>,
    ) -> Result<()> {
        let rows = match &self.files {
            // Devices have nothing to do with no items.
            _ if self.shard.is_empty(count) => Some(Rows::default()),
            None => Some(measure(self.shard)?),
            Some(files) => {
                let file = files.file(name, self.shard);
                match files.read(&file, name, (self.shard, count)) {
                    Ok(_) => {}
                    Err(Error::FileNotFound { .. }) => {
                        files.write(&file, name, (self.shard, count), &measure(self.shard)?)?;
                    }
                    Err(error) => return Err(error),
                }
                None
            }
        };
        self.measured.push(Measured { name, count, rows });
        Ok(())
    }

    /// The numbers of the runs whose parts are not all there.
    #[must_use]
    pub fn missing(&self) -> Vec<usize> {
        let Some(files) = &self.files else { return Vec::new() };
        let is_there = |index: &usize| {
            let shard = Shard { index: *index, of: self.shard.of };
            let is_kept = |of: &Measured| shard.is_empty(of.count) || files.file(of.name, shard).exists();
            self.measured.iter().all(is_kept)
        };
        (0..self.shard.of).filter(|index| !is_there(index)).collect()
    }

    /// The rows of all runs, or else a sentence that says whose are missing.
    ///
    /// # Errors
    /// Those of reading; [`Error::Argument`] for a part of other settings.
    pub fn gather(self) -> Result<std::result::Result<Gathered, String>> {
        let missing = self.missing();
        let Some(files) = self.files else {
            let rows = self.measured.into_iter().filter_map(|measured| Some((measured.name, measured.rows?)));
            return Ok(Ok(Gathered { rows: rows.collect(), devices: Vec::new() }));
        };
        if !missing.is_empty() {
            return Ok(Err(missing_text(&missing, self.shard.of, &files.folder)));
        }
        let mut found = Gathered { rows: Vec::new(), devices: Vec::new() };
        for Measured { name, count, .. } in self.measured {
            let mut runs = Vec::with_capacity(self.shard.of);
            for index in 0..self.shard.of {
                let shard = Shard { index, of: self.shard.of };
                if shard.is_empty(count) {
                    runs.push(Rows::default());
                    continue;
                }
                let (rows, device) = files.read(&files.file(name, shard), name, (shard, count))?;
                if !found.devices.contains(&device) {
                    found.devices.push(device);
                }
                runs.push(rows);
            }
            let width = runs.iter().map(Rows::width).max().unwrap_or(0);
            let differs = |rows: &Rows| rows.count() > 0 && rows.width() != width;
            if let Some(index) = runs.iter().position(differs) {
                let (file, found) = (files.file(name, Shard { index, of: self.shard.of }), runs[index].width());
                let what = format!("rows of {found} numbers, and those of other parts have {width}");
                return Err(Error::bad_file_hint(&file, what, again()));
            }
            found.rows.push((name, Rows::together(&runs, count)));
        }
        Ok(Ok(found))
    }
}

impl Files {
    fn file(&self, name: &str, shard: Shard) -> PathBuf {
        self.folder.join(format!("{name}-{}-of-{}.npz", shard.index, shard.of))
    }

    /// Keeps rows, with a description of the part.
    fn write(&self, file: &Path, name: &str, (shard, count): (Shard, usize), rows: &Rows) -> Result<()> {
        let description = json!({
            "settings": self.settings, "device": self.device, "items": name, "count": count, "shard": shard.index,
        });
        described::write(file, &description, &[(ROWS, &[rows.count(), rows.width()], rows.values())])
    }

    /// The rows of a part, and the device that they were measured on.
    fn read(&self, file: &Path, name: &str, (shard, count): (Shard, usize)) -> Result<(Rows, String)> {
        let about = described::read_description(file, &again())?;
        expect_settings(&self.folder, &about["settings"], &self.settings)?;
        let (of, expected) =
            ([&about["items"], &about["count"], &about["shard"]], [json!(name), json!(count), json!(shard.index)]);
        if let Some((found, expected)) = of.iter().zip(&expected).find(|(found, expected)| *found != expected) {
            return Err(Error::bad_file_hint(file, format!("a part of {found}, expected {expected}"), again()));
        }
        let array = described::read(file, ROWS)?;
        match array.shape[..] {
            [found, width] if found == shard.len(count) => {
                let device = about["device"].as_str().unwrap_or_default().to_owned();
                Ok((Rows::new(width, array.values), device))
            }
            _ => {
                let what = format!("rows of shape {:?}, expected ({}, ...)", array.shape, shard.len(count));
                Err(Error::bad_file_hint(file, what, again()))
            }
        }
    }
}

/// Refuses settings that are not those of a run.
fn expect_settings(folder: &Path, found: &Value, expected: &Value) -> Result<()> {
    let Some(fields::Difference { field, found, expected }) = first_difference(found, expected) else { return Ok(()) };
    let what = format!(
        "`{}` holds parts of other settings: `{field}` is {found}, and this run has {expected}",
        folder.display()
    );
    Err(Error::argument(what, remove(folder)))
}

fn remove(folder: &Path) -> String {
    format!("choose another folder, or remove `{}`", folder.display())
}

fn again() -> String {
    "remove the file; the run of that part measures it again".to_owned()
}

/// Says which parts are missing.
fn missing_text(missing: &[usize], of: usize, folder: &Path) -> String {
    let names: Vec<String> = missing.iter().map(usize::to_string).collect();
    let folder = folder.display();
    match &names[..] {
        [one] => format!("part {one} of {of} is missing in {folder}; the run that makes it writes the results"),
        [some @ .., last] => {
            let some = some.join(", ");
            let then = "the run that makes the last one writes the results";
            format!("parts {some} and {last} of {of} are missing in {folder}; {then}")
        }
        [] => format!("all {of} parts are in {folder}"),
    }
}

#[cfg(test)]
mod tests;
