//! Linear operators on images, in float64 on the host, with their singular value decompositions.
//!
//! A mode is a right singular vector; those that an operator does not measure complete a basis of all images. The
//! methods of [`super`] work mode by mode.

use faer::Mat;

use crate::error::{Error, Result};

/// Modes of a smaller singular value than this share of the largest count as not measured: their values would be
/// rounding, divided by next to nothing.
pub const LEAST_SHARE: f64 = 1e-3;

/// The most values of an image for an operator by a matrix: its modes are a matrix of that many rows and columns.
pub const MOST_VALUES: usize = 4096;

/// A linear operator A on images of one shape.
#[derive(Clone, Debug)]
pub struct Operator {
    kind: Kind,
    image: [usize; 3],
    /// One singular value per mode; 0 where nothing is measured.
    values: Vec<f64>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The pixels that are known.
    Mask(Vec<bool>),
    /// L X R' for each channel X.
    Separable { rows: Factor, columns: Factor },
    /// Any matrix on the values of an image.
    Matrix(Factor),
}

/// A matrix with its decomposition.
#[derive(Clone, Debug)]
struct Factor {
    matrix: Mat<f64>,
    /// Left singular vectors, one column for each singular value.
    left: Mat<f64>,
    values: Vec<f64>,
    /// Right singular vectors: a whole basis.
    right: Mat<f64>,
}

impl Factor {
    fn new(matrix: Mat<f64>) -> Result<Self> {
        let failed = |_| Error::argument("a matrix without a singular value decomposition", "check its numbers");
        let svd = matrix.svd().map_err(failed)?;
        let values: Vec<f64> = svd.S().column_vector().iter().copied().collect();
        let left = svd.U().subcols(0, values.len()).to_owned();
        let right = svd.V().to_owned();
        Ok(Self { matrix, left, values, right })
    }

    /// The singular value of each right singular vector.
    fn value(&self, mode: usize) -> f64 {
        self.values.get(mode).copied().unwrap_or(0.0)
    }
}

/// Rows times columns of numbers, row by row.
type Grid = (usize, usize);

/// Returns a X b for a map X of `grid` (rows, columns), with a or b transposed if asked for; and its extents.
fn sandwich(a: &Mat<f64>, x: &[f64], (rows, columns): Grid, b: &Mat<f64>, transposed: bool) -> Vec<f64> {
    let x = Mat::from_fn(rows, columns, |row, column| x[row * columns + column]);
    let y = if transposed { a.transpose() * &x * b } else { a * &x * b.transpose() };
    (0..y.nrows()).flat_map(|row| (0..y.ncols()).map(move |column| (row, column))).map(|(r, c)| y[(r, c)]).collect()
}

fn product(a: &Mat<f64>, x: &[f64], transposed: bool) -> Vec<f64> {
    let x = Mat::from_fn(x.len(), 1, |row, _| x[row]);
    let y = if transposed { a.transpose() * &x } else { a * &x };
    y.col(0).iter().copied().collect()
}

impl Operator {
    /// The pixels that are not `missing`, in all channels. The measurement has the shape of an image; its values at
    /// missing pixels do not count.
    ///
    /// # Errors
    /// [`Error::Argument`] for another number of values than pixels, and where nothing is known.
    pub fn mask(image: [usize; 3], missing: &[bool]) -> Result<Self> {
        let [channels, height, width] = image;
        if missing.len() != height * width || missing.iter().all(|missing| *missing) {
            let what = format!("a mask of {} values, of which none are known, for {height} x {width}", missing.len());
            return Err(Error::argument(what, "a mask has one value per pixel, some of them known"));
        }
        let known: Vec<bool> = missing.iter().map(|missing| !missing).collect();
        let values = (0..channels).flat_map(|_| known.iter().map(|known| f64::from(u8::from(*known)))).collect();
        Ok(Self { kind: Kind::Mask(known), image, values })
    }

    /// A Gaussian blur of a standard deviation in pixels, mirrored at the edges (the edge pixel is its own neighbour).
    ///
    /// # Errors
    /// [`Error::Argument`] for a deviation that is not above 0 or beyond the image.
    pub fn blur(image: [usize; 3], sigma: f64) -> Result<Self> {
        let [_, height, width] = image;
        if !(sigma > 0.0 && sigma <= height.max(width) as f64) {
            let what = format!("a blur of {sigma} pixels for {height} x {width}");
            return Err(Error::argument(what, "take a standard deviation above 0 and within the image"));
        }
        Self::separable(image, blur_matrix(height, sigma), blur_matrix(width, sigma))
    }

