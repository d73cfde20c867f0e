//! The files, the report and the findings of the study.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Basis, Control, Kind, Loop, Role, plots};
use crate::formats::Image;
use crate::report::Table;
use crate::study::estimate::Estimate;
use crate::study::results::{File, Results};
use crate::tensor::Tensor;

/// The files of the study.
pub const FILES: &[File] =
    &[SHEETS, BASIS, SIGMAS, VALUES, ENERGY, OTHERS, LEVELS, LOOPS, SPECTRA, RANK, SHARES, CIRCULATION];
const SHEETS: File = File::new("sheet-%d.png", "per image; rows: levels; columns: state, x0, eigenvectors");
const BASIS: File = File::new("basis.npy", "eigenvectors, (images, levels, k, c, h, w)");
const SIGMAS: File = File::new("sigmas.npy", "(levels)");
const VALUES: File = File::new("eigenvalues.npy", "shrinkage factors, largest first, (images, levels, count)");
const ENERGY: File = File::new("energy.npy", "share of |x0 - mean|^2 in r eigenvectors, (images, levels, count)");
const OTHERS: File = File::new("energy_exchanged.npy", "the same in the eigenvectors of another image");
const LEVELS: File = File::new("levels.csv", "ranks, asymmetry, energy: one row per image and level, and of controls");
const LOOPS: File = File::new("loops.csv", "one row per loop, and of controls");
const SPECTRA: File = File::new("spectra", "eigenvalues over their index per level, beside the controls");
const RANK: File = File::new("rank", "effective ranks, asymmetry, nonlinearity over sigma");
const SHARES: File = File::new("energy", "energy over the number of eigenvectors, of the image's basis and of others");
const CIRCULATION: File = File::new("circulation", "the circulation of eps over sigma, beside controls and errors");

/// The share of energy that counts as all of it.
pub(super) const MOST: f64 = 0.9;

/// The measurements of the study.
#[derive(Clone, Debug)]
pub struct Found {
    /// The sigma of each level, falling.
    pub sigmas: Vec<f64>,
    /// (images) (levels).
    pub bases: Vec<Vec<Basis>>,
    /// (images) (levels) (loops).
    pub loops: Vec<Vec<Vec<Loop>>>,
    /// |x0 - mean - J (x - mean)| / |x0 - mean|, (images) (levels).
    pub nonlinearity: Vec<Vec<f64>>,
    pub controls: Vec<Control>,
    /// A sheet per image, unless images are not pictures.
    pub sheets: Vec<Image>,
    /// (channels, height, width) of an image.
    pub image: [usize; 3],
}

/// The loops of one kind of plane and one radius, at the places of a level.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Circulation {
    kind: Kind,
    radius: f64,
    /// The mean over images of the mean over loops of |circulation| / (length mean |eps|).
    pub(super) ratio: Estimate,
    /// The same over the integral of |eps dl|.
    net: Estimate,
    /// The same of the linearised field.
    linear: Estimate,
    /// The largest estimated error of the quadrature.
    pub(super) quadrature: f64,
    loops: usize,
}

impl Circulation {
    /// Of the loops of each image; `None` without loops.
    pub(super) fn of(images: &[&[Loop]], kind: Kind, radius: f64) -> Option<Self> {
        let chosen = |loops: &&[Loop]| -> Vec<Loop> {
            loops.iter().filter(|each| each.kind == kind && each.radius == radius).copied().collect()
        };
        let images: Vec<Vec<Loop>> = images.iter().map(chosen).filter(|loops| !loops.is_empty()).collect();
        if images.is_empty() {
            return None;
        }
        let estimate = |value: &dyn Fn(&Loop) -> f64| {
            let mean = |loops: &Vec<Loop>| loops.iter().map(|each| value(each).abs()).sum::<f64>() / loops.len() as f64;
            Estimate::of(&images.iter().map(mean).collect::<Vec<_>>())
        };
        Some(Self {
            kind,
            radius,
            ratio: estimate(&Loop::ratio),
            net: estimate(&Loop::net),
            linear: estimate(&|each| each.over(each.linear)),
            quadrature: images.iter().flatten().map(Loop::quadrature).fold(0.0, f64::max),
            loops: images.iter().map(Vec::len).sum(),
        })
    }
}

