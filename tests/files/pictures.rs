//! Image files of every format that is read, as Pillow wrote them, against what viewers show of them
//! (`tests/golden/pictures`).

use std::path::{Path, PathBuf};

use downhill::data::picture::Picture;
use downhill::data::{Pixels, Source};
use downhill::formats::images::to_byte;
use downhill::formats::npy;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures")
}

/// Height, width and RGB bytes of every file as viewers show it.
fn shown() -> Vec<(String, [usize; 2], Vec<u8>)> {
    let sizes = std::fs::read(folder().join("shown.json")).unwrap();
    let sizes: std::collections::BTreeMap<String, [usize; 2]> = serde_json::from_slice(&sizes).unwrap();
    let mut values = npy::read(folder().join("shown.npy")).unwrap().data.into_iter().map(|value| value as u8);
    let mut of = |(name, [height, width]): (String, [usize; 2])| {
        (name, [height, width], values.by_ref().take(height * width * 3).collect())
    };
    sizes.into_iter().map(&mut of).collect()
}

/// The RGB bytes of a picture at its own size.
fn read(file: &Path) -> ((usize, usize), Vec<u8>) {
    let picture = Picture::read(file).unwrap_or_else(|error| panic!("{error}"));
    let (height, width) = picture.size();
    let values = picture.at(3, (height, width)).unwrap().data;
    let area = height * width;
    ((height, width), (0..area * 3).map(|at| to_byte(values[at % 3 * area + at / 3])).collect())
}

#[test]
fn pictures_are_what_viewers_show() {
    let all = shown();
    assert!(all.len() >= 36, "{} files", all.len());
    for (name, [height, width], expected) in all {
        let (size, found) = read(&folder().join(&name));
        assert_eq!(size, (height, width), "{name}");
        let apart = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // Decoders of lossy formats round differently; 16 bits become 8 by rounding or by cutting.
        let most = match name.rsplit('.').next() {
            Some("jpg") => 3,
            Some("webp") if name.starts_with("lossy") => 8,
            _ => 1,
        };
        assert!(apart <= most, "{name}: {apart}");
    }
}

#[test]
fn more_than_one_image_is_said() {
    for (name, _, _) in shown() {
        let picture = Picture::read(&folder().join(&name)).unwrap();
        let expected = match name.as_str() {
            "pages.tif" => Some("several pages: the first one is taken"),
            name if name.starts_with("animated") => Some("several frames: the first one is taken"),
            _ => None,
        };
        match (picture.note(), expected) {
            (None, None) => {}
            (Some(note), Some(expected)) => assert!(note.contains(expected), "{name}: {note}"),
            (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn the_content_decides_and_not_the_name() {
    let place = tempfile::tempdir().unwrap();
    for (name, _, _) in shown() {
        let other = place.path().join("x.jpg");
        std::fs::copy(folder().join(&name), &other).unwrap();
        assert_eq!(read(&other), read(&folder().join(&name)), "{name}");
    }
}

/// Without this, what is missing would be grey, and nothing would say so.
#[test]
fn a_jpeg_that_ends_within_its_image_is_refused() {
    let place = tempfile::tempdir().unwrap();
    for name in ["grey.jpg", "turned-6.jpg"] {
        let whole = std::fs::read(folder().join(name)).unwrap();
        let file = place.path().join(name);
        for missing in [1, 2, 20] {
            std::fs::write(&file, &whole[..whole.len() - missing]).unwrap();
            let error = Picture::read(&file).unwrap_err();
            assert!(error.to_string().contains("the file ends before its image does"), "{name}: {error}");
            assert_eq!(error.kind(), downhill::ErrorKind::File);
        }
        // What follows the image does not count: some cameras keep a film there.
        std::fs::write(&file, [&whole[..], b"\xff\xda\0"].concat()).unwrap();
        assert_eq!(read(&file), read(&folder().join(name)), "{name}");
    }
}

#[test]
fn transparency_is_kept_beside_the_image() {
    let alpha = |name: &str| Picture::read(&folder().join(name)).unwrap().alpha().map(<[u8]>::to_vec);
    let ramp: Vec<u8> = (0..6).flat_map(|_| (0..10usize).map(|x| (x * 255 / 9) as u8)).collect();
    for name in ["rgba.png", "grey-alpha.png", "clear.webp", "lzw.tif"] {
        assert_eq!(alpha(name).as_deref(), Some(&ramp[..]), "{name}");
    }
    assert!(alpha("palette-clear.png").unwrap().contains(&0));
    assert_eq!(alpha("rgb.png"), None);
    assert_eq!(alpha("turned-6.jpg"), None);
}

/// A folder of the same image in several formats is a data set of equal samples.
#[test]
fn folders_hold_images_of_any_format() {
    let place = tempfile::tempdir().unwrap();
    for name in ["rgb.png", "rgb.bmp", "rgb.tif", "lossless.webp"] {
        std::fs::copy(folder().join(name), place.path().join(name)).unwrap();
    }
    let load = || Source::parse(&place.path().display().to_string()).unwrap().load(Pixels::Unit);
    let data = load().unwrap();
    assert_eq!((data.count(), &data.sample_shape[..]), (4, &[3, 6, 10][..]));
    for item in 1..4 {
        assert_eq!(data.samples.item(item), data.samples.item(0));
    }
    std::fs::copy(folder().join("animated.gif"), place.path().join("a.gif")).unwrap();
    let error = load().unwrap_err();
    assert!(error.to_string().contains("a.gif: the image holds several frames"), "{error}");
    std::fs::remove_file(place.path().join("a.gif")).unwrap();
    std::fs::write(place.path().join("photo.heic"), b"\0\0\0\x18ftypheic\0\0\0\0").unwrap();
    let error = load().unwrap_err();
    assert!(error.to_string().contains("photo.heic: the file is HEIC, the format of phone photos"), "{error}");
}