    /// Means of `factor` x `factor` pixels.
    ///
    /// # Errors
    /// [`Error::Argument`] for a factor that does not divide the sides.
    pub fn downsample(image: [usize; 3], factor: usize) -> Result<Self> {
        let [_, height, width] = image;
        if factor == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            let what = format!("means of {factor} x {factor} pixels of {height} x {width}");
            return Err(Error::argument(what, "take a factor that divides height and width"));
        }
        let means = |side: usize| {
            let share = (factor as f64).recip();
            Mat::from_fn(side / factor, side, |row, column| if column / factor == row { share } else { 0.0 })
        };
        Self::separable(image, means(height), means(width))
    }

    /// A matrix on the values of an image, (measured values, channels height width), row by row.
    ///
    /// # Errors
    /// [`Error::Argument`] for a matrix that does not fit the images, is too large, or has numbers that are not finite.
    pub fn matrix(image: [usize; 3], rows: usize, numbers: &[f64]) -> Result<Self> {
        let len: usize = image.iter().product();
        if len > MOST_VALUES || rows == 0 || rows > len {
            let what = format!("a matrix of {rows} rows on images of {len} values");
            let hint = format!("take at most one row per value, and images of at most {MOST_VALUES} values");
            return Err(Error::argument(what, hint));
        }
        if numbers.len() != rows * len || numbers.iter().any(|number| !number.is_finite()) {
            let what = format!("a matrix of {} numbers for {rows} x {len}", numbers.len());
            return Err(Error::argument(what, "give finite numbers, one row for each measured value"));
        }
        let factor = Factor::new(Mat::from_fn(rows, len, |row, column| numbers[row * len + column]))?;
        let values = (0..len).map(|mode| factor.value(mode)).collect();
        Ok(Self { kind: Kind::Matrix(factor), image, values }.without_small_values())
    }

    fn separable(image: [usize; 3], rows: Mat<f64>, columns: Mat<f64>) -> Result<Self> {
        let [channels, height, width] = image;
        let (rows, columns) = (Factor::new(rows)?, Factor::new(columns)?);
        let of_channel = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let of_channel: Vec<f64> = of_channel.map(|(row, column)| rows.value(row) * columns.value(column)).collect();
        let values = of_channel.repeat(channels);
        Ok(Self { kind: Kind::Separable { rows, columns }, image, values }.without_small_values())
    }

    fn without_small_values(mut self) -> Self {
        let least = LEAST_SHARE * self.values.iter().copied().fold(0.0, f64::max);
        self.values.iter_mut().filter(|value| **value < least).for_each(|value| *value = 0.0);
        self
    }

    /// (channels, height, width) of an image.
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        self.image
    }

    /// The shape of a measurement: (channels, height, width), or the number of values for a matrix.
    #[must_use]
    pub fn measured_shape(&self) -> Vec<usize> {
        let [channels, _, _] = self.image;
        match &self.kind {
            Kind::Mask(_) => self.image.to_vec(),
            Kind::Separable { rows, columns } => vec![channels, rows.matrix.nrows(), columns.matrix.nrows()],
            Kind::Matrix(factor) => vec![factor.matrix.nrows()],
        }
    }

    /// The singular value of each mode; 0 for one that is not measured.
    #[must_use]
    pub fn singular_values(&self) -> &[f64] {
        &self.values
    }

    /// The number of modes that are measured.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.values.iter().filter(|value| **value > 0.0).count()
    }

    /// Returns f of each channel, one after the other.
    fn by_channel(&self, x: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
        x.chunks((x.len() / self.image[0]).max(1)).flat_map(f).collect()
    }

    /// The values of a mask: those of `x` where something is known, 0 elsewhere.
    fn masked(known: &[bool], x: &[f64]) -> Vec<f64> {
        x.iter().zip(known.iter().cycle()).map(|(value, known)| if *known { *value } else { 0.0 }).collect()
    }

    /// Returns A x for an image x, c h w values.
    #[must_use]
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        let [_, height, width] = self.image;
        match &self.kind {
            Kind::Mask(known) => Self::masked(known, x),
            Kind::Separable { rows, columns } => {
                self.by_channel(x, |x| sandwich(&rows.matrix, x, (height, width), &columns.matrix, false))
            }
            Kind::Matrix(factor) => product(&factor.matrix, x, false),
        }
    }

    /// Returns A' y for a measurement y.
    #[must_use]
    pub fn adjoint(&self, y: &[f64]) -> Vec<f64> {
        match &self.kind {
            Kind::Mask(known) => Self::masked(known, y),
            Kind::Separable { rows, columns } => {
                let grid = (rows.matrix.nrows(), columns.matrix.nrows());
                self.by_channel(y, |y| sandwich(&rows.matrix, y, grid, &columns.matrix, true))
            }
            Kind::Matrix(factor) => product(&factor.matrix, y, true),
        }
    }

    /// Returns the modes of an image: V' x.
    #[must_use]
    pub fn modes(&self, x: &[f64]) -> Vec<f64> {
        let [_, height, width] = self.image;
        match &self.kind {
            Kind::Mask(_) => x.to_vec(),
            Kind::Separable { rows, columns } => {
                self.by_channel(x, |x| sandwich(&rows.right, x, (height, width), &columns.right, true))
            }
            Kind::Matrix(factor) => product(&factor.right, x, true),
        }
    }

    /// Returns the image of its modes: V c.
    #[must_use]
    pub fn image(&self, modes: &[f64]) -> Vec<f64> {
        let [_, height, width] = self.image;
        match &self.kind {
            Kind::Mask(_) => modes.to_vec(),
            Kind::Separable { rows, columns } => {
                self.by_channel(modes, |c| sandwich(&rows.right, c, (height, width), &columns.right, false))
            }
            Kind::Matrix(factor) => product(&factor.right, modes, false),
        }
    }

    /// Returns a measurement mode by mode, U' y: for each mode its singular value times the mode of the image, and
    /// noise. Modes that are not measured are 0.
    #[must_use]
    pub fn measured_modes(&self, y: &[f64]) -> Vec<f64> {
        let [_, height, width] = self.image;
        let mut modes = match &self.kind {
            Kind::Mask(_) => y.to_vec(),
            Kind::Separable { rows, columns } => {
                let (grid, found) =
                    ((rows.matrix.nrows(), columns.matrix.nrows()), (rows.values.len(), columns.values.len()));
                self.by_channel(y, |y| {
                    let some = sandwich(&rows.left, y, grid, &columns.left, true);
                    let mut all = vec![0.0; height * width];
                    for (row, values) in some.chunks(found.1).enumerate() {
                        all[row * width..][..found.1].copy_from_slice(values);
                    }
                    all
                })
            }
            Kind::Matrix(factor) => {
                let mut modes = product(&factor.left, y, true);
                modes.resize(self.values.len(), 0.0);
                modes
            }
        };
        modes.iter_mut().zip(&self.values).filter(|(_, value)| **value == 0.0).for_each(|(mode, _)| *mode = 0.0);
        modes
    }

    /// Returns the pseudo-inverse applied to a measurement: the smallest image that fits it best, without the modes
    /// that count as not measured.
    #[must_use]
    pub fn pseudo_inverse(&self, y: &[f64]) -> Vec<f64> {
        let mut modes = self.measured_modes(y);
        modes.iter_mut().zip(&self.values).filter(|(_, s)| **s > 0.0).for_each(|(mode, s)| *mode /= s);
        self.image(&modes)
    }
}

/// The blur of a row of `side` pixels, mirrored at its ends: a symmetric matrix.
fn blur_matrix(side: usize, sigma: f64) -> Mat<f64> {
    let reach = ((4.0 * sigma).ceil() as usize).min(side);
    let weights: Vec<f64> = (0..=reach).map(|at| (-0.5 * (at as f64 / sigma).powi(2)).exp()).collect();
    let total = weights[0] + 2.0 * weights[1..].iter().sum::<f64>();
    let mut matrix = Mat::zeros(side, side);
    for row in 0..side {
        for at in -(reach as isize)..=reach as isize {
            let place = (row as isize + at).rem_euclid(2 * side as isize) as usize;
            let column = if place < side { place } else { 2 * side - 1 - place };
            matrix[(row, column)] += weights[at.unsigned_abs()] / total;
        }
    }
    matrix
}