impl Control {
    /// The largest difference of a circulation from the known one, and the largest known one, both over length and mean
    /// |eps|; `None` where none is known.
    #[must_use]
    pub fn missed(&self) -> Option<(f64, f64)> {
        let pairs = self.loops.iter().flatten().zip(self.known.iter().flatten());
        let pair = |(each, known): (&Loop, &f64)| (each.over(each.circulation - known).abs(), each.over(*known).abs());
        pairs.map(pair).reduce(|(missed, most), (next, known)| (missed.max(next), most.max(known)))
    }

    fn most_asymmetry(&self) -> f64 {
        self.bases.iter().map(|basis| basis.asymmetry).fold(0.0, f64::max)
    }

    /// The largest circulation over length and field, and the largest error of the quadrature.
    fn most(&self) -> (f64, f64) {
        let most = |value: fn(&Loop) -> f64| self.loops.iter().flatten().map(value).fold(0.0, f64::max);
        (most(|each| each.ratio().abs()), most(Loop::quadrature))
    }

    fn json(&self, sigmas: &[f64], radii: &[f64]) -> Value {
        let level = |((sigma, basis), loops): ((&f64, &Basis), &Vec<Loop>)| {
            json!({
                "sigma": sigma,
                "degrees_of_freedom": basis.freedom,
                "participation_ratio": basis.participation(),
                "asymmetry": basis.asymmetry,
                "circulation": circulations(&[loops.as_slice()], radii),
            })
        };
        json!({
            "role": self.role,
            "name": self.name,
            "levels": sigmas.iter().zip(&self.bases).zip(&self.loops).map(level).collect::<Vec<_>>(),
            "largest_asymmetry": self.most_asymmetry(),
            "largest_circulation": self.most().0,
            "largest_error_of_quadrature": self.most().1,
            "largest_difference_from_known": self.missed().map(|(missed, _)| missed),
            "largest_known_circulation": self.missed().map(|(_, known)| known),
        })
    }
}

fn circulations(images: &[&[Loop]], radii: &[f64]) -> Vec<Circulation> {
    let kinds = Kind::ALL.into_iter().flat_map(|kind| radii.iter().map(move |radius| (kind, *radius)));
    kinds.filter_map(|(kind, radius)| Circulation::of(images, kind, radius)).collect()
}

impl Found {
    /// The results of the study for the denoiser called `name`, measured with `settings`.
    #[must_use]
    pub fn results(&self, name: &str, settings: Value) -> Results {
        let (images, levels) = (self.bases.len(), self.sigmas.len());
        let count = self.bases[0][0].values.len();
        let k = self.bases[0][0].vectors.shape[0];
        let all = || self.bases.iter().flatten();
        let energy = |of: usize| all().flat_map(|basis| basis.energy[of].clone()).collect::<Vec<f64>>();
        let vectors: Vec<f32> = all().flat_map(|basis| basis.vectors.data.iter().copied()).collect();
        let [c, h, w] = self.image;
        let mut results = Results::default();
        if !self.sheets.is_empty() {
            results.images(SHEETS, self.sheets.clone());
        }
        results
            .array(BASIS, Tensor::new([images, levels, k, c, h, w], vectors))
            .numbers(SIGMAS, &[levels], &self.sigmas)
            .numbers(
                VALUES,
                &[images, levels, count],
                &all().flat_map(|basis| basis.values.clone()).collect::<Vec<_>>(),
            )
            .numbers(ENERGY, &[images, levels, count], &energy(0));
        if self.is_exchanged() {
            results.numbers(OTHERS, &[images, levels, count], &self.exchanged());
        }
        let radii = self.radii();
        results
            .table(LEVELS, self.levels_table())
            .table(LOOPS, self.loops_table())
            .plot(SPECTRA, plots::spectra(self, name))
            .plot(RANK, plots::rank(self, name))
            .plot(SHARES, plots::energy(self, name));
        if !radii.is_empty() {
            results.plot(CIRCULATION, plots::circulation(self, name, &radii));
        }
        results
            .set("bases", settings)
            .set("levels", (0..levels).map(|level| self.json(level, &radii)).collect::<Value>())
            .set("controls", self.controls.iter().map(|control| control.json(&self.sigmas, &radii)).collect::<Value>());
        self.say(&radii, &mut results);
        results
    }

