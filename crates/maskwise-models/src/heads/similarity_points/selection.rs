use super::geometry::padding;
use super::{ModelError, Result, Thresholds};
use candle_core::{DType, Device, Tensor};
use maskwise_nn::ops;
use std::cmp::Ordering;

/// The value of cells that lie outside of what CLIP saw; never selected.
const OUTSIDE: f32 = -1.0;

/// Step C: the map that cells are selected from.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectionMap {
    /// Row-major values in 0..1, −1 in the padding.
    pub values: Vec<f32>,
    /// Rows, padding included.
    pub height: usize,
    /// Columns, padding included.
    pub width: usize,
    /// Rows added above and below; −1 where a row was cut off instead.
    pub padding_height: i64,
    /// Columns added left and right; −1 where a column was cut off instead.
    pub padding_width: i64,
    /// Size of the image, (height, width) in pixels.
    image_size: (usize, usize),
}

/// A cell that became a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelectedCell {
    /// Row-major index into [`SelectionMap::values`].
    pub index: usize,
    /// The cell's value, 0..1.
    pub value: f32,
    /// 1 positive, 0 negative, −1 neutral.
    pub label: i32,
    /// Step E: the cell's centre as whole pixels (x, y) of the original image.
    pub pixel: (usize, usize),
}

impl SelectionMap {
    /// Reduces `values` (`side`² of them, row-major), normalises them to 0..1 and pads them to the aspect of an image of
    /// `size` (height, width).
    ///
    /// # Errors
    /// When `down_sample` leaves no cell, or the reduced map is the same everywhere.
    pub fn new(values: &[f32], side: usize, size: (usize, usize), down_sample: usize) -> Result<Self> {
        let reduced_side = side / down_sample;
        if reduced_side == 0 {
            return Err(ModelError::Similarity(format!(
                "down_sample {down_sample} leaves nothing of a {side}x{side} grid"
            )));
        }
        let grid = Tensor::from_slice(values, (side, side), &Device::Cpu)?;
        let reduced = ops::bilinear_resize(&grid, reduced_side, reduced_side)?.to_dtype(DType::F32)?;
        let mut reduced = reduced.flatten_all()?.to_vec1::<f32>()?;
        let low = reduced.iter().copied().fold(f32::INFINITY, f32::min);
        let high = reduced.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if low == high {
            return Err(ModelError::Similarity(format!(
                "every cell has the same value {low} after down-sampling"
            )));
        }
        reduced.iter_mut().for_each(|value| *value = (*value - low) / (high - low));
        let shortest = size.0.min(size.1);
        let padding_height = padding(reduced_side, size.0, shortest);
        let padding_width = padding(reduced_side, size.1, shortest);
        let padded = |padding: i64| usize::try_from(reduced_side as i64 + 2 * padding).unwrap_or(0);
        let (height, width) = (padded(padding_height), padded(padding_width));
        let value = |row: usize, column: usize| {
            let inside = |position: usize, padding: i64| {
                usize::try_from(position as i64 - padding).ok().filter(|position| *position < reduced_side)
            };
            match (inside(row, padding_height), inside(column, padding_width)) {
                (Some(row), Some(column)) => reduced[row * reduced_side + column],
                _ => OUTSIDE,
            }
        };
        let values = (0..height * width).map(|cell| value(cell / width, cell % width)).collect();
        Ok(Self { values, height, width, padding_height, padding_width, image_size: size })
    }

    /// Steps D and E: positive cells by falling value, negative ones by rising value, then neutral ones in order; at most
    /// `num_points`. Equal values keep the order of their cells.
    pub fn select(&self, thresholds: &Thresholds, num_points: Option<usize>) -> Vec<SelectedCell> {
        let (lowest_positive, highest_negative) = self.limits(thresholds);
        let (mut positive, mut negative, mut neutral) = (Vec::new(), Vec::new(), Vec::new());
        for (index, &value) in self.values.iter().enumerate().filter(|(_, value)| **value != OUTSIDE) {
            let cell = |label| SelectedCell { index, value, label, pixel: self.pixel(index) };
            if value >= lowest_positive {
                positive.push(cell(1));
            } else if value <= highest_negative {
                negative.push(cell(0));
            } else {
                neutral.push(cell(-1));
            }
        }
        let by_value =
            |a: &SelectedCell, b: &SelectedCell| a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal);
        positive.sort_by(|a, b| by_value(b, a));
        negative.sort_by(by_value);
        let ordered = positive.into_iter().chain(negative).chain(neutral);
        ordered.take(num_points.unwrap_or(usize::MAX)).collect()
    }

    fn limits(&self, thresholds: &Thresholds) -> (f32, f32) {
        match *thresholds {
            Thresholds::Fixed { t_pos, t_neg } => (t_pos, t_neg),
            Thresholds::MeanDeviation { epsilon } => {
                let inside: Vec<f64> = self
                    .values
                    .iter()
                    .filter(|value| **value != OUTSIDE)
                    .map(|&value| f64::from(value))
                    .collect();
                let mean = inside.iter().sum::<f64>() / inside.len() as f64;
                let variance =
                    inside.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / inside.len() as f64;
                let reach = f64::from(epsilon) * variance.sqrt();
                ((mean + reach) as f32, (mean - reach) as f32)
            }
        }
    }

    fn pixel(&self, index: usize) -> (usize, usize) {
        let centre = |cell: usize, cells: usize, length: usize| {
            let scale = (length as f64 / cells as f64) as f32;
            ((cell as f32 + 0.5) * scale).min((length - 1) as f32) as usize
        };
        let (height, width) = self.image_size;
        (centre(index % self.width, self.width, width), centre(index / self.width, self.height, height))
    }
}
