//! The classifiers of openai/guided-diffusion (`EncoderUNetModel`): the way down of a U-Net, pooled to logits of
//! classes, and the gradient of the logarithm of a class's probability with respect to the images.

use super::config::Config;
use super::time_embedding;
use super::trunk::Trunk;
use crate::checkpoint::ConfigFile;
use crate::error::{Error, Result};
use crate::graph::WeightAccess;
use crate::graph::adjoint::pull_back;
use crate::graph::op::{Activation, Combine, Graph, HeadSide, Heads, Input, MixTokens, Softmax, Value};
use crate::nets::architecture::{CallSize, check_batch, check_sides};
use crate::nets::builder::{Builder, Key, Window};
use crate::nets::feeds::{Feeds, check_images, check_range, names, parts};
use crate::tensor::{Shape, Tensor};

/// The logits, (n, classes, 1, 1).
pub const LOGITS: &str = "logits";
/// The gradient with respect to the images, of their shape.
pub const GRADIENT: &str = "gradient";
/// One for the class of each image and zeros elsewhere, (n, classes, 1, 1).
const ONE_HOT: &str = "one_hot";
/// The scale of the gradient and its negative, (1, 2, 1, 1).
const SCALES: &str = "scales";

/// The end of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The mean over all pixels, and a linear layer (`adaptive`).
    Mean,
    /// An attention whose first query is the mean (`attention`), over maps of this many pixels along a side.
    Attention(usize),
}

/// A classifier of noised images.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmClassifier {
    config: Config,
    pool: Pool,
    classes: usize,
}

impl AdmClassifier {
    /// The classifier of a configuration, of which the channels of the output are not read.
    #[must_use]
    pub fn new(config: Config, pool: Pool, classes: usize) -> Self {
        Self { config, pool, classes }
    }

    /// The classifier of a configuration file: the arguments of `EncoderUNetModel`, of which `out_channels` is the
    /// number of classes.
    ///
    /// # Errors
    /// Those of [`Config::from_map`]; [`Error::UnsupportedField`] for another `pool` than `adaptive` and `attention`.
    pub fn read(file: &ConfigFile) -> Result<Self> {
        let mut map = file.values.clone();
        let pool = map.remove("pool");
        let config = Config::from_map(&map, &file.path)?;
        let side = config.image_size.map(|(side, _)| side >> config.halvings());
        let pool = match (pool.as_ref().and_then(|pool| pool.as_str()), side) {
            (Some("adaptive"), _) => Pool::Mean,
            (Some("attention"), Some(side)) if side > 0 => Pool::Attention(side),
            _ => return Err(file.unsupported("pool", "adaptive, or attention with an `image_size`")),
        };
        let classes = config.out_channels;
        Ok(Self::new(config, pool, classes))
    }