    /// The radii of the loops, as they were asked for.
    pub(super) fn radii(&self) -> Vec<f64> {
        let mut radii: Vec<f64> = Vec::new();
        for each in self.loops.iter().flatten().flatten() {
            if !radii.contains(&each.radius) {
                radii.push(each.radius);
            }
        }
        radii
    }

    /// `true` if images were expanded in the bases of others.
    pub(super) fn is_exchanged(&self) -> bool {
        self.bases.len() > 1
    }

    /// The energy of each image in the basis of the one before it, (images, levels, count).
    fn exchanged(&self) -> Vec<f64> {
        let before = (0..self.bases.len()).map(|image| (image + self.bases.len() - 1) % self.bases.len());
        before.flat_map(|other| self.bases[other].iter().flat_map(|basis| basis.energy[1].clone())).collect()
    }

    /// A value of each image at a level.
    pub(super) fn over_images(&self, level: usize, value: impl Fn(&Basis) -> f64) -> Estimate {
        Estimate::of(&self.bases.iter().map(|path| value(&path[level])).collect::<Vec<_>>())
    }

    /// The share of energy in as many eigenvectors as each image has degrees of freedom: in its basis, in that of
    /// another image, and in that of the null. NaN where fewer were computed.
    pub(super) fn held(&self, level: usize) -> [Estimate; 3] {
        let images = self.bases.len();
        let null = self.controls.iter().find(|control| control.role == Role::Null);
        let share = |held: Option<f64>| held.unwrap_or(f64::NAN);
        let each = |value: &dyn Fn(usize, f64) -> f64| {
            let of = |image: usize| value(image, self.bases[image][level].freedom.value);
            Estimate::of(&(0..images).map(of).collect::<Vec<_>>())
        };
        [
            each(&|image, freedom| share(self.bases[image][level].held(0, freedom))),
            each(&|image, freedom| share(self.bases[(image + images - 1) % images][level].held(1, freedom))),
            each(&|image, freedom| share(null.and_then(|null| null.bases[level].held(image, freedom)))),
        ]
    }

    pub(super) fn loops_at(&self, level: usize) -> Vec<&[Loop]> {
        self.loops.iter().filter_map(|path| path.get(level).map(Vec::as_slice)).collect()
    }

    fn json(&self, level: usize, radii: &[f64]) -> Value {
        let [own, other, filter] = self.held(level);
        let nonlinearity: Vec<f64> = self.nonlinearity.iter().map(|path| path[level]).collect();
        json!({
            "sigma": self.sigmas[level],
            "degrees_of_freedom": self.over_images(level, |basis| basis.freedom.value),
            "half_width_of_trace": self.bases.iter().map(|path| path[level].freedom.half_width).fold(0.0, f64::max),
            "participation_ratio": self.over_images(level, Basis::participation),
            "expected_squared_error_per_value": self.over_images(level, |basis| {
                self.sigmas[level].powi(2) * basis.freedom.value / self.image.iter().product::<usize>() as f64
            }),
            "asymmetry": self.over_images(level, |basis| basis.asymmetry),
            "nonlinearity": Estimate::of(&nonlinearity),
            "energy_in_degrees_of_freedom": { "own": own, "of_another_image": other, "of_the_null": filter },
            "error_of_eigenvalues": self.bases.iter().map(|path| path[level].error).fold(0.0, f64::max),
            "converged": self.bases.iter().all(|path| path[level].converged),
            "products": self.bases.iter().map(|path| path[level].products).sum::<usize>(),
            "circulation": circulations(&self.loops_at(level), radii),
        })
    }

