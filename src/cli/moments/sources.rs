//! The rows whose moments are measured: samples of data, images that are generated on the way, or features of both.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::args::Args;
use crate::cli::notes;
use crate::data::{Pixels, Source, Stream};
use crate::error::{Error, Result};
use crate::formats::Image;
use crate::graph::Compiler;
use crate::input::sha256_of;
use crate::model::{Model, ModelRun};
use crate::moments::description::{DATA, FEATURES, NETWORK, NUMBERS, UNIT, VALUES};
use crate::moments::{Description, Moments};
use crate::quality::{Extractor, Features};
use crate::report::Console;
use crate::tensor::Tensor;

/// The setting that tells data of one name from each other.
const ENDS: &str = "first and last sample";

/// Images that go through the network of features at a time.
const AT_A_TIME: usize = 64;

/// A function that sees the moments after each few rows, and may stop the run.
type Watch<'a> = &'a mut dyn FnMut(&Moments, usize) -> Result<()>;

/// The source of the rows.
pub enum Rows {
    /// Samples.
    Data(Box<dyn Stream>),
    /// Images of a model; none after the run has begun.
    Generated(Box<Option<ModelRun<'static>>>),
}

impl Rows {
    /// Opens the data or the model of the flags.
    ///
    /// # Errors
    /// Those of the data, the model and the flags.
    pub fn open(args: &Args, features: Option<&Features>, console: Console) -> Result<Self> {
        let Some(model) = &args.model else {
            let pixels = if features.is_some() { Pixels::Signed } else { Pixels::Unit };
            let Some(data) = &args.data else {
                return Err(Error::argument("neither data nor a model are given", "name DATA, or give `--model`"));
            };
            return Ok(Self::Data(Source::parse(data)?.stream(pixels)?));
        };
        let model = Model::open_or_embedded(model.as_deref())?;
        let Some(count) = args.count else {
            let what = "the number of images is not given";
            return Err(Error::argument(what, "give `--count N`, the images of all shards together"));
        };
        let label = match (&args.class_label, model.network()) {
            (Some(class), Some(network)) => Some(network.label(class)?),
            (Some(_), None) => {
                let what = format!("`{}` does not take class labels", model.name());
                return Err(Error::argument(what, "omit `--class-label`"));
            }
            (None, _) => None,
        };
        if let Some(network) = model.network() {
            notes::say(network, console);
        }
        let mut sampling = model.sampling().settings(args.settings()?).seed(args.seed.unwrap_or(0)).count(count);
        if let Some(batch) = args.batch {
            sampling = sampling.batch(batch);
        }
        if let Some(label) = label {
            sampling = sampling.labels([label]);
        }
        let run = sampling.resolve()?;
        run.notes.iter().for_each(|note| console.note(&format!("note: {note}")));
        Ok(Self::Generated(Box::new(Some(run))))
    }

    /// Returns `true` for images of a model.
    pub fn is_generated(&self) -> bool {
        matches!(self, Self::Generated(_))
    }

    /// The name for messages, and the shape of a sample.
    fn sample(&self) -> (String, Vec<usize>) {
        match self {
            Self::Data(stream) => (stream.name().to_owned(), stream.sample_shape().to_vec()),
            Self::Generated(run) => run.as_ref().as_ref().map_or((String::new(), Vec::new()), |run| {
                (run.model.name().to_owned(), vec![run.image_channels, run.size.0, run.size.1])
            }),
        }
    }

    /// (channels, height, width) of the images, if there are features of them.
    ///
    /// # Errors
    /// [`Error::Argument`] for images that the network does not take.
    pub fn image_shape(&self, features: Option<&Features>) -> Result<Option<[usize; 3]>> {
        let (name, shape) = self.sample();
        features.map(|features| features.image_shape(&name, &shape)).transpose()
    }

