//! Text as typed: names of denoisers, data, outputs and metrics; sizes and lists of numbers.

use downhill::bench::sizes::{AttentionSize, CopySize, DataSize, MapSize, ProductSize};
use downhill::bench::unet::Net;
use downhill::cli::args::{ErrorModelArg, NumberList, ShardArg, Size, TileArg};
use downhill::data::Source;
use downhill::denoise::closed_form::Spec;
use downhill::denoise::diffusion::NoiseTable;
use downhill::report::Output;
use downhill::sample::schedule::Schedule;
use downhill::study::metric_spec::MetricSpec;

use super::said;

pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // A path that exists is read, and anything may lie on the machine that runs this.
    if text.contains('/') {
        return;
    }
    said(Spec::parse(text));
    let (data, _) = Source::split(text);
    assert!(text.starts_with(data));
    said(Source::parse(text));
    if let Some(Output::Files(pattern)) = said(Output::parse(text)) {
        assert_ne!(pattern.path(7), pattern.path(8));
    }
    let _ = (text.parse::<MetricSpec>(), text.parse::<Net>());
}

pub fn numbers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (text.parse::<ProductSize>(), text.parse::<MapSize>(), text.parse::<AttentionSize>());
    let _ = (text.parse::<DataSize>(), text.parse::<CopySize>());
    let _ = (text.parse::<Size>(), text.parse::<ShardArg>(), text.parse::<TileArg>());
    if let Ok(model @ ErrorModelArg::Numbers(..)) = text.parse::<ErrorModelArg>() {
        said(model.read());
    }
    let Ok(NumberList(numbers)) = text.parse::<NumberList>() else { return };
    if let Some(schedule) = said(Schedule::from_sigmas(&numbers)) {
        assert_eq!(schedule.levels().len(), numbers.len());
    }
    said(Schedule::from_timesteps(&numbers, false, &NoiseTable::default()));
}
