//! The classifiers of openai/guided-diffusion (`EncoderUNetModel` of `guided_diffusion/unet.py`), which guide its
//! networks.
//!
//! Shapes tell channels, levels, attentions, classes, the pool and, for the attention pool, the size of the images.
//! They do not tell the attention heads: these are taken from a JSON of the same name beside the file, with the flags
//! of guided-diffusion as its fields; else they are those of `create_classifier`, and a note says so.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Settings;
use crate::checkpoint::config::ConfigFile;
use crate::checkpoint::weights::Weights;
use crate::error::{Error, Result};

/// The tensors that mark a classifier with either pool.
const MARKS: [&str; 4] =
    ["time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.2.out_layers.3.weight", "out.0.weight"];
const MEAN: &str = "out.3.weight";
const ATTENTION: &str = "out.2.c_proj.weight";
const POSITIONS: &str = "out.2.positional_embedding";
/// The most levels, and the most blocks on the way down.
const MOST_LEVELS: usize = 12;
const MOST_BLOCKS: usize = 256;
/// `num_head_channels` of `create_classifier`.
const HEAD_CHANNELS: i64 = 64;

/// The flags that a JSON beside the file may hold.
const SETTINGS: [&str; 12] = [
    "classifier_depth",
    "classifier_pool",
    "classifier_resblock_updown",
    "classifier_use_fp16",
    "classifier_use_scale_shift_norm",
    "classifier_width",
    "image_size",
    "num_classes",
    "num_head_channels",
    "num_heads",
    "out_channels",
    "use_new_attention_order",
];

/// A classifier of guided-diffusion in a single file.
#[derive(Clone, Debug)]
pub struct ClassifierFile {
    /// The arguments of `EncoderUNetModel`, at the path of the file.
    pub config: ConfigFile,
    /// Its tensors.
    pub weights: Weights,
    /// A sentence for the user on the facts that were assumed.
    pub note: Option<String>,
}

impl ClassifierFile {
    /// Opens a file of weights in the original layout.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::BadFile`] for a file of another kind, and for a statement beside it that
    /// contradicts its shapes.
    pub fn open(file: &Path) -> Result<Self> {
        if !file.exists() {
            return Err(Error::FileNotFound { path: file.to_path_buf() });
        }
        let weights = Weights::open(file)?;
        let bad = |what: &str| {
            let hint = "supported: the classifiers of openai/guided-diffusion, such as `256x256_classifier.pt`, with \
                        `classifier_resblock_updown` and the pool `attention` or `adaptive`";
            Error::bad_file_hint(file, what, hint)
        };
        let pools = [MEAN, ATTENTION].into_iter().filter(|pool| weights.shape(pool).is_some()).count();
        if pools != 1 || MARKS.iter().any(|mark| weights.shape(mark).is_none()) {
            return Err(bad("not a classifier in the layout of openai/guided-diffusion"));
        }
        let settings = Settings::beside(file, None)?;
        let stated = settings.expect(&SETTINGS)?;
        let depth = stated.map_or(Ok(None), |file| file.opt_usize("classifier_depth", None))?;
        let blocks = Block::of(&weights).ok_or_else(|| bad("a classifier whose blocks are not residual blocks"))?;
        let levels = match &levels(&blocks, depth)[..] {
            [one] => one.clone(),
            [] => return Err(bad("a classifier whose blocks do not make levels of residual blocks that halve")),
            [..] => {
                let what = "the shapes of the tensors fit several numbers of blocks per level";
                return Err(Error::bad_file_hint(file, what, "state `classifier_depth` in a `.json` of the same name"));
            }
        };
        let read = Read::of(&weights, levels).ok_or_else(|| bad("a classifier with tensors of other shapes"))?;
        let (values, note) = read.configure(stated)?;
        Ok(Self { config: ConfigFile { path: file.to_path_buf(), values }, weights, note })
    }
}

/// A block of the way down after the first convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    /// Channels of its output.
    channels: usize,
    /// `true` if an attention follows.
    attends: bool,
    /// `true` if its input has as many channels.
    keeps: bool,
}

