//! Our picture of an answer: tinted masks with outlines, and the points that led to them.

use ::image::{Rgb, RgbImage};

use super::blend::check_size;
use super::{DrawError, PointMark};
use crate::mask::Mask;

const WHITE: [u8; 3] = [255, 255, 255];
const BLACK: [u8; 3] = [0, 0, 0];
const POSITIVE: [u8; 3] = [230, 32, 32];
const NEGATIVE: [u8; 3] = [36, 92, 240];
const NEUTRAL: [u8; 3] = [140, 140, 140];

/// One mask of the picture with its points.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The mask, of the image's size.
    pub mask: &'a Mask,
    /// Colour (RGB) of tint and outline, for example [`super::palette_color`].
    pub color: [u8; 3],
    /// Points, drawn above every mask.
    pub points: &'a [PointMark],
}

/// Strengths and sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverlayStyle {
    /// Share of the colour inside a mask, 0..1.
    pub tint: f32,
    /// Width of the outline in pixels; 0 draws none.
    pub outline: f32,
    /// Radius of the points in pixels, without their ring.
    pub point_radius: f32,
}

impl OverlayStyle {
    /// Sizes that look alike on images of any size.
    pub fn for_image(image: &RgbImage) -> OverlayStyle {
        let side = image.width().max(image.height()) as f32;
        OverlayStyle { tint: 0.45, outline: (side / 320.0).max(1.5), point_radius: (side / 170.0).max(2.5) }
    }
}

/// Draws every layer on a copy of `image`: tints, then outlines, then points.
///
/// # Errors
/// [`DrawError::Size`] if a mask has another size than the image.
pub fn overlay(image: &RgbImage, layers: &[Layer<'_>], style: &OverlayStyle) -> Result<RgbImage, DrawError> {
    let mut picture = image.clone();
    for layer in layers {
        check_size(image, layer.mask)?;
        let inside = picture.pixels_mut().zip(&layer.mask.data).filter(|(_, value)| **value != 0);
        for (pixel, _) in inside {
            mix(pixel, layer.color, style.tint);
        }
    }
    for layer in layers {
        draw_outline(&mut picture, layer.mask, layer.color, style.outline);
    }
    for layer in layers {
        draw_points(&mut picture, layer.points, style.point_radius);
    }
    Ok(picture)
}

/// Draws points as discs with a white ring: red positive, blue negative, grey neutral.
///
/// Neutral points are drawn first and positive ones last, so that the telling ones stay visible. Points whose
/// coordinates are not finite are left out.
pub fn draw_points(picture: &mut RgbImage, points: &[PointMark], radius: f32) {
    let ring = (radius * 0.45).max(1.0);
    let color = |label: i32| match label {
        1 => POSITIVE,
        0 => NEGATIVE,
        _ => NEUTRAL,
    };
    let mut order: Vec<&PointMark> =
        points.iter().filter(|point| point.x.is_finite() && point.y.is_finite()).collect();
    order.sort_by_key(|point| match point.label {
        1 => 2,
        0 => 1,
        _ => 0,
    });
    for point in order {
        let center = (point.x, point.y);
        // A faint dark rim lets the white ring stand out on bright ground.
        draw_disc(picture, center, radius + ring + 0.35 * ring, BLACK, 0.35);
        draw_disc(picture, center, radius + ring, WHITE, 1.0);
        draw_disc(picture, center, radius, color(point.label), 1.0);
    }
}

/// Strokes the border between the mask and the rest, centred on it, in `color` with a faint dark rim.
fn draw_outline(picture: &mut RgbImage, mask: &Mask, color: [u8; 3], width: f32) {
    if width <= 0.0 {
        return;
    }
    let half = width / 2.0;
    let rim = (width / 3.0).max(1.0);
    let reach = (half + rim + 1.0).ceil() as usize;
    let distances = border_distances(mask, reach);
    for (pixel, distance) in picture.pixels_mut().zip(distances) {
        if distance.is_finite() {
            mix(pixel, BLACK, 0.35 * (half + rim + 0.5 - distance).clamp(0.0, 1.0));
            mix(pixel, color, (half + 0.5 - distance).clamp(0.0, 1.0));
        }
    }
}

/// Distance of each pixel's centre to the nearest pixel edge between mask and rest, infinite beyond `reach`.
///
/// The border of the image itself is no border of the mask.
fn border_distances(mask: &Mask, reach: usize) -> Vec<f32> {
    let (width, height) = (mask.width, mask.height);
    let mut distances = vec![f32::INFINITY; width * height];
    let mut stamp = |x: f32, y: f32| {
        // (x, y): the middle of a pixel edge, in units where pixel (0, 0) spans 0..1.
        let (left, top) = ((x as usize).saturating_sub(reach), (y as usize).saturating_sub(reach));
        for row in top..(y as usize + reach + 1).min(height) {
            for column in left..(x as usize + reach + 1).min(width) {
                let distance = (column as f32 + 0.5 - x).hypot(row as f32 + 0.5 - y);
                let nearest = &mut distances[row * width + column];
                *nearest = nearest.min(distance);
            }
        }
    };
    for y in 0..height {
        for x in 0..width {
            let inside = mask.get(x, y);
            if x + 1 < width && mask.get(x + 1, y) != inside {
                stamp(x as f32 + 1.0, y as f32 + 0.5);
            }
            if y + 1 < height && mask.get(x, y + 1) != inside {
                stamp(x as f32 + 0.5, y as f32 + 1.0);
            }
        }
    }
    distances
}

/// Fills a disc with soft edges; parts outside the picture are cut off.
fn draw_disc(picture: &mut RgbImage, center: (f32, f32), radius: f32, color: [u8; 3], opacity: f32) {
    let (width, height) = picture.dimensions();
    // Casts saturate, so discs far outside give empty ranges.
    let range = |middle: f32, limit: u32| {
        let start = (middle - radius - 1.0).floor().max(0.0) as u32;
        start..((middle + radius + 1.0).ceil().max(0.0) as u32).min(limit)
    };
    for y in range(center.1, height) {
        for x in range(center.0, width) {
            let distance = (x as f32 + 0.5 - center.0).hypot(y as f32 + 0.5 - center.1);
            mix(picture.get_pixel_mut(x, y), color, opacity * (radius + 0.5 - distance).clamp(0.0, 1.0));
        }
    }
}

fn mix(pixel: &mut Rgb<u8>, color: [u8; 3], share: f32) {
    for (sample, target) in pixel.0.iter_mut().zip(color) {
        *sample = (f32::from(*sample) * (1.0 - share) + f32::from(target) * share).round() as u8;
    }
}
