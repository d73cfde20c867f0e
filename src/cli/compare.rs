//! `downhill compare`: images and arrays against kept ones, value by value.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::Global;
use super::exit;
use super::stream::{self, input_name, is_stream, output_name};
use crate::error::{Error, Result};
use crate::formats::png::write_png;
use crate::quality::difference::{
    Comparison, Content, Difference, FileNames, Parts, Tolerance, Verdict, compare, differing_texts, shared_names,
    side_by_side,
};
use crate::report::columns::{Lines, thousands};
use crate::report::{Console, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::ReportFlags;

const HELP: &str = "\
Examples:
  downhill compare out.png golden.png                        equal to the last bit, or exit code 1
  downhill compare out.png golden.png --tolerance 2 --difference difference.png
  downhill compare eps.npy golden.npy --relative 1e-5        max |a - b| / max |b|
  downhill compare out/ goldens/ --min-psnr 50               two folders, by the names of their files
  downhill sample -o - | downhill compare - golden.png

Images are compared in levels from 0 to 255, upright and over white as viewers show them; opacity is a channel more. \
Arrays are compared as float64, those of an `.npz` by name. B is the reference. Without a bound, values must be \
equal; each bound that is given must hold.

An infinity equals the same infinity. A NaN equals nothing, as in `numpy.allclose`, unless `--equal-nan` is given. \
Different sizes, channels, shapes and kinds of types (bool, int, uint, float) are a difference, and so is a file, or \
an array of an `.npz`, that one side lacks. The widths of types and the texts of PNGs (seed, settings) are not \
compared; a note names texts that differ.

Exit codes: 0 equal, or within the tolerance; 1 a difference; 2 usage, or a file that does not exist; 4 a file that \
cannot be read.

Samplers are compared by `downhill inspect compare`, sets of images by `downhill inspect frechet`.";

/// Compare images or arrays, value by value
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// An image, an `.npy`, an `.npz`, or a folder of these; `-` for a file on standard input
    #[arg(id = "A")]
    a: PathBuf,

    /// The reference: an image, an array or a folder, as A
    #[arg(id = "B")]
    b: PathBuf,

    /// Largest |a - b|: levels from 0 to 255 for images, numbers for arrays [default: 0, if no other bound is given]
    #[arg(long, value_name = "X", value_parser = bound)]
    tolerance: Option<f64>,

    /// Largest max |a - b| / max |b|
    #[arg(long, value_name = "X", value_parser = bound)]
    relative: Option<f64>,

    /// Least peak signal-to-noise ratio of images, with the peak 255; arrays have none, and keep to the other bounds
    #[arg(long, value_name = "DB", value_parser = bound)]
    min_psnr: Option<f64>,

    /// A NaN equals a NaN
    #[arg(long)]
    equal_nan: bool,

    /// Write A, B and |A - B|, scaled to be seen, side by side: of two images of one size
    #[arg(long, value_name = "FILE.png")]
    difference: Option<PathBuf>,
}

/// Reads a bound.
fn bound(text: &str) -> std::result::Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if value >= 0.0 { Ok(value) } else { Err("a bound is at least 0".to_owned()) }
}

/// Runs `downhill compare`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    let mut report = Report::new("compare");
    let is_folder = |path: &Path| !is_stream(path) && path.is_dir();
    let found = match (is_folder(&args.a), is_folder(&args.b)) {
        (true, true) => folders(args, console)?,
        (false, false) => {
            check_picture(args)?;
            let entries = pair(args, &args.a, &args.b, None, console)?;
            Found { entries, names: FileNames::default() }
        }
        (a_is_folder, _) => {
            let (folder, file) = if a_is_folder { (&args.a, &args.b) } else { (&args.b, &args.a) };
            let what = format!("`{}` is a folder and {} is not", folder.display(), input_name(file));
            return Err(Error::argument(what, "compare two files, or two folders"));
        }
    };
    let verdict = found.verdict();
    report
        .set("a", input_name(&args.a))
        .set("b", input_name(&args.b))
        .set("tolerance", tolerance_json(&args.bounds()))
        .set("pairs", found.entries.iter().map(Entry::json).collect::<Vec<_>>())
        .set("only_a", paths_json(&found.names.only_a))
        .set("only_b", paths_json(&found.names.only_b))
        .set("verdict", verdict.name());
    global.write_report(&report)?;
    global.print_beside(args.difference.as_deref(), &found.text(), console)?;
    if verdict == Verdict::Different {
        exit::with_difference();
    }
    Ok(())
}

