//! Pictures for people: masks over photographs, points, similarity heat maps.
//!
//! - [`overlay()`]: our own picture of an answer, tint, outline and points.
//! - [`blend`]: the pictures that the official demos of READ and LISA draw, bit for bit.
//! - [`heat_map`] and [`jet`]: similarity as OpenCV's JET colours.

use thiserror::Error;

use ::image::RgbImage;

pub mod blend;
pub mod chart;
pub mod heat;
pub mod overlay;
pub mod sheet;

pub use heat::{heat_map, jet};
pub use overlay::{Layer, OverlayStyle, draw_points, overlay};

/// A point that a model placed on the image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PointMark {
    /// Horizontal position in pixels; 0 is the left edge of the image.
    pub x: f32,
    /// Vertical position in pixels; 0 is the upper edge of the image.
    pub y: f32,
    /// 1 positive (red), 0 negative (blue), anything else neutral (grey).
    pub label: i32,
}

/// Why a picture could not be drawn.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DrawError {
    /// The mask or map belongs to an image of another size.
    #[error("{what} of {}x{} cannot be drawn on an image of {}x{}", found.0, found.1, image.0, image.1)]
    Size {
        /// "a mask" or "a map".
        what: &'static str,
        /// Its width and height.
        found: (usize, usize),
        /// Width and height of the image.
        image: (usize, usize),
    },
    /// The map does not hold one value per pixel.
    #[error("a heat map for an image of {width}x{height} needs {} values, not {found}", width * height)]
    Length {
        /// Columns of the image.
        width: usize,
        /// Rows of the image.
        height: usize,
        /// Values in the map.
        found: usize,
    },
    /// The map holds a NaN.
    #[error("value {index} of the heat map is not a number")]
    NotANumber {
        /// Position in the map.
        index: usize,
    },
}

/// Colours of the first masks of one image, chosen to differ from each other, from the red and blue of the
/// points, and from what photographs are full of.
const PALETTE: [[u8; 3]; 10] = [
    [0, 214, 170],
    [255, 171, 0],
    [208, 66, 255],
    [154, 222, 28],
    [255, 94, 166],
    [0, 190, 240],
    [255, 226, 64],
    [150, 120, 255],
    [255, 120, 60],
    [120, 200, 140],
];

/// Colour (RGB) of mask `index` where one image has several.
pub fn palette_color(index: usize) -> [u8; 3] {
    if let Some(color) = PALETTE.get(index) {
        return *color;
    }
    // Beyond the table, hues a golden angle apart never repeat.
    let hue = (index as f32 * 137.508) % 360.0 / 60.0;
    [5.0, 3.0, 1.0].map(|offset: f32| {
        let k = (offset + hue) % 6.0;
        (245.0 * (1.0 - 0.75 * k.min(4.0 - k).clamp(0.0, 1.0))) as u8
    })
}

/// Pictures of one size beside each other, from left to right.
pub fn side_by_side(pictures: &[&RgbImage]) -> RgbImage {
    let (width, height) = pictures.first().map_or((1, 1), |picture| picture.dimensions());
    RgbImage::from_fn(width * pictures.len() as u32, height, |x, y| {
        *pictures[(x / width) as usize].get_pixel(x % width, y)
    })
}
