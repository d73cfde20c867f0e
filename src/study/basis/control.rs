//! Denoisers beside the one that is studied.

use super::{Basis, Finder, Loop, Plane, Rounds, loops};
use crate::denoise::jacobian::Place;
use crate::denoise::{Denoiser, Level};
use crate::error::Result;
use crate::study::Advance;
use crate::tensor::Tensor;

/// The kinds of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A gradient: any asymmetry or circulation is an error of the measurement.
    Null,
    /// The null and a rotation, whose circulation is known.
    Rotated,
    /// A network that has learned nothing.
    Untrained,
}

/// A control at the places of the first trajectory.
#[derive(Clone, Debug)]
pub struct Control {
    pub role: Role,
    /// The name for figures and notes.
    pub name: String,
    /// One per level; the energies are those of all images of the level.
    pub bases: Vec<Basis>,
    /// The loops of each level.
    pub loops: Vec<Vec<Loop>>,
    /// The circulations that are known, in the order of the loops of each level.
    pub known: Vec<Vec<f64>>,
}

/// The bases of a control at the places of a path; `centred` is x0 - mean of the images, (levels) (images).
///
/// # Errors
/// Those of [`Finder::basis`].
pub fn bases(finder: &Finder, path: &[Place], centred: &[Vec<Vec<f64>>], advance: Advance) -> Result<Vec<Basis>> {
    let at = |(level, place): (usize, &Place)| {
        let found = finder.basis(place, &centred[level], 0, level)?;
        advance(1);
        Ok(found)
    };
    path.iter().enumerate().map(at).collect()
}

/// The loops of a control around the places of a path.
///
/// # Errors
/// Those of [`loops::around`].
pub fn loops_of(
    denoiser: &mut dyn Denoiser,
    path: &[Place],
    bases: &[Basis],
    rounds: &Rounds,
    advance: Advance,
) -> Result<Vec<Vec<Loop>>> {
    let mut found = Vec::with_capacity(path.len());
    for (place, basis) in path.iter().zip(bases) {
        found.push(loops::around(denoiser, place, &basis.planes, rounds)?);
        advance(1);
    }
    Ok(found)
}

/// A denoiser with a rotation added: x0(x) + omega R x, where R takes values 2i and 2i + 1, (x, y), to (y, -x).
pub struct Rotated<'a> {
    inner: Box<dyn Denoiser + 'a>,
    omega: f64,
}

impl<'a> Rotated<'a> {
    /// The strength of the rotation in studies.
    pub const USUAL: f64 = 0.1;

    /// `inner` with a rotation of strength `omega`.
    #[must_use]
    pub fn new(inner: Box<dyn Denoiser + 'a>, omega: f64) -> Self {
        Self { inner, omega }
    }

    /// a'Jb - b'Ja of the rotation alone.
    #[must_use]
    pub fn curl(&self, plane: &Plane) -> f64 {
        let pairs = plane.a.chunks_exact(2).zip(plane.b.chunks_exact(2));
        2.0 * self.omega * pairs.map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum::<f64>()
    }

    /// The circulation of the rotation alone, around a circle of `radius` sigma sqrt(p): curl times area over sigma.
    #[must_use]
    pub fn circulation(&self, plane: &Plane, radius: f64, sigma: f64) -> f64 {
        let reach = radius * sigma * (plane.a.len() as f64).sqrt();
        std::f64::consts::PI * reach * reach * self.curl(plane) / sigma
    }

    /// The circulations of the rotation around the loops of `rounds` at places, (levels) (loops).
    #[must_use]
    pub fn known(&self, path: &[Place], bases: &[Basis], rounds: &Rounds) -> Vec<Vec<f64>> {
        let at = |(place, basis): (&Place, &Basis)| {
            let radii = |plane| rounds.radii.iter().map(move |radius| (plane, *radius));
            let loops = basis.planes.iter().flat_map(radii);
            loops.map(|(plane, radius)| self.circulation(plane, radius, place.level.sigma)).collect()
        };
        path.iter().zip(bases).map(at).collect()
    }
}

impl Denoiser for Rotated<'_> {
    fn image_shape(&self) -> [usize; 3] {
        self.inner.image_shape()
    }

    fn eps(&mut self, x: &Tensor, levels: &[Level]) -> Result<Tensor> {
        let mut eps = self.inner.eps(x, levels)?;
        let stride = eps.stride().max(1);
        for (at, (eps, level)) in eps.data.chunks_mut(stride).zip(levels).enumerate() {
            let scale = self.omega / level.sigma;
            for (eps, x) in eps.chunks_exact_mut(2).zip(x.item(at).chunks_exact(2)) {
                eps[0] = (f64::from(eps[0]) - scale * f64::from(x[1])) as f32;
                eps[1] = (f64::from(eps[1]) + scale * f64::from(x[0])) as f32;
            }
        }
        Ok(eps)
    }
}

/// The denoiser that finds no noise, eps = 0.
pub struct NoNoise {
    /// (channels, height, width) of an image.
    pub image: [usize; 3],
}

impl Denoiser for NoNoise {
    fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    fn eps(&mut self, x: &Tensor, _: &[Level]) -> Result<Tensor> {
        Ok(Tensor::zeros(x.shape.clone()))
    }
}