    /// The configuration it was made from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Every tensor in a checkpoint, with its shape there.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let side = 1 << self.config.halvings();
        let side = match self.pool {
            Pool::Mean => side,
            Pool::Attention(pooled) => side * pooled,
        };
        let mut keys = self.build(CallSize::images(1, (side, side))).0.keys;
        keys.extend(self.position_table());
        keys
    }

    fn position_table(&self) -> Option<Key> {
        let Pool::Attention(side) = self.pool else { return None };
        let channels = self.config.channels.last().copied().unwrap_or(0);
        Some(("out.2.positional_embedding".to_owned(), vec![channels, side * side + 1]))
    }

    /// Refuses an empty batch, and a size that the classifier does not take.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check(&self, size: CallSize) -> Result<()> {
        check_batch(size.batch)?;
        let side = 1 << self.config.halvings();
        check_sides(size, side)?;
        match self.pool {
            Pool::Attention(pooled) if size.sides() != (side * pooled, side * pooled) => {
                let what = format!("images of {} x {} do not fit this classifier", size.height, size.width);
                Err(Error::argument(what, format!("it takes images of {0} x {0}", side * pooled)))
            }
            Pool::Attention(_) | Pool::Mean => Ok(()),
        }
    }

    /// The graph of the logits and of the gradient: [`LOGITS`] and [`GRADIENT`].
    ///
    /// # Errors
    /// Those of [`AdmClassifier::check`]; [`Error::Argument`] for a classifier whose resolutions change by
    /// convolutions, for which there is no rule.
    pub fn gradient_graph(&self, size: CallSize) -> Result<Graph> {
        self.check(size)?;
        let (mut b, logits) = self.build(size);
        let shape = b.graph.shape(logits);
        let shares = b.graph.push(Softmax { x: logits }, shape, "softmax");
        let chosen = b.input(ONE_HOT, shape);
        let coefficients = b.graph.push(Input { name: SCALES.to_owned() }, Shape::vector(1, 2), SCALES);
        // The gradient of log softmax(l)[y] in l is one at y, less the softmax.
        let op = Combine { coefficients, terms: vec![chosen, shares], clip: None, offset: 0.0 };
        let seed = b.graph.push(op, shape, "adjoint of logits");
        let (mut graph, gradient) = pull_back(b.graph, (logits, seed), names::X)?;
        graph.outputs = vec![(LOGITS.to_owned(), logits), (GRADIENT.to_owned(), gradient)];
        Ok(graph)
    }

    /// The inputs of the graph: images in the variance-preserving scale, one timestep and one class per image, and
    /// the scale of the gradient.
    ///
    /// # Errors
    /// [`Error::Argument`] if they do not fit the classifier or each other; those of `weights`.
    pub fn feeds(
        &self,
        x: &Tensor,
        timesteps: &[f64],
        labels: &[usize],
        scale: f64,
        weights: &WeightAccess,
    ) -> Result<Feeds> {
        let batch = check_images(x, timesteps, self.config.in_channels)?;
        check_range("timestep", timesteps)?;
        if labels.len() != batch {
            let what = format!("{} classes for {batch} images", labels.len());
            return Err(Error::argument(what, "give one class per image"));
        }
        if let Some(label) = labels.iter().find(|label| **label >= self.classes) {
            let what = format!("the classifier does not have a class {label}");
            return Err(Error::argument(what, format!("give classes from 0 to {}", self.classes.saturating_sub(1))));
        }
        let mut chosen = vec![0.0; batch * self.classes];
        for (row, label) in chosen.chunks_mut(self.classes).zip(labels) {
            row[*label] = 1.0;
        }
        let mut feeds = vec![
            (names::X.to_owned(), x.clone()),
            (names::TIMESTEP.to_owned(), parts(timesteps)),
            (ONE_HOT.to_owned(), Tensor::new([batch, self.classes, 1, 1], chosen)),
            (SCALES.to_owned(), Tensor::new([1, 2, 1, 1], vec![scale as f32, -scale as f32])),
        ];
        if let Some((key, shape)) = self.position_table() {
            let table = weights(&key, &shape)?;
            feeds.push((
                names::POSITIONS.to_owned(),
                Tensor::new([batch, shape[0], 1, shape[1]], table.data.repeat(batch)),
            ));
        }
        Ok(feeds)
    }

    /// The graph for a checked size, without outputs, and the logits.
    fn build(&self, size: CallSize) -> (Builder, Value) {
        let config = &self.config;
        let CallSize { batch, height, width, .. } = size;
        let mut b = Builder::new("EncoderUNetModel");
        let x = b.input(names::X, Shape::new(batch, height, width, config.in_channels));
        let embedding = time_embedding(&mut b, config, batch);
        let time = b.activation("emb_silu", embedding, Activation::Silu);
        let mut trunk = Trunk { config, b, time };
        let (deepest, _) = trunk.down(x);
        let hidden = trunk.normalised("out.0", deepest);
        let shape = trunk.b.graph.shape(hidden);
        let pixels = shape.pixels();
        let mean = vec![(1.0 / pixels as f64) as f32; pixels];
        let logits = match self.pool {
            Pool::Mean => {
                let mean = trunk.mixed("out.2", hidden, 1, mean);
                trunk.b.conv("out.3", mean, self.classes, Window::ONE)
            }
            Pool::Attention(_) => {
                let tokens = pixels + 1;
                // The mean, and then each pixel.
                let unit =
                    (0..pixels).flat_map(|row| (0..pixels).map(move |column| f32::from(u8::from(row == column))));
                let with_mean = trunk.mixed("out.2.tokens", hidden, tokens, mean.into_iter().chain(unit).collect());
                let positions = trunk.b.input(names::POSITIONS, Shape { n: batch, h: 1, w: tokens, c: shape.c });
                let placed = trunk.b.add("out.2.positions", with_mean, positions, 1.0);
                let count = config.heads.count(shape.c, false);
                let heads = Heads { count, dim: shape.c / count, side: HeadSide::Out };
                // This attention is in the new order, whatever those of the trunk are.
                let qkv = trunk.projection("out.2.qkv_proj", placed, heads, true);
                let attended = trunk.b.self_attention("out.2.attention", qkv, heads);
                let first = (0..tokens).map(|token| f32::from(u8::from(token == 0))).collect();
                let first = trunk.mixed("out.2.first", attended, 1, first);
                trunk.b.linear_from_heads("out.2.c_proj", first, heads, self.classes)
            }
        };
        (trunk.b, logits)
    }
}

impl Trunk<'_> {
    /// `count` sums of pixels with these factors.
    fn mixed(&mut self, label: &str, x: Value, count: usize, factors: Vec<f32>) -> Value {
        let Shape { n, c, .. } = self.b.graph.shape(x);
        self.b.graph.push(MixTokens { x, factors }, Shape::new(n, 1, count, c), label)
    }
}
