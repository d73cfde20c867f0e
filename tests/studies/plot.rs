//! Pictures: what must be in them, that they are drawn within their page, the same each time.

use downhill::report::plot::{Axis, Colour, Figure, FirstRow, Heat, Panel, Picture, Series, write};

fn curves() -> Figure {
    let x = |i: i32| f64::from(i) / 20.0;
    let curve = |power: i32| (1..60).map(|i| (x(i), x(i).powi(power) / 3.0f64.powi(power))).collect::<Vec<_>>();
    let mut figure = Figure::new("Powers, dark to bright", Axis::linear("level t"), Axis::linear("sin θ"))
        .with_shades("index i", 0.0, 7.0);
    for power in 1..9 {
        let points = curve(power);
        let band = points.iter().map(|(_, y)| (y - 0.03, y + 0.03)).collect();
        figure = figure.with(Series::line("", points).band(band).colour(Colour::shade_of(power as usize - 1, 8)));
    }
    figure.with(Series::dashed("theory", curve(1)).colour(Colour::Black))
}

fn bars_and_points() -> Figure {
    Figure::new("Energies", Axis::linear("index i"), Axis::log("energy"))
        .with(Series::bars("nested", (0..8).map(|i| (f64::from(i), 0.5f64.powi(i))).collect()))
        .with(Series::bars("fresh", (0..8).map(|i| (f64::from(i), 0.1f64.powi(i))).collect()).colour(Colour::Cycle(1)))
        .with(
            Series::points("measured", (0..8).map(|i| (f64::from(i), 0.3f64.powi(i))).collect())
                .band((0..8).map(|i| (0.2f64.powi(i), 0.4f64.powi(i))).collect())
                .colour(Colour::Cycle(2)),
        )
}

fn picture() -> Picture {
    let matrix = Heat {
        x: Axis::linear("component at τ"),
        y: Axis::linear("component at 0"),
        ..Heat::matrix("|U₀ᵀ P U|", 8, 8, (0..64).map(|i| 0.8f64.powi(i / 8 + i % 8)).collect())
    };
    let histogram = Heat {
        x: Axis::log("σ").over(0.01, 100.0),
        y: Axis::linear("|ε| / √n").over(0.8, 1.2),
        colours: Axis::log("count").over(1.0, 1000.0),
        first_row: FirstRow::Bottom,
        ..Heat::matrix("A histogram", 30, 40, (0..1200).map(|i| f64::from(i % 40) * f64::from(i / 40) - 50.0).collect())
    };
    let panels: Vec<Panel> = vec![curves().into(), bars_and_points().into(), matrix.into(), histogram.into()];
    Picture::new("Everything that there is", 2, panels)
}

#[test]
fn pictures_are_documents_and_pixels_with_all_their_words() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::env::var_os("DOWNHILL_TEST_PLOTS").map_or(folder.path().to_path_buf(), Into::into);
    write(&root, "all", &picture()).unwrap();
    let svg = std::fs::read_to_string(root.join("all.svg")).unwrap();
    for word in ["Everything that there is", "Powers", "theory", "sin θ", "nested", "10⁻⁶", "component at τ", "count"]
    {
        assert!(svg.contains(word), "{word}");
    }
    assert_eq!(svg, picture().svg(), "the same each time");
    assert!(downhill::formats::png::is_complete(root.join("all.png")));
}
