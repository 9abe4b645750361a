//! Step F: discrete pixels to continuous coordinates, with the only path of the gradient.

use super::{DistanceWeight, MapGeometry, Result, SelectedCell, SimilarityPointsConfig, SimilarityValues};
use candle_core::{DType, Device, Tensor};

/// Pixels around a point whose weight can matter in f32, for a map of range 0..1: exp(−9²) and exp(−24) are below what a sum
/// of f32 keeps beside the weights at the point (proved against the full sum in the tests).
fn window_radius(distance: DistanceWeight) -> usize {
    match distance {
        DistanceWeight::Squared => 9,
        DistanceWeight::Linear => 24,
    }
}

/// `(S − min)/(max − min)` in the dtype of S; the gradient reaches the smallest and the largest value too.
///
/// Each step is rounded to that dtype as in the reference, but computed in f32, so that the gradients of the smallest and the
/// largest value, which are sums over all cells, are not summed in half precision.
pub(super) fn normalize(similarity: &Tensor) -> Result<Tensor> {
    let dtype = similarity.dtype();
    let rounded = |x: Tensor| x.to_dtype(dtype)?.to_dtype(DType::F32);
    let values = similarity.to_dtype(DType::F32)?;
    let lowest = values.index_select(&values.detach().argmin_keepdim(0)?, 0)?;
    let highest = values.index_select(&values.detach().argmax_keepdim(0)?, 0)?;
    let range = rounded((&highest - &lowest)?)?;
    Ok(rounded(values.broadcast_sub(&lowest)?)?.broadcast_div(&range)?.to_dtype(dtype)?)
}

/// The continuous coordinates `[points, 2]` (x, y) of `cells` on an image of `size` (height, width).
pub(super) fn coordinates(
    similarity: &Tensor,
    side: usize,
    size: (usize, usize),
    cells: &[SelectedCell],
    config: &SimilarityPointsConfig,
) -> Result<Tensor> {
    let geometry = MapGeometry::new(side, config.map_size, size);
    let grid = match config.values {
        SimilarityValues::Normalized => normalize(similarity)?,
        SimilarityValues::Raw => similarity.clone(),
    };
    let grid = grid.to_dtype(DType::F32)?.reshape((side, side))?;
    match config.values {
        SimilarityValues::Normalized => {
            within_windows(&grid, &geometry, size, cells, config.distance, window_radius(config.distance))
        }
        SimilarityValues::Raw => over_the_image(&grid, &geometry, size, cells, config.distance),
    }
}

/// Weighted means over a window of ±`radius` pixels around each point; pixels beyond the image have no weight.
///
/// The map is evaluated where it is needed only: for each point, `rows · grid · columnsᵀ` of its own window.
fn within_windows(
    grid: &Tensor,
    geometry: &MapGeometry,
    size: (usize, usize),
    cells: &[SelectedCell],
    distance: DistanceWeight,
    radius: usize,
) -> Result<Tensor> {
    let (points, window, side) = (cells.len(), 2 * radius + 1, grid.dim(0)?);
    let device = grid.device();
    let x = WindowAxis::new(cells.iter().map(|cell| cell.pixel.0), radius, size.1);
    let y = WindowAxis::new(cells.iter().map(|cell| cell.pixel.1), radius, size.0);
    let rows = geometry.rows.weights(y.pixels.iter().copied(), device)?.reshape((points, window, side))?;
    let columns =
        geometry.columns.weights(x.pixels.iter().copied(), device)?.reshape((points, window, side))?;
    let values = rows.broadcast_matmul(grid)?.matmul(&columns.t()?.contiguous()?)?;
    let closeness = window_closeness(&x, &y, points, window, distance, device)?;
    let weights = (values.exp()? * closeness)?;
    let total = weights.sum((1, 2))?;
    let along = |axis: &WindowAxis, shape: (usize, usize, usize)| -> Result<Tensor> {
        let offsets = Tensor::from_slice(&axis.offsets, shape, device)?;
        let centres = Tensor::from_slice(&axis.centres, points, device)?;
        // The mean of the offsets, added to the centre: keeps the digits that a sum of large coordinates would lose.
        Ok((centres + (weights.broadcast_mul(&offsets)?.sum((1, 2))? / &total)?)?)
    };
    let x = along(&x, (points, 1, window))?;
    let y = along(&y, (points, window, 1))?;
    Ok(Tensor::stack(&[x, y], 1)?)
}

/// One axis of the windows of all points, `points · window` entries each.
struct WindowAxis {
    /// Pixels, clamped to the image.
    pixels: Vec<usize>,
    /// Offset from the point in pixels.
    offsets: Vec<f32>,
    /// Whether the pixel lies on the image.
    inside: Vec<bool>,
    /// The points themselves, one entry each.
    centres: Vec<f32>,
}

