//! `downhill moments`: mean and covariance of data, or of features of images, whole or in parts.
//!
//! [`args`] are the flags, [`sources`] where the rows come from: data, or images that are generated on the way;
//! [`keep`] writes what there is while the run goes on.

mod args;
mod keep;
mod sources;

use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;

use serde_json::json;

pub use args::Args;
pub use keep::Keeper;
pub use sources::description_of;
use sources::{Generated, Rows};

use crate::cli::args::Dtype;
use crate::cli::merge::of_file;
use crate::cli::shard::{Shard, ShardArg};
use crate::cli::shared::Global;
use crate::cli::stream::{self, is_stream, output_name};
use crate::cli::{device, interrupt};
use crate::error::{Error, Result};
use crate::graph::Compiler;
use crate::kernels::selftest;
use crate::model::describe::{adapter_json, family_text};
use crate::moments::description::KERNELS;
use crate::moments::merge::listed;
use crate::moments::{Blocks, Description, Moments};
use crate::report::{Console, Progress, Report};

/// The shared flags.
pub type Flags = crate::cli::shared::NetworkFlags;

/// Runs `downhill moments`.
pub fn run(args: &Args, global: &Global, console: Console) -> Result<()> {
    stream::check_writable(&args.output)?;
    let (shard, note) = args.shard.map(ShardArg::resolve).transpose()?.unzip();
    note.flatten().iter().for_each(|note| console.note(note));
    if args.resume && is_stream(&args.output) {
        let what = "`resume` goes on from the file, and standard output holds none";
        return Err(Error::argument(what, "omit `resume`, or name a file by `output`"));
    }
    let Shard { index, of } = shard.unwrap_or(Shard::WHOLE);
    let features = args.features()?;
    let mut rows = Rows::open(args, features.as_ref(), console)?;
    let mut description = rows.description(features.as_ref())?;
    expect_archive(&args.output)?;
    let is_there = !is_stream(&args.output) && args.output.exists();
    let kept = if args.resume && is_there { Some(Moments::read(&args.output)?) } else { None };
    let range = Blocks::of(description.rows).shard(index, of);
    let takes_networks = features.is_some() || rows.is_generated();
    // A file that holds all rows of the range needs no device. Its kernels are those of the device that made it.
    let made_by = kept.as_ref().filter(|kept| global.family.is_none() && kept.holds(&range));
    let made_by = made_by.and_then(|kept| kept.description.setting(KERNELS)).map(str::to_owned);
    // What networks compute depends on the kernels in its last bits.
    let engine = if takes_networks && made_by.is_none() { Some(device::open(global, console)?) } else { None };
    if let Some(engine) = &engine {
        description = description.with(KERNELS, family_text(engine.family));
    } else if let Some(kernels) = made_by.filter(|_| takes_networks) {
        description = description.with(KERNELS, kernels);
    }
    if is_there && !args.resume {
        expect_same_part(&args.output, &description, &range)?;
    }
    let mut report = Report::new("moments");
    report.set("shard", shard.map(|shard| shard.to_string())).set("moments", description.json());
    let mut moments = Moments::new(description.clone(), range.clone())?;
    if let Some(kept) = kept {
        let name = args.output.display().to_string();
        description.expect(&kept.description, ("this run", &name)).map_err(|error| of_file(&args.output, error))?;
        moments = kept.continued(range).map_err(|error| of_file(&args.output, error))?;
        if moments.next_row() > 0 && !moments.rows().is_empty() {
            console.note(&format!("{} are there already", listed(&moments.rows())));
        }
    }
    moments.shards = shard.map(|shard| shard.of);
    let output = output_name(&args.output);
    let write = |moments: &Moments| stream::write(&args.output, |file| moments.write(file));
    let left = moments.end() - moments.next_row();
    if left > 0 {
        let (first, end) = (moments.next_row(), moments.end());
        let interrupt = interrupt::listen();
        if let Some(engine) = &engine {
            selftest::ensure(engine)?;
            report.set("adapter", adapter_json(&engine.gpu.adapter)).set("family", family_text(engine.family));
        }
        let compiler = engine.as_ref().map(|engine| Compiler::new(engine, Dtype::F32.options(global)));
        let extractor = match (&features, compiler, rows.image_shape(features.as_ref())?) {
            (Some(features), Some(compiler), Some(shape)) => Some(features.on(compiler, shape)?),
            _ => None,
        };
        let bar = Progress::new("moments", left as u64, console.verbosity);
        // What goes to standard output goes there once.
        let mut keeper = (!is_stream(&args.output)).then(|| Keeper::new(&args.output));
        let mut watch = |moments: &Moments, added: usize| {
            bar.advance(added as u64);
            keeper.as_mut().map_or(Ok(()), |keeper| keeper.see(moments))?;
            interrupt.check()
        };
        let added = match &mut rows {
            Rows::Data(stream) => sources::add_data(&mut moments, stream.as_mut(), extractor.as_ref(), &mut watch),
            Rows::Generated(run) => {
                let generated = Generated { run: run.take(), range: first..end, flag: interrupt.flag() };
                generated.add(&mut moments, compiler, extractor.as_ref(), &mut watch)
            }
        };
        drop(bar);
        if let Err(Error::Cancelled) = added {
            write(&moments)?;
            let done = format!("{} of {} are in {output}", listed(&moments.rows()), end);
            if is_stream(&args.output) {
                interrupt::say_done(console, &done);
                console.note("only a file can be resumed: `-o FILE.npz`");
            } else {
                interrupt::say(console, &done, &[], &["--resume"]);
            }
        }
        added?;
    }
    write(&moments)?;
    let held = moments.rows();
    let (held_text, all) = (listed(&held), description.rows);
    let what = if moments.is_whole() { format!("all {all} rows") } else { format!("{held_text} of {all}") };
    console.note(&format!("wrote {output}: {what}"));
    report
        .set("rows", json!(held.iter().map(|rows| [rows.start, rows.end]).collect::<Vec<_>>()))
        .set("outputs", json!([output]));
    global.write_report(&report)
}

/// Refuses a file of the same whole that holds the rows of another shard, which this run would replace.
fn expect_same_part(output: &Path, description: &Description, range: &Range<usize>) -> Result<()> {
    let Ok(there) = Moments::read(output) else { return Ok(()) };
    if description.expect(&there.description, ("", "")).is_err() {
        return Ok(());
    }
    there.continued(range.clone()).map(drop).map_err(|error| {
        let what = error.to_string();
        Error::argument(
            format!("`{}` is a part of the same moments: {what}", output.display()),
            "name another file for each shard by `output`, or remove this one",
        )
    })
}

/// Refuses a name that says another format.
fn expect_archive(output: &Path) -> Result<()> {
    match output.extension().and_then(OsStr::to_str) {
        Some(suffix) if suffix != "npz" => {
            let what = format!("moments are an `.npz`, and `{}` is named as another file", output.display());
            Err(Error::argument(what, "end the name in `.npz`"))
        }
        _ => Ok(()),
    }
}
