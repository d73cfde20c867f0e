//! The difference of two arrays of one shape.

/// The difference of the values a from the values b.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The number of values, or of pixels of an image.
    pub count: usize,
    /// The number of values, or pixels, that differ at all.
    pub differing: usize,
    /// The largest |a - b| among finite values; 0 without any.
    pub largest: f64,
    /// The index of the largest, if it is above 0: one number per axis.
    pub largest_at: Option<Vec<usize>>,
    /// The mean |a - b| of finite values; 0 without any.
    pub mean: f64,
    /// The largest |a - b| over the largest |b|, both of finite values. Infinite where all b are 0 and some a are not.
    pub relative: f64,
    /// The number of values of which one is NaN or infinite and the other is not the same. No tolerance admits them.
    pub unmatched: usize,
    /// The index of the first of these.
    pub unmatched_at: Option<Vec<usize>>,
    /// 10 log10(peak^2 / mean (a - b)^2) in dB, infinite where nothing differs; `None` without a peak.
    pub psnr: Option<f64>,
}

/// The differences that are admitted. Each bound that is given must hold; without any, values must be equal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// The largest |a - b|: levels of images, or numbers.
    pub absolute: Option<f64>,
    /// The largest max |a - b| / max |b|.
    pub relative: Option<f64>,
    /// The least PSNR in dB, of images.
    pub least_psnr: Option<f64>,
    /// `true` if a NaN equals a NaN.
    pub equal_nan: bool,
}

impl Tolerance {
    /// Returns `true` if a difference is admitted.
    #[must_use]
    pub fn admits(&self, difference: &Difference) -> bool {
        let bounds = [
            self.absolute.map(|most| difference.largest <= most),
            self.relative.map(|most| difference.relative <= most),
            self.least_psnr.zip(difference.psnr).map(|(least, psnr)| psnr >= least),
        ];
        let is_exact = bounds.iter().all(Option::is_none);
        let holds = if is_exact { difference.differing == 0 } else { bounds.into_iter().flatten().all(|holds| holds) };
        difference.unmatched == 0 && holds
    }
}

/// Measures how far the values `a` are from `b`, both row-major of this shape. `peak` is the largest value of images:
/// their last axis is channels, and pixels are counted instead of values.
///
/// # Panics
/// Panics if the numbers of values differ from the shape.
#[must_use]
pub fn measure(shape: &[usize], a: &[f64], b: &[f64], peak: Option<f64>, equal_nan: bool) -> Difference {
    let values: usize = shape.iter().product();
    assert!(a.len() == values && b.len() == values, "{shape:?} holds {} and {} values", a.len(), b.len());
    let group = if peak.is_some() { shape.last().copied().unwrap_or(1).max(1) } else { 1 };
    let (mut differing, mut unmatched, mut unmatched_at) = (0, 0, None);
    let (mut largest, mut largest_at, mut sum, mut squares, mut scale) = (0.0f64, None, 0.0, 0.0, 0.0f64);
    for (pixel, (a, b)) in a.chunks(group).zip(b.chunks(group)).enumerate() {
        let mut differs = false;
        for (channel, (a, b)) in a.iter().zip(b).enumerate() {
            let at = pixel * group + channel;
            if b.is_finite() {
                scale = scale.max(b.abs());
            }
            if a == b || (equal_nan && a.is_nan() && b.is_nan()) {
                continue;
            }
            differs = true;
            if !(a.is_finite() && b.is_finite()) {
                unmatched += 1;
                unmatched_at.get_or_insert(at);
                continue;
            }
            let distance = (a - b).abs();
            sum += distance;
            squares += distance * distance;
            if distance > largest {
                (largest, largest_at) = (distance, Some(at));
            }
        }
        differing += usize::from(differs);
    }
    let finite = (values - unmatched).max(1) as f64;
    Difference {
        count: values / group,
        differing,
        largest,
        largest_at: largest_at.map(|at| index(shape, at)),
        mean: sum / finite,
        relative: if largest == 0.0 { 0.0 } else { largest / scale },
        unmatched,
        unmatched_at: unmatched_at.map(|at| index(shape, at)),
        psnr: peak.map(|peak| 10.0 * (peak * peak * finite / squares).log10()),
    }
}

