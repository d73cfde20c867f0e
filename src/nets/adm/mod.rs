//! The U-Nets of openai/guided-diffusion ("ADM": Dhariwal and Nichol, 2021), in the layout of the original code
//! (`guided_diffusion/unet.py`), as a graph.
//!
//! Written in primitive operations, one for one with the modules there; [`crate::graph`] fuses them.

mod classifier;
mod config;
#[cfg(test)]
mod tests;
mod trunk;

pub use classifier::{AdmClassifier, GRADIENT, LOGITS, Pool};
pub use config::{Config, HeadSplit};

use crate::checkpoint::ConfigFile;
use crate::error::Result;
use crate::graph::WeightAccess;
use crate::graph::op::{Activation, Graph, Value};
use crate::nets::architecture::{Architecture, CallSize, Inputs, LabelInput};
use crate::nets::blocks::{Resize, positional_embedding};
use crate::nets::builder::{Builder, Key, Window};
use crate::nets::feeds::{
    ClassLabels, Feeds, check_images, check_range, expect_no_context, gather, names, parts, vectors,
};
use crate::tensor::Shape;
use trunk::Trunk;

/// A U-Net of guided-diffusion.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmUNet {
    config: Config,
}

impl AdmUNet {
    /// The class that a configuration names.
    pub const CLASS: &str = "AdmUNetModel";

    /// The network of a configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The configuration it was made from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network of a configuration file.
    ///
    /// # Errors
    /// Those of [`Config::from_map`].
    pub fn read(file: &ConfigFile) -> Result<Self> {
        Ok(Self::new(Config::from_map(&file.values, &file.path)?))
    }

    /// The table of class embeddings.
    fn class_table(&self) -> Option<Key> {
        let classes = self.config.num_classes?;
        Some(("label_emb.weight".to_owned(), vec![classes, self.config.embedding_dim()]))
    }

    /// The keys of the graph and that of the table that is read on the host.
    fn with_tables(&self, mut keys: Vec<Key>) -> Vec<Key> {
        keys.extend(self.class_table());
        keys
    }

    /// The graph for a checked size.
    fn build(&self, size: CallSize) -> Builder {
        let config = &self.config;
        let CallSize { batch, height, width, .. } = size;
        let mut b = Builder::new(Self::CLASS);
        let x = b.input(names::X, Shape::new(batch, height, width, config.in_channels));
        let mut embedding = time_embedding(&mut b, config, batch);
        if config.num_classes.is_some() {
            let class = b.input(names::CLASS_ROWS, Shape::vector(batch, config.embedding_dim()));
            embedding = b.add("label_sum", embedding, class, 1.0);
        }
        let time = b.activation("emb_silu", embedding, Activation::Silu);
        let mut trunk = Trunk { config, b, time };
        let (mut hidden, mut skips) = trunk.down(x);

        let mut index = 0;
        for (level, channels) in config.channels.iter().enumerate().rev() {
            for layer in 0..=config.num_res_blocks {
                let path = format!("output_blocks.{index}");
                if let Some(skip) = skips.pop() {
                    hidden = trunk.b.concat(&format!("{path}.cat"), hidden, skip);
                }
                hidden = trunk.resnet(&format!("{path}.0"), hidden, *channels, Resize::Keep);
                let mut module = 1;
                if config.attends(level) {
                    hidden = trunk.attention(&format!("{path}.1"), hidden, true);
                    module = 2;
                }
                if level > 0 && layer == config.num_res_blocks {
                    hidden = trunk.double(&format!("{path}.{module}"), hidden);
                }
                index += 1;
            }
        }
        let hidden = trunk.normalised("out.0", hidden);
        let Trunk { mut b, .. } = trunk;
        let sample = b.conv("out.2", hidden, config.out_channels, Window::THREE);
        b.graph.outputs.push((names::SAMPLE.to_owned(), sample));
        b
    }
}

/// `time_embed` of sines and cosines of the timesteps.
fn time_embedding(b: &mut Builder, config: &Config, batch: usize) -> Value {
    let timestep = b.input(names::TIMESTEP, Shape::vector(batch, 3));
    let projected = positional_embedding(b, "timestep_embedding", timestep, config.model_channels, 0.0, true);
    let hidden = b.linear("time_embed.0", projected, config.embedding_dim());
    let hidden = b.activation("time_embed.1", hidden, Activation::Silu);
    b.linear("time_embed.2", hidden, config.embedding_dim())
}

impl Architecture for AdmUNet {
    fn class_name(&self) -> &'static str {
        Self::CLASS
    }

    fn in_channels(&self) -> usize {
        self.config.in_channels
    }

    fn out_channels(&self) -> usize {
        self.config.out_channels
    }

    fn learns_variance(&self) -> bool {
        self.config.out_channels == 2 * self.config.in_channels
    }

    fn sample_size(&self) -> Option<(usize, usize)> {
        self.config.image_size
    }

    fn size_multiple(&self) -> usize {
        1 << self.config.halvings()
    }

    fn labels(&self) -> LabelInput {
        match self.config.num_classes {
            None => LabelInput::None,
            Some(classes) => LabelInput::Numbers { classes: Some(classes), null: None },
        }
    }

    fn keys(&self) -> Vec<Key> {
        let side = self.size_multiple();
        self.with_tables(self.build(CallSize::images(1, (side, side))).keys)
    }

    fn graph_and_keys(&self, size: CallSize) -> Result<(Graph, Vec<Key>)> {
        self.check(size)?;
        let Builder { graph, keys, .. } = self.build(size);
        Ok((graph, self.with_tables(keys)))
    }

    fn feeds(&self, inputs: &Inputs, weights: &WeightAccess) -> Result<Feeds> {
        let Inputs { x, timesteps, context, labels, .. } = *inputs;
        let batch = check_images(x, timesteps, self.config.in_channels)?;
        expect_no_context(context)?;
        self.labels().check(labels, batch)?;
        check_range("timestep", timesteps)?;
        let mut feeds = vec![(names::X.to_owned(), x.clone()), (names::TIMESTEP.to_owned(), parts(timesteps))];
        if let (Some(ClassLabels::Numbers(numbers)), Some((key, shape))) = (labels, self.class_table()) {
            let rows = gather("class label", numbers, &weights(&key, &shape)?)?;
            feeds.push((names::CLASS_ROWS.to_owned(), vectors(batch, rows)));
        }
        Ok(feeds)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let channels: Vec<String> = config.channels.iter().map(ToString::to_string).collect();
        let levels = format!("{} channels, {} layers each", channels.join(", "), config.num_res_blocks);
        let split = match config.heads {
            HeadSplit::Channels(dim) => format!("{dim} channels per head"),
            HeadSplit::Count(down, up) if down == up => format!("{down} heads"),
            HeadSplit::Count(down, up) => format!("{down} heads, on the way up {up}"),
        };
        let order = if config.use_new_attention_order { "new" } else { "old" };
        let rates: Vec<String> = config.attention_resolutions.iter().map(|rate| format!("1/{rate}")).collect();
        let attention = format!("at {} and in the middle, {split}, {order} order", rates.join(", "));
        let classes = config.num_classes.map(|classes| ("classes", classes.to_string()));
        [("levels", levels), ("attention", attention)].into_iter().chain(classes).collect()
    }
}
