//! The images of cells that a store does not hold yet.

use std::ops::Range;

use super::store::PART;
use super::{Cell, Store, Subject, resolve};
use crate::denoise::Denoiser;
use crate::error::Result;
use crate::model::NetworkModel;

/// The images of cells that a store does not hold yet: a part of every cell before the next part of any, so that an
/// interrupted run leaves cells of one size.
#[derive(Clone, Debug)]
pub struct Missing<'a> {
    pub(super) parts: Vec<(&'a Cell, Range<usize>)>,
    pub(super) network: NetworkModel,
    pub(super) clip: bool,
}

impl<'a> Missing<'a> {
    /// The images that are missing in cells of `count`. `clip` clips predictions of x0 in every sampler.
    ///
    /// # Errors
    /// Those of [`resolve`] and [`Store::missing_part`].
    pub fn find(store: &Store, cells: &'a [Cell], count: usize, network: &NetworkModel, clip: bool) -> Result<Self> {
        let mut parts = Vec::new();
        for first in (0..count).step_by(PART) {
            for cell in cells {
                if let Some(range) = store.missing_part(cell, first, count)? {
                    parts.push((cell, range));
                }
            }
        }
        Ok(Self { parts, network: network.clone(), clip })
    }

    /// The parts whose number is `index` more than a multiple of `of`: those of one of several runs that share a
    /// folder.
    #[must_use]
    pub fn shard(mut self, index: usize, of: usize) -> Self {
        self.parts.retain(|(_, range)| range.start / PART % of.max(1) == index);
        self
    }

    /// The number of parts.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The number of images of the largest part; `None` if nothing is missing.
    #[must_use]
    pub fn largest_part(&self) -> Option<usize> {
        self.parts.iter().map(|(_, range)| range.len()).max()
    }

    /// The steps of `batch` images that remain.
    ///
    /// # Errors
    /// Those of [`resolve`].
    pub fn steps(&self, batch: usize) -> Result<u64> {
        let of_part = |(cell, range): &(&Cell, Range<usize>)| {
            let course = resolve(cell, &self.network.scheduler, &self.network.table, self.clip)?;
            Ok((range.len().div_ceil(batch) * course.schedule.steps().len()) as u64)
        };
        self.parts.iter().map(of_part).sum()
    }

    /// Samples the images with the network's denoiser, `batch` per call, and keeps each part once it is whole. `step`
    /// is called after every step; an error of it ends the work.
    ///
    /// # Errors
    /// Those of [`Subject::make`] and [`Store::keep`].
    pub fn make(
        self,
        denoiser: &mut dyn Denoiser,
        batch: usize,
        store: &Store,
        step: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let NetworkModel { scheduler: config, table, .. } = self.network;
        let mut subject = Subject { denoiser, config, table, clip: self.clip, batch };
        for (cell, range) in self.parts {
            let made = subject.make(cell, range.clone(), step)?;
            store.keep(cell, range.start, &made)?;
        }
        Ok(())
    }
}
