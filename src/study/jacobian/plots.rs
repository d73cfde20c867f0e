//! The figures of the study.

use super::report::{Found, eigenvalues};
use super::turning::Turning;
use super::{Control, Role};
use crate::report::plot::{Axis, Colour, Figure, Panel, Picture, Series};

/// Trajectories with a panel.
const MOST_PANELS: usize = 4;

/// One panel per sample and control: sines over sigma, dark to bright by component (figure 7 of the paper, on a
/// logarithmic axis), with the largest floor of each level.
pub fn angles(found: &Found, name: &str) -> Picture {
    let of = |title: &str, turning: &Turning| -> Panel {
        let k = found.components();
        let axes = Figure::new(title, Axis::log("σ"), Axis::linear("sin of the angle to the end").over(0.0, 1.03));
        let figure =
            (0..k).fold(axes, |figure, i| figure.with(curve(found, &turning.sines(i)).colour(Colour::shade_of(i, k))));
        let most = |value: &dyn Fn(usize) -> Vec<f64>| {
            let columns: Vec<Vec<f64>> = (0..k).map(value).collect();
            let at = |level: usize| columns.iter().map(|column| column[level]).fold(f64::NAN, f64::max);
            (0..found.sigmas.len()).map(at).collect::<Vec<f64>>()
        };
        let floors = most(&|i| turning.each(i, |turned| turned.floor));
        let chances = most(&|i| turning.each(i, |turned| turned.chance));
        let floor = Series { name: "floor".to_owned(), ..curve(found, &floors).colour(Colour::Grey) };
        let chance = Series::dashed("random directions", points(found, &chances)).colour(Colour::Grey);
        figure.with(floor).with(chance).with_shades("component i", 0.0, (k.max(2) - 1) as f64).into()
    };
    let samples = found.turnings.iter().take(MOST_PANELS).enumerate();
    let samples = samples.map(|(at, turning)| of(&format!("Sample {at}"), turning));
    // The identity has no directions to draw.
    let drawn = |control: &&Control| control.role != Role::Zero;
    let controls =
        found.controls.iter().filter(drawn).map(|control| of(&format!("Control: {}", control.name), &control.turning));
    let shown = found.turnings.len().min(MOST_PANELS);
    let title =
        format!("Leading subspaces of the Jacobian of {name}, {shown} of {} trajectories", found.turnings.len());
    Picture::new(&title, 2, samples.chain(controls).collect())
}

/// Eigenvalues and dimensions of the first sample, slopes, asymmetry.
pub fn spectra(found: &Found, name: &str, dimension: usize) -> Picture {
    let k = found.components();
    let first = &found.turnings[0];
    let shaded =
        |figure: Figure, of: &dyn Fn(usize) -> Vec<f64>| {
            (0..k)
                .fold(figure, |figure, i| figure.with(curve(found, &of(i)).colour(Colour::shade_of(i, k))))
                .with_shades("component i", 0.0, (k.max(2) - 1) as f64)
        };
    let values = Figure::new("Eigenvalues, sample 0", Axis::log("σ"), Axis::linear("of (J + Jᵀ) / 2"));
    let values = shaded(values, &|i| eigenvalues(first, i));
    let directions = Figure::new("Directions of subspaces, sample 0", Axis::log("σ"), Axis::log("directions"));
    let directions = shaded(directions, &|i| first.each(i, |turned| turned.directions as f64));
    let identity = found.sigmas.iter().map(|sigma| (*sigma, dimension as f64)).collect();
    let directions = directions.with(Series::dashed("the identity (eps = 0)", identity).colour(Colour::Grey));
    let mut slopes = Figure::new("Speed of turning", Axis::linear("component i"), Axis::log("slope, 1/σ"));
    let mut asymmetry = Figure::new("Asymmetry", Axis::log("σ"), Axis::linear("‖J − Jᵀ‖ / ‖J + Jᵀ‖"));
    let most = found.sigmas.iter().rev().nth(1).map_or(f64::NAN, |sigma| 0.5 / sigma);
    let named = found.turnings.len() <= 8;
    for (at, turning) in found.turnings.iter().enumerate() {
        let name = if named { format!("sample {at}") } else { String::new() };
        let points = turning.slopes.iter().enumerate().map(|(i, slope)| (i as f64, *slope)).collect();
        slopes = slopes.with(Series::points(&name, points).colour(Colour::Cycle(at)));
        let values: Vec<f64> = turning.found.iter().map(|found| found.asymmetry).collect();
        asymmetry = asymmetry.with(Series { name, ..curve(found, &values).colour(Colour::Cycle(at)) });
    }
    for control in found.controls.iter().filter(|control| control.role == Role::Untrained) {
        let slope_points = control.turning.slopes.iter().enumerate().map(|(i, slope)| (i as f64, *slope)).collect();
        slopes = slopes.with(Series::line(&control.name, slope_points).colour(Colour::Grey));
        let values: Vec<f64> = control.turning.found.iter().map(|found| found.asymmetry).collect();
        let values = Series::dashed(&control.name, points(found, &values)).colour(Colour::Grey);
        asymmetry = asymmetry.with(values);
    }
    let resolved = vec![(0.0, most), ((k - 1) as f64, most)];
    let slopes = slopes.with(Series::dashed("largest that the levels resolve", resolved).colour(Colour::Black));
    let panels = vec![values.into(), directions.into(), slopes.into(), asymmetry.into()];
    Picture::new(&format!("Spectra of the Jacobian of {name}"), 2, panels)
}

fn points(found: &Found, values: &[f64]) -> Vec<(f64, f64)> {
    found.sigmas.iter().copied().zip(values.iter().copied()).collect()
}

fn curve(found: &Found, values: &[f64]) -> Series {
    Series::line("", points(found, values))
}
