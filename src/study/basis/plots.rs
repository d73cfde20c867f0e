//! The figures of the study.

use super::report::{Circulation, Found, MOST};
use super::{Basis, Kind, Role};
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};
use crate::study::estimate::Estimate;

/// Eigenvalues over their index, dark to bright from the most noise to the least: the mean over images, then controls.
pub fn spectra(found: &Found, name: &str) -> Picture {
    let panel = |title: &str, paths: &[&[Basis]]| -> Panel {
        let axes = Figure::new(title, Axis::log("index, from 1"), Axis::linear("eigenvalue of (J + Jᵀ) / 2"));
        let curve = |level: usize| {
            let count = paths[0][level].values.len();
            let mean = |i: usize| paths.iter().map(|path| path[level].values[i]).sum::<f64>() / paths.len() as f64;
            Series::line("", (0..count).map(|i| (i as f64 + 1.0, mean(i))).collect())
        };
        by_level(axes, found, &curve).into()
    };
    let paths: Vec<&[Basis]> = found.bases.iter().map(Vec::as_slice).collect();
    let own = panel(&format!("{name}, mean of {} images", paths.len()), &paths);
    let controls = found.controls.iter().filter(|control| control.role != Role::Rotated);
    let controls = controls.map(|control| panel(&format!("Control: {}", control.name), &[&control.bases]));
    Picture::new("Shrinkage factors", 2, std::iter::once(own).chain(controls).collect())
}

/// Effective ranks, asymmetry and nonlinearity over sigma, with 95 % intervals over images.
pub fn rank(found: &Found, name: &str) -> Picture {
    let figure = |title: &str, y: Axis, value: &dyn Fn(&Basis) -> f64| -> Panel {
        let estimates = (0..found.sigmas.len()).map(|level| found.over_images(level, value)).collect::<Vec<_>>();
        let axes = Figure::new(title, Axis::log("σ"), y).with(banded(found, name, &estimates, 0));
        let controls = found.controls.iter().enumerate();
        let with = controls.fold(axes, |figure, (at, control)| {
            let points = found.sigmas.iter().zip(&control.bases).map(|(sigma, basis)| (*sigma, value(basis)));
            figure.with(Series::dashed(&control.name, points.collect()).colour(Colour::Cycle(at + 1)))
        });
        with.into()
    };
    let nonlinearity: Vec<Estimate> = (0..found.sigmas.len())
        .map(|level| Estimate::of(&found.nonlinearity.iter().map(|path| path[level]).collect::<Vec<_>>()))
        .collect();
    let jump =
        Figure::new("Distance from a linear map", Axis::log("σ"), Axis::linear("‖x₀ − m − J (x − m)‖ / ‖x₀ − m‖"));
    let panels = vec![
        figure("Degrees of freedom", Axis::log("tr J"), &|basis| basis.freedom.value),
        figure("Participation ratio", Axis::log("(Σλ)² / Σλ²"), &Basis::participation),
        figure("Asymmetry", Axis::log("‖J − Jᵀ‖ / ‖J + Jᵀ‖"), &|basis| basis.asymmetry),
        jump.with(banded(found, name, &nonlinearity, 0)).into(),
    ];
    Picture::new(&format!("The Jacobian of {name}"), 2, panels)
}

