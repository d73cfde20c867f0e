//! The results of a study as dictionaries: arrays, tables, texts and figures by the names of the program's files.

use downhill::report::plot::{Axis, Colour, Figure, FirstRow, Heat, Mark, Panel, Picture, Scale};
use downhill::study::results::{Contents, Message, Results};
use downhill::{Image, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::{Map, Value};

use crate::array::array;
use crate::error::Result;
use crate::matrix::doubles;

/// Results as a dictionary.
pub fn results_of(py: Python<'_>, results: Results) -> Result<Bound<'_, PyDict>> {
    let [arrays, tables, texts, figures] = std::array::from_fn(|_| PyDict::new(py));
    for (file, contents) in results.files {
        let stem = file.name.rsplit_once('.').map_or(file.name, |(stem, _)| stem);
        match contents {
            Contents::Array(values) => arrays.set_item(stem, array(py, values)?)?,
            Contents::Table(table) => tables.set_item(stem, (table.columns().to_vec(), table.rows().to_vec()))?,
            Contents::Text(text) => texts.set_item(stem, text)?,
            Contents::Images(images) => arrays.set_item(stem.replace("-%d", "s"), array(py, stacked(&images))?)?,
            Contents::Plot(picture) => figures.set_item(stem, picture_of(py, &picture)?)?,
        }
    }
    let report: Map<String, Value> =
        results.sections.into_iter().map(|(section, value)| (section.to_owned(), value)).collect();
    let messages: Vec<(&str, String)> = results
        .messages
        .into_iter()
        .map(|message| match message {
            Message::Note(text) => ("note", text),
            Message::Detail(text) => ("detail", text),
            Message::Warning(text) => ("warning", text),
        })
        .collect();
    let all = PyDict::new(py);
    all.set_item("arrays", arrays)?;
    all.set_item("tables", tables)?;
    all.set_item("texts", texts)?;
    all.set_item("figures", figures)?;
    all.set_item("report", Value::Object(report).to_string())?;
    all.set_item("messages", messages)?;
    all.set_item("text", results.text)?;
    Ok(all)
}

/// Images of one size as an array of bytes, (n, h, w, c).
fn stacked(images: &[Image]) -> Tensor {
    let [height, width, channels] = images.first().map_or([0; 3], |image| [image.height, image.width, image.channels]);
    let bytes = images.iter().flat_map(|image| image.pixels.iter().copied().map(f32::from));
    Tensor::new([images.len(), height, width, channels], bytes.collect())
}

fn picture_of<'py>(py: Python<'py>, picture: &Picture) -> Result<Bound<'py, PyDict>> {
    let panels = PyList::empty(py);
    for panel in &picture.panels {
        panels.append(match panel {
            Panel::Figure(figure) => figure_of(py, figure)?,
            Panel::Heat(heat) => heat_of(py, heat)?,
        })?;
    }
    let all = PyDict::new(py);
    all.set_item("title", &picture.title)?;
    all.set_item("columns", picture.columns)?;
    all.set_item("panels", panels)?;
    Ok(all)
}

fn figure_of<'py>(py: Python<'py>, figure: &Figure) -> Result<Bound<'py, PyDict>> {
    let curves = PyList::empty(py);
    for series in &figure.series {
        let curve = PyDict::new(py);
        curve.set_item("name", &series.name)?;
        curve.set_item(
            "mark",
            match series.mark {
                Mark::Line => "line",
                Mark::Dashed => "dashed",
                Mark::Points => "points",
                Mark::Ticks => "ticks",
                Mark::Bars => "bars",
            },
        )?;
        curve.set_item("points", pairs(py, &series.points)?)?;
        curve.set_item("band", series.band.as_ref().map(|band| pairs(py, band)).transpose()?)?;
        let (colour, place) = match series.colour {
            Colour::Cycle(index) => ("cycle", index as f64),
            Colour::Shade(place) => ("shade", place),
            Colour::Black => ("black", 0.0),
            Colour::Grey => ("grey", 0.0),
        };
        curve.set_item("colour", (colour, place))?;
        curves.append(curve)?;
    }
    let all = PyDict::new(py);
    all.set_item("title", &figure.title)?;
    all.set_item("x", axis_of(py, &figure.x)?)?;
    all.set_item("y", axis_of(py, &figure.y)?)?;
    all.set_item("series", curves)?;
    let shades = figure.shades.as_ref().map(|shades| (&shades.label, shades.darkest, shades.brightest));
    all.set_item("shades", shades)?;
    Ok(all)
}

fn heat_of<'py>(py: Python<'py>, heat: &Heat) -> Result<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    all.set_item("title", &heat.title)?;
    all.set_item("x", axis_of(py, &heat.x)?)?;
    all.set_item("y", axis_of(py, &heat.y)?)?;
    all.set_item("values", doubles(py, &[heat.rows, heat.columns], heat.values.clone())?)?;
    all.set_item("colours", axis_of(py, &heat.colours)?)?;
    all.set_item("is_matrix", heat.first_row == FirstRow::Top)?;
    Ok(all)
}

fn axis_of<'py>(py: Python<'py>, axis: &Axis) -> Result<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    all.set_item("label", &axis.label)?;
    all.set_item("log", axis.scale == Scale::Log)?;
    all.set_item("range", axis.range)?;
    Ok(all)
}

fn pairs<'py>(py: Python<'py>, pairs: &[(f64, f64)]) -> Result<Bound<'py, numpy::PyArrayDyn<f64>>> {
    doubles(py, &[pairs.len(), 2], pairs.iter().flat_map(|(x, y)| [*x, *y]).collect())
}