impl Block {
    /// All blocks; `None` if one is not a residual block.
    fn of(weights: &Weights) -> Option<Vec<Self>> {
        let has = |index: usize| {
            let prefix = format!("input_blocks.{index}.");
            weights.names().any(|name| name.starts_with(&prefix))
        };
        let one = |index: usize| {
            let path = format!("input_blocks.{index}");
            Some(Self {
                channels: *weights.shape(&format!("{path}.0.out_layers.3.weight"))?.first()?,
                attends: weights.shape(&format!("{path}.1.qkv.weight")).is_some(),
                keeps: weights.shape(&format!("{path}.0.skip_connection.weight")).is_none(),
            })
        };
        (1..MOST_BLOCKS).take_while(|index| has(*index)).map(one).collect()
    }
}

/// Levels of a way down: blocks of each, channels and whether there are attentions.
#[derive(Clone, Debug)]
struct Levels {
    num_res_blocks: usize,
    each: Vec<(usize, bool)>,
}

/// Every division of blocks into levels of `depth` blocks, or of any number, with a block that halves between two.
fn levels(blocks: &[Block], depth: Option<usize>) -> Vec<Levels> {
    let of = |num_res_blocks: usize| {
        let per_level = num_res_blocks + 1;
        if !(blocks.len() + 1).is_multiple_of(per_level) || (blocks.len() + 1) / per_level > MOST_LEVELS {
            return None;
        }
        let each = blocks.chunks(per_level).map(|level| {
            let (own, halves) = level.split_at(num_res_blocks);
            let first = own.first()?;
            let are_alike = own.iter().all(|one| (one.channels, one.attends) == (first.channels, first.attends));
            let are_kept = own[1..].iter().all(|one| one.keeps);
            let halve = halves.iter().all(|one| one.keeps && !one.attends && one.channels == first.channels);
            (are_alike && are_kept && halve).then_some((first.channels, first.attends))
        });
        Some(Levels { num_res_blocks, each: each.collect::<Option<_>>()? })
    };
    (1..=blocks.len()).filter(|count| depth.is_none_or(|depth| depth == *count)).filter_map(of).collect()
}

/// The arguments that shapes tell.
struct Read {
    in_channels: usize,
    model_channels: usize,
    classes: usize,
    scale_shift: bool,
    /// Pixels along a side of the deepest map, for the attention pool.
    pooled: Option<usize>,
    levels: Levels,
}

impl Read {
    fn of(weights: &Weights, levels: Levels) -> Option<Self> {
        let extents = |key: &str| weights.shape(key);
        let [_, model_channels] = *extents("time_embed.0.weight")? else { return None };
        let [first, in_channels, ..] = *extents("input_blocks.0.0.weight")? else { return None };
        let [rows, _] = *extents("middle_block.0.emb_layers.1.weight")? else { return None };
        let pooled = match extents(POSITIONS) {
            None => None,
            Some(&[_, tokens]) => {
                let side = tokens.checked_sub(1)?.isqrt();
                (side > 0 && side * side + 1 == tokens).then_some(Some(side))?
            }
            Some(_) => return None,
        };
        let head = if pooled.is_some() { ATTENTION } else { MEAN };
        let sound = model_channels > 0 && levels.each.first().is_some_and(|(channels, _)| *channels == first);
        sound.then_some(Self {
            in_channels,
            model_channels,
            classes: *extents(head)?.first()?,
            scale_shift: levels.each.last().map(|(channels, _)| 2 * channels) == Some(rows),
            pooled,
            levels,
        })
    }

