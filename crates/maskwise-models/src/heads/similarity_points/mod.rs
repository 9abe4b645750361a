//! Similarity as points (SasP) with discrete-to-continuous sampling (DtoC): spec 1.7, steps A to G, and the paper's
//! Algorithm 1 as written (spec 1.8).
//!
//! The state that predicts `[SEG]` is compared with the state of every image token; the cells where they agree most and least
//! become positive and negative points for SAM. What is discrete (the selection) is constant; gradients reach the
//! similarity, and through it both states, by the continuous coordinates.

mod config;
mod continuous;
mod geometry;
mod selection;

pub use config::{DistanceWeight, Sampling, SimilarityPointsConfig, SimilarityValues, Thresholds};
pub use geometry::{AxisRestoration, MapGeometry};
pub use selection::{SelectedCell, SelectionMap};

use crate::error::{ModelError, Result};
use candle_core::{D, DType, Tensor};

/// Points on the original image, with what they were made from.
#[derive(Debug, Clone)]
pub struct SimilarityPoints {
    /// The normalised, reduced and padded map that cells were selected from.
    pub selection: SelectionMap,
    /// The selected cells in order: positive, negative, neutral.
    pub cells: Vec<SelectedCell>,
    /// `[points, 2]` f32: (x, y) in pixels of the original image; after DtoC they carry the gradient.
    pub coordinates: Tensor,
}

impl SimilarityPoints {
    /// The labels of the points: 1 positive, 0 negative, −1 neutral.
    pub fn labels(&self) -> Vec<i32> {
        self.cells.iter().map(|cell| cell.label).collect()
    }
}

/// Step A: the similarity of `image_states` `[tokens, dim]` with `seg_state` `[dim]`, `[tokens]`.
///
/// A plain dot product: the products are rounded to the tensors' dtype, their sum is accumulated in f32 and rounded once.
///
/// # Errors
/// When the widths differ.
pub fn similarity(image_states: &Tensor, seg_state: &Tensor) -> Result<Tensor> {
    let products = image_states.broadcast_mul(&seg_state.unsqueeze(0)?)?;
    Ok(products.to_dtype(DType::F32)?.sum(D::Minus1)?.to_dtype(image_states.dtype())?)
}

/// Steps B to F: from a `similarity` map `[tokens]` (a square grid, row-major) of an image of `size` (height, width) to points.
///
/// # Errors
/// [`ModelError::Similarity`] when the map is not square, holds a value that is not finite, or is the same everywhere (nothing
/// can be selected); also when `size` holds a zero or the configuration is out of range.
pub fn similarity_points(
    similarity: &Tensor,
    size: (usize, usize),
    config: &SimilarityPointsConfig,
) -> Result<SimilarityPoints> {
    config.check().map_err(ModelError::Points)?;
    let side = square_side(similarity.dim(0)?)?;
    if size.0 == 0 || size.1 == 0 {
        return Err(ModelError::Similarity(format!("the image has size {}x{}", size.1, size.0)));
    }
    let values = similarity.detach().to_dtype(DType::F32)?.to_vec1::<f32>()?;
    check_values(&values)?;
    let selection = SelectionMap::new(&values, side, size, config.down_sample)?;
    let cells = selection.select(&config.thresholds, config.num_points);
    if cells.is_empty() {
        return Err(ModelError::Similarity("no cell was selected".to_owned()));
    }
    let coordinates = match config.sampling {
        Sampling::Continuous => continuous::coordinates(similarity, side, size, &cells, config)?,
        Sampling::Discrete => centres(&cells, similarity)?,
    };
    Ok(SimilarityPoints { selection, cells, coordinates })
}

/// The cells' pixels, `[points, 2]`.
fn centres(cells: &[SelectedCell], similarity: &Tensor) -> Result<Tensor> {
    let pixels = cells.iter().flat_map(|cell| [cell.pixel.0 as f32, cell.pixel.1 as f32]);
    Ok(Tensor::from_vec(pixels.collect::<Vec<_>>(), (cells.len(), 2), similarity.device())?)
}

/// Step B: the min-max normalised map at the size of the original image, `[height, width]` f32 in 0..1, 0 outside of the
/// central square that CLIP saw.
///
/// # Errors
/// As [`similarity_points`].
pub fn full_resolution_map(similarity: &Tensor, size: (usize, usize), map_size: usize) -> Result<Tensor> {
    let side = square_side(similarity.dim(0)?)?;
    check_values(&similarity.detach().to_dtype(DType::F32)?.to_vec1::<f32>()?)?;
    let normalized = continuous::normalize(similarity)?.to_dtype(DType::F32)?.reshape((side, side))?;
    let geometry = MapGeometry::new(side, map_size, size);
    Ok(geometry.restore(&normalized)?)
}

/// The highest and as many of the lowest cells as (x, y, label) in pixels of an image of `size` (height, width), labels 1 and 0 (spec 7.4,
/// `visualize/vis.py`): of the grid reduced by 2 bilinearly and normalised to 0..1, as many as have 0.8 or more, at most half.
///
/// # Errors
/// As [`similarity_points`].
pub fn balanced_points(similarity: &Tensor, size: (usize, usize)) -> Result<Vec<(f32, f32, i32)>> {
    let side = square_side(similarity.dim(0)?)?;
    check_values(&similarity.detach().to_dtype(DType::F32)?.to_vec1::<f32>()?)?;
    let reduced = (side / 2).max(1);
    let grid = similarity.detach().to_dtype(DType::F32)?.reshape((1, 1, side, side))?;
    let values =
        maskwise_nn::ops::bilinear_resize(&grid, reduced, reduced)?.flatten_all()?.to_vec1::<f32>()?;
    let (low, high) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let is_high = |value: &&f32| **value - low >= BALANCED_THRESHOLD * (high - low);
    let count = values.iter().filter(is_high).count().min(values.len() / 2);
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let (height, width) = size;
    let place = |cell: usize, label: i32| {
        let along = |index: usize, length: usize| {
            let pixel = (index as f64 + 0.5) * length as f64 / reduced as f64;
            pixel.floor().min(length as f64 - 1.0) as f32
        };
        (along(cell % reduced, width), along(cell / reduced, height), label)
    };
    let highest = order.iter().take(count).map(|cell| place(*cell, 1));
    Ok(highest.chain(order.iter().rev().take(count).map(|cell| place(*cell, 0))).collect())
}

/// Normalised similarity from which a cell is one of the highest.
const BALANCED_THRESHOLD: f32 = 0.8;

fn square_side(tokens: usize) -> Result<usize> {
    let side = tokens.isqrt();
    if side == 0 || side * side != tokens {
        return Err(ModelError::Similarity(format!("{tokens} image tokens are not a square grid")));
    }
    Ok(side)
}

fn check_values(values: &[f32]) -> Result<()> {
    if let Some(cell) = values.iter().position(|value| !value.is_finite()) {
        return Err(ModelError::Similarity(format!(
            "cell {cell} is {}; the hidden states are not finite",
            values[cell]
        )));
    }
    if values.iter().all(|value| value == &values[0]) {
        return Err(ModelError::Similarity(format!("every cell has the same value {}", values[0])));
    }
    Ok(())
}
