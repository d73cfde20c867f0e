//! Samples that are read a few at a time: data that no memory holds.

mod drawn;
mod in_memory;
mod stored;

pub(super) use drawn::Drawn;
pub(super) use in_memory::InMemory;
pub(super) use stored::StoredSamples;

use super::no_samples;
use crate::error::{Error, Result};
use crate::tensor::element_count;

/// Samples that are read a few at a time.
///
/// Every kind of data source has one. It reads the values that [`Source::load`](super::Source::load) reads, bit for
/// bit, and takes memory for the samples that are asked for, not for all. Files are checked against their headers when
/// the stream is opened, values when they are read.
pub trait Stream: Send {
    /// The name that the user gave.
    fn name(&self) -> &str;

    /// The number of samples.
    fn count(&self) -> usize;

    /// The shape of a sample: (28, 28), (3, 32, 32), (p).
    fn sample_shape(&self) -> &[usize];

    /// The number of values per sample.
    fn dimension(&self) -> usize {
        self.sample_shape().iter().product()
    }

    /// Returns `true` if the values are bytes of images, scaled by [`Pixels`](super::Pixels), and `false` for numbers
    /// as they are.
    fn has_pixels(&self) -> bool;

    /// Reads the samples from number `first` on into `rows`, one after the other. The length of `rows` is a multiple
    /// of [`Stream::dimension`].
    ///
    /// # Errors
    /// Those of the files; [`Error::NonFinite`] naming the source, the sample and the value; [`Error::Argument`] for
    /// samples beyond the last.
    fn read(&mut self, first: usize, rows: &mut [f32]) -> Result<()>;
}

/// The number of values per sample of an array (N, ...) of samples.
///
/// # Errors
/// [`Error::BadFile`] for an array without samples or of samples without values.
pub(super) fn dimension_of(name: &str, shape: &[usize]) -> Result<usize> {
    match shape {
        [count, sample_shape @ ..] if *count > 0 && !sample_shape.is_empty() => {
            element_count(sample_shape).filter(|dimension| *dimension > 0).ok_or_else(|| no_samples(name, shape))
        }
        _ => Err(no_samples(name, shape)),
    }
}

/// Checks that the values of samples, from number `first` on, are finite.
///
/// # Errors
/// [`Error::NonFinite`].
pub(super) fn expect_finite(name: &str, first: usize, dimension: usize, rows: &[f32]) -> Result<()> {
    match rows.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NonFinite {
            place: format!("`{name}`: value {} of sample {}", at % dimension, first + at / dimension),
            hint: "remove such samples, or replace the values".into(),
        }),
    }
}