/// Checks that the picture can be written.
fn check_picture(args: &Args) -> Result<()> {
    let Some(file) = &args.difference else { return Ok(()) };
    if is_stream(file) {
        return stream::check_writable(file);
    }
    if !file.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("png")) {
        let what = format!("`{}` is not the name of a PNG", file.display());
        return Err(Error::argument(what, "name the picture of `--difference` `.png`"));
    }
    stream::check_writable(file)
}

impl Args {
    fn bounds(&self) -> Tolerance {
        Tolerance {
            absolute: self.tolerance,
            relative: self.relative,
            least_psnr: self.min_psnr,
            equal_nan: self.equal_nan,
        }
    }
}

/// A pair, and its names.
struct Entry {
    a: String,
    b: String,
    /// The name in both folders.
    name: Option<String>,
    compared: Comparison,
    /// Keywords of PNGs whose texts differ.
    texts: Vec<String>,
}

/// Everything that was compared.
struct Found {
    entries: Vec<Entry>,
    /// The names of folders.
    names: FileNames,
}

/// Compares two folders.
fn folders(args: &Args, console: Console) -> Result<Found> {
    if args.difference.is_some() {
        return Err(Error::argument("`--difference` is a picture of two files", "name two images in these folders"));
    }
    let names = shared_names(&args.a, &args.b)?;
    if let Some(first) = names.others.first() {
        console.note(&format!(
            "{} in the folders, such as `{}`, are neither images nor arrays and are not compared",
            counted(names.others.len(), "file"),
            first.display()
        ));
    }
    let mut entries = Vec::new();
    for name in &names.both {
        entries.extend(pair(args, &args.a.join(name), &args.b.join(name), Some(name), console)?);
    }
    Ok(Found { entries, names })
}

/// Compares two files, which `name` names in folders.
fn pair(args: &Args, a: &Path, b: &Path, name: Option<&Path>, console: Console) -> Result<Vec<Entry>> {
    let (of_a, of_b) = (content(a)?, content(b)?);
    for note in of_a.notes.iter().chain(&of_b.notes) {
        console.note(note);
    }
    let texts = differing_texts(&of_a.texts, &of_b.texts);
    if !texts.is_empty() {
        let at = name.map_or(String::new(), |name| format!("`{}`: ", name.display()));
        console.note(&format!("{at}the texts of the PNGs differ: {}", texts.join(", ")));
    }
    if let Some(file) = &args.difference {
        write_picture(file, &of_a, &of_b, console)?;
    }
    let entry = |compared| Entry {
        a: input_name(a),
        b: input_name(b),
        name: name.map(|name| name.display().to_string()),
        compared,
        texts: texts.clone(),
    };
    Ok(compare(&of_a, &of_b, &args.bounds()).into_iter().map(entry).collect())
}

/// The content of a file, or of standard input.
fn content(path: &Path) -> Result<Content> {
    stream::read(path, |file| {
        let mut content = Content::read(file)?;
        for note in &mut content.notes {
            *note = note.replace(&file.display().to_string(), &input_name(path));
        }
        Ok(content)
    })
}

/// Writes the picture of two images.
fn write_picture(file: &Path, a: &Content, b: &Content, console: Console) -> Result<()> {
    let (Parts::Image(a), Parts::Image(b)) = (&a.parts, &b.parts) else {
        let hint = "omit it; the report has the numbers";
        return Err(Error::argument("`--difference` is a picture of images, and A or B is not one", hint));
    };
    let Some(picture) = side_by_side(a, b) else {
        console.warning(&format!("{} is not written: the images have different sizes", output_name(file)));
        return Ok(());
    };
    let scale = format!("{:.4}", picture.scale);
    let scale = scale.trim_end_matches('0').trim_end_matches('.');
    let texts = [("content", "A, B, |A - B|"), ("scale", scale)].map(|(name, text)| (name.to_owned(), text.to_owned()));
    stream::write(file, |path| write_png(path, &picture.image, &texts))?;
    console.note(&format!("wrote {}: A, B and |A - B| times {scale}", output_name(file)));
    Ok(())
}

