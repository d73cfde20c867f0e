//! The configurations of networks and schedulers. Of a network that a configuration describes, the graph and a plan of
//! a small call are made, unless it has hundreds of tensors.

use std::path::Path;

use downhill::checkpoint::ConfigFile;
use downhill::graph::op::Graph;
use downhill::graph::{CompileOptions, Plan, Target};
use downhill::kernels::Family;
use downhill::nets::architecture::{self, CallSize};
use downhill::nets::{autoencoder_kl, clip_text};
use downhill::sample::samplers::Sampler;
use downhill::sample::scheduler_config::SchedulerConfig;
use downhill::sample::settings::Settings;

use super::said;

/// The most tensors of a network whose graph is made.
const MOST_TENSORS: usize = 200;
/// The longest side of an image, the most tokens and the most timesteps of a call.
const LONGEST: usize = 64;
const MOST_TIMESTEPS: usize = 200;
const FILE: &str = "config.json";

pub fn unet2d(bytes: &[u8]) {
    denoiser("UNet2DModel", bytes);
}

pub fn unet2d_condition(bytes: &[u8]) {
    denoiser("UNet2DConditionModel", bytes);
}

pub fn dit(bytes: &[u8]) {
    denoiser("DiTTransformer2DModel", bytes);
}

pub fn adm(bytes: &[u8]) {
    denoiser("AdmUNetModel", bytes);
}

fn denoiser(class: &str, bytes: &[u8]) {
    let Some(mut file) = said(ConfigFile::parse(FILE, bytes)) else { return };
    file.values.insert("_class_name".to_owned(), class.into());
    let Some(net) = said(architecture::read(&file)) else { return };
    let keys = net.keys().len();
    let _ = (net.parameters(), net.details(), net.labels(), net.sample_size(), net.is_denoiser());
    let side = net.smallest_side();
    if keys > MOST_TENSORS || side > LONGEST {
        return;
    }
    assert!(said(net.graph(CallSize::images(0, (side, side)))).is_none(), "an empty batch is refused");
    let tokens = if net.context().is_some() { 3 } else { 0 };
    said(net.graph(CallSize::images(1, (side + 1, side)).with_tokens(tokens)));
    plan(&net.graph(CallSize::images(1, (side, side)).with_tokens(tokens)));
}

pub fn autoencoder(bytes: &[u8]) {
    let Some(file) = said(ConfigFile::parse(FILE, bytes)) else { return };
    let Some(config) = said(autoencoder_kl::Config::from_map(&file.values, Path::new(FILE))) else { return };
    let net = autoencoder_kl::AutoencoderKl::new(config);
    let _ = net.parameters();
    let factor = net.config().factor();
    if net.keys().len() <= MOST_TENSORS && factor <= LONGEST {
        plan(&net.decoder(1, (4, 4)));
        plan(&net.encoder(1, (2 * factor, 2 * factor)));
    }
}

pub fn clip_text(bytes: &[u8]) {
    let Some(file) = said(ConfigFile::parse(FILE, bytes)) else { return };
    let Some(config) = said(clip_text::Config::from_map(&file.values, Path::new(FILE))) else { return };
    let net = clip_text::ClipText::new(config);
    let _ = (net.parameters(), net.token_table(), net.position_table());
    if net.keys().len() <= MOST_TENSORS {
        plan(&Ok(net.graph(1)));
    }
}

/// Plans a call for a software adapter. Sizes follow from foreign numbers, so that even 64 bits can overflow.
fn plan(graph: &downhill::Result<Graph>) {
    let graph = match graph {
        Ok(graph) => graph,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let plan = Plan::new(graph, &Target::without_device(Family::Lanes { width: 8 }), &CompileOptions::default());
    let _ = (plan.arena_bytes(), plan.weight_bytes(), plan.flops());
}

/// A scheduler's configuration with every sampler.
pub fn scheduler(bytes: &[u8]) {
    let path = Path::new("scheduler_config.json");
    let Some(file) = said(ConfigFile::parse(path, bytes)) else { return };
    let Some(config) = said(SchedulerConfig::read(&file.values, path)) else { return };
    let _ = (config.sampler(), config.unknown_class());
    let Some(table) = said(config.noise_table(path)) else { return };
    if table.timesteps() > MOST_TIMESTEPS {
        return;
    }
    for config in [config.clone(), config.for_latents()] {
        for sampler in Sampler::ALL {
            for steps in [None, Some(1), Some(4)] {
                let settings = Settings { sampler: Some(sampler), steps, ..Settings::default() };
                let Some(course) = said(settings.resolve(&config, &table)) else { continue };
                for level in course.schedule.levels() {
                    let alpha_bar = level.alpha_bar();
                    assert!((0.0..=1.0).contains(&alpha_bar), "{sampler} at a level whose alpha bar is {alpha_bar}");
                }
            }
        }
    }
}
