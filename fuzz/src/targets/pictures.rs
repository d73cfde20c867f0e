//! Pictures: the text of PNG files, pictures to start from, and folders of images.

use downhill::data::mask::Mask;
use downhill::data::picture::Picture;
use downhill::data::{Pixels, Source};
use downhill::formats::png;

use super::said;
use super::scratch::{at, put};

pub fn png_text(bytes: &[u8]) {
    let file = put("x.png", bytes);
    let texts = said(png::read_metadata(&file));
    assert!(texts.is_none() || png::is_complete(&file), "a file whose text is read is complete");
}

pub fn picture(bytes: &[u8]) {
    let file = put("x.png", bytes);
    let Some(picture) = said(Picture::read(&file)) else { return };
    let (height, width) = picture.size();
    if height * width > 1 << 12 {
        return;
    }
    for (channels, size) in [(3, (8, 8)), (1, (height, width))] {
        if let Some(image) = said(picture.at(channels, size)) {
            assert_eq!(image.shape, [1, channels, size.0, size.1]);
            assert!(image.data.iter().all(|value| (-1.0..=1.0).contains(value)));
        }
    }
    for mask in [said(Mask::read(&file)), said(Mask::of_alpha(&picture))].into_iter().flatten() {
        assert_eq!(mask.size(), (height, width));
        for size in [(8, 8), (height, width)] {
            let painted = said(mask.at(size)).unwrap_or_default();
            assert!(painted.is_empty() || (painted.contains(&true) && painted.contains(&false)));
        }
    }
}

/// A folder with one image.
pub fn folder(bytes: &[u8]) {
    put("images/a.png", bytes);
    let Some(source) = said(Source::parse(&at("images").display().to_string())) else { return };
    if let Some(data) = said(source.load(Pixels::Signed)) {
        assert_eq!(data.count(), 1);
        assert!(data.samples.data.iter().all(|value| (-1.0..=1.0).contains(value)));
    }
}