    fn levels_table(&self) -> Table {
        let mut table = Table::new(&[
            "denoiser",
            "image",
            "sigma",
            "degrees_of_freedom",
            "half_width_of_trace",
            "participation_ratio",
            "asymmetry",
            "eigenvectors_of_90_percent",
            "energy_in_degrees_of_freedom",
            "nonlinearity",
        ]);
        let mut row = |name: &str, image: usize, level: usize, basis: &Basis, nonlinearity: String| {
            let text = |value: Option<String>| value.unwrap_or_default();
            let holding = text(basis.holding(0, MOST).map(|count| count.to_string()));
            let held = text(basis.held(0, basis.freedom.value).map(|share| share.to_string()));
            let (sigma, freedom) = (self.sigmas[level], basis.freedom);
            let (participation, asymmetry) = (basis.participation(), basis.asymmetry);
            table.row(&[
                &name,
                &image,
                &sigma,
                &freedom.value,
                &freedom.half_width,
                &participation,
                &asymmetry,
                &holding,
                &held,
                &nonlinearity,
            ]);
        };
        for (image, path) in self.bases.iter().enumerate() {
            for (level, basis) in path.iter().enumerate() {
                row("", image, level, basis, self.nonlinearity[image][level].to_string());
            }
        }
        for control in &self.controls {
            for (level, basis) in control.bases.iter().enumerate() {
                row(&control.name, 0, level, basis, String::new());
            }
        }
        table
    }

    fn loops_table(&self) -> Table {
        let mut table = Table::new(&[
            "denoiser",
            "image",
            "sigma",
            "plane",
            "radius",
            "circulation",
            "error_of_quadrature",
            "linear",
            "known",
            "over_length_and_field",
            "over_gross",
        ]);
        let mut row = |name: &str, image: usize, level: usize, each: &Loop, known: String| {
            let plane = each.kind.name();
            let error = (each.circulation - each.coarse).abs();
            let (sigma, ratio, net) = (self.sigmas[level], each.ratio(), each.net());
            table.row(&[
                &name,
                &image,
                &sigma,
                &plane,
                &each.radius,
                &each.circulation,
                &error,
                &each.linear,
                &known,
                &ratio,
                &net,
            ]);
        };
        for (image, path) in self.loops.iter().enumerate() {
            for (level, loops) in path.iter().enumerate() {
                for each in loops {
                    row("", image, level, each, String::new());
                }
            }
        }
        for control in &self.controls {
            for (level, loops) in control.loops.iter().enumerate() {
                for (at, each) in loops.iter().enumerate() {
                    let known = control.known.get(level).and_then(|known| known.get(at));
                    row(&control.name, 0, level, each, known.map_or(String::new(), f64::to_string));
                }
            }
        }
        table
    }

