//! The fixed position embedding of a vision transformer: sines and cosines of a token's column and row
//! (`get_2d_sincos_pos_embed` in `models/embeddings.py`).

/// Base of the geometric series of frequencies.
const BASE: f64 = 10_000.0;

/// The embedding of rows x columns tokens, channels first: a quarter of the `channels` each are sines and cosines of
/// the column, then of the row. Coordinates are scaled to a grid of `base` x `base` tokens, that of training.
pub fn embedding(channels: usize, (rows, columns): (usize, usize), base: usize) -> Vec<f32> {
    let quarter = channels / 4;
    // diffusers divides in float32.
    let scaled = |at: usize, count: usize| f64::from(at as f32 / (count as f64 / base as f64) as f32);
    let mut values = Vec::with_capacity(channels * rows * columns);
    for channel in 0..channels {
        let frequency = BASE.powf(-((channel % quarter) as f64) / quarter as f64);
        let is_sine = (channel / quarter).is_multiple_of(2);
        for row in 0..rows {
            for column in 0..columns {
                let position = if channel < 2 * quarter { scaled(column, columns) } else { scaled(row, rows) };
                let angle = position * frequency;
                values.push(if is_sine { angle.sin() } else { angle.cos() } as f32);
            }
        }
    }
    values
}