/// Checks that a stream has the samples that `rows` has room for, from number `first` on, and returns their number.
///
/// # Errors
/// [`Error::Argument`].
pub(super) fn expect_samples(stream: &dyn Stream, first: usize, rows: &[f32]) -> Result<usize> {
    let (count, dimension) = (stream.count(), stream.dimension());
    let wanted = rows.len() / dimension;
    if !rows.len().is_multiple_of(dimension) || first.checked_add(wanted).is_none_or(|end| end > count) {
        let what = format!("{} values from sample {first} on of `{}`", rows.len(), stream.name());
        return Err(Error::argument(what, format!("there are {count} samples of {dimension} values each")));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::super::{Pixels, Source};
    use crate::ErrorKind;
    use crate::formats::{Image, npy, npz, png::write_png};
    use crate::tensor::Tensor;
    use std::path::Path;

    /// Writes an `.npy` with this type, order and shape.
    fn raw(path: &Path, descr: &str, fortran: &str, shape: &[usize], bytes: &[u8]) {
        let shape = shape.iter().fold(String::new(), |text, extent| text + &format!("{extent}, "));
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': ({shape}), }}\n");
        let length = (header.len() as u16).to_le_bytes();
        std::fs::write(path, [npy::MAGIC, &[1, 0], &length, header.as_bytes(), bytes].concat()).unwrap();
    }

    /// Checks that ranges of a stream hold the bits of the whole.
    fn check(text: &str) {
        let source = Source::parse(text).unwrap();
        for pixels in [Pixels::Unit, Pixels::Signed] {
            let (whole, mut stream) = (source.load(pixels).unwrap(), source.stream(pixels).unwrap());
            assert_eq!((stream.name(), stream.count()), (whole.name.as_str(), whole.count()), "{text}");
            assert_eq!((stream.sample_shape(), stream.dimension()), (&whole.sample_shape[..], whole.dimension()));
            let (count, dimension) = (whole.count(), whole.dimension());
            let scaled = pixels == Pixels::Signed && whole.samples != source.load(Pixels::Unit).unwrap().samples;
            assert!(pixels == Pixels::Unit || stream.has_pixels() == scaled, "{text}");
            let all = (0, count);
            for (first, end) in [(count - 1, count), all, (count / 2, count), (0, 1), (count / 3, count / 3)] {
                let mut rows = vec![f32::NAN; (end - first) * dimension];
                stream.read(first, &mut rows).unwrap();
                let expected = &whole.samples.data[first * dimension..end * dimension];
                let same = rows.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same && rows.len() == expected.len(), "{text}: {first}..{end}");
            }
            let error = stream.read(count, &mut vec![0.0; dimension]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument);
        }
    }

    #[test]
    fn every_kind_of_source_reads_the_bits_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let text = |name: &str| at(name).display().to_string();
        for name in ["digits-held-out", "spiked:n=9,p=7,spikes=3/1,noise=0.2", "power-law:n=6,p=5,seed=2"] {
            check(name);
        }
        let bytes: Vec<u8> = (0..240u8).collect();
        for (name, descr, fortran, shape) in [
            ("bytes.npy", "|u1", "False", vec![10, 4, 6]),
            ("integers.npy", ">i2", "False", vec![12, 10]),
            ("columns.npy", "<i4", "True", vec![10, 6]),
            ("cube.npy", "|u1", "True", vec![5, 4, 3, 4]),
        ] {
            raw(&at(name), descr, fortran, &shape, &bytes);
            check(&text(name));
        }
        let numbers: Vec<f64> = (0..72u8).map(|value| f64::from(value) / 7.0).collect();
        npz::write(&at("numbers.npz"), &[("arr_0", &[3, 2, 4, 3], &numbers)]).unwrap();
        check(&text("numbers.npz"));
        let image = |first: u8| Image { height: 2, width: 4, channels: 3, pixels: (first..first + 24).collect() };
        npy::write_npz(at("images.npz"), &[image(0), image(90), image(3)]).unwrap();
        check(&text("images.npz"));
        let idx = [&[0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 4, 0, 0, 0, 6], &bytes[..]].concat();
        std::fs::write(at("images.idx"), &idx).unwrap();
        check(&text("images.idx"));
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut zipped, &idx).unwrap();
        std::fs::write(at("images.gz"), zipped.finish().unwrap()).unwrap();
        check(&text("images.gz"));
        std::fs::create_dir(at("pictures")).unwrap();
        for (name, channels) in [("b.png", 1), ("a.png", 3), ("c.png", 1)] {
            let pixels = bytes[..4 * channels].to_vec();
            write_png(at("pictures").join(name), &Image { height: 2, width: 2, channels, pixels }, &[]).unwrap();
        }
        check(&text("pictures"));
        std::fs::create_dir(at("parts")).unwrap();
        raw(&at("parts").join("b.npy"), "|u1", "False", &[10, 4, 3], &bytes[..120]);
        raw(&at("parts").join("a.npy"), "|u1", "False", &[3, 4, 3], &bytes[..36]);
        raw(&at("parts").join("c.npy"), "|u1", "True", &[1, 4, 3], &bytes[..12]);
        check(&text("parts"));
        check(&text("parts/*.npy"));
        check(&text("parts/*b.npy"));
    }

    #[test]
    fn faults_name_the_file_and_the_sample() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let stream = |name: &str| Source::parse(&at(name).display().to_string()).unwrap().stream(Pixels::Unit);
        let mut values = vec![0.0f32; 12];
        values[7] = f32::NAN;
        npy::write(at("x.npy"), &Tensor::new([4, 3], values.clone())).unwrap();
        let mut rows = stream("x.npy").unwrap();
        rows.read(0, &mut [0.0; 6]).unwrap();
        let error = rows.read(1, &mut [0.0; 9]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        assert!(error.to_string().ends_with("x.npy`: value 1 of sample 2"), "{error}");

        raw(&at("short.npy"), "<f4", "False", &[4, 3], &[0; 40]);
        let error = stream("short.npy").err().unwrap();
        assert!(error.to_string().contains("truncated: shape [4, 3] needs 48 bytes, the file has 40"), "{error}");
        raw(&at("empty.npy"), "<f4", "False", &[0, 3], &[]);
        assert!(stream("empty.npy").err().unwrap().to_string().contains("holds no samples"));
        raw(&at("flat.npy"), "<f4", "False", &[3], &[0; 12]);
        assert!(stream("flat.npy").err().unwrap().to_string().contains("holds no samples"));

        npy::write_npz(at("x.npz"), &[Image { height: 2, width: 4, channels: 1, pixels: vec![77; 8] }]).unwrap();
        let mut bytes = std::fs::read(at("x.npz")).unwrap();
        let pixel = bytes.windows(8).position(|window| window == [77; 8]).unwrap();
        bytes[pixel + 3] = 78;
        std::fs::write(at("x.npz"), bytes).unwrap();
        let error = stream("x.npz").err().unwrap();
        assert!(error.to_string().contains("`arr_0` cannot be unpacked"), "{error}");
    }

    #[test]
    fn arrays_of_several_files_have_one_shape() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let source = Source::parse(&at("*.npy").display().to_string()).unwrap_err();
        assert!(source.to_string().contains("no file is named so"), "{source}");
        npy::write(at("a.npy"), &Tensor::zeros([4, 3])).unwrap();
        npy::write(at("b.npy"), &Tensor::zeros([2, 5])).unwrap();
        let source = Source::parse(&at("*.npy").display().to_string()).unwrap();
        for error in [source.load(Pixels::Unit).unwrap_err(), source.stream(Pixels::Unit).err().unwrap()] {
            assert!(
                error.to_string().ends_with("b.npy: its samples are of shape [5], those of `a.npy` [3]"),
                "{error}"
            );
        }
        raw(&at("b.npy"), "|u1", "False", &[2, 3], &[0; 6]);
        let error = source.stream(Pixels::Unit).err().unwrap();
        assert!(error.to_string().ends_with("b.npy: its values are bytes, those of `a.npy` are not"), "{error}");
        let mut values = Tensor::zeros([2, 3]);
        values.data[4] = f32::INFINITY;
        npy::write(at("b.npy"), &values).unwrap();
        let error = source.load(Pixels::Unit).unwrap_err();
        assert!(error.to_string().ends_with("b.npy`: value 1 of sample 1"), "{error}");
    }
}