    /// The findings in words.
    fn say(&self, radii: &[f64], results: &mut Results) {
        let (images, last) = (self.bases.len(), self.sigmas.len() - 1);
        let at_ends = |value: &dyn Fn(&Basis) -> f64, digits: usize| {
            let of = |level| interval(&self.over_images(level, value), digits);
            format!("{} at sigma {:.3}, {} at {:.3}", of(0), self.sigmas[0], of(last), self.sigmas[last])
        };
        let over = format!("{images} {}", if images == 1 { "image" } else { "images" });
        results
            .note(format!("degrees of freedom {}, over {over}", at_ends(&|basis| basis.freedom.value, 1)))
            .note(format!("participation ratio {}", at_ends(&Basis::participation, 1)))
            .note(format!("asymmetry {}", at_ends(&|basis| basis.asymmetry, 3)));
        let middle = last / 2;
        let [own, other, null] = self.held(middle);
        if own.mean.is_finite() {
            let percent = |share: &Estimate| {
                let Estimate { mean, half_width, .. } = *share;
                interval(&Estimate { mean: 100.0 * mean, half_width: 100.0 * half_width, ..*share }, 0) + " %"
            };
            let own = format!(
                "at sigma {:.3}, as many eigenvectors as degrees of freedom hold {} of |x0 - mean|^2",
                self.sigmas[middle],
                percent(&own)
            );
            let other = self.is_exchanged().then(|| format!("; those of another image {}", percent(&other)));
            let of_null = null.mean.is_finite().then(|| format!("; those of the Wiener filter {}", percent(&null)));
            results.note(own + &other.unwrap_or_default() + &of_null.unwrap_or_default());
        }
        for radius in radii {
            self.say_circulation(*radius, results);
        }
        for control in &self.controls {
            self.say_control(control, results);
        }
        let missed = self.bases.iter().flatten().filter(|basis| !basis.converged).count();
        if missed > 0 {
            let places = images * self.sigmas.len();
            results.warning(format!(
                "at {missed} of {places} places the basis was full before the tolerance was met; raise the largest \
                 number of blocks"
            ));
        }
    }

    fn say_circulation(&self, radius: f64, results: &mut Results) {
        for kind in Kind::ALL {
            let levels = (0..self.sigmas.len())
                .filter_map(|level| Some((level, Circulation::of(&self.loops_at(level), kind, radius)?)));
            let most = levels.max_by(|a, b| a.1.ratio.mean.total_cmp(&b.1.ratio.mean));
            let Some((level, found)) = most else { continue };
            // A single image has no interval.
            let within = match found.ratio.count {
                0 | 1 => String::new(),
                _ => format!(" (95 % +- {:.1e})", found.ratio.half_width),
            };
            results.note(format!(
                "circulation over length and |eps| in {}, radius {radius}: at most {:.1e}{within}, at sigma {:.3}, \
                 over {} loops; {:.1} % of the gross; error of the quadrature below {:.1e}",
                kind.name(),
                found.ratio.mean,
                self.sigmas[level],
                found.loops,
                100.0 * found.net.mean,
                found.quadrature
            ));
        }
    }

    fn say_control(&self, control: &Control, results: &mut Results) {
        let ((ratio, quadrature), asymmetry) = (control.most(), control.most_asymmetry());
        let text = match control.role {
            Role::Null => {
                format!("asymmetry at most {asymmetry:.1e}, circulation at most {ratio:.1e}, where both are 0")
            }
            Role::Rotated => match control.missed() {
                Some((missed, known)) => {
                    format!("circulations within {missed:.1e} of those that are known, which are up to {known:.1e}")
                }
                None => "there are no loops".to_owned(),
            },
            Role::Untrained => format!(
                "asymmetry up to {asymmetry:.2}, circulation up to {ratio:.1e} (error of the quadrature \
                 {quadrature:.1e})"
            ),
        };
        results.note(format!("control, {}: {text}", control.name));
        if control.role == Role::Rotated && control.missed().is_some_and(|(missed, known)| missed > 0.05 * known) {
            results.warning("a rotation that was added is not found: circulations are not to be trusted");
        }
        let asymmetries = || self.bases.iter().flatten().map(|basis| basis.asymmetry);
        let least = asymmetries().fold(f64::INFINITY, f64::min);
        if control.role == Role::Null && asymmetry > 0.01 && asymmetry > 0.5 * least {
            results.warning(format!(
                "the null reads an asymmetry of {asymmetry:.1e}, near the least of the denoiser, {least:.1e}"
            ));
        }
    }
}

fn interval(estimate: &Estimate, digits: usize) -> String {
    let Estimate { mean, half_width, count, .. } = estimate;
    // A single image has no interval.
    if *count < 2 { format!("{mean:.digits$}") } else { format!("{mean:.digits$} (95 % +- {half_width:.digits$})") }
}
