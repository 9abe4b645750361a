//! Similarity maps as heat.

use ::image::{Rgb, RgbImage};

use super::DrawError;

/// OpenCV's `COLORMAP_JET`: RGB for a value of 0 (dark blue) to 255 (dark red).
pub fn jet(value: u8) -> [u8; 3] {
    let value = i32::from(value);
    let red = if value < 160 { 4 * value - 382 } else { 1148 - 4 * value };
    let green = if value < 128 { 4 * value - 128 } else { 892 - 4 * value };
    let blue = match value {
        ..64 => 4 * value + 128,
        // The one entry of OpenCV's table that leaves the straight lines.
        159 => 1,
        _ => 638 - 4 * value,
    };
    [red, green, blue].map(|sample| sample.clamp(0, 255) as u8)
}

/// A similarity map over its image: `0.3 · image + 0.7 · jet(map)`, truncated to 8 bits, where the map becomes
/// 8-bit by `× 255` and truncation (spec 8).
///
/// `map` holds one value per pixel, row-major; values outside 0..1 are clamped.
///
/// # Errors
/// [`DrawError::Length`] if the map does not fit the image, [`DrawError::NotANumber`] if it holds a NaN.
pub fn heat_map(image: &RgbImage, map: &[f32]) -> Result<RgbImage, DrawError> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    if map.len() != width * height {
        return Err(DrawError::Length { width, height, found: map.len() });
    }
    if let Some(index) = map.iter().position(|value| value.is_nan()) {
        return Err(DrawError::NotANumber { index });
    }
    let mut picture = image.clone();
    for (pixel, &value) in picture.pixels_mut().zip(map) {
        let heat = jet((value * 255.0) as u8);
        let Rgb(samples) = *pixel;
        *pixel = Rgb([0, 1, 2]
            .map(|channel| (f64::from(samples[channel]) * 0.3 + f64::from(heat[channel]) * 0.7) as u8));
    }
    Ok(picture)
}