impl WindowAxis {
    fn new(centres: impl Iterator<Item = usize>, radius: usize, length: usize) -> Self {
        let mut axis =
            Self { pixels: Vec::new(), offsets: Vec::new(), inside: Vec::new(), centres: Vec::new() };
        for centre in centres {
            axis.centres.push(centre as f32);
            for offset in -(radius as i64)..=radius as i64 {
                let pixel = centre as i64 + offset;
                axis.inside.push((0..length as i64).contains(&pixel));
                axis.pixels.push(pixel.clamp(0, length as i64 - 1) as usize);
                axis.offsets.push(offset as f32);
            }
        }
        axis
    }
}

fn window_closeness(
    x: &WindowAxis,
    y: &WindowAxis,
    points: usize,
    window: usize,
    distance: DistanceWeight,
    device: &Device,
) -> Result<Tensor> {
    let mut closeness = Vec::with_capacity(points * window * window);
    for point in 0..points {
        for row in point * window..(point + 1) * window {
            for column in point * window..(point + 1) * window {
                let weight = if y.inside[row] && x.inside[column] {
                    log_closeness(x.offsets[column], y.offsets[row], distance).exp()
                } else {
                    0.0
                };
                closeness.push(weight);
            }
        }
    }
    Ok(Tensor::from_vec(closeness, (points, window, window), device)?)
}

fn log_closeness(x: f32, y: f32, distance: DistanceWeight) -> f32 {
    let squared = x * x + y * y;
    match distance {
        DistanceWeight::Squared => -squared,
        DistanceWeight::Linear => -squared.sqrt(),
    }
}

/// Weighted means over every pixel of the central square, one point at a time: what a map of unbounded range needs.
fn over_the_image(
    grid: &Tensor,
    geometry: &MapGeometry,
    size: (usize, usize),
    cells: &[SelectedCell],
    distance: DistanceWeight,
) -> Result<Tensor> {
    let (height, width) = size;
    let device = grid.device();
    let map = geometry.restore(grid)?;
    let seen = |pixel: usize| {
        geometry.rows.coverage(pixel / width) > 0.999 && geometry.columns.coverage(pixel % width) > 0.999
    };
    let hidden: Vec<f32> =
        (0..height * width).map(|pixel| if seen(pixel) { 0.0 } else { f32::NEG_INFINITY }).collect();
    let mut points = Vec::with_capacity(cells.len());
    for cell in cells {
        let offset = |pixel: usize| {
            ((pixel % width) as f32 - cell.pixel.0 as f32, (pixel / width) as f32 - cell.pixel.1 as f32)
        };
        let closeness = (0..height * width).map(|pixel| {
            let (x, y) = offset(pixel);
            log_closeness(x, y, distance) + hidden[pixel]
        });
        let closeness = Tensor::from_vec(closeness.collect(), (1, height * width), device)?;
        let weights =
            maskwise_nn::ops::softmax(&(map.reshape((1, height * width))? + closeness)?)?.reshape(size)?;
        let columns: Vec<f32> = (0..width).map(|x| x as f32 - cell.pixel.0 as f32).collect();
        let rows: Vec<f32> = (0..height).map(|y| y as f32 - cell.pixel.1 as f32).collect();
        let x = (weights.sum(0)? * Tensor::from_vec(columns, width, device)?)?.sum_all()?;
        let y = (weights.sum(1)? * Tensor::from_vec(rows, height, device)?)?.sum_all()?;
        points.push(Tensor::stack(&[(x + cell.pixel.0 as f64)?, (y + cell.pixel.1 as f64)?], 0)?);
    }
    Ok(Tensor::stack(&points, 0)?)
}

#[cfg(test)]
mod tests {
    use super::super::{SelectionMap, Thresholds};
    use super::*;

    fn map(side: usize) -> Vec<f32> {
        (0..side * side)
            .map(|cell| {
                let (row, column) = ((cell / side) as f32, (cell % side) as f32);
                20.0 * (-((row - 3.3).powi(2) + (column - 7.6).powi(2)) / 9.0).exp()
                    + (0.9 * row).sin() * (0.5 * column).cos()
            })
            .collect()
    }

