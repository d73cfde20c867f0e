//! Images from texts in the studies of quality: captions, guidance, and the score of both.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::stream;
use crate::error::{Error, Result};
use crate::input::{read_regular, sha256_of};
use crate::study::compare::captioned::Texts;
use crate::study::compare::clip::Clip;

/// The largest file of captions in bytes.
const LARGEST: u64 = 64 << 20;

/// The flags of images from texts.
#[derive(Debug, clap::Args)]
pub struct CaptionArgs {
    /// Captions, one per line: image i follows line i. For a pipeline from text to images
    #[arg(long, value_name = "FILE")]
    captions: Option<PathBuf>,

    /// Guidance scale by the captions [default: that of the preset, or of the pipeline]
    #[arg(long, value_name = "S", requires = "captions")]
    cfg_scale: Option<f64>,

    /// Folder of a CLIP model (transformers' `CLIPModel` and its tokenizer): adds the score of images and captions
    #[arg(long, value_name = "DIR", requires = "captions")]
    clip_score: Option<PathBuf>,
}

/// Captions that were read, and the model that scores them.
#[derive(Clone, Debug)]
pub struct Captioned {
    captions: Vec<String>,
    guidance: Option<f64>,
    /// The digest of the whole file.
    sha256: String,
    /// The network of the score, not on a device yet.
    pub clip: Option<Clip>,
}

impl CaptionArgs {
    /// Returns `true` if there are captions.
    pub fn is_given(&self) -> bool {
        self.captions.is_some()
    }

    /// The first `count` captions; `usual` is the guidance without a flag.
    ///
    /// # Errors
    /// Those of the files; [`Error::Argument`] for fewer captions.
    pub fn read(&self, count: usize, usual: Option<f64>) -> Result<Option<Captioned>> {
        let Some(file) = &self.captions else { return Ok(None) };
        let mut captions = read_lines(file)?;
        if captions.len() < count {
            let what = format!("`{}` has {} captions, and {count} images are wanted", file.display(), captions.len());
            return Err(Error::argument(what, "give a line for each image, or fewer images by `--count`"));
        }
        let sha256 = sha256_of(captions.join("\n").as_bytes());
        captions.truncate(count);
        let clip = self.clip_score.as_deref().map(Clip::open).transpose()?;
        Ok(Some(Captioned { captions, guidance: self.cfg_scale.or(usual), sha256, clip }))
    }
}

impl Captioned {
    /// The captions.
    pub fn captions(&self) -> &[String] {
        &self.captions
    }

    /// The captions with their guidance.
    pub fn texts(&self) -> Texts<'_> {
        Texts { captions: &self.captions, guidance: self.guidance }
    }

    /// The settings of the samples, for their folder. They are those of the whole file, so that a larger run begins
    /// with the samples of a smaller one.
    pub fn json(&self) -> Value {
        json!({ "sha256": self.sha256, "cfg_scale": self.guidance })
    }
}

/// Reads the lines of a text file.
///
/// # Errors
/// Those of reading the file; [`Error::BadFile`] for other bytes than UTF-8.
pub fn read_lines(path: &Path) -> Result<Vec<String>> {
    let text = stream::read(path, |path| {
        String::from_utf8(read_regular(path, LARGEST)?).map_err(|_| Error::bad_file(path, "not text in UTF-8"))
    })?;
    Ok(text.trim_start_matches('\u{feff}').lines().map(str::to_owned).collect())
}