impl Found {
    /// The worst verdict; a file that one folder lacks is a difference.
    fn verdict(&self) -> Verdict {
        if !self.names.only_a.is_empty() || !self.names.only_b.is_empty() {
            return Verdict::Different;
        }
        // An archive without arrays has no pairs.
        self.entries.iter().map(|entry| entry.compared.verdict).max().unwrap_or(Verdict::Equal)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            text.push_str(&entry.text());
        }
        for (side, names) in [("A", &self.names.only_a), ("B", &self.names.only_b)] {
            for name in names {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{}: only {side} has this file", name.display());
            }
        }
        let alone = self.names.only_a.len() + self.names.only_b.len();
        if self.entries.len() + alone != 1 {
            let of = |verdict| self.entries.iter().filter(|entry| entry.compared.verdict == verdict).count();
            let counts = [Verdict::Equal, Verdict::Within, Verdict::Different]
                .map(|verdict| format!("{} {}", of(verdict), verdict.name()));
            let alone =
                if alone > 0 { format!("; {} on one side only", counted(alone, "file")) } else { String::new() };
            let _ = writeln!(text, "{}: {}{alone}", counted(self.entries.len(), "pair"), counts.join(", "));
        }
        text
    }
}

impl Entry {
    /// The pair in a line, and in several where it is not equal.
    fn text(&self) -> String {
        let mut title = self.name.clone().unwrap_or_else(|| format!("{} and {}", self.a, self.b));
        if let Some(array) = &self.compared.array {
            // Writing to a string does not fail.
            let _ = write!(title, ", `{array}`");
        }
        let [a, b] = &self.compared.sides;
        let sides = if a == b { a.clone() } else { format!("{a} and {b}") };
        let mut text = format!("{title}: {}\n", self.compared.verdict.name());
        let mut lines = Lines::default();
        lines.add("  of", sides);
        for reason in &self.compared.reasons {
            lines.add("  because", reason);
        }
        if let Some(difference) = self.compared.difference.as_ref().filter(|difference| difference.differing > 0) {
            add(&mut lines, difference);
        }
        text.push_str(&lines.to_string());
        text
    }

    fn json(&self) -> Value {
        let difference = self.compared.difference.as_ref().map(|difference| {
            json!({
                "count": difference.count,
                "differing": difference.differing,
                "max": difference.largest,
                "max_at": difference.largest_at,
                "mean": difference.mean,
                "relative": difference.relative,
                "unmatched": difference.unmatched,
                "unmatched_at": difference.unmatched_at,
                "psnr": difference.psnr,
            })
        });
        json!({
            "a": self.a,
            "b": self.b,
            "array": self.compared.array,
            "content": self.compared.sides,
            "verdict": self.compared.verdict.name(),
            "reasons": self.compared.reasons,
            "difference": difference,
            "differing_texts": self.texts,
        })
    }
}

/// Adds the numbers of a difference.
fn add(lines: &mut Lines, difference: &Difference) {
    let is_image = difference.psnr.is_some();
    let unit = if is_image { "pixel" } else { "value" };
    let share = 100.0 * difference.differing as f64 / difference.count.max(1) as f64;
    let (differing, count) = (thousands(difference.differing as u64), counted(difference.count, unit));
    lines.add("  differing", format!("{differing} of {count} ({share:.3} %)"));
    if let Some(at) = &difference.unmatched_at {
        let what = counted(difference.unmatched, "value");
        lines.add(
            "  NaN or infinity",
            format!("{what} without the same on the other side, first at {}", place(at, is_image)),
        );
    }
    if let Some(at) = &difference.largest_at {
        lines.add("  max |a - b|", format!("{} at {}", number(difference.largest), place(at, is_image)));
        lines.add("  mean |a - b|", number(difference.mean));
        lines.add("  max |a - b| / max |b|", number(difference.relative));
    }
    if let Some(psnr) = difference.psnr {
        lines.add("  PSNR", format!("{psnr:.2} dB"));
    }
}

/// An index in words: rows and columns of images, with the channel where there are several.
fn place(at: &[usize], is_image: bool) -> String {
    match at {
        [row, column, channel] if is_image => format!("row {row}, column {column}, channel {channel}"),
        all => format!("[{}]", all.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// A number with five digits, or all of a whole number.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        value.to_string()
    } else if (1e-3..1e6).contains(&value) {
        format!("{value:.5}")
    } else {
        format!("{value:.4e}")
    }
}

fn counted(count: usize, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {unit}{plural}", thousands(count as u64))
}

fn paths_json(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn tolerance_json(tolerance: &Tolerance) -> Value {
    json!({
        "absolute": tolerance.absolute,
        "relative": tolerance.relative,
        "min_psnr": tolerance.least_psnr,
        "equal_nan": tolerance.equal_nan,
    })
}