    /// The sum over all pixels in f64: the definition, with nothing left out.
    fn full_sum(
        similarity: &Tensor,
        side: usize,
        size: (usize, usize),
        cell: &SelectedCell,
        distance: DistanceWeight,
    ) -> (f64, f64) {
        let geometry = MapGeometry::new(side, 336, size);
        let grid = normalize(similarity).unwrap().reshape((side, side)).unwrap();
        let full = geometry.restore(&grid).unwrap().to_vec2::<f32>().unwrap();
        let (mut total, mut x_sum, mut y_sum) = (0.0, 0.0, 0.0);
        for (y, row) in full.iter().enumerate() {
            for (x, &value) in row.iter().enumerate() {
                let (dx, dy) = (x as f64 - cell.pixel.0 as f64, y as f64 - cell.pixel.1 as f64);
                let squared = dx * dx + dy * dy;
                let exponent = if distance == DistanceWeight::Squared { -squared } else { -squared.sqrt() };
                let weight = (exponent + f64::from(value)).exp();
                total += weight;
                x_sum += weight * dx;
                y_sum += weight * dy;
            }
        }
        (cell.pixel.0 as f64 + x_sum / total, cell.pixel.1 as f64 + y_sum / total)
    }

    #[test]
    fn the_windows_equal_the_full_sum() {
        let side = 12;
        let similarity = Tensor::from_vec(map(side), side * side, &Device::Cpu).unwrap();
        for size in [(60, 80), (131, 97), (40, 40), (9, 14)] {
            for distance in [DistanceWeight::Squared, DistanceWeight::Linear] {
                let selection = SelectionMap::new(&map(side), side, size, 1).unwrap();
                let cells = selection.select(&Thresholds::Fixed { t_pos: 0.8, t_neg: 0.2 }, Some(20));
                let config = SimilarityPointsConfig { distance, ..SimilarityPointsConfig::read_7b() };
                let found =
                    coordinates(&similarity, side, size, &cells, &config).unwrap().to_vec2::<f32>().unwrap();
                for (cell, found) in cells.iter().zip(found) {
                    let (x, y) = full_sum(&similarity, side, size, cell, distance);
                    let error = (f64::from(found[0]) - x).abs().max((f64::from(found[1]) - y).abs());
                    assert!(error < 2e-5, "{size:?} {distance:?} {cell:?}: {found:?} instead of ({x}, {y})");
                }
            }
        }
    }

    #[test]
    fn a_smaller_window_would_not_do() {
        let (side, size) = (12, (131, 97));
        let similarity = Tensor::from_vec(map(side), side * side, &Device::Cpu).unwrap();
        let cells = SelectionMap::new(&map(side), side, size, 1)
            .unwrap()
            .select(&Thresholds::Fixed { t_pos: 0.8, t_neg: 0.2 }, Some(20));
        let geometry = MapGeometry::new(side, 336, size);
        let grid = normalize(&similarity).unwrap().reshape((side, side)).unwrap();
        let near = within_windows(&grid, &geometry, size, &cells, DistanceWeight::Linear, 3).unwrap();
        let near = near.to_vec2::<f32>().unwrap();
        let worst = cells.iter().zip(near).map(|(cell, near)| {
            let (x, _) = full_sum(&similarity, side, size, cell, DistanceWeight::Linear);
            (f64::from(near[0]) - x).abs()
        });
        assert!(worst.fold(0.0, f64::max) > 1e-3);
    }

    #[test]
    fn the_raw_map_takes_the_whole_image() {
        let (side, size) = (6, (20, 30));
        let values: Vec<f32> = map(12)[..36].to_vec();
        let similarity = Tensor::from_vec(values.clone(), 36, &Device::Cpu).unwrap();
        let config =
            SimilarityPointsConfig { values: SimilarityValues::Raw, ..SimilarityPointsConfig::algorithm_1() };
        let cells = SelectionMap::new(&values, side, size, 1).unwrap().select(&config.thresholds, Some(4));
        let found = coordinates(&similarity, side, size, &cells, &config).unwrap().to_vec2::<f32>().unwrap();
        let geometry = MapGeometry::new(side, 336, size);
        let full =
            geometry.restore(&similarity.reshape((side, side)).unwrap()).unwrap().to_vec2::<f32>().unwrap();
        for (cell, found) in cells.iter().zip(found) {
            let (mut total, mut x_sum) = (0.0, 0.0);
            for (y, row) in full.iter().enumerate() {
                for (x, &value) in
                    row.iter().enumerate().filter(|(x, _)| geometry.columns.coverage(*x) > 0.999)
                {
                    let (dx, dy) = (x as f64 - cell.pixel.0 as f64, y as f64 - cell.pixel.1 as f64);
                    let weight = (f64::from(value) - (dx * dx + dy * dy).sqrt()).exp();
                    total += weight;
                    x_sum += weight * x as f64;
                }
            }
            assert!((f64::from(found[0]) - x_sum / total).abs() < 1e-3, "{found:?} {}", x_sum / total);
        }
    }
}
