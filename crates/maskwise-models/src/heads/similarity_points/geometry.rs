use candle_core::{Device, Result, Tensor};
use maskwise_nn::ops;

/// Padding, in cells, that gives a square map of `side` cells the aspect of the image again, along an axis of `length` pixels
/// whose image has the shortest edge `shortest`.
///
/// Evaluated in f64 and in this order because the truncation is part of the reference: some sizes come out one short and the
/// padding is −1, which crops (spec 1.7, step C).
pub(super) fn padding(side: usize, length: usize, shortest: usize) -> i64 {
    let scale = side as f64 / shortest as f64;
    let padded = (length as f64 * scale) as i64;
    (padded - side as i64).div_euclid(2)
}

/// How a token grid is laid over an image again: CLIP saw its central square.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapGeometry {
    /// Vertically.
    pub rows: AxisRestoration,
    /// Horizontally.
    pub columns: AxisRestoration,
}

impl MapGeometry {
    /// For a grid of `side`² tokens and an image of `size` (height, width), by way of a square map of `map_size`².
    pub fn new(side: usize, map_size: usize, size: (usize, usize)) -> Self {
        let shortest = size.0.min(size.1);
        let axis =
            |length| AxisRestoration { side, map_size, padding: padding(map_size, length, shortest), length };
        Self { rows: axis(size.0), columns: axis(size.1) }
    }

    /// Step B at every pixel: a grid `[side, side]` f32 to `[height, width]`.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn restore(&self, grid: &Tensor) -> Result<Tensor> {
        let rows = self.rows.weights(0..self.rows.length, grid.device())?;
        let columns = self.columns.weights(0..self.columns.length, grid.device())?;
        rows.matmul(&grid.contiguous()?)?.matmul(&columns.t()?)
    }
}

/// One axis of [`MapGeometry`]: grid → square map (bilinear) → zero padding or cropping → image (bilinear), as linear weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisRestoration {
    side: usize,
    map_size: usize,
    padding: i64,
    length: usize,
}

impl AxisRestoration {
    /// The weights `[pixels, side]` with which each of `pixels` sees the cells of the grid; all 0 in the padding.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn weights(&self, pixels: impl IntoIterator<Item = usize>, device: &Device) -> Result<Tensor> {
        let to_map = ops::bilinear_matrix(self.side, self.map_size, &Device::Cpu)?.to_vec2::<f32>()?;
        let padded = self.map_size as i64 + 2 * self.padding;
        let scale = padded as f32 / self.length as f32;
        let mut weights = Vec::new();
        for pixel in pixels {
            let source = ((pixel as f32 + 0.5) * scale - 0.5).max(0.0);
            let low = (source as i64).min(padded - 1);
            let high = (low + 1).min(padded - 1);
            let fraction = source - low as f32;
            let start = weights.len();
            weights.resize(start + self.side, 0.0);
            for (position, share) in [(low, 1.0 - fraction), (high, fraction)] {
                let inside = usize::try_from(position - self.padding).ok();
                if let Some(cells) = inside.and_then(|position| to_map.get(position)) {
                    weights[start..].iter_mut().zip(cells).for_each(|(weight, cell)| *weight += share * cell);
                }
            }
        }
        let pixels = weights.len() / self.side;
        Tensor::from_vec(weights, (pixels, self.side), device)
    }

    /// How much of a pixel's value comes from inside the central square, 0..1.
    pub(super) fn coverage(&self, pixel: usize) -> f32 {
        let padded = self.map_size as i64 + 2 * self.padding;
        let source = ((pixel as f32 + 0.5) * (padded as f32 / self.length as f32) - 0.5).max(0.0);
        let low = (source as i64).min(padded - 1);
        let inside = |position: i64| (0..self.map_size as i64).contains(&(position - self.padding));
        let fraction = source - low as f32;
        let share = |position: i64, share: f32| if inside(position) { share } else { 0.0 };
        share(low, 1.0 - fraction) + share((low + 1).min(padded - 1), fraction)
    }
}
