//! Arrays: `.npy`, `.npz`, IDX, and the last compressed by gzip.

use std::io::{Cursor, Write};
use std::path::Path;

use downhill::data::{Pixels, Source};
use downhill::formats::{npy, npz};
use downhill::quality::Statistics;

use super::said;
use super::scratch::put;

pub fn npy(bytes: &[u8]) {
    let file = put("x.npy", bytes);
    let read = said(npy::read(&file));
    assert_eq!(said(npy::read_f64(&file)).map(|values| values.len()), read.map(|tensor| tensor.data.len()));
    data(&file);
}

pub fn npz(bytes: &[u8]) {
    let file = put("x.npz", bytes);
    said(npz::read(&file, &["arr_0"]));
    said(npz::read(&file, &["mu", "sigma"]));
    data(&file);
}

/// An archive that holds `bytes` under each name that downhill reads.
pub fn npz_arrays(bytes: &[u8]) {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for name in ["arr_0.npy", "mu.npy", "sigma.npy"] {
        archive.start_file(name, options).expect("an entry in memory");
        archive.write_all(bytes).expect("an entry in memory");
    }
    let whole = archive.finish().expect("an archive in memory").into_inner();
    let file = put("x.npz", &whole);
    data(&file);
    said(Statistics::read(&file));
}

pub fn idx(bytes: &[u8]) {
    data(&put("x.idx", bytes));
}

/// Loads a file as data, by its first bytes.
fn data(file: &Path) {
    let Some(source) = said(Source::parse(&file.display().to_string())) else { return };
    for pixels in [Pixels::Unit, Pixels::Signed] {
        let Some(data) = said(source.load(pixels)) else { continue };
        assert_eq!(data.count() * data.dimension(), data.samples.data.len());
        assert_eq!(data.sample_shape.iter().product::<usize>(), data.dimension());
        assert!(data.samples.data.iter().all(|value| value.is_finite()));
    }
}