    /// The description of all rows.
    ///
    /// # Errors
    /// Those of the network of features and of reading two samples.
    pub fn description(&mut self, features: Option<&Features>) -> Result<Description> {
        self.image_shape(features)?;
        let (_, sample_shape) = self.sample();
        let (rows, pixels, settings) = match self {
            Self::Data(stream) => (stream.count(), stream.has_pixels(), settings_of(stream.as_mut())?),
            Self::Generated(run) => match run.as_ref() {
                Some(run) => (run.run.count, true, run.metadata("noise", &[]).pairs().to_vec()),
                None => (0, true, Vec::new()),
            },
        };
        let (shape, values) = match features {
            Some(features) => (vec![features.dimension()?], FEATURES),
            None => (sample_shape, if pixels { UNIT } else { NUMBERS }),
        };
        let mut description = Description::of_rows(rows, &shape).with(VALUES, values);
        for (name, text) in settings {
            description = description.with(&name, text);
        }
        match features {
            Some(features) => Ok(description.with(NETWORK, features.identity()?)),
            None => Ok(description),
        }
    }
}

/// The description of the samples of a stream, as they are.
///
/// # Errors
/// Those of reading two samples.
pub fn description_of(stream: &mut dyn Stream) -> Result<Description> {
    let values = if stream.has_pixels() { UNIT } else { NUMBERS };
    let description = Description::of_rows(stream.count(), stream.sample_shape()).with(VALUES, values);
    Ok(settings_of(stream)?.into_iter().fold(description, |of, (name, text)| of.with(&name, text)))
}

/// The settings that tell data from other data.
fn settings_of(stream: &mut dyn Stream) -> Result<Vec<(String, String)>> {
    Ok(vec![(DATA.to_owned(), name_of(stream.name())), (ENDS.to_owned(), ends(stream)?)])
}

/// The name of data, without the folders of a path: other machines may have them elsewhere.
fn name_of(text: &str) -> String {
    let path = Path::new(text);
    let is_path = path.exists() || text.contains('*');
    let last = path.file_name().filter(|_| is_path).map(|name| name.display().to_string());
    last.unwrap_or_else(|| text.to_owned())
}

/// The SHA-256 of the first and of the last sample, which tells data of one name from each other.
fn ends(stream: &mut dyn Stream) -> Result<String> {
    let mut rows = vec![0.0; stream.dimension()];
    let mut bytes = Vec::new();
    for at in [0, stream.count() - 1] {
        stream.read(at, &mut rows)?;
        bytes.extend(rows.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(sha256_of(&bytes))
}

/// Adds the samples of `stream` that are left of the range, or their features.
///
/// # Errors
/// Those of the stream, the device and `watch`.
pub fn add_data(
    moments: &mut Moments,
    stream: &mut dyn Stream,
    extractor: Option<&Extractor>,
    watch: Watch,
) -> Result<()> {
    let Some(extractor) = extractor else { return moments.add_stream(stream, watch) };
    let dimension = stream.dimension();
    while moments.next_row() < moments.end() {
        let (first, count) = (moments.next_row(), AT_A_TIME.min(moments.end() - moments.next_row()));
        let mut rows = Tensor::zeros([count, dimension]);
        stream.read(first, &mut rows.data)?;
        moments.add(&extractor.of(&rows)?.features.data);
        watch(moments, count)?;
    }
    Ok(())
}

/// A run that generates a range of the images of a model.
pub struct Generated {
    /// The run of all images.
    pub run: Option<ModelRun<'static>>,
    /// The images.
    pub range: Range<usize>,
    /// The flag that stops the run.
    pub flag: Arc<AtomicBool>,
}

impl Generated {
    /// Adds the images, or their features, in 8 bits.
    ///
    /// # Errors
    /// Those of the device and of `watch`.
    pub fn add(
        self,
        moments: &mut Moments,
        compiler: Option<Compiler>,
        extractor: Option<&Extractor>,
        watch: Watch,
    ) -> Result<()> {
        let (Some(mut run), Some(compiler)) = (self.run, compiler) else { return Ok(()) };
        run.run.images = self.range.collect();
        for batch in run.cancel(self.flag).on(compiler)? {
            let images = batch?.images()?;
            let pixels = if extractor.is_some() { Pixels::Signed } else { Pixels::Unit };
            let rows = planes(&images, pixels);
            match extractor {
                Some(extractor) => moments.add(&extractor.of(&rows)?.features.data),
                None => moments.add(&rows.data),
            }
            watch(moments, images.len())?;
        }
        Ok(())
    }
}

/// The values of images, channels first, as a folder of them is read.
fn planes(images: &[Image], pixels: Pixels) -> Tensor {
    let stride = images.first().map_or(0, |image| image.pixels.len());
    let mut values = Vec::with_capacity(images.len() * stride);
    for Image { channels, pixels: bytes, .. } in images {
        for channel in 0..*channels {
            values.extend(bytes.iter().skip(channel).step_by(*channels).map(|byte| pixels.value(*byte)));
        }
    }
    Tensor::new([images.len(), stride], values)
}