    /// The configuration, and a note about what was assumed.
    fn configure(&self, stated: Option<&ConfigFile>) -> Result<(Map<String, Value>, Option<String>)> {
        let halvings = self.levels.each.len() - 1;
        let told_size = self.pooled.and_then(|side| side.checked_shl(halvings as u32));
        let pool = if self.pooled.is_some() { "attention" } else { "adaptive" };
        let has = |field: &str| stated.is_some_and(|file| file.has(field));
        let integer = |field: &str| match stated.filter(|file| file.has(field)) {
            Some(file) => file.i64(field, -1),
            None => Ok(-1),
        };
        let flag = |field: &str| stated.map_or(Ok(None), |file| file.opt_bool(field, None));
        let count = |field: &str| stated.map_or(Ok(None), |file| file.opt_usize(field, None));
        self.agree(stated, (told_size, pool))?;
        let image_size = told_size.or(count("image_size")?);
        let states_heads = has("num_heads") || has("num_head_channels");
        let head_channels = if states_heads { integer("num_head_channels")? } else { HEAD_CHANNELS };
        let factor = |channels: usize| -> Value {
            if channels.is_multiple_of(self.model_channels) {
                return (channels / self.model_channels).into();
            }
            (channels as f64 / self.model_channels as f64).into()
        };
        let each = &self.levels.each;
        let rates: Vec<usize> = (0..each.len()).filter(|level| each[*level].1).map(|level| 1 << level).collect();
        let config = json!({
            "image_size": image_size,
            "in_channels": self.in_channels,
            "model_channels": self.model_channels,
            "out_channels": self.classes,
            "num_res_blocks": self.levels.num_res_blocks,
            "attention_resolutions": rates,
            "channel_mult": each.iter().map(|(channels, _)| factor(*channels)).collect::<Vec<_>>(),
            "num_heads": integer("num_heads")?,
            "num_head_channels": head_channels,
            "use_scale_shift_norm": self.scale_shift,
            "resblock_updown": true,
            "use_new_attention_order": flag("use_new_attention_order")?.unwrap_or(false),
            "pool": pool,
        });
        let note = (!states_heads).then(|| {
            format!(
                "taken without being stated in the classifier's file: `num_head_channels` {HEAD_CHANNELS}, the default \
                 of openai/guided-diffusion; a `.json` of the same name beside it states it"
            )
        });
        Ok((config.as_object().cloned().unwrap_or_default(), note))
    }

    /// Checks that what is stated is what shapes tell.
    fn agree(&self, stated: Option<&ConfigFile>, (told_size, pool): (Option<usize>, &str)) -> Result<()> {
        let Some(file) = stated else { return Ok(()) };
        let against = |field: &str, told: String| {
            let shown = file.values.get(field).map(ToString::to_string).unwrap_or_default();
            let what = format!("`{field}` is {shown}, but the shapes of the tensors say {told}");
            Error::bad_file_hint(&file.path, what, "correct the field or leave it out: shapes tell it")
        };
        let counts = [
            ("classifier_width", Some(self.model_channels)),
            ("num_classes", Some(self.classes)),
            ("out_channels", Some(self.classes)),
            ("image_size", told_size),
        ];
        for (field, told) in counts {
            if let (Some(stated), Some(told)) = (file.opt_usize(field, None)?, told)
                && stated != told
            {
                return Err(against(field, told.to_string()));
            }
        }
        for (field, told) in
            [("classifier_resblock_updown", true), ("classifier_use_scale_shift_norm", self.scale_shift)]
        {
            if file.opt_bool(field, None)?.is_some_and(|stated| stated != told) {
                return Err(against(field, told.to_string()));
            }
        }
        match file.opt_string("classifier_pool", None)? {
            Some(stated) if stated != pool => Err(against("classifier_pool", pool.to_owned())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(levels: &[(usize, bool)], depth: usize) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut before = levels[0].0;
        for (at, (channels, attends)) in levels.iter().enumerate() {
            for _ in 0..depth {
                blocks.push(Block { channels: *channels, attends: *attends, keeps: before == *channels });
                before = *channels;
            }
            if at + 1 < levels.len() {
                blocks.push(Block { channels: before, attends: false, keeps: true });
            }
        }
        blocks
    }

    #[test]
    fn the_levels_of_the_published_classifiers_are_told_by_their_blocks() {
        let attended = |halves: &[usize], first: usize| -> Vec<(usize, bool)> {
            halves.iter().enumerate().map(|(at, halves)| (64 * halves, at >= first)).collect()
        };
        for (halves, first, depth) in [
            (&[2, 4, 6, 8][..], 1, 4),
            (&[2, 2, 4, 6, 8], 2, 2),
            (&[2, 2, 4, 4, 8, 8], 3, 2),
            (&[1, 2, 2, 4, 4, 8, 8], 4, 2),
        ] {
            let expected = attended(halves, first);
            let found = levels(&blocks(&expected, depth), None);
            assert_eq!(found.len(), 1, "{halves:?}: {found:?}");
            assert_eq!((found[0].num_res_blocks, &found[0].each), (depth, &expected));
        }
    }

    #[test]
    fn several_divisions_need_a_statement() {
        let same = blocks(&[(64, false), (64, false)], 2);
        assert!(levels(&same, None).len() > 1);
        let one = levels(&same, Some(2));
        assert_eq!((one.len(), one[0].each.len()), (1, 2));
        assert!(levels(&same, Some(3)).is_empty());
    }
}