/// The index of value `at` of a row-major array.
fn index(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|extent| {
            let along = at % extent;
            at /= extent;
            along
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;
    const INFINITY: f64 = f64::INFINITY;

    fn of(a: &[f64], b: &[f64], equal_nan: bool) -> Difference {
        measure(&[a.len()], a, b, None, equal_nan)
    }

    #[test]
    fn numbers_are_counted_placed_and_averaged() {
        let b = [0.0, 1.0, -4.0, 3.0, 2.0, 1.0];
        let mut a = b;
        (a[1], a[5]) = (1.5, -1.0);
        let found = measure(&[2, 3], &a, &b, None, false);
        assert_eq!((found.count, found.differing, found.unmatched), (6, 2, 0));
        assert_eq!((found.largest, found.largest_at.as_deref()), (2.0, Some(&[1, 2][..])));
        assert_eq!((found.mean, found.relative, found.psnr), (2.5 / 6.0, 0.5, None));
        let same = measure(&[2, 3], &b, &b, None, false);
        assert_eq!((same.differing, same.largest, same.largest_at, same.relative), (0, 0.0, None, 0.0));
    }

    #[test]
    fn pixels_are_counted_once_and_have_a_psnr() {
        let b = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
        let mut a = b;
        (a[3], a[4]) = (41.0, 47.0);
        let found = measure(&[1, 2, 3], &a, &b, Some(255.0), false);
        assert_eq!((found.count, found.differing, found.largest_at), (2, 1, Some(vec![0, 1, 1])));
        let expected = 10.0 * (255.0f64 * 255.0 / (10.0 / 6.0)).log10();
        assert!((found.psnr.unwrap() - expected).abs() < 1e-12);
        assert_eq!(measure(&[1, 2, 3], &b, &b, Some(255.0), false).psnr, Some(INFINITY));
    }

    #[test]
    fn nan_and_infinity_follow_numpy() {
        let loose = Tolerance { absolute: Some(1e300), relative: Some(1e300), ..Tolerance::default() };
        let same = of(&[INFINITY, -INFINITY, -0.0], &[INFINITY, -INFINITY, 0.0], false);
        assert_eq!((same.differing, same.unmatched), (0, 0));
        for (a, b) in [(INFINITY, -INFINITY), (INFINITY, 1.0), (NAN, 1.0), (1.0, NAN), (NAN, NAN)] {
            let found = of(&[0.0, a], &[0.0, b], false);
            assert_eq!((found.differing, found.unmatched, found.unmatched_at.as_deref()), (1, 1, Some(&[1][..])));
            assert_eq!((found.largest, found.mean), (0.0, 0.0));
            assert!(!loose.admits(&found), "{a} {b}");
        }
        assert_eq!(of(&[NAN], &[NAN], true).differing, 0);
        assert_eq!(of(&[NAN], &[INFINITY], true).unmatched, 1);
    }

    #[test]
    fn each_bound_that_is_given_holds() {
        let found = of(&[1.0, 10.5], &[1.0, 10.0], false);
        let admits = |absolute, relative| Tolerance { absolute, relative, ..Tolerance::default() }.admits(&found);
        assert!(!admits(None, None));
        assert!(admits(Some(0.5), None) && !admits(Some(0.49), None));
        assert!(admits(None, Some(0.05)) && !admits(None, Some(0.049)));
        assert!(!admits(Some(0.0), Some(0.1)) && !admits(Some(1.0), Some(0.01)) && admits(Some(1.0), Some(0.1)));
        let psnr = Tolerance { least_psnr: Some(1.0), ..Tolerance::default() };
        assert!(!psnr.admits(&found), "numbers have no PSNR, so they must be equal");
        let image = measure(&[1, 1, 1], &[1.0], &[2.0], Some(255.0), false);
        assert!(psnr.admits(&image) && !Tolerance { least_psnr: Some(60.0), ..psnr }.admits(&image));
        assert_eq!(of(&[1.0], &[0.0], false).relative, INFINITY);
        assert_eq!(measure(&[0, 3], &[], &[], None, false).differing, 0);
        assert_eq!(measure(&[], &[1.0], &[2.0], None, false).largest_at, Some(vec![]));
    }
}