/// Energy over the number of eigenvectors, and the number that holds most of it over sigma.
pub fn energy(found: &Found, name: &str) -> Picture {
    let levels = found.sigmas.len();
    let panel = |title: &str, bases: &dyn Fn(usize) -> Vec<Vec<f64>>| -> Panel {
        let axes = Figure::new(title, Axis::log("eigenvectors"), Axis::linear("share of ‖x₀ − m‖²").over(0.0, 1.02));
        let curve = |level: usize| {
            let images = bases(level);
            let count = images.first().map_or(0, Vec::len);
            let mean = |r: usize| images.iter().map(|image| image[r]).sum::<f64>() / images.len() as f64;
            Series::line("", (0..count).map(|r| (r as f64 + 1.0, mean(r))).collect())
        };
        by_level(axes, found, &curve).into()
    };
    let of_bases = |level: usize, of: usize| -> Vec<Vec<f64>> {
        found.bases.iter().map(|path| path[level].energy[of].clone()).collect()
    };
    let mut panels = vec![panel("In the basis of the image", &|level| of_bases(level, 0))];
    if found.is_exchanged() {
        panels.push(panel("In the basis of another image", &|level| of_bases(level, 1)));
    }
    for control in found.controls.iter().filter(|control| control.role != Role::Rotated) {
        let title = format!("In the basis of {}", control.name);
        panels.push(panel(&title, &|level| control.bases[level].energy.clone()));
    }
    let title = format!("Eigenvectors that hold {:.0} %", 100.0 * MOST);
    let axes = Figure::new(&title, Axis::log("σ"), Axis::log("eigenvectors"));
    let count = |basis: &Basis, of: usize| basis.holding(of, MOST).map_or(f64::NAN, |count| count as f64);
    let points = |of: usize| -> Vec<(f64, f64)> {
        let mean = |level| Estimate::of(&found.bases.iter().map(|path| count(&path[level], of)).collect::<Vec<_>>());
        (0..levels).map(|level| (found.sigmas[level], mean(level).mean)).collect()
    };
    let mut figure = axes.with(Series::line("of the image", points(0)));
    if found.is_exchanged() {
        figure = figure.with(Series::line("of another image", points(1)).colour(Colour::Cycle(1)));
    }
    for (at, control) in found.controls.iter().filter(|control| control.role != Role::Rotated).enumerate() {
        let mean =
            |basis: &Basis| Estimate::of(&(0..basis.energy.len()).map(|of| count(basis, of)).collect::<Vec<_>>()).mean;
        let points = found.sigmas.iter().zip(&control.bases).map(|(sigma, basis)| (*sigma, mean(basis))).collect();
        figure = figure.with(Series::dashed(&format!("of {}", control.name), points).colour(Colour::Cycle(at + 2)));
    }
    panels.push(figure.into());
    Picture::new(&format!("Energy of x₀ − mean in the eigenvectors of {name}"), 2, panels)
}

/// The circulation over length and mean |eps|, for each radius a panel.
pub fn circulation(found: &Found, name: &str, radii: &[f64]) -> Picture {
    let panel = |radius: &f64| -> Panel {
        let title = format!("Loops of radius {radius} σ√p");
        let mut figure = Figure::new(&title, Axis::log("σ"), Axis::log("|circulation| / (length × mean ‖ε‖)"));
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            let of = |level: usize| Circulation::of(&found.loops_at(level), kind, *radius);
            let all: Vec<Option<Circulation>> = (0..found.sigmas.len()).map(of).collect();
            if all.iter().all(Option::is_none) {
                continue;
            }
            let estimates: Vec<Estimate> =
                all.iter().map(|of| of.as_ref().map_or(Estimate::of(&[]), |of| of.ratio)).collect();
            figure = figure.with(banded(found, kind.name(), &estimates, at));
            let errors = found.sigmas.iter().zip(&all);
            let errors = errors.map(|(sigma, of)| (*sigma, of.as_ref().map_or(f64::NAN, |of| of.quadrature)));
            let name = if at == 0 { "error of the quadrature" } else { "" };
            figure = figure.with(Series::points(name, errors.collect()).colour(Colour::Cycle(at)));
        }
        for (at, control) in found.controls.iter().enumerate() {
            let mean = |(sigma, loops): (&f64, &Vec<super::Loop>)| {
                let of = Circulation::of(&[loops.as_slice()], Kind::Random, *radius);
                (*sigma, of.map_or(f64::NAN, |of| of.ratio.mean))
            };
            let points = found.sigmas.iter().zip(&control.loops).map(mean).collect();
            figure = figure.with(Series::dashed(&control.name, points).colour(Colour::Cycle(at + 2)));
        }
        figure.into()
    };
    Picture::new(&format!("Circulation of the ε of {name}"), 2, radii.iter().map(panel).collect())
}

/// A curve per level, shaded by log sigma.
fn by_level(axes: Figure, found: &Found, curve: &dyn Fn(usize) -> Series) -> Figure {
    let levels = found.sigmas.len();
    let with = (0..levels)
        .fold(axes, |figure, level| figure.with(curve(level).colour(Colour::shade_of(levels - 1 - level, levels))));
    with.with_shades("log₁₀ σ", found.sigmas[levels - 1].log10(), found.sigmas[0].log10())
}

/// Means over sigma with their intervals.
fn banded(found: &Found, name: &str, estimates: &[Estimate], colour: usize) -> Series {
    let points = found.sigmas.iter().zip(estimates).map(|(sigma, estimate)| (*sigma, estimate.mean)).collect();
    Series::line(name, points).band(estimates.iter().map(Estimate::band).collect()).colour(Colour::Cycle(colour))
}
