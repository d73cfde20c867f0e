//! The settings that a JSON beside a U-Net of openai/guided-diffusion states, and what shapes say against them.

use serde_json::Value;

use super::adm::Shapes;
use crate::checkpoint::config::ConfigFile;
use crate::error::{Error, Result};

/// The bounds of networks and noise levels (`nets/unet_fields.rs`, `denoise/diffusion.rs`, `nets/adm/config.rs`).
const MOST_PIXELS: usize = 1 << 16;
const MOST_STEPS: usize = 100_000;
const MOST_HEADS: usize = 1 << 13;

/// The settings beside a file.
pub(super) struct Stated<'a> {
    pub file: Option<&'a ConfigFile>,
}

impl Stated<'_> {
    pub fn has(&self, field: &str) -> bool {
        self.file.is_some_and(|file| file.has(field))
    }

    pub fn integer(&self, field: &str) -> Result<Option<i64>> {
        match self.file.filter(|file| file.has(field)) {
            Some(file) => file.i64(field, 0).map(Some),
            None => Ok(None),
        }
    }

    pub fn count(&self, field: &str) -> Result<Option<usize>> {
        self.file.map_or(Ok(None), |file| file.opt_usize(field, None))
    }

    pub fn flag(&self, field: &str) -> Result<Option<bool>> {
        self.file.map_or(Ok(None), |file| file.opt_bool(field, None))
    }

    pub fn text(&self, field: &str) -> Result<Option<String>> {
        self.file.map_or(Ok(None), |file| file.opt_string(field, None))
    }

    pub fn unsupported(&self, field: &str, supported: &str) -> Error {
        match self.file {
            Some(file) => file.unsupported(field, supported),
            None => Error::argument(format!("`{field}` is not supported"), format!("supported: {supported}")),
        }
    }

    /// Numbers in a list, or in a text between commas as in the flags.
    fn numbers(&self, field: &str) -> Result<Option<Vec<f64>>> {
        let Some(file) = self.file else { return Ok(None) };
        let wrong = || file.wrong_value(field, "numbers between commas, or a list of numbers");
        match file.values.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => {
                let parts = text.split(',').map(|part| part.trim().parse::<f64>().map_err(|_| wrong()));
                parts.collect::<Result<_>>().map(Some)
            }
            Some(Value::Array(list)) => {
                list.iter().map(|one| one.as_f64().ok_or_else(wrong)).collect::<Result<_>>().map(Some)
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Checks that what is stated is what shapes tell.
    pub fn agree(&self, shapes: &Shapes, image_size: Option<usize>) -> Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        self.in_range(file, shapes)?;
        let against = |field: &str, told: String| {
            let shown = file.values.get(field).map(ToString::to_string).unwrap_or_default();
            let what = format!("`{field}` is {shown}, but the shapes of the tensors say {told}");
            Error::bad_file_hint(&file.path, what, "correct the field or leave it out: shapes tell it")
        };
        let learns = shapes.out_channels == 2 * shapes.in_channels;
        let flags = [
            ("class_cond", shapes.num_classes.is_some()),
            ("learn_sigma", learns),
            ("use_scale_shift_norm", shapes.scale_shift),
            ("resblock_updown", shapes.resblock_updown),
        ];
        for (field, told) in flags {
            if self.flag(field)?.is_some_and(|stated| stated != told) {
                return Err(against(field, told.to_string()));
            }
        }
        // Without a convolution, blocks that resize are not told from those that do not by this flag.
        if !shapes.resblock_updown && self.flag("conv_resample")?.is_some_and(|stated| stated != shapes.conv_resample) {
            return Err(against("conv_resample", shapes.conv_resample.to_string()));
        }
        let counts = [
            ("in_channels", shapes.in_channels),
            ("num_channels", shapes.model_channels),
            ("model_channels", shapes.model_channels),
            ("num_res_blocks", shapes.num_res_blocks),
        ];
        for (field, told) in counts {
            if self.count(field)?.is_some_and(|stated| stated != told) {
                return Err(against(field, told.to_string()));
            }
        }
        if let (Some(stated), Some(told)) = (self.count("num_classes")?, shapes.num_classes)
            && stated != told
        {
            return Err(against("num_classes", told.to_string()));
        }
        if let Some(stated) = self.numbers("channel_mult")? {
            let told: Vec<usize> =
                stated.iter().map(|factor| (factor * shapes.model_channels as f64) as usize).collect();
            if told != shapes.channels {
                return Err(against("channel_mult", format!("{:?} channels", shapes.channels)));
            }
        }
        // Resolutions at which there are attentions; those that no level has say nothing.
        if let (Some(stated), Some(size)) = (self.numbers("attention_resolutions")?, image_size) {
            let resolution = |level: usize| (size >> level) as f64;
            let levels: Vec<usize> =
                (0..shapes.channels.len()).filter(|level| stated.contains(&resolution(*level))).collect();
            if levels != shapes.attends {
                let told: Vec<f64> = shapes.attends.iter().map(|level| resolution(*level)).collect();
                return Err(against("attention_resolutions", format!("{told:?}")));
            }
        }
        Ok(())
    }

    /// Checks the numbers that shapes do not tell, of which later messages would only name the file of the tensors.
    fn in_range(&self, file: &ConfigFile, shapes: &Shapes) -> Result<()> {
        for (field, most) in [("image_size", MOST_PIXELS), ("diffusion_steps", MOST_STEPS)] {
            if self.count(field)?.is_some_and(|count| !(1..=most).contains(&count)) {
                return Err(file.wrong_value(field, &format!("1 to {most}")));
            }
        }
        let last = shapes.channels.len().checked_sub(1);
        let attended = || shapes.attends.iter().copied().chain(last).map(|level| (level, shapes.channels[level]));
        for field in ["num_heads", "num_heads_upsample", "num_head_channels"] {
            let count = match self.integer(field)? {
                None | Some(-1) => continue,
                Some(count) => usize::try_from(count).unwrap_or(0),
            };
            if !(1..=MOST_HEADS).contains(&count) {
                return Err(file.wrong_value(field, &format!("-1, or 1 to {MOST_HEADS}")));
            }
            // Heads by their channels win over heads by their number.
            let counts = field == "num_head_channels" || self.integer("num_head_channels")?.is_none_or(|dim| dim == -1);
            let undivided = attended().find(|(_, channels)| !channels.is_multiple_of(count));
            if let (true, Some((level, channels))) = (counts, undivided) {
                let expected = format!("a divisor of the {channels} channels of level {level}, which has attentions");
                return Err(file.wrong_value(field, &expected));
            }
        }
        Ok(())
    }
}
