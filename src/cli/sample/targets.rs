//! The outputs that the flags name.

use std::ffi::OsStr;
use std::path::Path;

use super::args::{Args, StreamFormat};
use super::inpaint::MaskArg;
use crate::cli::{separate, stream};
use crate::error::{Error, Result};
use crate::model::{ModelRun, Targets};
use crate::report::Output;

/// The outputs of the flags, for a run. Samples of a closed form may not be images: `has_pixels`.
///
/// # Errors
/// [`Error::Argument`] for what cannot be shown, or cannot be written.
pub fn targets(args: &Args, output: Output, run: &ModelRun, has_pixels: bool) -> Result<Targets> {
    let channels = run.image_channels;
    let is_image = has_pixels && matches!(channels, 1 | 3 | 4);
    let saves_arrays = args.save_samples.is_some() || args.save_path.is_some();
    let shows_steps = args.save_steps.is_some() || args.steps_sheet.is_some() || args.steps_animation.is_some();
    if !is_image && (args.output.is_some() || shows_steps || args.save_images.is_some() || !saves_arrays) {
        let what = if has_pixels {
            format!("samples of {channels} channels cannot be shown as images, which have 1, 3 or 4")
        } else {
            format!("samples of {channels} values are not images")
        };
        return Err(Error::argument(
            what,
            "omit `--output`, `--save-images`, `--save-steps`, `--steps-sheet` and `--steps-animation`, and pass \
             `--save-samples FILE.npy`",
        ));
    }
    args.save_steps.as_deref().map_or(Ok(()), |folder| stream::expect_folder("save_steps", folder))?;
    for (flag, file) in [("steps-sheet", &args.steps_sheet), ("steps-animation", &args.steps_animation)] {
        file.as_deref().map_or(Ok(()), |file| expect_png(flag, file))?;
    }
    let targets = Targets {
        images: is_image.then_some(output),
        floats: args.save_images.clone(),
        samples: args.save_samples.clone(),
        steps: args.save_steps.clone(),
        sheet: args.steps_sheet.clone(),
        animation: args.steps_animation.clone(),
        path: args.save_path.clone(),
    };
    targets.check(run.run.count, stream::check_writable)?;
    keep_inputs(args, &targets, run.run.count)?;
    Ok(targets)
}

/// Refuses files of images that would replace an input: the default, those of a pattern and those of shards, which no
/// argument names as they are.
fn keep_inputs(args: &Args, targets: &Targets, count: usize) -> Result<()> {
    let mask = match &args.inpainting.mask {
        Some(MaskArg::File(file)) => Some(file),
        Some(MaskArg::Alpha) | None => None,
    };
    let inputs = [
        ("init_image", args.init_image.as_ref()),
        ("mask", mask),
        ("init", args.init.as_ref()),
        ("init_noise", args.init_noise.as_ref()),
        ("variances", args.variances.as_ref()),
    ];
    for (id, input) in inputs.into_iter().filter_map(|(id, file)| Some((id, file?.as_path()))) {
        let kept = |output: &Path| separate::keep("output", output, [(id, input)]);
        match &targets.images {
            Some(Output::Files(pattern)) => {
                (0..count)
                    .map(|index| pattern.path(index))
                    .filter(|file| file.file_name() == input.file_name())
                    .try_for_each(|file| kept(&file))?;
            }
            Some(Output::Grid(path) | Output::Npz(path)) => kept(path)?,
            None => {}
        }
    }
    Ok(())
}

/// Checks that the name of a file does not promise another format than PNG. A name without an extension promises none.
fn expect_png(flag: &str, file: &Path) -> Result<()> {
    let is_png = |extension: &OsStr| ["png", "apng"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    if file.extension().is_none_or(is_png) {
        return Ok(());
    }
    let what = format!("`--{flag}` writes a PNG, and `{}` has the name of another format", file.display());
    Err(Error::argument(what, "end the name in `.png`"))
}

/// The target of `--output`: `-` is standard output, in the format of the flag, by default a grid.
///
/// # Errors
/// Those of [`Output::parse`]; [`Error::Argument`] for a format beside the name of a file.
pub fn output(text: &str, format: Option<StreamFormat>) -> Result<Output> {
    match (stream::is_stream(Path::new(text)), format) {
        (true, Some(StreamFormat::Npz)) => Ok(Output::Npz(text.into())),
        (true, Some(StreamFormat::Png) | None) => Ok(Output::Grid(text.into())),
        (false, None) => Output::parse(text),
        (false, Some(_)) => {
            let what = format!("`--format` is for standard output, and the output is `{text}`");
            Err(Error::argument(what, "omit `--format`: the name decides; or write to `-`"))
        }
    }
}

/// Checks that `--resume` has files of single images to skip.
///
/// # Errors
/// [`Error::Argument`] for any other target.
pub fn check_resume(args: &Args, output: &Output) -> Result<()> {
    if !args.resume {
        return Ok(());
    }
    if !matches!(output, Output::Files(_)) {
        return Err(Error::argument(
            "`--resume` skips existing files of single images, and the output is one file",
            "add `-o dir/%05d.png`, or omit `--resume`",
        ));
    }
    let saved = [
        ("save-images", args.save_images.is_some()),
        ("save-samples", args.save_samples.is_some()),
        ("save-steps", args.save_steps.is_some()),
        ("steps-sheet", args.steps_sheet.is_some()),
        ("steps-animation", args.steps_animation.is_some()),
        ("save-path", args.save_path.is_some()),
    ];
    match saved.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::argument(
            format!("`--{flag}` would lack the images that `--resume` skips"),
            format!("omit `--resume` or `--{flag}`"),
        )),
    }
}
